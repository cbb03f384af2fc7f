#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Manual pages: mandoc finds nothing to say about them, man shows them with all
that they promise, each page that one of them names is a page of ours or of the
system's packages, and links of the HTML in FOLDER lead somewhere. Speaks TAP.
usage: man.py FOLDER PAGE..."""
import os
import re
import shutil
import subprocess
import sys

# Pages of others that ours may name.
OTHERS = {"dot(1)", "gdb(1)", "perf(1)", "pcap-filter(7)"}
# mandoc knows neither our system, nor where the pages will be installed, nor
# that dpf(7) has a section about atoms.
FINE = ("operating system explicitly specified", "referenced manual not found",
        "possible typo in section name: Sh ATOMS ", "outdated mandoc.db")
SECTIONS = ("NAME", "SYNOPSIS", "CAPABILITY", "DESCRIPTION", "RETURN VALUES",
            "ERRORS", "SEE ALSO")


def run(*command):
    """Everything that a command prints, and its exit status."""
    p = subprocess.run(command, capture_output=True, text=True, errors="replace",
                       env={**os.environ, "MANWIDTH": "78", "MANPAGER": "cat",
                            "LC_ALL": "C.UTF-8"}, check=False)
    return p.stdout + p.stderr, p.returncode


def lint(pages):
    out, _ = run("mandoc", "-T", "lint", *pages)
    return [line for line in out.splitlines()
            if not any(f in line for f in FINE)]


def title(page):
    name, section = os.path.basename(page).rsplit(".", 1)
    return f"{name}({section})"


def shown(page):
    """Complaints about a page as man(1) shows it."""
    out, status = run("man", "-l", page)
    text = re.sub(r".\x08|\x1b\[[0-9;]*m", "", out)
    if status != 0:
        yield f"{page}: man ended with status {status}: {out.strip()[:200]}"
    if not os.path.basename(page).startswith("sys_") or \
            page.endswith("sys_calls.2"):
        return
    for section in SECTIONS:
        body = re.search(rf"^{section}\n((?:[ ].*\n|\n)+)", text, re.M)
        if not body or not body[1].strip():
            yield f"{page}: no {section}"
    with open(page, encoding="utf-8") as f:
        for error in re.findall(r"^\.It Er (\w+)", f.read(), re.M):
            if not re.search(rf"^ +{error} +\w.*\.?", text, re.M):
                yield f"{page}: {error} has no explanation"


def references(pages):
    known = {title(p) for p in pages} | OTHERS
    for page in pages:
        with open(page, encoding="utf-8") as f:
            for name, section in re.findall(r"^\.(?:It )?Xr (\S+) (\d)",
                                            f.read(), re.M):
                if f"{name}({section})" not in known:
                    yield f"{page}: there is no page {name}({section})"


def links(pages, folder):
    """Complaints about the pages as HTML; there is one for each."""
    for page in pages:
        path = os.path.join(folder, os.path.basename(page) + ".html")
        if not os.path.exists(path):
            yield f"{path}: missing"
            continue
        with open(path, encoding="utf-8") as f:
            html = f.read()
        for to in re.findall(r'href="([^"#]+)', html):
            if not os.path.exists(os.path.join(folder, to)):
                yield f"{path}: a link to {to}, which is not there"


def main(folder, *pages):
    tests = [("every page that is named exists", None,
              lambda: list(references(pages))),
             ("mandoc -T lint says nothing", "mandoc", lambda: lint(pages)),
             ("HTML of each, whose links lead somewhere", "mandoc",
              lambda: list(links(pages, folder))),
             ("man -l shows every section and error", "man",
              lambda: [c for p in pages for c in shown(p)])]
    failed = 0
    for n, (name, tool, check) in enumerate(tests, 1):
        if tool and not shutil.which(tool):
            print(f"ok {n} - {name} # SKIP {tool} is not installed; run "
                  "scripts/setup test")
            continue
        complaints = check() if pages else ["no page was given"]
        failed += bool(complaints)
        print(f"{'not ok' if complaints else 'ok'} {n} - {len(pages)} pages: "
              f"{name}")
        for c in complaints:
            print(f"# {c}")
    print(f"1..{len(tests)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
