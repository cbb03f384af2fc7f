#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The kernel stays small: bytes of executable sections (.text, .boot) that
src/ and dpf/ contribute to the linked kernel, from the linker's map.
Constants are shown beside, not counted. Speaks TAP. usage: run.py MAP"""
import collections
import re
import sys

LIMITS = {"src": 96 * 1024, "dpf": 96 * 1024}
CODE = (".text", ".boot")
CONSTANTS = (".rodata",)
LARGEST = 12

# lld: VMA LMA size align, then section, object or symbol by indentation.
LINE = re.compile(r"^ *[0-9a-f]+ +[0-9a-f]+ +([0-9a-f]+) +\d+ ( *)(\S.*)$")
OBJECT = re.compile(r"^(.*):\(([^)]*)\)$")


def objects(lines):
    """{object: (bytes of code, bytes of constants)}, and sizes of sections."""
    sizes = collections.defaultdict(lambda: [0, 0])
    sections, section = collections.Counter(), None
    for line in lines:
        m = LINE.match(line)
        if m is None:
            continue
        size, depth, name = int(m[1], 16), len(m[2]), m[3]
        if depth == 0:
            section = name
            sections[section] += size
            continue
        kind = 0 if section in CODE else 1 if section in CONSTANTS else None
        made = OBJECT.match(name)
        if kind is not None and depth == 8 and made:
            sizes[made[1]][kind] += size
    return sizes, sections


def room(name):
    return "dpf" if name.startswith("dpf/") else "src"


def main():
    with open(sys.argv[1]) as f:
        sizes, sections = objects(f)
    code, constants = collections.Counter(), collections.Counter()
    for name, (text, rodata) in sizes.items():
        code[room(name)] += text
        constants[room(name)] += rodata
    print(f"1..{len(LIMITS) + 1}")
    linked = sum(sections[s] for s in CODE)
    gaps = linked - sum(code.values())
    # Alignment between functions is at most a few bytes each; entry.S fills
    # pages of its own.
    ok = 0 <= gaps < linked // 50 + 4096 and all(code[r] for r in LIMITS)
    print(f"{'' if ok else 'not '}ok 1 - the map accounts for {linked} bytes "
          f"of code but {gaps} of alignment")
    failed = not ok
    for n, (name, limit) in enumerate(LIMITS.items(), 2):
        ok = code[name] <= limit
        failed |= not ok
        print(f"{'' if ok else 'not '}ok {n} - {name}/: {code[name]} bytes of "
              f"code, at most {limit} ({constants[name]} of constants)")
        largest = sorted((-s[0], o) for o, s in sizes.items()
                         if room(o) == name)
        for size, which in largest[:LARGEST]:
            print(f"# {-size:6} {which}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
