#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A real TCP on the same link, over a tap in a namespace of this test's own:
IP options, crowds, and a flood of SYNs. Speaks TAP."""
import contextlib
import json
import os
import resource
import select
import socket
import subprocess
import sys
import threading
import time

import e2e
import vm

INSIDE = "PAVISE_TEST_NAMESPACE"
HOST, GUEST, TAP = "10.77.0.1", "10.77.0.2", "tap0"
NOPS = b"\x01\x01\x01\x01"
ROUTE = b"\x07\x07\x04\0\0\0\0\0"  # record route, room for one
STAMP = b"\x44\x08\x05\0\0\0\0\0"  # timestamps, room for one
FLOOD = os.path.join(vm.BUILD, "tests", "e2e", "syn_flood")
FLOOD_RATE = 100_000


def ip(*args):
    subprocess.run(["ip", *args], check=True)


def enter():
    """Go into a network namespace, or say why that cannot be."""
    if os.environ.get(INSIDE):
        return ""
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "/dev/net/tun cannot be opened"
    flags = ["-n"] if os.geteuid() == 0 else ["-Urn"]
    if subprocess.run(["unshare", *flags, "true"],
                      capture_output=True).returncode != 0:
        return "no network namespace can be made"
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", *flags, sys.executable, *sys.argv])
    return ""


def lay_cable():
    ip("link", "set", "lo", "up")
    ip("tuntap", "add", "dev", TAP, "mode", "tap")
    ip("addr", "add", f"{HOST}/24", "dev", TAP)
    ip("link", "set", TAP, "up")


class Machine(vm.Vm):
    """Its console is read by a thread, so that a test may block."""

    def __init__(self, image, append=""):
        super().__init__(append=f"ip={GUEST}/24 gw={HOST} {append}",
                         disk=image,
                         netdev=f"tap,ifname={TAP},script=no,downscript=no")

    def __enter__(self):
        self.start()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        return self

    def _read(self):
        while self.pump(0.1):
            pass

    def __exit__(self, *_):
        self.stop()

    def serves(self, patience=30):
        end = time.monotonic() + patience
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                if get("/", 1):
                    return True
            time.sleep(0.05)
        return False


def connect(port, timeout=5, options=b""):
    s = socket.socket()
    if options:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, options)
    s.settimeout(timeout)
    s.connect((GUEST, port))
    return s


def get(path="/", timeout=5):
    """The body of one answer."""
    got = b""
    with connect(80, timeout) as s:
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close"
                  "\r\n\r\n".encode())
        while part := s.recv(65536):
            got += part
    return got.partition(b"\r\n\r\n")[2]


def counters():
    c = json.loads(get("/.pavise/counters", 20))
    return {k: v for part in c.values() if isinstance(part, dict)
            for k, v in part.items()}


# ----------------------------------------------------------------- IP options

def options(t):
    """RFC 1122 3.2.1.8, RFC 9293 MUST-50: options that are not understood are
    passed over."""
    for name, opt in (("no operation", NOPS), ("record route", ROUTE),
                      ("timestamp", STAMP)):
        try:
            with connect(7) as s:
                s.sendall(b"plain")
                plain = s.recv(16)
                s.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, opt)
                s.sendall(b"with")
                t.ok((plain, s.recv(16)) == (b"plain", b"with"),
                     f"TCP goes on under IP options: {name}")
            with connect(80, options=opt) as s:
                s.sendall(b"HEAD / HTTP/1.1\r\nHost: t\r\n\r\n")
                t.ok(s.recv(16).startswith(b"HTTP/1.1 200"),
                     f"TCP begins under IP options: {name}")
        except OSError as e:
            t.ok(False, f"TCP under IP options: {name}", e)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, opt)
            s.settimeout(3)
            s.connect((GUEST, 7))
            try:
                s.send(b"datagram")
                t.ok(s.recv(16) == b"datagram", f"UDP under IP options: {name}")
            except OSError as e:
                t.ok(False, f"UDP under IP options: {name}", e)


def closed(t):
    """What nobody serves is refused at once, as before."""
    for options in (b"", NOPS):
        try:
            connect(81, 2, options).close()
            t.ok(False, "a port that nobody serves is open")
        except ConnectionRefusedError:
            t.ok(True, f"nobody serves port 81: refused ({len(options)} bytes "
                 "of options)")
        except OSError as e:
            t.ok(False, "nobody serves port 81", e)


# -------------------------------------------------------------------- crowds

def crowd(t, clients):
    """Newcomers at once, all of them keeping what they have: each is answered
    before its place is given to another."""
    poll, socks, answered, lost = select.poll(), {}, 0, 0
    for _ in range(clients):
        c = socket.socket()
        c.setblocking(False)
        c.connect_ex((GUEST, 80))
        socks[c.fileno()] = c
        poll.register(c, select.POLLOUT)
    end = time.monotonic() + 60
    while answered + lost < clients and time.monotonic() < end:
        for fd, event in poll.poll(50):
            try:
                if event & select.POLLOUT:
                    socks[fd].send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
                    poll.modify(fd, select.POLLIN)
                    continue
                good = socks[fd].recv(100).startswith(b"HTTP/1.1 200")
            except OSError:
                good = False
            answered += good
            lost += not good
            poll.unregister(fd)
    for c in socks.values():
        c.close()
    return answered, lost


def crowds(t, places, clients):
    # The usual limit of a user's shell, 1,024 files, may be raised by any user.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most != resource.RLIM_INFINITY and most < clients + 100:
        t.skip(f"{clients} newcomers at once", f"at most {most} open files")
        return
    before = counters()
    answered, lost = crowd(t, clients)
    t.ok((answered, lost) == (clients, 0),
         f"{clients} newcomers at once for {places} places are all answered",
         f"{answered} were, {lost} were sent away")
    after = counters()
    t.ok(after["recycled"] > before["recycled"], "places were given on")
    for key in ("recycled", "refused", "tcp_syn_full", "tcp_cookies_ok",
                "rx_dropped"):
        t.note(f"{key}: {after[key] - before[key]}")


# --------------------------------------------------------------------- floods

class Load:
    """Requests over connections that are open, and over new ones."""

    def __init__(self, keep=8):
        self.keep = [connect(80) for _ in range(keep)]
        self.stop = False
        self.kept = self.fresh = 0

    def _kept(self):
        poll = select.poll()
        by_fd = {c.fileno(): c for c in self.keep}
        for c in self.keep:
            c.setblocking(False)
            c.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
            poll.register(c, select.POLLIN)
        while not self.stop:
            for fd, _ in poll.poll(20):
                with contextlib.suppress(BlockingIOError):
                    by_fd[fd].recv(65536)
                    self.kept += 1
                    by_fd[fd].send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")

    def _fresh(self):
        while not self.stop:
            with contextlib.suppress(OSError):
                self.fresh += bool(get("/", 2))

    def run(self, seconds):
        threads = [threading.Thread(target=f, daemon=True)
                   for f in (self._kept, self._fresh, self._fresh)]
        for x in threads:
            x.start()
        began = time.monotonic()
        time.sleep(seconds)
        kept, fresh = self.kept, self.fresh
        took = time.monotonic() - began
        self.stop = True
        for x in threads:
            x.join()
        return kept / took, fresh / took


def guest_mac():
    with open("/proc/net/arp", encoding="ascii") as f:
        return next(x.split()[3] for x in f if x.startswith(GUEST + " "))


def flood(t, seconds, rate):
    quiet = Load().run(seconds)
    before = counters()
    p = subprocess.Popen([FLOOD, TAP, guest_mac(), GUEST, "80", str(rate),
                          str(seconds + 1)], stdout=subprocess.PIPE, text=True)
    load = Load()
    time.sleep(0.5)
    busy = load.run(seconds)
    sent = int(p.communicate()[0])
    after = counters()
    t.note(f"flood: {sent / (seconds + 1):.0f} SYNs/s sent")
    for i, what in enumerate(("open", "new")):
        t.note(f"requests/s over {what} connections: {quiet[i]:.0f} quiet, "
               f"{busy[i]:.0f} in the flood")
    more = {k: after[k] - before.get(k, 0) for k in after}
    for k in ("rx_frames", "rx_dropped", "rx_overrun", "rx_starved",
              "tcp_accepted", "tcp_cookies_sent", "tcp_syn_limited"):
        t.note(f"{k}: {more[k]}")
    t.ok(more["tcp_syn_limited"] > 0, "the limit on SYN-ACKs is counted")
    # A burst of four seconds' worth, then a second's each second; twice, since
    # peers who are known have a budget of their own.
    unanswered = more["tcp_cookies_sent"] - more["tcp_cookies_ok"]
    most = 2 * 1000 * (4 + seconds + 3)
    t.ok(unanswered <= most, f"at most {most:.0f} SYN-ACKs go to senders that "
         "do not exist", unanswered)
    lost = sent - (more["rx_frames"] - more["tcp_fast_path"])
    t.ok(lost < 1000 or more["rx_starved"] + more["rx_overrun"] > 0,
         "what the card or a ring dropped shows", f"{lost} were lost")
    t.ok(busy[0] > quiet[0] / 50, "open connections go on in the flood",
         f"{busy[0]:.1f} requests/s of {quiet[0]:.1f}")


def main():
    t = e2e.Tap()
    why = enter()
    if why:
        t.skip("a tap in a namespace", why)
        return t.done()
    lay_cable()
    root = e2e.fresh(os.path.join(e2e.WORK, "net-site"))
    with open(os.path.join(root, "index.html"), "w", encoding="ascii") as f:
        f.write("<p>here</p>\n" * 20)
    image = e2e.mksite(root, os.path.join(e2e.WORK, "net.img"))
    with Machine(image, "cheetah.conns=128") as m:
        if not t.ok(m.serves(), "it serves", m.tail(30)):
            return t.done()
        options(t)
        closed(t)
        crowds(t, 128, 1500)
        flood(t, float(os.environ.get("FLOOD_SECONDS", "2")), FLOOD_RATE)
        t.ok(m.running(), "the machine runs on", m.tail(30))
    return t.done()


if __name__ == "__main__":
    sys.exit(main())
