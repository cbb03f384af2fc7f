#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/latency.md has a row for each system call and each other way into the
kernel, and none above a millisecond. Speaks TAP. usage: latency.py ROOT"""
import os
import re
import sys

ROW = re.compile(r"^\| (\w+) \| ([\d,]+) \| ([\d.]+) \| ([\d,]*) \| ([\d.]*) \| "
                 r".* \|$", re.M)
INSTRUCTIONS_MOST, MS_MOST = 1000000, 1.0


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as f:
        return f.read()


def main(root):
    rows = {r[0]: r[1:] for r in ROW.findall(read(root, "docs/latency.md"))}
    calls = set(re.findall(r"^call \S+ (\w+)", read(root, "src/abi/syscall.tab"),
                           re.M))
    # A machine that was halted says nothing any more.
    want = (calls - {"machine_halt"}) | {"idle", "interrupt", "exception"}
    wrong = [f"{name} has no row" for name in sorted(want - set(rows))]
    wrong += [f"{name} is no call" for name in sorted(set(rows) - want)]
    for name, cells in rows.items():
        counts = [int(c.replace(",", "") or 0) for c in (cells[0], cells[2])]
        times = [float(c or 0) for c in (cells[1], cells[3])]
        if max(counts) > INSTRUCTIONS_MOST or max(times) > MS_MOST:
            wrong.append(f"{name} takes longer than a millisecond")
    print(f"{'not ok' if wrong else 'ok'} 1 - docs/latency.md: a row for each "
          "call, none above a millisecond")
    for w in wrong:
        print(f"# {w}")
    print("1..1")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
