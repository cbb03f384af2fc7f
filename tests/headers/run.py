#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every header compiles alone and twice. Speaks TAP; argv: source root,
build root, where the generated headers lie, and the compiler."""
import concurrent.futures
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "..", "scripts", "lib"))
sys.dont_write_bytecode = True
import rooms  # noqa: E402, found by the line above

HOST = ("dpf/bench/", "dpf/cli/", "dpf/front/", "dpf/host", "dpf/text/",
        "cheetah/mksite/", "tests/")  # may use libc and libpcap
FLAGS = ["-std=c17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-xc"]
BARE = ["--target=x86_64-unknown-none-elf", "-ffreestanding", "-nostdlibinc"]


def check(root, build, compiler, path):
    text = f'#include "{path}"\n' * 2 + "typedef int not_empty;\n"
    flags = FLAGS + (["-D_DEFAULT_SOURCE"] if path.startswith(HOST) else BARE)
    return subprocess.run([*compiler, *flags, f"-I{root}", f"-I{build}", "-"],
                          input=text, capture_output=True, text=True)


def main(root, build, *compiler):
    paths = sorted(rooms.sources(endings=(".h",)))
    print(f"1..{len(paths)}")
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda p: check(root, build, compiler, p), paths)
        for i, (path, r) in enumerate(zip(paths, results), 1):
            bad += r.returncode != 0
            print("ok" if r.returncode == 0 else "not ok", i, "-", path)
            for line in r.stderr.splitlines():
                print("#", line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
