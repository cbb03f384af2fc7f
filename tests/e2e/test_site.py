#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A real tree through curl, every file by its SHA-256, the cache at a tenth of
the site; and what HTTP asks for beside the happy path. Speaks TAP."""
import json
import os
import socket
import sys
import time
import urllib.parse

import e2e

import site_tree

PARALLEL = 8

def url_of(server, path):
    return server.url + urllib.parse.quote(path)

def every_file(t, s, root):
    """Fetch all with few connections; compare."""
    out = e2e.fresh(os.path.join(e2e.WORK, "got"))
    config = os.path.join(e2e.WORK, "curl.cfg")
    paths = [p[len(root):] for p in site_tree.regular(root)]
    with open(config, "w", encoding="utf-8") as f:
        for i, path in enumerate(paths):
            f.write(f'url = "{url_of(s, path)}"\noutput = "{out}/{i}"\n')
    began = time.monotonic()
    status, text = s.curl("--fail", "-Z", "--parallel-max", str(PARALLEL),
                          "-K", config)
    seconds = time.monotonic() - began
    t.ok(status == 0, "curl fetches every file", text[-2000:])
    bad = [p for i, p in enumerate(paths)
           if not os.path.exists(f"{out}/{i}") or
           e2e.sha256(f"{out}/{i}") != e2e.sha256(root + p)]
    size = sum(os.path.getsize(root + p) for p in paths)
    t.ok(not bad, f"{len(paths)} files, {size / 1e6:.0f} MB: every SHA-256 "
         "agrees", "\n".join(bad[:20]))
    t.note(f"{seconds:.1f} s, {size / 1e6 / seconds:.1f} MB/s")
    return len(paths), size

def ask(s, request, timeout=10):
    """Bytes out, the whole answer in."""
    with s.connect("http", timeout) as c:
        c.sendall(request)
        c.shutdown(socket.SHUT_WR)
        got = b""
        while part := c.recv(65536):
            got += part
        return got

def get(path, *headers, method="GET"):
    lines = [f"{method} {path} HTTP/1.1", "Host: t", "Connection: close",
             *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()

def protocol(t, s, root):
    body = open(os.path.join(root, "odd", "4097.bin"), "rb").read()
    full = ask(s, get("/odd/4097.bin"))
    head, _, got = full.partition(b"\r\n\r\n")
    t.ok(head.startswith(b"HTTP/1.1 200 ") and got == body, "200", full[:300])
    bare = ask(s, get("/odd/4097.bin", method="HEAD"))
    t.ok(bare.startswith(b"HTTP/1.1 200 ") and bare.endswith(b"\r\n\r\n") and
         b"Content-Length: 4097" in bare, "HEAD has no body", bare[:300])
    etag = next((x for x in head.split(b"\r\n") if
                 x.lower().startswith(b"etag:")), b"").partition(b":")[2]
    same = ask(s, get("/odd/4097.bin",
                      f"If-None-Match:{etag.decode()}"))
    t.ok(etag and same.startswith(b"HTTP/1.1 304 ") and
         same.endswith(b"\r\n\r\n"), "304 for a known ETag", same[:300])
    for want, request in (
            (404, get("/nowhere")), (405, get("/", method="DELETE")),
            (400, b"GET / HTTP/1.1\r\n\r\n"), (400, b"nonsense\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
            (505, b"GET / HTTP/9.9\r\nHost: t\r\n\r\n")):
        got = ask(s, request)
        t.ok(got.startswith(f"HTTP/1.1 {want} ".encode()),
             f"{want} for {request.splitlines()[0].decode()}", got[:200])
    many = get("/odd/1.bin").replace(b"Connection: close\r\n", b"") * 20
    got = ask(s, many + get("/odd/1.bin"))
    t.ok(got.count(b"HTTP/1.1 200 ") == 21, "21 pipelined requests",
         got[:300])

def counters(t, s, files, size):
    """What the server says of itself agrees with what was asked of it."""
    status, text = s.curl(s.url + "/.pavise/counters")
    try:
        c = json.loads(text)
    except ValueError:
        t.ok(False, "the counters are JSON", text[:500])
        return
    served, cache = c["server"], c["cache"]
    t.ok(served["body_bytes_copied"] == 0 and
         served["body_bytes_in_place"] >= size,
         f"{served['body_bytes_in_place']} bytes of body in place, none copied")
    t.ok(cache["evictions"] > 0, f"the cache is smaller than the site: "
         f"{cache['evictions']} evictions, {cache['blocks_read']} blocks read")
    t.ok(served["connections"] < files / 20,
         f"connections are kept: {served['connections']} for "
         f"{served['requests']} requests", text)
    m = c["machine"]
    t.ok(0 < m["idle_ticks"] < m["up_ticks"] * m["cpus"] and
         m["up_ticks"] / m["tsc_khz"] >= c["uptime_ms"] and
         0 < m["demux_ticks"] < m["up_ticks"] and m["syscalls"] > 0,
         "the machine's counters agree with each other", text)


def main():
    t = e2e.Tap()
    os.makedirs(e2e.WORK, exist_ok=True)
    root = os.path.join(e2e.WORK, "site")
    tree = site_tree.build(root)
    t.ok(tree.files >= 2000 and tree.bytes >= 200_000_000,
         f"a tree of {tree.files} files and {tree.bytes / 1e6:.0f} MB")
    began = time.monotonic()
    image = e2e.mksite(root, os.path.join(e2e.WORK, "site.img"))
    t.note(f"mksite: {time.monotonic() - began:.1f} s, "
           f"{os.path.getsize(image) / 1e6:.0f} MB")
    cache = tree.bytes // 10
    with e2e.Server(image, f"cheetah.cache={cache}") as s:
        first = s.first_byte()
        if not t.ok(first is not None, "the first byte is served",
                    s.vm.tail(30)):
            return t.done()
        t.note(f"first byte {first:.3f} s after QEMU's start")
        protocol(t, s, root)
        count, size = every_file(t, s, root)
        t.ok(s.vm.running(), "the machine runs on", s.vm.tail(30))
        counters(t, s, count, size)
    return t.done()

if __name__ == "__main__":
    sys.exit(main())
