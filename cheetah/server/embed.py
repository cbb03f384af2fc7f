#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Write small text files as C arrays into one header; white space at the start
of lines is left out. usage: embed.py HEADER NAME=FILE..."""
import sys


def array(name, path):
    with open(path, encoding="utf-8") as f:
        text = "".join(line.lstrip() for line in f).encode()
    rows = [", ".join(map(str, text[i:i + 16]))
            for i in range(0, len(text), 16)]
    body = ",\n    ".join(rows)
    return f"static const uint8_t {name}[] = {{\n    {body}}};\n"


def main(out, *pairs):
    with open(out, "w", encoding="utf-8") as f:
        f.write("/* Made by cheetah/server/embed.py. */\n#pragma once\n\n#include <stdint.h>\n\n")
        for pair in pairs:
            f.write(array(*pair.split("=", 1)))


if __name__ == "__main__":
    main(*sys.argv[1:])
