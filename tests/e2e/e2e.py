# SPDX-License-Identifier: MIT
"""What the end-to-end tests share: TAP, a server in a machine, its site."""
import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "scripts", "lib"))
import vm  # noqa: E402

MKSITE = os.path.join(vm.BUILD, "cheetah", "mksite")
WORK = os.path.join(vm.BUILD, "e2e")


class Tap:
    """Numbered results; done() prints the plan and gives the exit status."""

    def __init__(self):
        self.count = self.failed = 0

    def ok(self, good, name, why=""):
        self.count += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.count} - {name}",
              flush=True)
        if not good:
            self.note(why)
        return good

    def skip(self, name, why):
        self.count += 1
        print(f"ok {self.count} - {name} # SKIP {why}", flush=True)

    def note(self, text):
        for line in str(text).splitlines():
            print(f"# {line}", flush=True)

    def done(self):
        print(f"1..{self.count}", flush=True)
        return 1 if self.failed else 0


def sha256(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            h.update(chunk)
    return h.hexdigest()


def mksite(folder, image, *options):
    run = subprocess.run([MKSITE, "-q", *options, folder, image],
                         capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError(f"mksite: {run.stderr}")
    return image


class Server:
    """Pavise with Cheetah and netsvc behind QEMU's user network."""

    TCP = {"http": 80, "echo": 7, "discard": 9, "zero": 19}
    UDP = {"uecho": 7, "udiscard": 9, "uzero": 19}

    def __init__(self, image, append="", **kw):
        self.port = {n: vm.free_port() for n in (*self.TCP, *self.UDP)}
        forward = "".join(
            [f",hostfwd=tcp:127.0.0.1:{self.port[n]}-:{p}"
             for n, p in self.TCP.items()] +
            [f",hostfwd=udp:127.0.0.1:{self.port[n]}-:{p}"
             for n, p in self.UDP.items()])
        self.vm = vm.Vm(append=f"{vm.SLIRP_ADDR} {append}".strip(),
                        disk=image, netdev=f"user{forward}", **kw)
        self.url = f"http://127.0.0.1:{self.port['http']}"

    def __enter__(self):
        self.vm.start()
        return self

    def __exit__(self, *_):
        self.vm.stop()

    def connect(self, service, timeout=10):
        s = socket.create_connection(("127.0.0.1", self.port[service]),
                                     timeout)
        s.settimeout(timeout)
        return s

    def first_byte(self, patience=30):
        """Seconds from QEMU's start to the first byte of an answer."""
        end = self.vm.started + patience
        while time.monotonic() < end and self.vm.running():
            self.vm.pump()
            with contextlib.suppress(OSError), self.connect("http", 1) as s:
                s.sendall(b"GET / HTTP/1.1\r\nHost: t\r\n"
                          b"Connection: close\r\n\r\n")
                if s.recv(1):
                    return time.monotonic() - self.vm.started
            time.sleep(0.01)
        return None

    def curl(self, *args, timeout=600):
        """Run curl while the machine's output is taken."""
        p = subprocess.Popen(["curl", "-sS", *args], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)
        end = time.monotonic() + timeout
        while p.poll() is None and time.monotonic() < end:
            self.vm.pump(0.05)
        if p.poll() is None:
            p.kill()
        return p.wait(), p.stdout.read()


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    return folder
