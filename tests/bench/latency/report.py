#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Write docs/latency.md: the longest time with interrupts off of each call.

usage: report.py KERNEL MODULES OUTPUT [--rounds N] [--runs N] [--seed N]

Boots the span family of tests/qemu/env under a clock that counts instructions,
with N rounds of programs. How many instructions plain QEMU does in a
millisecond is measured by the same calls over and over, in the fastest of N
runs.
"""
import argparse
import os
import platform
import re
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
sys.path[:0] = [os.path.join(ROOT, "scripts", "lib"),
                os.path.join(ROOT, "tests", "qemu")]
sys.dont_write_bytecode = True
import run as qemu_test  # noqa: E402, found by the line above
import tempfile  # noqa: E402
import vm  # noqa: E402

ROW = re.compile(r"^ok \d+ - span (\w+): (\d+) ticks with interrupts off "
                 r"\((.*?)\), (\d+) with bind_lock \((.*?)\)$", re.M)
TICKS = re.compile(r"^# (\d+) ticks a millisecond", re.M)
SPEED = re.compile(r"^# speed: (\d+) ticks", re.M)
TIMEOUT = 900
PROGRAMS = 21  # of a round: seven kinds of three sizes

HEAD = """# How long the kernel keeps interrupts out

Made by `scripts/bench latency`.
The machine: {machine}.

For each call the table has the longest stretch with interrupts off, and the
longest with `bind_lock`, which all bind-time calls take: while one processor
has it, others wait for it with interrupts on.

The kernel measures itself (`struct sysinfo_span`, in the exposed state of any
running machine). The family `span` of tests/qemu/env makes each call with the
longest arguments that are honest: 250 environments, lists full of one name,
runs of {frames} frames in a memory of 256 MiB of which every second frame is
taken, page tables that are far apart, full rings, 1,024 shapes, 16,384
bindings, 250 regions one inside the other, packets that each run all the
instructions of filters that they may, and programs that are hard to read. The
last are found by chance, in {rounds} rounds of {programs} programs. The word in
brackets says what made a row that long.

* **instructions**: QEMU counts them (`-icount shift=0`). The gate runs the same
  with one round, and fails above 1,000,000 in any row.
* **ms**: how long QEMU's plain emulator (TCG) takes for as many: {speed:,}
  instructions a millisecond, measured by calls of five kinds that are made
  over and over, in the fastest of {runs} runs. A single stretch can take longer
  there, since the emulator itself pauses: it translates code that runs for the
  first time, and the host gives its processor to other programs.

Not in the rows: the instructions of entry and exit (about 60), and a wait for
another processor that has translations to forget or a lookup to end, which
takes at most one of the stretches below.

| entered for | interrupts off, instructions | ms | bind_lock, instructions | ms | longest by |
| --- | ---: | ---: | ---: | ---: | --- |
"""


def measure(a, icount, part):
    """What the family prints."""
    with tempfile.TemporaryDirectory(prefix="pavise-latency-") as folder:
        vm.KERNEL = a.kernel
        m = vm.Vm(append=f"test=span seed={a.seed} {part}",
                  modules=a.modules, mem="256M", accel="tcg",
                  disk=qemu_test.disk_image(folder),
                  netdev="user,restrict=on",
                  icount="shift=0,sleep=off" if icount else None)
        with m:
            status = m.wait(TIMEOUT)
            m.stop()
        text = m.text()
    if status != vm.EXIT_OK:
        sys.exit(f"report: the machine ended with {status}:\n{m.tail(20)}")
    return text


def ms_of_speed(a):
    """How long plain QEMU takes for the part that measures its speed."""
    text = measure(a, False, "part=speed")
    return int(SPEED.search(text).group(1)) / int(TICKS.search(text).group(1))


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = re.search(r"^model name\s*: (.*)$", f.read(), re.M).group(1)
    with open("/etc/os-release", encoding="utf-8") as f:
        system = re.search(r'^PRETTY_NAME="(.*)"$', f.read(), re.M).group(1)
    qemu = subprocess.run([vm.QEMU, "--version"], capture_output=True,
                          text=True, check=True).stdout
    version = re.search(r"version (\S+)", qemu).group(1)
    return (f"{os.cpu_count()} processors of {model}, {system}, Linux "
            f"{platform.release().split('-')[0]}, QEMU {version}")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("kernel")
    p.add_argument("modules")
    p.add_argument("output")
    p.add_argument("--rounds", type=int, default=6)
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    text = measure(a, True, f"rounds={a.rounds}")
    frames = int(re.search(r"^# (\d+) frames at once", text, re.M).group(1))
    work = int(SPEED.search(measure(a, True, "part=speed")).group(1))
    speed = int(work / min(ms_of_speed(a) for _ in range(a.runs)))
    out = HEAD.format(machine=machine(), frames=f"{frames:,}", speed=speed,
                      rounds=a.rounds, programs=PROGRAMS, runs=a.runs)
    for name, closed, by, locked, locked_by in ROW.findall(text):
        cells = [name.replace("SYS_", "").lower()]
        for n in map(int, (closed, locked)):
            cells += [f"{n:,}", f"{n / speed:.3f}"] if n else ["", ""]
        cells.append(re.sub(r" 0$", "", by or locked_by))
        out += "| " + " | ".join(cells) + " |\n"
    with open(a.output, "w", encoding="utf-8") as f:
        f.write(out)


if __name__ == "__main__":
    main()
