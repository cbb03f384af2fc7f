#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Documents tell the truth: every name in them that looks like a function, a
type, a constant or a file is in the sources, and the commands of README.md
answer. In the documents at the root every quoted word is such a name; those in
docs/ also quote packets, options and the names of others. Speaks TAP.
usage: run.py ROOT"""
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "..", "scripts", "lib"))
sys.dont_write_bytecode = True
import rooms  # noqa: E402, found by the line above

WORD = re.compile(r"`([^`\n]+)`")
NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
PLAIN = {"iretq", "sysret"}
FOREIGN = {"rps_cpus", "id_rsa", "docs/specs"}  # of Linux, ssh and QEMU


def tags(root):
    """Names that ctags finds, labels of assembly and generated stubs."""
    out = subprocess.run(
        ["ctags", "-R", "-x", "--languages=C,Asm", "--kinds-C=fdegmstuvp",
         "--langmap=C:.c.h", "--langmap=Asm:.S", *rooms.CODE], cwd=root, capture_output=True,
        text=True, check=True).stdout
    names = {line.split()[0] for line in out.splitlines()}
    with open(os.path.join(root, "src/abi/syscall.tab")) as f:
        names |= {"sys_" + w[2] for w in map(str.split, f)
                  if len(w) == 3 and w[0] == "call"}
    for path in rooms.sources(rooms.CODE, (".S", ".h")):
        with open(os.path.join(root, path), encoding="utf-8") as f:
            text = f.read()
        # Labels; and names made by lists: counters and their like.
        pattern = r"\.glob[a]?l\s+(\w+)" if path.endswith(".S") else \
            r"\bX\((\w+),"
        names |= set(re.findall(pattern, text))
    return names


def words(root, doc):
    with open(os.path.join(root, doc), encoding="utf-8") as f:
        found = list(dict.fromkeys(WORD.findall(f.read())))
    if "/" not in doc:
        return found
    return [w for w in found if w not in FOREIGN and (
        w.startswith("struct ") or NAME.match(w) and "_" in w
        or w.split("/")[0] in (*rooms.TOPS, "docs", "scripts"))]


def known(root, word, names):
    if word.startswith("--"):
        return True
    if word.startswith("struct "):
        word = word.split()[1].split(".")[0]
    if NAME.match(word):
        return word in names or any(
            os.path.exists(os.path.join(root, above, word))
            for above in ("", "programs"))
    if word.startswith("scripts/"):
        word = word.split()[0]
    if word.startswith(("build/", "/")) or "[" in word:
        return True
    return os.path.exists(os.path.join(root, word))


def commands(root):
    """The commands of README.md that do not answer to --help."""
    with open(os.path.join(root, "README.md"), encoding="utf-8") as f:
        lines = re.findall(r"^    (scripts/\S+)", f.read(), re.M)
    return lines, [c for c in lines if subprocess.run(
        [os.path.join(root, c), "--help"], stdin=subprocess.DEVNULL,
        capture_output=True).returncode != 0]


def main(root):
    if not shutil.which("ctags"):
        print("1..0 # SKIP ctags is not installed; run scripts/setup test")
        return 0
    names, n, bad = tags(root), 0, 0
    documents = [n for n in sorted(os.listdir(root)) if n.endswith(".md")] + [
        f"docs/{n}" for n in sorted(os.listdir(os.path.join(root, "docs")))
        if n.endswith(".md")]
    for doc in documents:
        unknown = [w for w in words(root, doc)
                   if w not in PLAIN and not known(root, w, names)]
        n += 1
        bad += bool(unknown)
        print(f"{'not ok' if unknown else 'ok'} {n} - {doc}: every name is in "
              "the sources")
        for w in unknown:
            print(f"# unknown: {w}")
    lines, silent = commands(root)
    n += 1
    bad += not lines or bool(silent)
    print(f"{'not ok' if silent or not lines else 'ok'} {n} - README.md: its "
          f"{len(lines)} commands answer --help")
    for c in silent:
        print(f"# not: {c}")
    print(f"1..{n}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
