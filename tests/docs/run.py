#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Documents tell the truth: every name in them that looks like a function, a
type, a constant or a file is in the sources, and their commands work. In
ARCHITECTURE.md and README.md every quoted word is such a name; the others also
quote packets, options and the names of others. A command that only looks is run
as it stands; of the others the script must know the options, and the test must
exist.
Speaks TAP. usage: run.py ROOT BUILD"""
import json
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
STRICT = ("ARCHITECTURE.md", "README.md")
PLAIN = {"iretq", "sysret"}
FOREIGN = {"rps_cpus", "id_rsa", "docs/specs"}  # of Linux, ssh and QEMU
PROGRAMS = re.compile(r"(?:scripts/\w|meson |man |git )")
OPTIONAL = ("man", "git")
# Not git: the tree may be a copy without its history.
RUN = ("scripts/layers", "scripts/census", "scripts/setup --list", "man -l ")


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
    if doc in STRICT:
        return found
    return [w for w in found if w not in FOREIGN and "NAME" not in w and (
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


def commands(root, doc):
    """The commands of a document's indented lines, without what explains them."""
    with open(os.path.join(root, doc), encoding="utf-8") as f:
        lines = re.findall(r"^ {4}(\S.*)", f.read(), re.M)
    return [part for line in lines for part in re.split(r" {2,}|\s#", line)
            if PROGRAMS.match(part)]


def answer(root, *command):
    p = subprocess.run(command, cwd=root, stdin=subprocess.DEVNULL,
                       capture_output=True, text=True, errors="replace",
                       env={**os.environ, "MANPAGER": "cat"}, check=False)
    return p.returncode, p.stdout + p.stderr


def complaint(root, build, command):
    """What is wrong with a command of a document; None if nothing is."""
    first, *rest = command.split()
    if not first.startswith("scripts/") and not shutil.which(first):
        return None if first in OPTIONAL else f"there is no {first}"
    if command.startswith(RUN):
        status, out = answer(root, *(
            os.path.join(build, w[6:]) if w.startswith("build/") else w
            for w in command.split()))
        return f"ends with status {status}: {out[-300:]}" if status else None
    if first.startswith("scripts/"):
        status, out = answer(root, os.path.join(root, first), "--help")
        missing = [w for w in rest if w.startswith("--") and w not in out]
        if first == "scripts/test":
            missing += [w for w in rest if w not in out]
        return f"--help ends with status {status}" if status else \
            f"its help has no {missing[0]}" if missing else None
    if first == "meson" and rest[0] == "test" and not rest[-1].startswith("-"):
        with open(os.path.join(build, "meson-info/intro-tests.json"),
                  encoding="utf-8") as f:
            if rest[-1] not in {t["name"] for t in json.load(f)}:
                return f"there is no test {rest[-1]}"
    return None


def main(root, build):
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
    for doc in documents:
        listed = commands(root, doc)
        if not listed:
            continue
        wrong = [(c, complaint(root, build, c)) for c in listed]
        wrong = [f"{c}: {text}" for c, text in wrong if text]
        n += 1
        bad += bool(wrong)
        print(f"{'not ok' if wrong else 'ok'} {n} - {doc}: its {len(listed)} "
              "commands work")
        for line in wrong:
            print("# " + line.replace("\n", "\n# "))
    print(f"1..{n}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
