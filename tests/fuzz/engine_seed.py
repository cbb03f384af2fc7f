#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""usage: engine_seed.py PROGRAM.hex OUT

The seed of fuzz_engines: its four bytes of head (type filter, fuel, count of
instructions, nothing to mend), the program, and a packet of 64 zeros.
"""
import pathlib
import sys

program = bytes.fromhex(pathlib.Path(sys.argv[1]).read_text())
head = bytes([0, 63, len(program) // 8, 0])
pathlib.Path(sys.argv[2]).write_bytes(head + program + bytes(64))
