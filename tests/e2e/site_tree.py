#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A real tree to serve, from what Debian installs: documentation, headers,
images, programs and libraries; at least 2,000 files and 200 MB, and files of
awkward sizes and names. usage: site_tree.py FOLDER"""
import os
import shutil
import sys

FILES, BYTES = 2200, 210_000_000
MANY = ("/usr/share/doc", "/usr/include", "/usr/share/perl", "/usr/lib/python3")
PICTURES = ("/usr/share",)
LARGE = ("/usr/bin", "/usr/lib/llvm-14/bin", "/usr/lib/llvm-14/lib",
         "/usr/lib/x86_64-linux-gnu", "/usr/share/qemu")
SIZES = (0, 1, 511, 512, 513, 1459, 1460, 1461, 4095, 4096, 4097, 65535,
         65536, 1_000_001)
NAMES = ("with space.txt", "a%20b.txt", "ümlaut.html", "q?.txt", "hash#.txt",
         "plus+.css", "quote'.js", "semi;colon.svg", "日本.txt")


def regular(root, suffixes=()):
    for folder, dirs, names in os.walk(root):
        dirs.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if suffixes and not name.endswith(suffixes):
                continue
            if os.path.isfile(path) and not os.path.islink(path) and \
                    os.access(path, os.R_OK):
                yield path


class Tree:
    def __init__(self, root):
        self.root, self.files, self.bytes = root, 0, 0
        self.taken = set()

    def put(self, path):
        """Hard links cost no space; a copy where that is not allowed."""
        if path in self.taken:
            return
        self.taken.add(path)
        to = self.root + path
        os.makedirs(os.path.dirname(to), exist_ok=True)
        try:
            os.link(path, to)
        except OSError:
            shutil.copyfile(path, to)
        self.files += 1
        self.bytes += os.path.getsize(to)

    def write(self, name, data):
        path = os.path.join(self.root, "odd", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)
        self.files += 1
        self.bytes += len(data)


def noise(n):
    """Bytes that do not repeat, the same every time."""
    x, out = 88172645463325252 + n, bytearray()
    while len(out) < n:
        x ^= x << 13 & (1 << 64) - 1
        x ^= x >> 7
        x ^= x << 17 & (1 << 64) - 1
        out += x.to_bytes(8, "little")
    return bytes(out[:n])


def build(root):
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(root)
    t = Tree(root)
    for size in SIZES:
        t.write(f"{size}.bin", noise(size))
    for name in NAMES:
        t.write(name, name.encode() * 50)
    for i, path in enumerate(regular(PICTURES[0], (".png", ".svg", ".jpg"))):
        if i == 300:
            break
        t.put(path)
    for root_folder in MANY:
        for path in regular(root_folder):
            if t.files >= FILES:
                break
            if os.path.getsize(path) < 1_000_000:
                t.put(path)
    for root_folder in LARGE:
        for path in sorted(regular(root_folder), key=os.path.getsize,
                           reverse=True):
            if t.bytes >= BYTES:
                break
            if 10_000 < os.path.getsize(path) < 60_000_000:
                t.put(path)
    return t


if __name__ == "__main__":
    tree = build(os.path.abspath(sys.argv[1]))
    print(f"{tree.files} files, {tree.bytes / 1e6:.0f} MB")
