#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""netsvc with clients that we did not write, and killing: each environment
lives on when the other dies. Speaks TAP."""
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time

import e2e

MB = 1 << 20
KILL_AT_MS = 4000


def echo_tcp(t, s, size):
    data, got = os.urandom(size), bytearray()
    with s.connect("echo", 30) as c:
        def send():
            c.sendall(data)
            c.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        while part := c.recv(65536):
            got += part
            s.vm.pump()
        sender.join(10)
    t.ok(bytes(got) == data, f"TCP echo of {size} bytes, then FIN",
         f"{len(got)} of {size} came back")


def echo_socat(t, s):
    """socat half-closes and waits for the rest."""
    data = os.urandom(300_000)
    p = subprocess.run(["socat", "-t", "20", "-",
                        f"TCP:127.0.0.1:{s.port['echo']}"],
                       input=data, capture_output=True, timeout=60)
    t.ok(p.stdout == data, "TCP echo through socat",
         f"{len(p.stdout)} bytes; {p.stderr.decode()}")


def discard(t, s, size):
    with s.connect("discard", 30) as c:
        c.sendall(bytes(size))
        c.shutdown(socket.SHUT_WR)
        t.ok(c.recv(1) == b"", f"discard takes {size} bytes and says nothing")


def zero(t, s, size):
    began, got, clean = time.monotonic(), 0, True
    with s.connect("zero", 30) as c:
        while got < size:
            part = c.recv(1 << 18)
            if not part:
                break
            clean = clean and not part.strip(b"\0")
            got += len(part)
            s.vm.pump()
    seconds = time.monotonic() - began
    t.ok(got >= size and clean, f"{size >> 20} MiB of zero bytes",
         f"{got} bytes, clean {clean}")
    t.note(f"{got / 1e6 / seconds:.1f} MB/s through user-mode networking")


def udp(t, s):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as c:
        c.settimeout(5)
        for size in (1, 512, 1400):
            data = os.urandom(size)
            c.sendto(data, ("127.0.0.1", s.port["uecho"]))
            try:
                t.ok(c.recv(2048) == data, f"UDP echo of {size} bytes")
            except TimeoutError:
                t.ok(False, f"UDP echo of {size} bytes", "no answer")
        c.sendto(b"x" * 100, ("127.0.0.1", s.port["uzero"]))
        try:
            t.ok(c.recv(2048) == bytes(100), "UDP zero answers no more bytes "
                 "than it was sent")
        except TimeoutError:
            t.ok(False, "UDP zero", "no answer")
        c.sendto(b"x", ("127.0.0.1", s.port["udiscard"]))
        c.settimeout(0.3)
        try:
            t.ok(False, "UDP discard is silent", c.recv(2048))
        except TimeoutError:
            t.ok(True, "UDP discard is silent")


def many(t, s, n):
    """Connections side by side."""
    conns = [s.connect("echo", 20) for _ in range(n)]
    for i, c in enumerate(conns):
        c.sendall(f"{i:06}".encode())
    good = 0
    for i, c in enumerate(conns):
        good += c.recv(64) == f"{i:06}".encode()
        c.close()
    t.ok(good == n, f"{n} connections at a time", f"{good} answered right")


def idle(t, s, service, n=64):
    """Strangers who do nothing hold every place that there is."""
    held = [s.connect(service, 20) for _ in range(n)]
    time.sleep(2.5)
    s.vm.pump()
    try:
        for _ in range(3):
            with s.connect("echo", 10) as c:
                c.sendall(b"me too")
                t.ok(c.recv(16) == b"me too",
                     f"{n} who keep {service} idle shut nobody out")
    except OSError as e:
        t.ok(False, f"{n} who keep {service} idle shut nobody out", e)
    for c in held:
        c.close()


def small_site():
    root = e2e.fresh(os.path.join(e2e.WORK, "small"))
    with open(os.path.join(root, "index.html"), "w") as f:
        f.write("<p>still here</p>\n")
    with open(os.path.join(root, "big.bin"), "wb") as f:
        f.write(os.urandom(8 * MB))
    return root, e2e.mksite(root, os.path.join(e2e.WORK, "small.img"))


def digest(s, path):
    status, _ = s.curl("--fail", "-o", os.path.join(e2e.WORK, "one"),
                       s.url + path, timeout=60)
    if status != 0:
        return None
    return e2e.sha256(os.path.join(e2e.WORK, "one"))


def kill(t, image, root, victim):
    want = hashlib.sha256(open(os.path.join(root, "big.bin"),
                               "rb").read()).hexdigest()
    with e2e.Server(image, f"kill={victim}@{KILL_AT_MS}") as s:
        if not t.ok(s.first_byte() is not None, f"kill {victim}: it boots",
                    s.vm.tail()):
            return
        # Both are busy when the victim dies.
        c = s.connect("echo")
        c.sendall(b"before")
        t.ok(c.recv(16) == b"before", f"kill {victim}: netsvc works before")
        gone = s.vm.wait_for(f"init: {victim} ", 30)
        gone = gone and s.vm.wait_for(f"{victim} was killed", 5)
        t.ok(gone, f"kill {victim}: init says so", s.vm.tail())
        if victim == "netsvc":
            t.ok(digest(s, "/big.bin") == want, "Cheetah serves on")
            t.ok(dead(s, "echo"), "netsvc's ports are closed")
        else:
            c.sendall(b"after")
            t.ok(c.recv(16) == b"after", "netsvc goes on in the middle of a "
                 "connection")
            echo_tcp(t, s, MB)
            t.ok(dead(s, "http"), "Cheetah's port is closed")
        c.close()
        t.ok(s.vm.running(), f"kill {victim}: the machine runs on")


def dead(s, service):
    """Nothing comes back: the host resets, or QEMU closes the forward."""
    try:
        with s.connect(service, 5) as c:
            c.sendall(b"GET / HTTP/1.1\r\n\r\n")
            return c.recv(16) == b""
    except OSError:
        return True


def main():
    t = e2e.Tap()
    root, image = small_site()
    with e2e.Server(image) as s:
        if not t.ok(s.first_byte() is not None, "it boots", s.vm.tail(30)):
            return t.done()
        echo_tcp(t, s, 10)
        echo_tcp(t, s, 2 * MB)
        echo_socat(t, s)
        discard(t, s, 4 * MB)
        zero(t, s, 16 * MB)
        udp(t, s)
        many(t, s, 40)
        idle(t, s, "discard")
        idle(t, s, "echo")
    kill(t, image, root, "netsvc")
    kill(t, image, root, "cheetah")
    return t.done()


if __name__ == "__main__":
    sys.exit(main())
