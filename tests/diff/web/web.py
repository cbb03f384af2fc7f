#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random requests against an independent reading of RFC 9110 and 9112.

usage: web.py run TAP_WEB MKSITE SECONDS [SEED]
       web.py drive TREE SECONDS SEED      (what `run` starts beside the server)

`run` makes a tree with hostile names and awkward sizes, lays it out, starts the
server core behind a TAP device and drives it twice: with a small cache and no
offloads, and with both. Each answer is compared with the oracle below,
byte for byte. Requests are pipelined, cut at random and read slowly. Broken
requests have no oracle but themselves: sent whole, cut anywhere and byte by
byte they must get the same answers."""
import contextlib
import gzip
import hashlib
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

HOST = ("10.9.0.2", 80)
SIZES = (0, 1, 2, 511, 512, 513, 1023, 1400, 1447, 1448, 1449, 1459, 1460,
         1461, 2896, 3583, 3584, 3585, 4095, 4096, 4097, 7000, 8191, 8192,
         8193, 14480, 65535, 65536, 65537, 262144, 700001)
UNRESERVED = (b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
              b"0123456789-._~")
# What a path may hold as it is (RFC 3986 section 3.3).
PCHAR = UNRESERVED + b"!$&'()*+,;=:@"


# ----------------------------------------------------------------- the tree

def hostile_name(r):
    """Bytes that a file may be called by and a site may publish."""
    kind = r.randrange(8)
    if kind == 0:
        name = bytes(r.randrange(1, 256) for _ in range(r.randrange(1, 20)))
    elif kind == 1:
        name = r.choice((b"%41", b"%2e%2e", b"%00x", b"a%2Fb", b"%", b"%zz"))
        name += b"%d" % r.randrange(100)
    elif kind == 2:
        name = bytes([r.choice(PCHAR)]) * r.randrange(1, 251)
    elif kind == 3:
        name = "ü日\u202e\U0001f600".encode()[:r.randrange(1, 13)]
    elif kind == 4:
        name = r.choice((b"x.gz", b"x.br", b"index.htm", b"INDEX.HTML",
                         b"a b", b"a\tb", b"a\\..\\b", b"c:", b"~", b"-", b"?",
                         b"#", b"a?b=c", b"*", b"&amp;", b"<b>", b"\"'"))
        name += b"%d" % r.randrange(100)
    elif kind == 5:
        name = b"n\r\nSet-Cookie: a=%d" % r.randrange(100)
    elif kind == 6:
        name = b"..." + b"." * r.randrange(4) + b"%d" % r.randrange(100)
    else:
        name = b"f%d.%s" % (r.randrange(1000), r.choice(
            (b"html", b"css", b"js", b"png", b"txt", b"svg", b"bin", b"")))
    name = name.replace(b"/", b"_").replace(b"\0", b"_")
    return b"d" + name if name[:1] == b"." else name


def content(r, size):
    if r.random() < 0.5:
        return r.randbytes(size)
    words = [bytes(r.choice(PCHAR) for _ in range(r.randrange(1, 9)))
             for _ in range(40)]
    out = b""
    while len(out) < size:
        out += b" ".join(r.choice(words) for _ in range(200)) + b"\n"
    return out[:size]


def make_tree(r, root):
    folders = [root]
    for _ in range(12):
        path = os.path.join(r.choice(folders), hostile_name(r))
        if len(path) < 400 and not os.path.lexists(path):
            os.mkdir(path)
            folders.append(path)
    for i in range(110):
        folder = r.choice(folders)
        name = b"index.html" if r.random() < 0.06 else hostile_name(r)
        path = os.path.join(folder, name)
        if len(path) > 700 or os.path.lexists(path):
            continue
        size = SIZES[i] if i < len(SIZES) else int(2 ** r.uniform(0, 15))
        with open(path, "wb") as f:
            f.write(content(r, size))
        os.utime(path, (0, r.choice((0, 1, 784111777, 951782400,
                                     r.randrange(1_700_000_000)))))


# --------------------------------------------------------------- the oracle

class Document:
    """What one path leads to: its encodings, as found by asking for each."""

    def __init__(self, path, body, mtime):
        self.path, self.body, self.mtime = path, body, mtime
        self.coded = {}  # of "br", "gzip", "identity"

    def tag(self, coding):
        return hashlib.sha256(self.coded[coding]).digest()[:8].hex()


def decode(coding, body):
    if coding == "gzip":
        return gzip.decompress(body)
    assert coding == "identity", coding
    return body


def stamp(t, form=0):
    g = time.gmtime(t)
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[g.tm_wday]
    mon = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep",
           "Oct", "Nov", "Dec")[g.tm_mon - 1]
    clock = f"{g.tm_hour:02}:{g.tm_min:02}:{g.tm_sec:02}"
    if form == 1:  # RFC 850, if its two digits say the right century
        long = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday",
                "Saturday", "Sunday")[g.tm_wday]
        if time.gmtime().tm_year - 50 < g.tm_year <= time.gmtime().tm_year:
            return f"{long}, {g.tm_mday:02}-{mon}-{g.tm_year % 100:02} " \
                   f"{clock} GMT"
    if form == 2:
        return f"{day} {mon} {g.tm_mday:2} {clock} {g.tm_year}"
    return f"{day}, {g.tm_mday:02} {mon} {g.tm_year} {clock} GMT"


class Ask:
    """A sound request, and what its answer must be."""

    def __init__(self, r, documents, folders):
        self.r, self.fields, self.form = r, [], {}
        self.documents, self.folders = documents, folders
        self.method = r.choice(("GET", "GET", "GET", "HEAD"))
        self.pick_path()
        self.target = self.write_target()
        self.negotiate()
        if self.status == 200:
            self.conditions()
            self.ranges()
        self.body_sent = b""
        if r.random() < 0.1:
            self.other_method()
        if r.random() < 0.2:
            self.send_body()

    # the target

    def pick_path(self):
        r = self.r
        roll = r.random()
        self.document, self.query = None, b""
        if roll < 0.85:
            self.document = r.choice(self.documents)
            self.path, self.status = self.document.path, 200
        elif roll < 0.93 and len(self.folders) > 1:
            self.path, self.status = r.choice(self.folders[1:])[:-1], 301
        else:
            self.path = self.documents[0].path + b"/none"
            self.status = 404
        if r.random() < 0.2:
            self.query = b"?" + bytes(r.choice(PCHAR + b"/?") for _ in range(
                int(2 ** r.uniform(0, 12.3))))

    def escape(self, c):
        r = self.r
        if c in PCHAR and r.random() < 0.9:
            return bytes([c])
        return f"%{c:02{r.choice('xX')}}".encode()

    def write_target(self):
        r, out = self.r, b""
        for i, segment in enumerate(self.path.split(b"/")):
            if i > 0:
                out += b"/"
                while r.random() < 0.08:
                    out += r.choice((b"/", b"./", b"%2e/", b"x/../",
                                     b"%2E%2e/x/../" if i == 1 else b"./",
                                     b"y//%2e./", b"../" if i == 1 else b"/"))
            out += b"".join(self.escape(c) for c in segment)
        if self.path.endswith(b"/") and r.random() < 0.1:
            out += r.choice((b".", b"z/..", b"%2e", b"./"))
        if r.random() < 0.1:
            out = r.choice((b"http://h", b"HTTP://u.example:80",
                            b"http://[::1]:80")) + out
        return out + self.query

    # the method and what follows the head

    def other_method(self):
        self.method, self.status = self.r.choice((
            ("POST", 405), ("PUT", 405), ("DELETE", 405), ("PATCH", 405),
            ("TRACE", 405), ("OPTIONS", 204), ("BREW", 501), ("get", 501)))
        if self.status == 204 and self.r.random() < 0.3:
            self.target = b"*"

    def send_body(self):
        """A body that the server has to read past; none is refused here."""
        r = self.r
        data = r.randbytes(r.choice((1, 5, 100, 1460, 9000, 65536)))
        if r.random() < 0.5:
            self.add("content-length", len(data))
            self.body_sent = data
            return
        self.add("transfer-encoding", r.choice(("chunked", "Chunked")))
        out, at, most = b"", 0, max(1, len(data) // 20)
        while at < len(data):
            part = data[at:at + r.randrange(1, 20 * most)]
            at += len(part)
            size = f"{len(part):{r.choice(('x', 'X', '04x'))}}".encode()
            out += size + r.choice((b"", b"", b";a=b", b" ;c", b"\t;d=\"e\"")
                                   ) + b"\r\n" + part + b"\r\n"
        self.body_sent = out + r.choice((b"0", b"000;x")) + b"\r\n" + r.choice(
            (b"", b"", b"Trailer: a\r\n", b"a:\r\nb: c\r\n")) + b"\r\n"

    # fields

    def add(self, name, value):
        r = self.r
        name = "".join(c.upper() if r.random() < 0.3 else c for c in name)
        self.fields.append(f"{name}:{r.choice(('', ' ', '  ', chr(9)))}"
                           f"{value}{r.choice(('', ' ', chr(9)))}")

    def negotiate(self):
        r, q = self.r, {}
        self.coding = "identity"
        if r.random() < 0.5:
            return
        items = []
        for name in r.sample(("br", "gzip", "identity", "*", "zstd", "x-gzip"),
                             r.randrange(0, 5)):
            weight = r.choice(("", ";q=1", ";q=0.5", ";q=0", ";q=0.001",
                               " ; Q=0.25", ";q=1.000", ";q=0.", ";q=0.000"))
            known = "gzip" if name == "x-gzip" else name
            if known in q:
                continue
            q[known] = float(weight.split("=")[1]) if weight else 1.0
            items.append(name + weight)
        for part in items[:len(items) // 2], items[len(items) // 2:]:
            self.add("accept-encoding", r.choice((",", ", ", " ,, ")).join(
                part))
        others = q.get("*")
        if self.status != 200:
            # A redirection has one form, which a client may refuse too.
            q = q.get("identity", others if others is not None else 0.001)
            if q == 0 and self.status == 301:
                self.status = 406
            return
        best = None
        for name in ("br", "gzip", "identity"):
            if name not in self.document.coded:
                continue
            weight = q.get(name, others)
            if weight is None:
                weight = 0.0001 if name == "identity" else 0
            if weight > 0 and (best is None or weight > best[0]):
                best = weight, name
        self.coding = best[1] if best else None
        if best is None:
            self.status = 406

    def tags(self, weak_too):
        """A list of tags, and whether it matches."""
        r, hit, items = self.r, False, []
        mine = self.document.tag(self.coding)
        for _ in range(r.choice((1, 1, 2, 3, 9, 20))):
            weak = r.random() < 0.3
            tag = r.choice((mine, f"{r.getrandbits(64):016x}", "a,b", "",
                            mine.upper() + "Z", "x" * 40))
            hit |= tag == mine and (weak_too or not weak)
            items.append(f'{"W/" if weak else ""}"{tag}"')
        if r.random() < 0.1:
            return "*", True
        return r.choice((",", ", ", " , ")).join(items), hit

    def date(self):
        """A date near that of the document, and which."""
        r, at = self.r, self.document.mtime
        at = max(0, at + r.choice((-86400, -1, 0, 0, 1, 86400)))
        return stamp(at, r.randrange(3)), at

    def conditions(self):
        r, d = self.r, self.document
        match = unmodified = none = since = None
        if r.random() < 0.15:
            value, match = self.tags(False)
            self.add("if-match", value)
        if r.random() < 0.15:
            value, at = self.date()
            unmodified = d.mtime <= at
            self.add("if-unmodified-since", value)
        if r.random() < 0.2:
            value, none = self.tags(True)
            self.add("if-none-match", value)
        if r.random() < 0.2:
            value, at = self.date()
            since = d.mtime > at
            self.add("if-modified-since", value)
        # RFC 9110 section 13.2.2
        if match is False or (match is None and unmodified is False):
            self.status = 412
        elif none or (none is None and since is False):
            self.status = 304

    def one_range(self, n):
        r = self.r
        a = r.choice((0, 1, n // 2, n - 1, n, n + 5, r.randrange(n + 2)))
        a = max(a, 0)
        kind = r.randrange(4)
        if kind == 0:
            return f"{a}-", (a, n - 1)
        if kind == 1:
            return f"-{a}", (max(n - a, 0), n - 1) if a else (n, n)
        b = a + r.choice((0, 1, 511, 512, 1447, 4096, n))
        if kind == 2 and r.random() < 0.2:
            return f"{a}-{b}{'9' * 30}", (a, n - 1)
        return f"{a}-{b}", (a, min(b, n - 1))

    def ranges(self):
        r, self.parts = self.r, None
        n = len(self.document.coded[self.coding])
        if r.random() < 0.6:
            return
        count = r.choice((1, 1, 1, 2, 3, 8, 9))
        said = [self.one_range(n) for _ in range(count)]
        sound = count <= 8
        if r.random() < 0.1:
            said.append((r.choice(("5-2", "x", "1--2", "-", "1 - 2")), None))
            sound = False
        self.add("range", r.choice(("bytes=", "Bytes=", "bytes= ")) +
                 r.choice((",", ", ", " ,")).join(s for s, _ in said))
        if r.random() < 0.3:
            mine = f'"{self.document.tag(self.coding)}"'
            value, holds = r.choice((
                (mine, True), ("W/" + mine, False), ('"other"', False),
                (stamp(self.document.mtime), True),
                (stamp(self.document.mtime + 1), False)))
            self.add("if-range", value)
            sound &= holds
        if self.status != 200 or self.method != "GET" or not sound or n == 0:
            return
        parts = [p for _, p in said if p[0] < n]
        if not parts:
            self.status = 416
        elif sum(b - a + 1 for a, b in parts) <= n:
            self.status, self.parts = 206, parts

    def bytes(self, last):
        r, fields, version = self.r, self.fields + ["Host: h"], b"1.1"
        if r.random() < 0.1 and not self.body_sent:
            version = b"1.0"
            if r.random() < 0.5:
                fields.pop()
            if not last:
                fields.append("Connection: x, Keep-Alive")
            elif r.random() < 0.5:
                fields.append("Connection: close")
        elif last:
            fields.append(r.choice(("Connection: close", "connection: a,CLOSE",
                                    "Connection: keep-alive, close")))
        r.shuffle(fields)
        return (self.method.encode() + b" " + self.target + b" HTTP/" +
                version + b"\r\n" + "\r\n".join(fields).encode() +
                b"\r\n\r\n" + self.body_sent)

    # the answer

    def body(self):
        if self.status == 206 and len(self.parts) == 1:
            a, b = self.parts[0]
            return self.document.coded[self.coding][a:b + 1]
        return self.document.coded[self.coding]

    def judge(self, status, fields, body):
        """Nothing, or what is wrong."""
        if status != self.status:
            return f"status {status}, not {self.status}"
        if status in (204, 405):
            return None if "allow" in fields else "no Allow"
        if status == 301:
            return self.judge_location(fields)
        if status not in (200, 206, 304):
            return None
        if fields.get("etag") != f'"{self.document.tag(self.coding)}"':
            return "the tag is another's"
        if len(self.document.coded) > 1 and "vary" not in fields:
            return "no Vary"
        if status == 304:
            return "304 with a body" if body else None
        if fields.get("last-modified") != stamp(self.document.mtime):
            return "Last-Modified"
        if fields.get("content-encoding", "identity") != self.coding:
            return "Content-Encoding"
        if status == 206 and len(self.parts) > 1:
            return self.judge_parts(fields, body)
        want = self.body()
        if int(fields["content-length"]) != len(want):
            return "Content-Length"
        if self.method == "GET" and body != want:
            return "the body differs"
        if status == 206:
            a, b = self.parts[0]
            n = len(self.document.coded[self.coding])
            if fields.get("content-range") != f"bytes {a}-{b}/{n}":
                return "Content-Range"
        return None

    def judge_location(self, fields):
        want = self.path + b"/"
        where = fields.get("location", "").encode("latin-1")
        plain = bytes(c for c in where if 0x20 < c < 0x7f)
        where, mark, query = where.partition(b"?")
        if len(plain) != len(where + mark + query) or b"//" in where:
            return "Location is no reference"
        if mark + query != self.query:
            return "Location lost the query"
        return None if unescape(where) == want else "Location leads elsewhere"

    def judge_parts(self, fields, body):
        kind = fields["content-type"]
        if not kind.startswith("multipart/byteranges; boundary="):
            return "no multipart"
        mark = b"--" + kind.split("=")[1].encode()
        coded = self.document.coded[self.coding]
        at = 0
        for a, b in self.parts:
            if not body.startswith(b"\r\n" + mark + b"\r\n", at):
                return "no boundary"
            end = body.index(b"\r\n\r\n", at) + 4
            line = f"Content-Range: bytes {a}-{b}/{len(coded)}".encode()
            if line not in body[at:end].split(b"\r\n"):
                return "a part's Content-Range"
            if body[end:end + b - a + 1] != coded[a:b + 1]:
                return "a part's bytes"
            at = end + b - a + 1
        return None if body[at:] == b"\r\n" + mark + b"--\r\n" else "the end"


def unescape(s):
    out, i = b"", 0
    while i < len(s):
        if s[i:i + 1] == b"%":
            out += bytes([int(s[i + 1:i + 3], 16)])
            i += 3
        else:
            out += s[i:i + 1]
            i += 1
    return out


# --------------------------------------------------------------- the client

class Wire:
    """A connection that writes in pieces and reads at its own pace."""

    def __init__(self, r, window=0):
        self.r, self.got = r, b""
        self.s = socket.socket()
        if window:
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.s.settimeout(20)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.s.connect(HOST)

    def write(self, data, cut):
        at = 0
        while at < len(data):
            n = cut(len(data) - at)
            self.s.sendall(data[at:at + n])
            at += n

    def write_beside(self, data, cut):
        """In a thread, since a server that is not read from reads nothing."""
        def writes():
            with contextlib.suppress(OSError):
                self.write(data, cut)
        thread = threading.Thread(target=writes)
        thread.start()
        return thread

    def more(self):
        data = self.s.recv(self.r.choice((100, 1448, 65536)))
        self.got += data
        return bool(data)

    def answer(self, head_only):
        while b"\r\n\r\n" not in self.got:
            if not self.more():
                return None
        head, _, self.got = self.got.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(": ")
            assert name.lower() not in fields, f"{name} twice"
            fields[name.lower()] = value
        n = 0
        if not head_only and status not in (204, 304):
            n = int(fields["content-length"])
        while len(self.got) < n:
            if not self.more():
                return None
        body, self.got = self.got[:n], self.got[n:]
        return status, fields, body

    def rest(self):
        try:
            while self.more():
                pass
        except ConnectionResetError:
            return self.got + b"(reset)"
        except socket.timeout:
            return self.got + b"(timeout)"
        return self.got


def random_cut(r):
    small = r.choice((1, 3, 40, 1448, 1 << 20))
    return lambda n: min(n, r.randrange(1, small + 1))


def fetch(path, coding):
    w = Wire(random.Random(1))
    target = b"".join(b"%%%02x" % c if c != 0x2f else b"/" for c in path)
    w.s.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: h\r\nAccept-Encoding: "
                + coding.encode() + b", identity;q=0\r\n\r\n")
    got = w.answer(False)
    w.s.close()
    return got


def learn(tree):
    """All documents; each must have its file's bytes in every encoding."""
    documents, folders, wrong = [], [], []
    for folder, _, names in os.walk(tree):
        at = folder[len(tree):] + b"/"
        folders.append(at)
        for name in names:
            file = os.path.join(folder, name)
            with open(file, "rb") as f:
                body = f.read()
            mtime = int(os.path.getmtime(file))
            for path in [at + name] + [at] * (name == b"index.html"):
                documents.append(Document(path, body, mtime))
    for d in documents:
        d.coded["identity"] = d.body
        for coding in ("br", "gzip"):
            status, fields, body = fetch(d.path, coding)
            if status == 200:
                d.coded[coding] = body
                if coding == "gzip" and decode(coding, body) != d.body:
                    wrong.append((d.path, coding, "decodes to other bytes"))
            elif status != 406:
                wrong.append((d.path, coding, status))
    return documents, folders, wrong


def sound_round(r, documents, folders, failed):
    """One connection: requests in a row, answers compared."""
    asks = [Ask(r, documents, folders) for _ in range(r.choice(
        (1, 2, 3, 5, 12)))]
    w = Wire(r, r.choice((0, 0, 2048, 20000)))
    for i, a in enumerate(asks):
        if a.status == 501:  # after which the server closes
            del asks[i + 1:]
    said = [a.bytes(a is asks[-1]) for a in asks]
    data = b"".join(said)
    why = None
    try:
        if r.random() < 0.3:
            for a, one in zip(asks, said):
                w.write(one, random_cut(r))
                why = why or judge(w, a, failed)
        else:
            cut = random_cut(random.Random(r.random()))
            writer = w.write_beside(data, cut)
            for a in asks:
                why = why or judge(w, a, failed)
            writer.join()
        if not why and w.rest():
            failed(asks[-1], f"{w.got[:60]!r} follows the last answer")
    except (OSError, AssertionError, ValueError, KeyError) as e:
        failed(asks[0], f"{type(e).__name__}: {e}; of {data[:4000]!r}")
    w.s.close()
    return len(asks)


def judge(w, a, failed):
    got = w.answer(a.method == "HEAD")
    why = "no answer" if got is None else a.judge(*got)
    if why:
        failed(a, why)
    return why


# ----------------------------------------------------------- broken requests

PIECES = (b"GET ", b"HEAD ", b"POST ", b"OPTIONS ", b"get ", b"\r\n", b"\n",
          b"\r", b" ", b"\t", b"\0", b"/", b"*", b"HTTP/1.1", b"HTTP/1.0",
          b"HTTP/2.0", b"Host: h\r\n", b"Host:\r\n", b"Host: h:80:80\r\n",
          b"Content-Length: 5\r\n", b"Content-Length: +5\r\n",
          b"Content-Length: 70000\r\n", b"Content-Length: 5, 5\r\n",
          b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n",
          b"5\r\nhello\r\n", b"0\r\n\r\n", b"fffffffff\r\n", b"5;x=y\r\n",
          b"hello", b"Expect: 100-continue\r\n", b"Expect: x\r\n", b" a: b\r\n",
          b"a : b\r\n", b"a: b\r\n c\r\n", b":\r\n", b"Connection: close\r\n",
          b"%", b"%2", b"%2f", b"%00", b"/%zz", b"http://", b"http://h:x/",
          b"a" * 300, b"b" * 8000, b"x: " + b"y" * 3000 + b"\r\n",
          b"x: y\r\n" * 99, b"Range: bytes=0-\r\n", b"\r\n\r\n", b"\xff", b"?")


def broken(r):
    """Requests, sound ones with pieces put in, taken out or doubled."""
    data = b""
    for _ in range(r.randrange(1, 4)):
        data += (b"%s / HTTP/1.1\r\nHost: h\r\n%s\r\n" % (
            r.choice((b"GET", b"HEAD", b"POST")), r.choice(
                (b"", b"Content-Length: 5\r\n", b"a: b\r\n",
                 b"Transfer-Encoding: chunked\r\n")))) + r.choice(
                (b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n"))
    for _ in range(r.randrange(1, 4)):
        at = r.randrange(len(data) + 1)
        if r.random() < 0.6:
            data = data[:at] + r.choice(PIECES) + data[at:]
        elif r.random() < 0.5:
            data = data[:at] + data[at + r.randrange(1, 12):]
        else:
            data = data[:at] + bytes([r.randrange(256)]) + data[at + 1:]
    return data


def undated(answers):
    return b"\r\n".join(line for line in answers.split(b"\r\n")
                        if not line.startswith(b"Date: "))


def play(data, cut, r):
    w = Wire(r)
    try:
        w.write(data, cut)
        w.s.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    got = w.rest()
    w.s.close()
    return undated(got)


def broken_round(r, failed):
    data = broken(r)
    whole = play(data, lambda n: n, r)
    cut = play(data, random_cut(r), r)
    if whole != cut:
        failed(data, f"whole: {whole[:300]!r}; cut: {cut[:300]!r}")
    if b"(reset)" in whole or b"(timeout)" in whole:
        failed(data, whole[-60:])
    for line in whole.split(b"HTTP/1.1 ")[1:]:
        if line[:3] not in (b"200", b"204", b"206", b"400", b"404", b"405",
                            b"413", b"414", b"417", b"421", b"431", b"501",
                            b"505"):
            failed(data, f"answer {line[:20]!r}")
    return 1


# -------------------------------------------------------------------- running

def drive(tree, seconds, seed):
    r = random.Random(seed)
    documents, folders, wrong = learn(os.fsencode(tree))
    count = failures = 0

    def failed(what, why):
        nonlocal failures
        failures += 1
        if failures <= 10:
            if isinstance(what, Ask):
                what = what.bytes(False)[:4000]
            print(f"# seed {seed}: {why}: {what[:600]!r}")

    for w in wrong:
        failed(b"", w)
    end = time.monotonic() + seconds
    while time.monotonic() < end and failures < 10:
        if r.random() < 0.7:
            count += sound_round(r, documents, folders, failed)
        else:
            count += broken_round(r, failed)
    print(f"# {len(documents)} documents, {count} requests, "
          f"{failures} wrong, seed {seed}")
    return failures != 0


def run(tap_web, mksite, seconds, seed):
    work = tempfile.mkdtemp(prefix="web-")
    tree, image = os.path.join(work, "tree"), os.path.join(work, "site.img")
    os.mkdir(tree)
    make_tree(random.Random(seed), os.fsencode(tree))
    subprocess.run([mksite, "-q", tree, image], check=True)
    subprocess.run([mksite, "--check", image], check=True,
                   stdout=subprocess.DEVNULL)
    failed = 0
    for i, (frames, conns, caps) in enumerate((("64", "64", "0"),
                                               ("2000", "64", "3"))):
        p = subprocess.run(
            [tap_web, image, frames, conns, caps, sys.executable, __file__,
             "drive", tree, str(seconds / 2), str(seed)],
            stdout=subprocess.PIPE, text=True)
        if "# SKIP" in p.stdout:
            print(p.stdout, end="")
            break
        print(p.stdout, end="")
        failed |= p.returncode != 0
        print(f"{'not ' * (p.returncode != 0)}ok {i + 1} - answers are as the "
              f"standard has them, {frames} frames, capabilities {caps}")
    else:
        print("1..2")
    shutil.rmtree(work)
    return failed


def main():
    if sys.argv[1] == "drive":
        return drive(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
    seed = int(sys.argv[5]) if sys.argv[5:] and sys.argv[5] else int(
        os.environ.get("WEB_SEED", random.SystemRandom().getrandbits(31)))
    return run(sys.argv[2], sys.argv[3], float(sys.argv[4]), seed)


if __name__ == "__main__":
    sys.exit(main())
