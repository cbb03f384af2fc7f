#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Boot one family of in-QEMU tests and pass its TAP on.

usage: run.py FAMILY MODULES KERNEL [--smp N] [--timeout S] [--seed N]
              [--append WORDS] [--icount]

The environment prints TAP between the kernel's own lines and stops the machine
with status 33 when all passed. A kernel panic, a time-out or a wrong status is
one more failed test, with the last lines of the serial line as its reason.
"""
import argparse
import os
import re
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "..", "scripts", "lib"))
import vm  # noqa: E402

TAP = re.compile(r"^(ok|not ok|1\.\.|# )")
BLOCKS = 64


def disk_image(folder):
    """Block n begins with the number n."""
    path = os.path.join(folder, "disk.img")
    with open(path, "wb") as f:
        for n in range(BLOCKS):
            f.write(n.to_bytes(8, "little") + bytes(4096 - 8))
    return path


def run(a, folder):
    vm.KERNEL = a.kernel
    seed = "" if a.seed is None else f" seed={a.seed}"
    m = vm.Vm(append=f"test={a.family}{seed} {a.append}", modules=a.modules, smp=a.smp,
              mem="256M", disk=disk_image(folder),
              netdev="user,restrict=on",
              icount="shift=0,sleep=off" if a.icount else None)
    with m:
        status = m.wait(a.timeout)
        m.stop()
    lines = m.text().splitlines()
    shown = 0
    for line in lines:
        if TAP.match(line) and not line.startswith("1.."):
            print(line)
            shown += line.startswith(("ok", "not ok"))
    good = status == vm.EXIT_OK and any(x.startswith("1..") for x in lines)
    failed = any(x.startswith("not ok") for x in lines)
    if not good:
        why = ("no end within %d s" % a.timeout if status is None
               else f"status {status}, want {vm.EXIT_OK}")
        # The failing tests already explain a status of failure.
        if not (failed and status is not None and any(
                x.startswith("1..") for x in lines)):
            shown += 1
            print(f"not ok {shown} - the machine ends well: {why}")
            for line in m.tail(25).splitlines():
                print(f"# {line}")
    print(f"1..{shown}")
    return 0 if good and not failed else 1


def main():
    p = argparse.ArgumentParser()
    p.add_argument("family")
    p.add_argument("modules")
    p.add_argument("kernel")
    p.add_argument("--smp", type=int, default=1)
    p.add_argument("--timeout", type=int, default=60)
    p.add_argument("--icount", action="store_true",
                   help="time is the number of instructions")
    p.add_argument("--append", default="", help="more boot words")
    p.add_argument("--seed", type=int, help="of what children do by chance")
    a = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="pavise-qemu-") as folder:
        return run(a, folder)


if __name__ == "__main__":
    sys.exit(main())
