#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""mksite from the outside: odd trees, refusals, determinism, and that
--check notices damage wherever it is. Speaks TAP. Usage: test_mksite.py MKSITE
"""
import gzip
import hashlib
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile

MKSITE = os.path.abspath(sys.argv[1])
BLOCK = 4096
tests = []


def test(f):
    tests.append(f)
    return f


def run(*args, ok=True):
    p = subprocess.run([MKSITE, *args], capture_output=True, timeout=60)
    if ok is not None:
        assert (p.returncode == 0) == ok, (args, p.returncode, p.stderr)
    return p


def write(path, data=b"x"):
    if isinstance(path, str):
        path = os.fsencode(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def listing(image):
    """{(path, encoding): fields} from --list, paths as raw bytes."""
    out = {}
    for line in run("--list", image).stdout.decode().splitlines():
        if line.startswith("#"):
            continue
        f = line.split(" ")
        path = re.sub(rb"%(..)", lambda m: bytes([int(m[1], 16)]),
                      f[-1].encode())
        if f[0] == "alias":
            out[path, "alias"] = f
        else:
            out[path, f[3]] = f
    return out


def extent(image, fields):
    """(head texts, body) of one extent, read as docs/site-format.md says."""
    with open(image, "rb") as f:
        f.seek(int(fields[4]) * BLOCK)
        data = f.read(int(fields[5]) * BLOCK)
    body_len, = struct.unpack_from("<Q", data, 8)
    body_off, = struct.unpack_from("<I", data, 36)
    texts = []
    for at in (48, 56, 64):
        off, length, lead, _ = struct.unpack_from("<4H", data, at)
        texts.append(data[off:off + length])
    return texts, data[body_off:body_off + body_len]


def tree(d):
    write(d + "/index.html", b"<html><img src='img/a.png'>"
          b"<link rel=stylesheet href=style.css></html>" * 40)
    write(d + "/style.css", b"body { color: red }\n" * 100)
    write(d + "/img/a.png", bytes(random.Random(1).randbytes(9000)))
    write(d + "/empty", b"")
    write(d + "/one", b"1")
    for n in (511, 512, 513, 4095, 4096, 4097, 70001):
        write(d + "/size/%d.bin" % n, random.Random(n).randbytes(n))
    write(d + "/odd/a b%c?d#e&f<g>\"'", b"odd")
    write(os.fsencode(d) + b"/odd/\xff\xfe.txt", b"not utf-8 name")
    write(os.fsencode(d) + b"/odd/new\nline\x1b[31m", b"terminal")
    write(d + "/odd/...", b"dots")
    write(d + "/odd/.hidden", b"hidden")
    write(d + "/text.txt", "Gr\u00fc\u00dfe\n".encode() * 500)
    write(d + "/latin.txt", b"Gr\xfc\xdfe\n" * 500)
    write(d + "/noext", b"plain words\n" * 10)
    write(d + "/noext-binary", b"\0\1\2" * 10)


@test
def whole_tree(d):
    tree(d + "/t")
    run("-qa", d + "/t", d + "/s.img")
    run("--check", d + "/s.img")
    have = listing(d + "/s.img")
    for root, dirs, files in os.walk(os.fsencode(d + "/t")):
        for name in files:
            p = os.path.join(root, name)
            site = p[len(os.fsencode(d + "/t")):]
            data = open(p, "rb").read()
            fields = have[site, "identity"]
            assert fields[0] == hashlib.sha256(data).hexdigest(), site
            texts, body = extent(d + "/s.img", fields)
            assert body == data, site
            assert texts[0].endswith(b"Content-Length: %d\r\n\r\n" % len(data))
            if (site, "gzip") in have:
                texts, body = extent(d + "/s.img", have[site, "gzip"])
                assert gzip.decompress(body) == data
                assert b"Content-Encoding: gzip\r\n" in texts[0]
                assert b"Vary: Accept-Encoding\r\n" in texts[0]
                assert b"Vary: Accept-Encoding\r\n" in texts[2]
    assert (b"/", "alias") in have
    assert (b"/odd/", "identity") in have
    texts, body = extent(d + "/s.img", have[b"/odd", "identity"])
    assert texts[0].startswith(b"HTTP/1.1 301 ")
    assert b"\r\nLocation: /odd/\r\n" in texts[0]
    _, body = extent(d + "/s.img", have[b"/odd/", "identity"])
    assert b"a b%c?d#e&amp;f&lt;g&gt;&quot;" in body
    assert b'href="./a%20b%25c%3Fd%23e%26f%3Cg%3E%22%27"' in body


def borders(image, fields):
    """(where the 200 head ends, body_off) of one extent."""
    with open(image, "rb") as f:
        f.seek(int(fields[4]) * BLOCK)
        data = f.read(BLOCK)
    off, length = struct.unpack_from("<HH", data, 48)
    return off + length, struct.unpack_from("<I", data, 36)[0]


@test
def head_beside_body(d):
    """The head of 200 ends where the body begins, while one block holds both;
    around the size from which it cannot, everything stays readable."""
    sizes = [0, 1, 1000, 4096, 100000]
    # So many bytes that the sums alone leave less and less of the block.
    sizes += range(512 * 1350, 512 * 1750, 512 * 25 + 1)
    for n in sizes:
        write(d + "/t/%d" % n, random.Random(n).randbytes(n))
    run("-q", d + "/t", d + "/s.img")
    run("--check", d + "/s.img")
    have = listing(d + "/s.img")
    beside = []
    for n in sizes:
        end, body = borders(d + "/s.img", have[b"/%d" % n, "identity"])
        assert end <= BLOCK and end <= body, (n, end, body)
        assert (end == body) == (body < BLOCK), (n, end, body)
        beside.append(end == body)
    assert beside[:5] == [True] * 5 and not beside[-1], beside


@test
def types(d):
    tree(d + "/t")
    run("-q", d + "/t", d + "/s.img")
    have = listing(d + "/s.img")

    def type_of(path):
        texts, _ = extent(d + "/s.img", have[path, "identity"])
        return re.search(rb"Content-Type: (.*)\r\n", texts[0])[1]
    assert type_of(b"/text.txt") == b"text/plain; charset=utf-8"
    assert type_of(b"/latin.txt") == b"text/plain"
    assert type_of(b"/noext") == b"text/plain; charset=utf-8"
    assert type_of(b"/noext-binary") == b"application/octet-stream"
    assert type_of(b"/img/a.png") == b"image/png"
    assert type_of(b"/style.css") == b"text/css; charset=utf-8"


@test
def grouping(d):
    tree(d + "/t")
    run("-q", d + "/t", d + "/s.img")
    have = listing(d + "/s.img")
    page = have[b"/index.html", "identity"]
    a, b = have[b"/img/a.png", "identity"], have[b"/style.css", "identity"]
    after = int(page[4]) + int(page[5])
    assert int(a[4]) == after
    assert int(b[4]) == after + int(a[5])
    with open(d + "/s.img", "rb") as f:
        f.seek(int(page[4]) * BLOCK + 44)
        assert struct.unpack("<I", f.read(4))[0] == int(a[5]) + int(b[5])


@test
def deterministic(d):
    tree(d + "/t")
    run("-q", "-j", "1", d + "/t", d + "/a.img")
    run("-q", "-j", "7", d + "/t", d + "/b.img")
    assert open(d + "/a.img", "rb").read() == open(d + "/b.img", "rb").read()
    assert sorted(os.listdir(d)) == ["a.img", "b.img", "t"]


@test
def links(d):
    write(d + "/out/secret-dir/f", b"outside")
    write(d + "/out/file", b"outside file")
    write(d + "/t/a/f", b"inside")
    os.symlink("../a", d + "/t/a/self")
    os.symlink("loop2", d + "/t/loop1")
    os.symlink("loop1", d + "/t/loop2")
    os.symlink("nowhere", d + "/t/dangling")
    os.symlink("../out/file", d + "/t/file")
    os.symlink("../out/secret-dir", d + "/t/dir")
    os.symlink("a", d + "/t/inner")
    os.mkfifo(d + "/t/pipe")
    p = run("--all", d + "/t", d + "/s.img")
    run("--check", d + "/s.img")
    paths = {k[0] for k in listing(d + "/s.img")}
    assert paths == {b"/", b"/a", b"/a/", b"/a/f", b"/file", b"/inner",
                     b"/inner/", b"/inner/f"}, paths
    for word in (b"contains it", b"outside the tree", b"nowhere",
                 b"neither a file"):
        assert word in p.stderr, word


KEY = b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"


def private_tree(d):
    write(d + "/out/shadow", b"root:x")
    write(d + "/t/index.html", b"hello")
    write(d + "/t/.env", b"PASSWORD=x")
    write(d + "/t/.git/config", b"[core]")
    write(d + "/t/a/.htpasswd", b"x")
    write(d + "/t/a/.well-known/x", b"only at the top")
    write(d + "/t/.well-known/security.txt", b"Contact: x")
    write(d + "/t/id_rsa", b"whatever")
    write(d + "/t/tls.key", b"whatever")
    write(d + "/t/backup", KEY)
    write(d + "/t/chain.pem", b"-----BEGIN CERTIFICATE-----\nA\n"
          b"-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nA\n")
    write(d + "/t/cert.pem", b"-----BEGIN CERTIFICATE-----\nA\n")
    write(d + "/t/id_rsa.pub", b"ssh-rsa AAAA")
    write(d + "/t/howto.html", b"<p>It begins with\n" + KEY)
    os.symlink("../out/shadow", d + "/t/notes")
    os.symlink("howto.html", d + "/t/help.html")


@test
def private_files_are_left_out(d):
    private_tree(d)
    p = run(d + "/t", d + "/s.img")
    paths = {k[0] for k in listing(d + "/s.img")}
    assert paths == {b"/", b"/index.html", b"/a", b"/a/", b"/.well-known",
                     b"/.well-known/", b"/.well-known/security.txt",
                     b"/cert.pem", b"/id_rsa.pub", b"/howto.html",
                     b"/help.html"}, paths
    said = p.stderr.splitlines()
    assert len(said) == 3, p.stderr
    assert said[0].startswith(b"mksite: left out: 4 names that begin with a "
                              b"dot (.env, .git, a/.htpasswd, ...)"), said
    assert b"4 private keys (backup, chain.pem, id_rsa, ...)" in said[1], said
    assert b"1 links to files outside the tree (notes)" in said[2], said
    assert all(b"--all publishes them" in line for line in said)
    assert b"9 left out" in p.stdout, p.stdout
    with open(d + "/s.img", "rb") as f:
        image = f.read()
    for secret in (b"PASSWORD", b"shadow", b".git", b"root:x"):
        assert secret not in image, secret


@test
def all_publishes_them(d):
    private_tree(d)
    p = run("--all", d + "/t", d + "/s.img")
    paths = {k[0] for k in listing(d + "/s.img")}
    for name in (b"/.env", b"/.git/config", b"/id_rsa", b"/backup", b"/notes",
                 b"/a/.well-known/x"):
        assert name in paths, name
    assert p.stderr == b"", p.stderr


@test
def crossed_links_end(d):
    """Directories full of links to each other: 4^12 paths if followed."""
    for i in range(12):
        os.makedirs(d + "/t/%d" % i)
        for k in range(4):
            os.symlink("../%d" % ((i + k + 1) % 12), d + "/t/%d/l%d" % (i, k))
    run("-q", d + "/t", d + "/s.img")


@test
def unreadable(d):
    if os.geteuid() == 0:
        return "root reads everything"
    write(d + "/t/f")
    write(d + "/t/locked")
    write(d + "/t/dir/f")
    os.chmod(d + "/t/locked", 0)
    os.chmod(d + "/t/dir", 0)
    p = run(d + "/t", d + "/s.img", ok=False)
    assert b"--skip-unreadable" in p.stderr and b"locked" in p.stderr
    assert not os.path.exists(d + "/s.img")
    run("-s", d + "/t", d + "/s.img")
    paths = {k[0] for k in listing(d + "/s.img")}
    os.chmod(d + "/t/dir", 0o700)
    assert paths == {b"/", b"/f"}, paths


@test
def refusals(d):
    os.mkdir(d + "/t")
    for args, words in (
            ([], b"usage"),
            ([d + "/t"], b"usage"),
            (["-c", "lots", d + "/t", d + "/s"], b"--compress"),
            (["-j", "0", d + "/t", d + "/s"], b"--jobs"),
            ([d + "/none", d + "/s"], b"No such file"),
            ([MKSITE, d + "/s"], b"not a directory"),
            ([d + "/t", d + "/none/s"], b"/s: cannot write beside it: No such"),
            (["--check", d + "/none"], b"No such file"),
            (["--check", "/dev/null"], b"too short"),
            (["--check", MKSITE], b"magic"),
            (["--list", MKSITE], b"magic")):
        p = run(*args, ok=False)
        assert words in p.stderr, (args, p.stderr)
    write(d + "/t/big")
    os.truncate(d + "/t/big", (64 << 30) + 1)
    p = run(d + "/t", d + "/s", ok=False)
    assert b"the format allows" in p.stderr
    assert sorted(os.listdir(d)) == ["t"]


@test
def long_names(d):
    deep = d + "/t"
    while len(deep) - len(d + "/t") + 201 < 1000:
        deep += "/" + "%" * 200
    write(deep + "/f", b"deep")
    run("-q", d + "/t", d + "/s.img")
    run("--check", d + "/s.img")
    write(deep + "/" + "n" * 250, b"too deep")
    p = run("-q", d + "/t", d + "/s2.img", ok=False)
    assert b"more than 1024 bytes" in p.stderr


@test
def empty_directory(d):
    os.mkdir(d + "/t")
    run("-q", d + "/t", d + "/s.img")
    run("--check", d + "/s.img")
    assert {k[0] for k in listing(d + "/s.img")} == {b"/"}


@test
def listing_is_as_new_as_its_directory(d):
    write(d + "/t/a")
    os.utime(d + "/t/a", (86400, 86400))
    os.utime(d + "/t", (2 * 86400, 2 * 86400))  # something was removed
    run("-q", d + "/t", d + "/s.img")
    texts, _ = extent(d + "/s.img", listing(d + "/s.img")[b"/", "identity"])
    for text in texts:
        assert b"Last-Modified: Sat, 03 Jan 1970 00:00:00 GMT\r\n" in text


@test
def times_before_1970(d):
    """A file may be older than the clock; one second before its start is no
    other time than two."""
    for name, when in (("a", -315619200), ("b", -1), ("c", -2)):
        write(d + "/t/" + name)
        os.utime(d + "/t/" + name, (when, when))
    run("-q", d + "/t", d + "/s.img")
    run("--check", d + "/s.img")
    have = listing(d + "/s.img")
    for name, date in ((b"/a", b"Fri, 01 Jan 1960 00:00:00 GMT"),
                       (b"/b", b"Wed, 31 Dec 1969 23:59:59 GMT"),
                       (b"/c", b"Wed, 31 Dec 1969 23:59:58 GMT")):
        for text in extent(d + "/s.img", have[name, "identity"])[0]:
            assert b"Last-Modified: " + date + b"\r\n" in text, text


@test
def the_servers_own_pages(d):
    """The server answers below /.pavise/ itself: what lies there in a tree
    could never be seen, and is left out even with --all."""
    write(d + "/t/.pavise/index.html", b"mine")
    write(d + "/t/a/.pavise/f", b"this is another place")
    write(d + "/u/.pavise", b"and a file is no directory")
    p = run("--all", d + "/t", d + "/s.img")
    paths = {k[0] for k in listing(d + "/s.img")}
    assert not any(x.startswith(b"/.pavise") for x in paths), paths
    assert b"pages of its own" in p.stderr, p.stderr
    assert b"/a/.pavise/f" in paths, paths
    run("--all", d + "/u", d + "/s.img")
    assert (b"/.pavise", "identity") in listing(d + "/s.img")


@test
def every_damage_is_found(d):
    write(d + "/t/a.txt", b"some words\n" * 700)
    write(d + "/t/b/c.bin", random.Random(5).randbytes(5000))
    write(d + "/t/index.html", b"<img src=b/c.bin>")
    run("-q", d + "/t", d + "/s.img")
    good = open(d + "/s.img", "rb").read()
    seed = random.randrange(1 << 32)
    r = random.Random(seed)
    spots = {b * BLOCK + r.randrange(BLOCK)
             for b in range(len(good) // BLOCK) for _ in range(5)}
    spots |= {i * 17 % len(good) for i in range(40)} | {len(good) - 1}
    for at in sorted(spots):
        bad = bytearray(good)
        bad[at] ^= 1 << r.randrange(8)
        write(d + "/bad.img", bad)
        p = run("--check", d + "/bad.img", ok=None)
        assert p.returncode == 1, (seed, at, p)
    for n in (0, 1, 4095, 4096, len(good) - 1, len(good) - 4096):
        write(d + "/bad.img", good[:n])
        assert run("--check", d + "/bad.img", ok=None).returncode == 1, n


@test
def interrupted_run_keeps_the_old_image(d):
    tree(d + "/t")
    run("-q", d + "/t", d + "/s.img")
    old = open(d + "/s.img", "rb").read()
    write(d + "/t/zz/big")
    os.truncate(d + "/t/zz/big", (64 << 30) + 1)
    run("-q", d + "/t", d + "/s.img", ok=False)
    assert open(d + "/s.img", "rb").read() == old


print("1..%d" % len(tests))
failed = 0
for n, t in enumerate(tests, 1):
    scratch = tempfile.mkdtemp(prefix="mksite-")
    try:
        skip = t(scratch)
        print("ok %d - %s%s" % (n, t.__name__,
                                " # SKIP " + skip if skip else ""))
    except Exception as e:  # report every failure as a TAP line
        failed = 1
        print("not ok %d - %s" % (n, t.__name__))
        print("# " + repr(e).replace("\n", "\n# "))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
sys.exit(failed)
