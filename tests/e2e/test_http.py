#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""HTTP as RFC 9110 and 9112 ask of an origin server, over real sockets, with
curl and with Python's client; then images that are damaged. Speaks TAP."""
import email.utils
import hashlib
import http.client
import os
import re
import shutil
import socket
import struct
import sys

import e2e
import site_tree

BLOCK = 4096
H = "Host: t\r\n"
BODY = site_tree.noise(5000)
TEXT = b"<!DOCTYPE html><p>text that compresses</p>\n" * 200
NAMES = ("with space.txt", "a%20b.txt", "100%.txt", "ümlaut.txt", "q?.txt",
         "hash#.txt", "tab\tnew\nline.txt", "quote\"'.txt", "back\\slash.txt",
         "\x01\x7f.txt", "..hidden", "...", "-rf", "x" * 255)


class Answer:
    def __init__(self, data, head_only=False):
        head, sep, rest = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        m = re.fullmatch(r"HTTP/1\.1 (\d{3}) \S.*", lines[0])
        self.status = int(m.group(1)) if m and sep else None
        self.fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self.fields.setdefault(name.lower(), value.strip())
        none = head_only or self.status in (204, 304)
        n = 0 if none else int(self.fields.get("content-length", 0))
        self.body, self.rest = rest[:n], rest[n:]
        self.whole = self.status is not None and len(self.body) == n


def talk(s, data, timeout=10, half_close=True):
    """Bytes out, all that comes back until the server closes."""
    got = b""
    with s.connect("http", timeout) as c:
        if isinstance(data, str):
            data = data.encode("latin-1")
        try:
            c.sendall(data)
            if half_close:
                c.shutdown(socket.SHUT_WR)
            while part := c.recv(65536):
                got += part
        except (ConnectionResetError, BrokenPipeError):
            pass
    return got


def ask(s, path="/body.bin", *fields, method="GET", version="HTTP/1.1"):
    lines = [f"{method} {path} {version}", "Host: t", "Connection: close",
             *fields, "", ""]
    return Answer(talk(s, "\r\n".join(lines)), method == "HEAD")


def statuses(data, heads=()):
    out = []
    while data:
        a = Answer(data, len(out) in heads)
        out.append(a.status)
        if not a.whole:
            break
        data = a.rest
    return out


# ------------------------------------------------------------------- framing

LONG = "x" * 5000
CLOSING = (  # request, status: one answer, then the connection ends
    ("GET / HTTP/1.1\r\n\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}{H}\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: t%zz\r\n\r\n", 400),
    (f"GET http://:80/ HTTP/1.1\r\n{H}\r\n", 400),
    (f"POST / HTTP/1.1\r\n{H}Content-Length: 9999999\r\n\r\n", 405),
    (f"BREW / HTTP/1.1\r\n{H}Content-Length: 9999999\r\n\r\n", 501),
    (f"GET / HTTP/1.1\n{H}\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}\n", 400),
    (f"GET / HTTP/1.1\r\n{H}A: b\r\n c\r\n\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}A: b\rc\r\n\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}A: b\0c\r\n\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}A : b\r\n\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}A b\r\n\r\n", 400),
    (f"GET / HTTP/1.1\r\n {H}\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
     400),
    (f"GET / HTTP/1.1\r\n{H}Content-Length: 1, 1\r\n\r\nx", 400),
    (f"GET / HTTP/1.1\r\n{H}Content-Length: -1\r\n\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}Content-Length: 1\r\nTransfer-Encoding: chunked"
     "\r\n\r\n0\r\n\r\n", 400),
    ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}Transfer-Encoding: gzip\r\n\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}Transfer-Encoding: chunked, gzip\r\n\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    (f"GET / HTTP/1.1\r\n{H}Content-Length: 9999999\r\n\r\n", 413),
    (f"GET / HTTP/1.1\r\n{H}Content-Length: 18446744073709551621\r\n\r\n",
     413),
    (f"BREW / HTTP/1.1\r\n{H}\r\n", 501),
    (f"GET / HTTP/2.0\r\n{H}\r\n", 505),
    (f"GET / HTTP/0.9\r\n{H}\r\n", 505),
    (f"GET / HTTP/1\r\n{H}\r\n", 400),
    ("GET /\r\n", 400),
    ("GET /\r\n\r\n", 400),
    (f"GET  / HTTP/1.1\r\n{H}\r\n", 400),
    (f"GET / HTTP/1.1 \r\n{H}\r\n", 400),
    (f"GET body.bin HTTP/1.1\r\n{H}\r\n", 400),
    (f"GET * HTTP/1.1\r\n{H}\r\n", 400),
    (f"GET t:80 HTTP/1.1\r\n{H}\r\n", 400),
    (f"GET /{LONG * 2} HTTP/1.1\r\n{H}\r\n", 414),
    (f"GET / HTTP/1.1\r\n{H}A: {LONG}\r\nB: {LONG}\r\n\r\n", 431),
    (f"GET / HTTP/1.1\r\n{H}" + "A: b\r\n" * 200 + "\r\n", 431),
    ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
)


def framing(t, s):
    for request, want in CLOSING:
        # What follows must not be taken for a request.
        got = statuses(talk(s, request + f"GET / HTTP/1.1\r\n{H}\r\n",
                            half_close=False))
        name = request[:60].encode("unicode_escape").decode()
        t.ok(got == [want], f"{want} and the end: {name}", got)


def several(t, s):
    """More than one request on a connection, and what may lie between."""
    end = f"GET /body.bin HTTP/1.1\r\n{H}Connection: close\r\n\r\n"
    for name, first, want in (
            ("a body by length", f"POST / HTTP/1.1\r\n{H}Content-Length: 18"
             "\r\n\r\nGET / HTTP/1.1\r\n\r\n", 405),
            ("a chunked body", f"GET /body.bin HTTP/1.1\r\n{H}"
             "Transfer-Encoding: chunked\r\n\r\n"
             "12;a=b\r\nGET / HTTP/1.1\r\n\r\n\r\n0\r\nA: b\r\n\r\n", 200),
            ("an empty line", "\r\n" + f"GET /none HTTP/1.1\r\n{H}\r\n", 404),
            ("OPTIONS *", f"OPTIONS * HTTP/1.1\r\n{H}\r\n", 204),
            ("absolute-form", "GET http://other/body.bin?q HTTP/1.1\r\n"
             f"{H}\r\n", 200),
            ("a target of https", f"GET https://t/ HTTP/1.1\r\n{H}\r\n", 421),
            ("HTTP/1.0 keep-alive", "GET /body.bin HTTP/1.0\r\n"
             "Connection: keep-alive\r\n\r\n", 200),
            ("HTTP/1.7", f"GET /body.bin HTTP/1.7\r\n{H}\r\n", 200)):
        got = statuses(talk(s, first + end))
        t.ok(got == [want, 200], f"{name}: {want}, and the next is answered",
             got)
    got = statuses(talk(s, "GET /body.bin HTTP/1.0\r\n\r\n" + end,
                        half_close=False))
    t.ok(got == [200], "HTTP/1.0 without keep-alive closes", got)
    got = talk(s, f"POST / HTTP/1.1\r\n{H}Expect: 100-continue\r\n"
               "Content-Length: 4\r\n\r\n", half_close=False)
    t.ok(statuses(got) == [405], "Expect: 100-continue: a final answer at once",
         got[:200])
    t.ok(ask(s, "/", "Expect: 200-ok").status == 417, "417")
    got = talk(s, f"HEAD /body.bin HTTP/1.1\r\n{H}\r\n" + end)
    t.ok(statuses(got, heads=(0,)) == [200, 200], "HEAD, then GET", got[:200])
    got = talk(s, "HEAD / HTTP/1.1\r\n\r\n", half_close=False)
    t.ok(statuses(got, heads=(0,)) == [400], "no content for a broken HEAD", got)


# ------------------------------------------------------------------ semantics

def paths(t, s):
    for path, want in (("/body%2ebin", 200), ("/./body.bin", 200),
                       ("/none/../body.bin", 200), ("//body.bin", 200),
                       ("/../../body.bin", 200), ("/%2e%2e/body.bin", 200),
                       ("/body.bin/", 404), ("/body.bin%00", 404),
                       ("/dir%2fin.txt", 404), ("/%", 400), ("/%g0", 400),
                       ("/dir", 301), ("/dir/", 200), ("/dir/in.txt", 200),
                       ("/body.bin?a=b&c", 200), ("/" + "y" * 3000, 404)):
        got = ask(s, path)
        t.ok(got.status == want, f"{want} for {path[:40]}", got.status)
    for query in ("", "?", "?a=/b&c?d", "?" + "q" * 255, "?" + "q" * 256,
                  "?" + "q" * 7900):
        got = ask(s, "/dir" + query).fields.get("location")
        t.ok(got == "/dir/" + query,
             f"Location of /dir{query[:20]}, {len(query)} bytes of query", got)
    for n in (256, 7977):
        got = ask(s, "/body.bin?" + "q" * n).status
        t.ok(got == 200, f"a file does not mind {n} bytes of query", got)


def old_files(t, s):
    """Older than the clock's start, and still a date like others."""
    then = "Fri, 01 Jan 1960 00:00:00 GMT"
    got = ask(s, "/old.txt").fields.get("last-modified")
    t.ok(got == then, "Last-Modified of a file from 1960", got)
    for field, date, want in (
            ("If-Modified-Since", then, 304),
            ("If-Modified-Since", "Thu, 31 Dec 1959 23:59:59 GMT", 200),
            ("If-Unmodified-Since", "Thu, 31 Dec 1959 23:59:59 GMT", 412),
            ("If-Unmodified-Since", then, 200)):
        got = ask(s, "/old.txt", f"{field}: {date}").status
        t.ok(got == want, f"{field}: {date}: {want}", got)


def head_is_get(t, s):
    for fields in ((), ("Range: bytes=1-2",), ("Accept-Encoding: gzip",)):
        for path in ("/body.bin", "/text.html", "/none", "/dir", "/.pavise/"):
            g, h = ask(s, path, *fields), ask(s, path, *fields, method="HEAD")
            for a in (g, h):
                a.fields.pop("date", None)
            if path == "/body.bin" and fields and "Range" in fields[0]:
                # RFC 9110 s14.2: Range is defined for GET alone.
                t.ok((g.status, h.status) == (206, 200), "HEAD ignores Range")
                continue
            if "Range" in "".join(fields):
                continue
            t.ok(g.status == h.status and g.fields == h.fields and not h.rest,
                 f"HEAD {path} {' '.join(fields)} has the fields of GET",
                 f"{g.fields}\n{h.fields}")


def conditions(t, s):
    full = ask(s)
    etag, when = full.fields["etag"], full.fields["last-modified"]
    then = email.utils.parsedate_to_datetime(when)
    forms = (when, then.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
             then.strftime("%a %b ") + f"{then.day:2} " +
             then.strftime("%H:%M:%S %Y"))
    old = "Sat, 01 Jan 2000 00:00:00 GMT"
    cases = [(304, f"If-None-Match: {etag}"), (304, "If-None-Match: *"),
             (304, f"If-None-Match: W/{etag}"),
             (304, f'If-None-Match: "x", W/"y" ,{etag}'),
             (200, 'If-None-Match: "x"'), (200, f"If-Modified-Since: {old}"),
             (200, "If-Modified-Since: nonsense"),
             (200, f"If-Match: {etag}"), (200, "If-Match: *"),
             (412, 'If-Match: "x"'), (412, f"If-Match: W/{etag}"),
             (412, f"If-Unmodified-Since: {old}"),
             (200, f"If-Unmodified-Since: {when}"),
             (200, f'If-None-Match: "x"\r\nIf-Modified-Since: {when}'),
             (200, "\r\n".join([f"If-Modified-Since: {when}"] * 2)),
             (200, "\r\n".join([f"If-Unmodified-Since: {old}"] * 2))]
    cases += [(304, f"If-Modified-Since: {form}") for form in forms]
    for want, field in cases:
        got = ask(s, "/body.bin", field)
        t.ok(got.status == want and got.whole and not got.rest,
             f"{want} for {field}".replace("\r\n", "; "), got.status)
    same = ask(s, "/body.bin", "If-None-Match: *").fields
    t.ok(same.get("etag") == etag and "date" in same and
         "content-length" not in same, "304 has ETag and Date, no length", same)
    return etag, when


def ranges(t, s, etag, when):
    n = len(BODY)
    for field, want in (("0-0", BODY[:1]), ("0-", BODY), ("-1", BODY[-1:]),
                        ("-9999", BODY), (f"{n - 1}-", BODY[-1:]),
                        ("10-99999", BODY[10:]), ("511-513", BODY[511:514]),
                        ("4095-4096", BODY[4095:4097])):
        got = ask(s, "/body.bin", f"Range: bytes={field}")
        t.ok(got.status == 206 and got.body == want,
             f"206 for bytes={field}", got.status)
    got = ask(s, "/body.bin", "Range: bytes=5-9")
    t.ok(got.fields.get("content-range") == f"bytes 5-9/{n}", "Content-Range")
    for field, want in ((f"bytes={n}-", 416), ("bytes=-0", 416),
                        ("bytes=5-4", 200), ("bytes=x", 200), ("lines=1-2", 200),
                        ("bytes=", 200), ("bytes=" + "0-0," * 99, 200)):
        got = ask(s, "/body.bin", f"Range: {field}")
        t.ok(got.status == want and got.whole, f"{want} for {field[:30]}",
             got.status)
    got = ask(s, "/body.bin", f"Range: bytes={n}-")
    t.ok(got.fields.get("content-range") == f"bytes */{n}",
         "Content-Range of 416")
    for field, want in ((etag, 206), (when, 206), ('"x"', 200),
                        (f"W/{etag}", 200),
                        ("Sat, 01 Jan 2000 00:00:00 GMT", 200)):
        got = ask(s, "/body.bin", "Range: bytes=0-4", f"If-Range: {field}")
        t.ok(got.status == want, f"{want} for If-Range: {field}", got.status)
    multipart(t, s)


def multipart(t, s):
    got = ask(s, "/body.bin", "Range: bytes=0-9, 5-20 , -3")
    kind = got.fields.get("content-type", "")
    mark = kind.partition("boundary=")[2].strip('"').encode()
    parts = got.body.split(b"\r\n--" + mark)
    want = [BODY[0:10], BODY[5:21], BODY[-3:]]
    t.ok(got.status == 206 and kind.startswith("multipart/byteranges") and
         [p.partition(b"\r\n\r\n")[2] for p in parts[1:-1]] == want and
         parts[-1] == b"--\r\n", "multipart/byteranges", got.body[:300])


def encodings(t, s):
    for field, want in (("gzip", "gzip"), ("br", "br"), ("gzip, br", "br"),
                        ("gzip;q=1, br;q=0.5", "gzip"), ("*", "br"),
                        ("gzip;q=0", None), ("identity", None), ("", None),
                        ("br;q=0, *", "gzip"), ("deflate", None),
                        ("GZIP", "gzip"), ("gzip;q=0.001", "gzip")):
        got = ask(s, "/text.html", f"Accept-Encoding: {field}")
        t.ok(got.status == 200 and
             got.fields.get("content-encoding") == want and
             "accept-encoding" in got.fields.get("vary", "").lower(),
             f"Accept-Encoding: {field or '(empty)'} gives {want}", got.fields)
    tags = {ask(s, "/text.html", f"Accept-Encoding: {e}").fields["etag"]
            for e in ("br", "gzip", "identity")}
    t.ok(len(tags) == 3, "each encoding has its own ETag", tags)
    got = ask(s, "/body.bin", "Accept-Encoding: identity;q=0")
    t.ok(got.status == 406 and "vary" in got.fields,
         "406 when nothing is acceptable, and it says of what it depends",
         got.fields)
    for field, want in (('If-Match: "x"', 412), ("Range: bytes=99999-", 416),
                        ("If-None-Match: *", 304)):
        got = ask(s, "/text.html", field)
        t.ok(got.status == want and got.fields.get("vary") == "Accept-Encoding",
             f"{want} says that encodings matter", got.fields)


def clients(t, s, root):
    c = http.client.HTTPConnection("127.0.0.1", s.port["http"], timeout=10)
    good = 0
    for name in NAMES:
        c.request("GET", "/odd/" + e2e_quote(name))
        r = c.getresponse()
        good += r.read() == name.encode() * 20 and r.status == 200
        r.close()
    c.close()
    t.ok(good == len(NAMES), "odd names through http.client", good)
    out = os.path.join(e2e.WORK, "one")
    status, text = s.curl("--fail", "--compressed", "-o", out,
                          f"{s.url}/text.html")
    t.ok(status == 0 and open(out, "rb").read() == TEXT, "curl --compressed",
         text)
    with open(out, "wb") as f:
        f.write(BODY[:1234])
    status, text = s.curl("--fail", "-C", "-", "-o", out, f"{s.url}/body.bin")
    t.ok(status == 0 and open(out, "rb").read() == BODY, "curl resumes", text)
    status, text = s.curl("--fail", "-L", "-o", out, f"{s.url}/dir")
    t.ok(status == 0, "curl follows to the folder", text)
    # An upload that the server refuses, with curl's Expect: 100-continue.
    status, text = s.curl("-o", out, "-w", "%{http_code}", "-H",
                          "Transfer-Encoding: chunked", "-T",
                          os.path.join(root, "body.bin"), f"{s.url}/up")
    t.ok(status == 0 and text.endswith("405"), "curl is refused a PUT", text)


def e2e_quote(name):
    return "".join(f"%{b:02X}" for b in name.encode())


# -------------------------------------------------------------- damaged images

def patched(image, name, *edits, size=None):
    out = os.path.join(e2e.WORK, f"http-{name}.img")
    shutil.copyfile(image, out)
    with open(out, "r+b") as f:
        for at, data in edits:
            f.seek(at)
            f.write(data)
        if size is not None:
            f.truncate(size)
    return out


def sealed(image, at, data):
    """An edit of the superblock that leaves its digest right."""
    with open(image, "rb") as f:
        block = bytearray(f.read(BLOCK))
    block[at:at + len(data)] = data
    block[480:512] = bytes(32)
    block[480:512] = hashlib.sha256(block).digest()
    return 0, bytes(block)


def refused(t, image):
    """Each is named in one line; the machine and netsvc live on."""
    u32 = struct.Struct("<I").pack
    for name, edits, size, want in (
            ("magic", [(0, b"NOTASITE")], None, "wrong magic"),
            ("version", [sealed(image, 8, u32(77))], None, "another version"),
            ("digest", [(24, b"\xff")], None, "SHA-256 does not match"),
            ("shape", [sealed(image, 36, u32(1 << 30))], None,
             "contradict each other"),
            ("short", [], BLOCK * 3, "truncated"),
            ("empty", [], 512, "cheetah: "),
            ("zero", [(0, bytes(BLOCK))], None, "wrong magic")):
        bad = patched(image, name, *edits, size=size)
        with e2e.Server(bad) as s:
            said = s.vm.wait_for(want, 10)
            t.ok(said, f"image with a wrong {name}: {want}", s.vm.tail())
            t.ok(s.vm.wait_for("netsvc: echo", 10),
                 f"wrong {name}: netsvc listens", s.vm.tail())
            with s.connect("echo") as c:
                c.sendall(b"alive")
                t.ok(c.recv(9) == b"alive", f"wrong {name}: netsvc lives on")


def broken_inside(t, image):
    """A sound superblock over nonsense: 404, 500 or the right bytes; never a
    dead server."""
    with open(image, "rb") as f:
        data = bytearray(f.read())
    index_blocks = struct.unpack_from("<I", data, 36)[0]
    manifest = struct.unpack_from("<I", data, 40)[0]
    records = [b for b in range(1 + index_blocks, manifest)
               if data[b * BLOCK:b * BLOCK + 4] == b"recd"]
    edits = [(b * BLOCK + 32, b"\xff" * 16) for b in records]
    with e2e.Server(patched(image, "records", *edits)) as s:
        t.ok(s.first_byte() is not None, "damaged records: it serves")
        got = [ask(s, p).status for p in ("/body.bin", "/text.html", "/dir/")]
        t.ok(got == [500] * 3, "damaged records: 500", got)
        t.ok(s.vm.wait_for("breaks the promises", 5),
             "damaged records: a line says so", s.vm.tail())
        t.ok(ask(s, "/.pavise/counters").status == 200,
             "damaged records: the counters are served")
    edits = [(BLOCK + 32 * i + 16, b"\xfe\xff\xff\x7f" * 3)
             for i in range(128 * index_blocks)
             if any(data[BLOCK + 32 * i:BLOCK + 32 * i + 8])]
    with e2e.Server(patched(image, "index", *edits)) as s:
        t.ok(s.first_byte() is not None, "damaged index: it serves")
        got = [ask(s, p).status for p in ("/body.bin", "/none")]
        t.ok(got == [500, 404], "damaged index: 500", got)


def site():
    root = e2e.fresh(os.path.join(e2e.WORK, "http-site"))
    for folder in ("dir", "odd"):
        os.mkdir(os.path.join(root, folder))
    files = {"body.bin": BODY, "text.html": TEXT, "dir/in.txt": b"inside\n",
             "old.txt": b"old\n"}
    files |= {f"odd/{n}": n.encode() * 20 for n in NAMES}
    for name, data in files.items():
        with open(os.path.join(root, name), "wb") as f:
            f.write(data)
    os.utime(os.path.join(root, "old.txt"), (-315619200, -315619200))
    # --all: some of the odd names begin with a dot.
    image = os.path.join(e2e.WORK, "http-site.img")
    return root, e2e.mksite(root, image, "--all")


def main():
    t = e2e.Tap()
    os.makedirs(e2e.WORK, exist_ok=True)
    root, image = site()
    with e2e.Server(image) as s:
        if not t.ok(s.first_byte() is not None, "it serves", s.vm.tail(30)):
            return t.done()
        framing(t, s)
        several(t, s)
        paths(t, s)
        old_files(t, s)
        head_is_get(t, s)
        ranges(t, s, *conditions(t, s))
        encodings(t, s)
        clients(t, s, root)
        t.ok(s.vm.running(), "the machine runs on", s.vm.tail(30))
    refused(t, image)
    broken_inside(t, image)
    return t.done()


if __name__ == "__main__":
    sys.exit(main())
