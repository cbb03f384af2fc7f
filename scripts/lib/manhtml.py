# SPDX-License-Identifier: MIT
"""A manual page as HTML, by mandoc, whose references to pages that are not ours
stay text: they lead nowhere in the folder.

usage: manhtml.py MANDOC PAGE OUTPUT KNOWN...
"""
import re
import subprocess
import sys

LINK = re.compile(r'<a class="Xr" href="([^"]+)\.html">([^<]*)</a>')


def main(mandoc, page, output, *known):
    html = subprocess.run([mandoc, "-T", "html", "-O", "man=%N.%S.html", page],
                          check=True, capture_output=True, text=True).stdout
    html = LINK.sub(lambda m: m[0] if m[1] in known else m[2], html)
    with open(output, "w", encoding="utf-8") as f:
        f.write(html)


if __name__ == "__main__":
    main(*sys.argv[1:])
