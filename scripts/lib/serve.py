#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The second half of scripts/serve: site image, network, machine, first byte.
Python of a bare Debian; everything it needs was installed and built before."""
import argparse
import contextlib
import fcntl
import os
import re
import select
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
CHEETAH_END = re.compile(rb"init: cheetah (ended|was killed|killed|is gone)")
READY = re.compile(rb"cheetah: serving .*\n")  # its line, once it listens
QEMU_END = re.compile(rb"^qemu-system-x86_64: terminating on signal .*\n", re.M)
WORK_PREFIX = "pavise-serve-"
IN_NAMESPACE = "PAVISE_SERVE_NAMESPACE"
FIRST_BYTE_PATIENCE = 60.0
ASK_PATIENCE = 1.5
USUAL_PORT = 8080
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
    p.add_argument("--all", action="store_true")
    p.add_argument("--judge", action="store_true")  # scripts/serve's own
    a = p.parse_args()
    if bool(a.dir) == bool(a.site_image):
        raise Failure("give either a directory or --site-image FILE; "
                      "see scripts/serve --help")
    if a.all and a.site_image:
        raise Failure("--all is for a directory; mksite laid the image out")
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
    if a.judge and a.port is not None:
        port_held(a.port).close()
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
    # Its output comes through here: who reads ours may have ended.
    with subprocess.Popen([MKSITE, "-s", *(["--all"] if a.all else []), a.dir,
                           image], text=True,
                          stdout=subprocess.PIPE) as run:
        for line in run.stdout:
            print(line.replace(image, "site"), end="", flush=True)
    if run.returncode != 0:
        raise Failure(f"mksite could not lay out {a.dir} (above); it needs "
                      f"about the directory's size in {work}")
    return image


# ---------------------------------------------------------------- the network

def port_held(port):
    """A socket that listens on `port` (0: any) of 127.0.0.1, so that nobody
    else takes it before QEMU does."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind(("127.0.0.1", port))
        s.listen()
    except OSError as e:
        s.close()
        raise Failure(f"port {port} of 127.0.0.1: {e.strerror.lower()}; "
                      "choose another with --port") from e
    return s


def forwarded_port(wanted):
    """The port to forward, held: the one asked for, or 8080, or a free one."""
    if wanted:
        return port_held(wanted)
    with contextlib.suppress(Failure):
        return port_held(USUAL_PORT)
    held = port_held(0)
    say(f"port {USUAL_PORT} of 127.0.0.1 is in use; taking "
        f"{held.getsockname()[1]} instead (--port chooses one)")
    return held


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
def tap(work):
    """A tap with the host's end at 10.77.N.1; yields its name and N. Its name
    stands in `work`, for who must remove it when we cannot."""
    name = f"pavise{os.getpid() % 100000}"
    used = subprocess.run(["ip", "-4", "addr"], capture_output=True,
                          text=True).stdout
    net = next((n for n in range(64, 255) if f"10.77.{n}." not in used), None)
    if net is None:
        raise Failure("every network 10.77.64 to 10.77.254 is in use")
    with open(os.path.join(work, "tap"), "w", encoding="ascii") as f:
        f.write(name)
    ip("tuntap", "add", "dev", name, "mode", "tap")
    try:
        ip("addr", "add", f"10.77.{net}.1/24", "dev", name)
        ip("link", "set", name, "up")
        yield name, net
    finally:
        tap_remove(name)


def tap_remove(name):
    subprocess.run(["ip", "tuntap", "del", "dev", name, "mode", "tap"],
                   capture_output=True)


@contextlib.contextmanager
def network(a, held, work):
    """Yields (QEMU's -netdev, command line words, address, text)."""
    if not a.tap:
        port = held.getsockname()[1]
        yield (f"user,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:80",
               vm.SLIRP_ADDR, ("127.0.0.1", port),
               f"user mode, 127.0.0.1:{port} is forwarded")
        return
    with tap(work) as (name, net):
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
    """Ask for / once the server has said that it listens: the time from
    QEMU's start to the first served byte."""

    def __init__(self, address, began):
        super().__init__(daemon=True)
        self.address, self.began = address, began
        self.seconds, self.stopped = None, False

    def ask(self):
        with contextlib.suppress(OSError), \
                contextlib.closing(socket.socket()) as s:
            s.settimeout(ASK_PATIENCE)
            s.connect(self.address)
            s.sendall(b"GET / HTTP/1.1\r\nHost: pavise\r\n"
                      b"Connection: close\r\n\r\n")
            if s.recv(1):
                self.seconds = time.monotonic() - self.began

    def run(self):
        while self.seconds is None and not self.stopped:
            self.ask()


# ----------------------------------------------------------- what is left over

def sweep():
    """Remove what a serve that was killed left: it held the lock in its
    folder, and holds it no more."""
    for entry in os.scandir(tempfile.gettempdir()):
        if not entry.name.startswith(WORK_PREFIX):
            continue
        with contextlib.suppress(OSError):
            if entry.stat(follow_symlinks=False).st_uid != os.geteuid():
                continue
            with open(os.path.join(entry.path, "lock"), "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with contextlib.suppress(OSError), \
                        open(os.path.join(entry.path, "tap"),
                             encoding="ascii") as f:
                    tap_remove(f.read())
                shutil.rmtree(entry.path, ignore_errors=True)


@contextlib.contextmanager
def work_folder():
    """A folder for what lives as long as the machine."""
    sweep()
    with tempfile.TemporaryDirectory(prefix=WORK_PREFIX) as work:
        # Under its name only once it is held: see sweep.
        path = os.path.join(work, "lock")
        with open(path + ".new", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.rename(path + ".new", path)
            yield work


# ------------------------------------------------------------------- all of it

class Screen:
    """What the machine prints, in whole lines: ours and its never mix in
    one."""

    def __init__(self):
        self.rest = b""

    def show(self, data):
        whole, _, self.rest = (self.rest + data).rpartition(b"\n")
        if whole:
            self.put(whole + b"\n")

    def put(self, data):
        sys.stdout.flush()
        sys.stdout.buffer.write(QEMU_END.sub(b"", data.replace(b"\r", b"")))
        sys.stdout.flush()

    def finish(self):
        """A last line that has no end."""
        if self.rest:
            self.put(self.rest + b"\n")
        self.rest = b""


def reader_left():
    """Did whoever reads our output end? A pipe says so without a write."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(what & (select.POLLERR | select.POLLHUP)
               for _, what in poll.poll(0))


def iso_image(append, work):
    out = os.path.join(work, "pavise.iso")
    run = subprocess.run([IMAGE, "--modules", vm.MODULES, "--append", append,
                          out], text=True, capture_output=True)
    if run.returncode != 0:
        raise Failure(f"scripts/image: {run.stderr.strip()}")
    return out


def machine(a, work):
    held = None if a.tap else forwarded_port(a.port)
    image = site_image(a, work)
    with network(a, held, work) as (netdev, words, address, net_text):
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
        screen = Screen()
        m = vm.Vm(append=append, smp=a.smp, mem=a.mem, disk=image,
                  netdev=netdev, pcap=a.pcap, log=screen.show, extra=extra,
                  iso=iso_image(append, work) if a.iso else None)
        if held is not None:
            held.close()
        try:
            with m:
                watch(a, m, address, f"http://{host}/")
        finally:
            screen.finish()


def tell(a, url, seconds):
    say(f"serving      {url}")
    if seconds is None:
        say("first byte   left to you: with --log and --pcap serve asks for "
            "nothing")
    else:
        say(f"first byte   {seconds:.3f} s after QEMU started")
    say("Ctrl-C ends it")


def watch(a, m, address, url):
    # Nothing of our own among what the user asked to see.
    ask = None if a.log or a.pcap else FirstByte(address, m.started)
    listens = told = False
    end = None
    try:
        while m.pump(0.05):
            if not listens and READY.search(m.output):
                listens = True
                if ask is not None:
                    ask.start()
            if listens and not told and (ask is None or
                                         ask.seconds is not None):
                told = True
                tell(a, url, ask.seconds if ask is not None else None)
            # A debugger may hold the machine for ever.
            if a.seconds and end is None and (told or a.gdb):
                end = time.monotonic() + a.seconds
            if CHEETAH_END.search(m.output) and m.output.endswith(b"\n"):
                raise Failure("the server ended; its last lines, above, say "
                              "why")
            if not told and not a.gdb and \
                    time.monotonic() > m.started + FIRST_BYTE_PATIENCE:
                raise Failure(f"no answer within {FIRST_BYTE_PATIENCE:.0f} s; "
                              "the machine's last lines stand above")
            if reader_left():
                raise BrokenPipeError
            if end and time.monotonic() > end:
                return
    finally:
        if ask is not None:
            ask.stopped = True
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
        with work_folder() as work:
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
