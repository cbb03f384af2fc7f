# SPDX-License-Identifier: MIT
"""One QEMU machine with Pavise in it, for scripts/serve and the tests.

The machine ends with its maker: QEMU is told to die when this process does,
and `with Vm(...)` ends it on the way out, whatever happened.
"""
import ctypes
import functools
import os
import selectors
import signal
import socket
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build")
KERNEL = os.path.join(BUILD, "src", "pavise.elf")
MODULES = os.path.join(BUILD, "programs", "boot.tar")
QEMU = "qemu-system-x86_64"
EXIT_OK = 33  # isa-debug-exit: 0x10 << 1 | 1
SLIRP_ADDR = "ip=10.0.2.15/24 gw=10.0.2.2"
PR_SET_PDEATHSIG = 1


@functools.lru_cache
def accelerator():
    """("kvm" or "tcg", the reason): whatever scripts/qemu finds to work. It
    says on standard error when that takes its time."""
    out = subprocess.run([os.path.join(ROOT, "scripts", "qemu"), "--probe"],
                         check=True, stdout=subprocess.PIPE, text=True).stdout
    name, why = out.strip().split(" ", 1)
    return name, why.strip("()")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Vm:
    """A machine: Vm(append=..., ...) is started by start() or `with`.

    append    kernel command line
    modules   the archive of environments
    smp, mem  processors; memory as QEMU spells it
    disk      a raw image, read-only, or None
    netdev    QEMU's -netdev without id, or None
    net_opts  more properties of the network card
    iso       boot this instead, through its firmware
    firmware  a flash image for -bios, or None for SeaBIOS
    pcap      write what the network card saw to this file
    extra     more arguments
    machine   QEMU's kind of machine
    cpu       its processor, or None for the best that there is
    icount    QEMU's -icount: its clock counts instructions
    plain     as others make machines: no source of entropy, no way to end but
              to be switched off
    """

    def __init__(self, append="", modules=MODULES, smp=1, mem="256M",
                 disk=None, netdev=None, net_opts="", iso=None, firmware=None,
                 pcap=None, extra=(), accel=None, log=None, machine="q35",
                 cpu=None, plain=False, icount=None):
        # Only TCG counts instructions, and in QEMU 10 not across a write to a
        # timer of the x2APIC ("Bad icount read").
        if icount:
            accel, cpu = "tcg", cpu or "max,-x2apic"
            extra = ("-icount", icount, *extra)
        self.accel = accel or accelerator()[0]
        self.log, self.output = log, bytearray()
        self.process = self.selector = None
        self.started = 0.0
        self.command = self._base(machine, cpu, plain)
        self.command += self._command(append, modules, smp, mem, disk, netdev,
                                      net_opts, iso, firmware, pcap, extra)

    def _base(self, machine, cpu, plain):
        cpu = cpu or ("host" if self.accel == "kvm" else "max")
        c = [QEMU, "-nodefaults", "-no-user-config", "-display", "none",
             "-machine", machine, "-accel", self.accel, "-cpu", cpu,
             "-serial", "stdio", "-no-reboot"]
        if not plain:
            c += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4",
                  "-device", "virtio-rng-pci,disable-legacy=on"]
        return c

    def _command(self, append, modules, smp, mem, disk, netdev, net_opts, iso,
                 firmware, pcap, extra):
        c = ["-smp", str(smp), "-m", str(mem)]
        if iso:
            c += ["-cdrom", iso, "-boot", "d"]
        else:
            c += ["-kernel", KERNEL, "-initrd", modules, "-append", append]
        if firmware:
            c += ["-bios", firmware]
        if disk:
            c += ["-drive", f"file={disk},if=none,id=d0,format=raw,"
                  "read-only=on,cache=unsafe,file.locking=off", "-device",
                  "virtio-blk-pci,drive=d0,disable-legacy=on"]
        if netdev:
            opts = f",{net_opts}" if net_opts else ""
            c += ["-netdev", f"{netdev},id=n0", "-device",
                  f"virtio-net-pci,netdev=n0,disable-legacy=on,romfile={opts}"]
            if pcap:
                c += ["-object", f"filter-dump,id=f0,netdev=n0,file={pcap}"]
        return c + list(extra)

    def start(self):
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, preexec_fn=_die_with_parent)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.process.stdout, selectors.EVENT_READ)
        os.set_blocking(self.process.stdout.fileno(), False)
        return self

    def pump(self, timeout=0.0):
        """Take what the machine printed; False once it has ended."""
        if self.selector.select(timeout):
            data = self.process.stdout.read()
            if data == b"":
                return False
            self.output += data or b""
            if self.log and data:
                self.log(data)
        return True

    def wait_for(self, text, timeout):
        """Wait until it printed `text`: True, or False at its end or after
        `timeout` seconds."""
        want, end = text.encode(), time.monotonic() + timeout
        while want not in self.output:
            left = end - time.monotonic()
            if left <= 0 or not self.pump(min(left, 0.1)):
                return want in self.output
        return True

    def wait(self, timeout):
        """Its exit status, or None when it has not ended in time."""
        end = time.monotonic() + timeout
        while self.pump(0.1):
            if time.monotonic() > end:
                return None
        return self.process.wait()

    def running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        if self.running():
            self.process.terminate()
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process:
            while self.pump() and self.selector.select(0):
                pass

    def text(self):
        return self.output.decode(errors="replace").replace("\r", "")

    def tail(self, lines=15):
        return "\n".join(self.text().splitlines()[-lines:])

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
