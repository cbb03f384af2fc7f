#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The second half of scripts/serve: site image, network, machine, first byte.
Python of a bare Debian; everything it needs was installed and built before."""
import argparse
import contextlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import vm  # noqa: E402

MKSITE = os.path.join(vm.BUILD, "cheetah", "mksite")
IMAGE = os.path.join(vm.ROOT, "scripts", "image")
IN_NAMESPACE = "PAVISE_SERVE_NAMESPACE"
FIRST_BYTE_PATIENCE = 60.0
ASK_PATIENCE = 1.5  # user-mode networking is slow to ask a second time
GDB_PORT = 1234
MEM_MIN = 48 << 20  # the kernel, rings and connections; less serves nothing
SUFFIXES = {"": 1 << 20, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Failure(Exception):
    """What went wrong, and what to do about it."""


def say(text):
    print(f"serve: {text}", flush=True)


class Arguments(argparse.ArgumentParser):
    """A mistake is one line, not the usage with a line below it."""

    def error(self, message):
        raise Failure(f"{message}; see scripts/serve --help")


def whole(text):
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def seconds(text):
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text) or float(text) == 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of seconds above 0")
    return float(text)


def arguments():
    p = Arguments(prog="scripts/serve", add_help=False, allow_abbrev=False)
    p.add_argument("dir", nargs="?")
    p.add_argument("--port", type=whole)
    p.add_argument("--tap", action="store_true")
    p.add_argument("--smp", type=whole, default=1)
    p.add_argument("--mem", default="256M")
    p.add_argument("--iso", action="store_true")
    p.add_argument("--pcap")
    p.add_argument("--gdb", action="store_true")
    p.add_argument("--site-image")
    p.add_argument("--for", type=seconds, dest="seconds")
    p.add_argument("--log", action="store_true")
    p.add_argument("--append", default="")
    p.add_argument("--judge", action="store_true")  # scripts/serve's own
    a = p.parse_args()
    if bool(a.dir) == bool(a.site_image):
        raise Failure("give either a directory or --site-image FILE; "
                      "see scripts/serve --help")
    if not 1 <= a.smp <= 64:
        raise Failure(f"--smp {a.smp}: a number of processors from 1 to 64")
    judge_memory(a.mem)
    judge_pcap(a.pcap)
    if a.port is not None and not 0 < a.port < 65536:
        raise Failure(f"--port {a.port}: a port is 1 to 65535")
    if a.port is not None and a.tap:
        raise Failure("--port is for the forwarded port; with --tap the "
                      "server has an address of its own, port 80")
    if a.site_image:
        judge_image(a.site_image)
    else:
        judge_dir(a.dir)
    return a


def judge_memory(text):
    m = re.fullmatch(r"(\d+)([KMG]?)", text.upper())
    if not m or int(m.group(1)) * SUFFIXES[m.group(2)] < MEM_MIN:
        raise Failure(f"--mem {text}: a size of at least {MEM_MIN >> 20}M, "
                      "like 256M or 1G")


def judge_pcap(path):
    if path and os.path.isdir(path):
        raise Failure(f"--pcap {path}: a folder; name a file in it")
    folder = os.path.dirname(os.path.abspath(path or "x"))
    if path and not (os.path.isdir(folder) and os.access(folder, os.W_OK)):
        raise Failure(f"--pcap {path}: {folder} is not a folder that can be "
                      "written; choose another")


def judge_image(path):
    if os.path.isdir(path):
        raise Failure(f"--site-image {path}: a directory; serve "
                      "it without --site-image")
    if not os.path.isfile(path):
        raise Failure(f"{path}: no such file; make one with "
                      "build/cheetah/mksite DIR FILE")


def judge_dir(path):
    try:
        mode = os.stat(path).st_mode
    except PermissionError:
        raise Failure(f"{path}: what it lies in may not be searched; "
                      "give yourself x there by chmod, or serve another"
                      ) from None
    except OSError as e:
        raise Failure(f"{path}: {e.strerror.lower()}; name a directory "
                      "that exists") from None
    if not stat.S_ISDIR(mode):
        raise Failure(f"{path}: not a directory; name the one it is in, or "
                      "say --site-image if mksite made it")
    if not os.access(path, os.R_OK | os.X_OK):
        raise Failure(f"{path}: cannot be read; give yourself r and x on it "
                      "by chmod, or serve another")


# ------------------------------------------------------------------- the site

def site_image(a, work):
    if a.site_image:
        run = subprocess.run([MKSITE, "--check", a.site_image],
                             capture_output=True, text=True)
        if run.returncode != 0:
            raise Failure(f"{run.stderr.strip() or a.site_image}\n"
                          "The image cannot be served; make it again with "
                          "build/cheetah/mksite DIR FILE")
        return os.path.abspath(a.site_image)
    image = os.path.join(work, "site.img")
    say(f"laying out {a.dir}")
    if subprocess.run([MKSITE, "-s", a.dir, image]).returncode != 0:
        raise Failure(f"mksite could not lay out {a.dir} (above); it needs "
                      f"about the directory's size in {work}")
    return image


# ---------------------------------------------------------------- the network

def forwarded_port(wanted):
    """The port to forward: what was asked for, or 8080, or a free one."""
    for port in [wanted] if wanted else [8080, 0]:
        with contextlib.closing(socket.socket()) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return s.getsockname()[1]
            except OSError as e:
                if wanted:
                    raise Failure(f"port {port} of 127.0.0.1: {e.strerror}; "
                                  "choose another with --port") from e
    raise Failure("no free port on 127.0.0.1")


def is_free(port):
    with contextlib.closing(socket.socket()) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return s.connect_ex(("127.0.0.1", port)) != 0


def ip(*words):
    run = subprocess.run(["ip", *words], capture_output=True, text=True)
    if run.returncode != 0:
        raise Failure(f"ip {' '.join(words)}: {run.stderr.strip()}\n"
                      "A tap needs root, or user namespaces and access to "
                      "/dev/net/tun; without them leave --tap out")


def enter_namespace():
    """Without root: run again inside a user and network namespace."""
    if os.geteuid() == 0 or os.environ.get(IN_NAMESPACE):
        return
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        raise Failure("--tap: /dev/net/tun cannot be opened; run as root, or "
                      "chmod 666 /dev/net/tun")
    if subprocess.run(["unshare", "-Urn", "true"],
                      capture_output=True).returncode != 0:
        raise Failure("--tap without root needs user namespaces: sysctl "
                      "kernel.unprivileged_userns_clone=1, or run as root")
    os.environ[IN_NAMESPACE] = "1"
    os.execvp("unshare", ["unshare", "-Urn", sys.executable, *sys.argv])


@contextlib.contextmanager
def tap():
    """A tap with the host's end at 10.77.N.1; yields its name and N."""
    name = f"pavise{os.getpid() % 100000}"
    used = subprocess.run(["ip", "-4", "addr"], capture_output=True,
                          text=True).stdout
    net = next((n for n in range(64, 255) if f"10.77.{n}." not in used), None)
    if net is None:
        raise Failure("every network 10.77.64 to 10.77.254 is in use")
    ip("tuntap", "add", "dev", name, "mode", "tap")
    try:
        ip("addr", "add", f"10.77.{net}.1/24", "dev", name)
        ip("link", "set", name, "up")
        yield name, net
    finally:
        subprocess.run(["ip", "tuntap", "del", "dev", name, "mode", "tap"],
                       capture_output=True)


@contextlib.contextmanager
def network(a):
    """Yields (QEMU's -netdev, command line words, address, text)."""
    if not a.tap:
        port = forwarded_port(a.port)
        yield (f"user,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:80",
               vm.SLIRP_ADDR, ("127.0.0.1", port),
               f"user mode, 127.0.0.1:{port} is forwarded")
        return
    with tap() as (name, net):
        where = "tap"
        if os.environ.get(IN_NAMESPACE):
            where = (f"tap in a user namespace; enter it with\n"
                     f"         nsenter -t {os.getpid()} -U -n "
                     "--preserve-credentials")
        yield (f"tap,ifname={name},script=no,downscript=no",
               f"ip=10.77.{net}.2/24 gw=10.77.{net}.1",
               (f"10.77.{net}.2", 80), where)


# ------------------------------------------------------------- the first byte

class FirstByte(threading.Thread):
    """Ask for / every few milliseconds, each time on a new connection, until
    one is answered: the time from QEMU's start to the first served byte."""

    def __init__(self, address, began):
        super().__init__(daemon=True)
        self.address, self.began = address, began
        self.seconds, self.stopped = None, False
        self.answered = threading.Event()

    def ask(self):
        with contextlib.suppress(OSError), \
                contextlib.closing(socket.socket()) as s:
            s.settimeout(ASK_PATIENCE)
            s.connect(self.address)
            s.sendall(b"GET / HTTP/1.1\r\nHost: pavise\r\n"
                      b"Connection: close\r\n\r\n")
            if s.recv(1) and not self.answered.is_set():
                self.seconds = time.monotonic() - self.began
                self.answered.set()

    def run(self):
        end = self.began + FIRST_BYTE_PATIENCE
        while not self.answered.wait(0.02) and not self.stopped:
            if time.monotonic() > end:
                return
            if threading.active_count() < 128:
                threading.Thread(target=self.ask, daemon=True).start()


# ------------------------------------------------------------------- all of it

def show(data):
    sys.stdout.buffer.write(data.replace(b"\r", b""))
    sys.stdout.flush()


def iso_image(append, work):
    out = os.path.join(work, "pavise.iso")
    run = subprocess.run([IMAGE, "--modules", vm.MODULES, "--append", append,
                          out], text=True, capture_output=True)
    if run.returncode != 0:
        raise Failure(f"scripts/image: {run.stderr.strip()}")
    return out


def machine(a, work):
    image = site_image(a, work)
    with network(a) as (netdev, words, address, net_text):
        log = "cheetah.log" if a.log else ""
        append = f"{words} run=cheetah,netsvc {log} {a.append}".strip()
        host = address[0] + ("" if address[1] == 80 else f":{address[1]}")
        extra = []
        if a.gdb:
            if not is_free(GDB_PORT):
                raise Failure(f"--gdb: port {GDB_PORT} of 127.0.0.1 is in use; "
                              "end the other debugging session first")
            extra = ["-gdb", f"tcp:127.0.0.1:{GDB_PORT}", "-S"]
            say(f"waiting for a debugger; start it with\n"
                f"         {vm.ROOT}/scripts/gdb {vm.KERNEL}")
        say("accelerator: %s (%s)" % vm.accelerator())
        say(f"network:     {net_text}")
        m = vm.Vm(append=append, smp=a.smp, mem=a.mem, disk=image,
                  netdev=netdev, pcap=a.pcap, log=show, extra=extra,
                  iso=iso_image(append, work) if a.iso else None)
        with m:
            watch(a, m, address, f"http://{host}/")


def watch(a, m, address, url):
    first, told = FirstByte(address, m.started), False
    first.start()
    end = time.monotonic() + a.seconds if a.seconds else None
    while m.pump(0.05):
        if first.answered.is_set() and not told:
            told = True
            say(f"serving      {url}")
            say(f"first byte   {first.seconds:.3f} s after QEMU started")
            say("Ctrl-C ends it")
        if b"init: cheetah ended" in m.output and m.output.endswith(b"\n"):
            raise Failure("the server ended; its last lines, above, say why")
        if not told and not a.gdb and \
                time.monotonic() > m.started + FIRST_BYTE_PATIENCE:
            raise Failure(f"no answer within {FIRST_BYTE_PATIENCE:.0f} s; the "
                          "machine's last lines stand above")
        if end and time.monotonic() > end:
            first.stopped = True
            return
    first.stopped = True
    status = m.process.wait()
    if status not in (0, vm.EXIT_OK):
        raise Failure(f"the machine ended with status {status}; its last "
                      "lines stand above")


def serve():
    """Its exit status."""
    try:
        a = arguments()
        if a.judge:
            return 0
        for name, why in ((vm.QEMU, "serve"), ("ip", "serve")):
            if not shutil.which(name):
                raise Failure(f"{name} is not installed; run scripts/setup "
                              f"{why}")
        if a.tap:
            enter_namespace()
        with tempfile.TemporaryDirectory(prefix="pavise-") as work:
            machine(a, work)
    except Failure as e:
        print(f"serve: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
        say("ended")
        return 0
    return 0


def main():
    # A terminal that is closed, too, must leave no tap and no file behind.
    for s in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, lambda number, _: sys.exit(128 + number))
    try:
        return serve()
    except BrokenPipeError:
        # Whoever read this has ended; nor can Python's own last flush help it.
        null = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(null, stream.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
