#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""References hold: each paper, standard and file that a comment or a document
names is in docs/papers.md or in the tree, and each entry of docs/papers.md is
referred to. Speaks TAP. usage: references.py ROOT"""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "..", "scripts", "lib"))
sys.dont_write_bytecode = True
import comments  # noqa: E402, found by the line above
import rooms  # noqa: E402

PAPERS, THIS = "docs/papers.md", "tests/docs/references.py"
KEY = re.compile(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)?\d\d\b")
RFC = re.compile(r"\bRFCs? ?(\d+)")
# Where papers appeared: their place is in papers.md alone.
VENUE = re.compile(r"\b(?:SOSP|OSDI|HotOS|SIGCOMM|USENIX|TOCS|Indocrypt)\b")
# "DESIGN section 2": a document that is a word in capitals.
CAPITALS = re.compile(r"\b([A-Z][A-Z-]{3,}) (?:section |sections |s)\d")
SOURCE = re.compile(r"\bSource: (.*?)(?:\n[ \t]*\n|\Z)", re.S)
FILE = re.compile(
    r"(?<![\w./<*$-])((?:[\w.-]+/)+[\w.-]*\w|[\w-]+\.(?:c|h|S|py|md|tab|ld))"
    r"(?![\w/*<(])")
TOPS = {*rooms.TOPS, "docs", "scripts", "include", "public", "tools",
        "Documentation"}
ROW = re.compile(r"^\| ([^|]+?) \| (.+) \|$", re.M)
DOCUMENT = (".md", ".mdoc", ".tab")
ANY = {"NAME", "TABLE", "KERNEL", "FILE", "DIR"}
# "dpf.7"; a section of a standard, "s4.5", has a digit in front of the dot.
MAN = re.compile(r"(?<![\w./-])([a-z][a-z_]+)\.([1-9])(?![\w.])")


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as f:
        return f.read()


def entries(text):
    """{heading: {key: rest}} of the tables of papers.md."""
    parts = re.split(r"^## (.+)\n", text, flags=re.M)
    return {head: {k: v for k, v in ROW.findall(body)
                   if k not in ("key", "---", "number", "idea")}
            for head, body in zip(parts[1::2], parts[2::2])}


def texts(root):
    """(path, line, text) of comments of C, and of what is prose altogether."""
    for path in rooms.sources():
        whole = read(root, path)
        for offset, comment in comments.split(whole)[1]:
            yield path, comments.line_of(whole, offset), comments.words(comment)
    for path in files(root):
        if path.endswith(DOCUMENT) and path != PAPERS:
            yield path, 1, read(root, path)
        elif path.endswith((".py", "meson.build")) or \
                path.startswith("scripts/"):
            lines = read(root, path).split("\n")
            for n, line in enumerate(lines, 1):
                if line.lstrip().startswith("#"):
                    yield path, n, line


def files(root):
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [f for f in folders if f not in (".git", "build",
                                                      "__pycache__")]
        found += [os.path.relpath(os.path.join(folder, n), root) for n in names]
    return sorted(found)


class Tree:
    """Answers whether a file is one of ours, or one that papers.md names."""

    def __init__(self, root, table):
        self.root, self.paths = root, files(root)
        self.names = {os.path.basename(p) for p in self.paths} | \
            {os.path.basename(p) for p in rooms.MADE}
        self.foreign = set(re.findall(r"`([^`]+)`", " ".join(table.values())))

    def has(self, word, path):
        if "/" not in word:
            return word in self.names or word in self.foreign
        if word in self.foreign or word.startswith("build/"):
            return True
        above = os.path.dirname(path)
        while True: # written from any folder above, or from the root
            if os.path.exists(os.path.join(self.root, above, word)) or \
                    os.path.join(above, word) in rooms.MADE:
                return True
            if not above:
                return word in rooms.MADE
            above = os.path.dirname(above)

    def has_page(self, name, section):
        call = name.removeprefix("sys_") if section == "2" else ""
        return f"{name}.{section}" in self.names or \
            name.startswith("sys_") and f"{call}.mdoc" in self.names or \
            f"{name}.mdoc" in self.names


def is_path(word):
    """`a/b` in prose is a path if it begins like one or has an ending; NAME.c
    stands for any."""
    if os.path.splitext(os.path.basename(word))[0] in ANY:
        return False
    return "/" not in word or word.split("/")[0] in TOPS or \
        re.search(r"\.(?:c|h|S|py|md|tab|ld|rst)$", word) is not None


def sources_named(text, known, tree, path):
    """Parts of a Source: line that begin with nothing known."""
    for m in SOURCE.finditer(text):
        for part in re.sub(r"\s+", " ", m[1]).rstrip(". ").split("; "):
            if not (any(k in part for k in known) or KEY.search(part)
                    or RFC.search(part)
                    or any(tree.has(w, path) for w in FILE.findall(part))):
                yield part


def complaints(root):
    table = entries(read(root, PAPERS))
    papers, rfcs = table["Papers"], table["RFCs"]
    programs = table["Programs whose behaviour or files are described"]
    known = {*table["Standards and manuals"], *programs}
    tree = Tree(root, programs)
    used, found = set(), {"references": [], "documents": [], "entries": []}

    def say(kind, path, line, text):
        found[kind].append(f"{path}:{line}: {text}")

    for path, line, text in texts(root):
        flat = re.sub(r"\s+", " ", text)
        keys = set(KEY.findall(text))
        for key in sorted(keys - {*papers}):
            say("references", path, line, f"no paper {key} in {PAPERS}")
        for number in sorted(set(RFC.findall(text)) - {*rfcs}):
            say("references", path, line, f"no RFC {number} in {PAPERS}")
        for m in VENUE.finditer(text):
            say("references", path, line, f"{m[0]}: name the paper by its key")
        for part in sources_named(text, known, tree, path):
            say("references", path, line, f'"{part}" is nothing that {PAPERS} '
                "has")
        for m in CAPITALS.finditer("" if path == THIS else flat):
            if not any(k.startswith(m[1]) for k in known):
                say("documents", path, line, f"there is no document {m[1]}")
        for word in dict.fromkeys(FILE.findall(text)):
            if is_path(word) and not tree.has(word, path):
                say("documents", path, line, f"there is no file {word}")
        for name, section in MAN.findall(text):
            if not tree.has_page(name, section):
                say("documents", path, line, f"there is no page {name}.{section}")
        used |= keys | set(RFC.findall(text)) | {k for k in known if k in flat}
    ideas = " ".join(k + v for k, v in
                     table["From the papers to the files"].items())
    used |= set(KEY.findall(ideas))
    for key in [*papers, *rfcs, *known]:
        if key not in used:
            found["entries"].append(f"{PAPERS}: nothing refers to {key}")
    for key in sorted(set(KEY.findall(ideas)) - {*papers}):
        found["entries"].append(f"{PAPERS}: the map names {key}")
    for word in dict.fromkeys(re.findall(r"`([\w./-]+/[\w./-]+)`", ideas)):
        if not tree.has(word, ""):
            found["documents"].append(f"{PAPERS}: there is no file {word}")
    numbers = [int(n) for n in rfcs]
    if numbers != sorted(numbers) or list(papers) != sorted(papers):
        found["entries"].append(f"{PAPERS}: entries are not in order")
    return found


NAMES = {"references": "each reference in the sources is in " + PAPERS,
         "documents": "each file and document that is named exists",
         "entries": "each entry of " + PAPERS + " is used"}


def main(root):
    found = complaints(root)
    for n, (kind, name) in enumerate(NAMES.items(), 1):
        print(f"{'not ok' if found[kind] else 'ok'} {n} - {name}")
        for line in found[kind]:
            print(f"# {line}")
    print(f"1..{len(NAMES)}")
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
