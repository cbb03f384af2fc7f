#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the way of a packet weighs in the kernel's text.

Whatever the functions below reach by direct calls is counted: receive, poll,
deliver and send, the driver's operations, and the lookup behind native code.
Instructions that a packet meets compete with those of environments for one
small cache, so the sums have limits. Functions come from the linker's map,
calls from the disassembly. Speaks TAP. usage: run.py MAP KERNEL [OBJDUMP]
"""
import collections
import re
import subprocess
import sys

NET = "virtio_net.c"
PATH = {(None, "net_interrupt"), (None, "net_poll"), (None, "net_receive"),
        (None, "net_starved"), (None, "net_transmitted"),
        (None, "sys_net_send"), (NET, "virtio_net_interrupt"), (NET, "transmit"),
        (NET, "virtio_net_kick"), (NET, "virtio_net_poll"), (NET, "interrupts")}
LOOKUP = {(None, "dpf_set_match")}
# Where the way of a packet ends: each is a machine or a device that failed.
FAILED = {(None, "panic"), (None, "virtio_fail"), (None, "virtq_abandon")}
# Sums in bytes: without the lookup that native code replaces, and of it.
LIMITS = (("receive, poll, deliver and send", PATH, LOOKUP | FAILED, 12 * 1024),
          ("lookup without native code", LOOKUP, FAILED, 8 * 1024))
LARGEST = 12

# lld: VMA LMA size align, then section, object or symbol by indentation.
SECTION = re.compile(r"^ *([0-9a-f]+) +[0-9a-f]+ +([0-9a-f]+) +\d+ {9}"
                     r"(?:.*/)?[^/ ]*?\(([^)]*)\.o\):\(\.text\.([^)]+)\)$")
LABEL = re.compile(r"^([0-9a-f]+) <[^>]+>:$")
CALL = re.compile(r"\s(?:call|j\w+)q?\s+(?:0x)?([0-9a-f]+) <")


def functions(path):
    """{address: (source, name, size)} of every function that was compiled."""
    found = {}
    with open(path) as f:
        for m in filter(None, map(SECTION.match, f)):
            source = m[3].rpartition("/")[2].rpartition("_p_")[2]
            found[int(m[1], 16)] = (source, m[4], int(m[2], 16))
    return found


def calls(kernel, objdump, starts):
    """{address: addresses that its function calls or jumps to}."""
    text = subprocess.run([objdump, "-d", "--no-show-raw-insn", kernel],
                          capture_output=True, text=True, check=True).stdout
    to, here = collections.defaultdict(set), None
    for line in text.splitlines():
        if m := LABEL.match(line):
            here = int(m[1], 16)
        elif here in starts and (m := CALL.search(line)):
            to[here].add(int(m[1], 16))
    return to


def is_any(function, names):
    return any(function[1] == name and
               (source is None or function[0].endswith(source))
               for source, name in names)


def reached(found, to, roots, ends):
    todo = [a for a in found if is_any(found[a], roots)]
    seen = set()
    while todo:
        a = todo.pop()
        if a in found and a not in seen and not is_any(found[a], ends):
            seen.add(a)
            todo += to[a]
    return seen


def main(map_path, kernel, objdump="llvm-objdump"):
    found = functions(map_path)
    to = calls(kernel, objdump, found)
    names = PATH | LOOKUP | FAILED
    print(f"1..{len(LIMITS) + 1}")
    lost = [n for n in names if not any(is_any(f, {n}) for f in found.values())]
    print(f"{'not ' if lost else ''}ok 1 - every function named here is in "
          f"the kernel{': not ' + str(lost) if lost else ''}")
    failed = bool(lost)
    for n, (what, roots, ends, limit) in enumerate(LIMITS, 2):
        seen = reached(found, to, roots, ends)
        total = sum(found[a][2] for a in seen)
        failed |= total > limit
        print(f"{'not ' if total > limit else ''}ok {n} - {what}: {total} "
              f"bytes of code, at most {limit}")
        for a in sorted(seen, key=lambda a: -found[a][2])[:LARGEST]:
            print(f"# {found[a][2]:6} {found[a][0]} {found[a][1]}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
