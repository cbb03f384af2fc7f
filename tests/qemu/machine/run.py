#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Boot the bare test kernel in every way there is; speak TAP.

run.py SCRIPTS KERNEL quick|full|refuse

Each boot is one test: it must end as declared, with the texts declared. A
boot that fails prints its serial output as comments.
"""
import os
import struct
import subprocess
import sys
import tempfile

SCRIPTS, KERNEL, TIER = sys.argv[1:4]
MODULES = ("a", "bb", "a-rather-long-name.elf")
NET = ["-netdev", "user,id=n,restrict=on"]
DISK = "if=none,id=d,format=raw,snapshot=on,file=%s"


def make_files(work):
    for i, name in enumerate(MODULES):
        with open(os.path.join(work, name), "wb") as f:
            f.write(b"module %s\n" % name.encode() + b"x" * (4096 * i + 777))
    with open(os.path.join(work, "disk"), "wb") as f:
        for n in range(2048):
            f.write(struct.pack("<Q", n) * 64)


class Runner:
    def __init__(self, work):
        self.work, self.count, self.failed = work, 0, 0
        self.modules = []
        for name in MODULES:
            self.modules += ["--module", os.path.join(work, name)]

    def boot(self, what, status=0, texts=(), options=(), net="", blk="",
             iso=False, netdev=None, inside=(), initrd=None):
        disk = DISK % os.path.join(self.work, "disk")
        command = [*inside, os.path.join(SCRIPTS, "qemu"), "--accel", "tcg",
                   "--timeout", "60", *options]
        if iso:
            command += ["--iso", os.path.join(self.work, "iso")]
        else:
            command += ["--kernel", KERNEL]
            command += ["--modules", initrd] if initrd else self.modules
        command += ["--", *(netdev or NET), "-device", "virtio-net-pci,netdev=n" + net,
                    "-drive", disk, "-device", "virtio-blk-pci,drive=d" + blk,
                    "-device", "virtio-rng-pci"]
        p = subprocess.run(command, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        out = p.stdout.decode(errors="replace")
        wrong = [] if p.returncode == status else [
            "status %d, not %d" % (p.returncode, status)]
        wrong += ["no %r" % t for t in texts if t not in out]
        self.report(what, wrong, out)

    def report(self, what, wrong, out):
        self.count += 1
        self.failed += bool(wrong)
        print("%s %d - %s" % ("not ok" if wrong else "ok", self.count, what))
        if wrong:
            for line in wrong + out.splitlines():
                print("#", line)
        sys.stdout.flush()

    def tap(self):
        """Several queue pairs and offloads: a tap in a name space of ours."""
        what = "four queue pairs with offloads, over a tap"
        script = ("ip tuntap add dev pv0 mode tap multi_queue && "
                  "ip addr add 10.0.2.2/24 dev pv0 && ip link set pv0 up")
        inside = ["unshare", "-rn", "sh", "-c", script + ' && exec "$@"', "-"]
        try:
            usable = subprocess.run([*inside, "true"], capture_output=True)
        except OSError:
            usable = None
        if usable is None or usable.returncode != 0:
            self.count += 1
            print("ok %d - %s # SKIP no tap in a user name space" %
                  (self.count, what))
            return
        self.boot(what, options=["--smp", "4"], inside=inside,
                  net=",mq=on,vectors=10",
                  netdev=["-netdev", "tap,id=n,ifname=pv0,queues=4,"
                          "script=no,downscript=no"],
                  texts=["4 queue pairs", "HOST_TSO4", "MQ"])

    def image(self):
        p = subprocess.run([os.path.join(SCRIPTS, "image"), "--kernel", KERNEL,
                            *self.modules, os.path.join(self.work, "iso")],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.report("an image is made", [] if p.returncode == 0 else ["failed"],
                    p.stdout.decode(errors="replace"))


def quick(r):
    r.boot("-kernel, two processors", options=["--smp", "2"],
           texts=["processors: 2", "entropy device gives fresh words"])
    r.boot("tables of ring 3 without the kernel, two processors",
           options=["--smp", "2", "--append", "kpti=on"],
           texts=["kpti on", "nor memory, devices or filters",
                  "NMI from outside, 1 so far"])
    r.boot("a stack overflow is reported",
           status=3, options=["--append", "die=overflow"],
           texts=["double fault", "kernel stack overflow", "overflow+0x"])
    r.boot("a panic has a call chain", status=3,
           options=["--append", "die=panic", "--smp", "2"],
           texts=["as the test asked", "panic+0x", "kern_main+0x"])


def full(r):
    for n in (1, 4, 8):
        r.boot("%d processors" % n, options=["--smp", str(n)],
               texts=["processors: %d" % n])
    r.boot("a processor without SMEP, SMAP, UMIP",
           options=["--cpu", "qemu64"])
    r.boot("a stack overflow while ring 3's tables lack the kernel",
           status=3, options=["--append", "die=overflow kpti=on"],
           texts=["double fault", "kernel stack overflow", "overflow+0x"])
    r.boot("a processor without NX is refused", status=31,
           options=["--cpu", "max,-nx"], texts=["has no NX"])
    r.boot("memory above 4 GiB, no 1 GiB pages",
           options=["--memory", "6144", "--cpu", "max,-pdpe1gb"])
    r.boot("little memory", options=["--memory", "16"])
    for how, text in (("null", "at address 8: nothing mapped there"),
                      ("text", "not writable"), ("rodata", "not writable"),
                      ("execute", "not executable")):
        r.boot("the kernel cannot: " + how, status=3,
               options=["--append", "die=" + how],
               texts=["page fault", text, "machine_start+0x"])
    r.boot("devices without indirect descriptors and event index",
           net=",indirect_desc=off,event_idx=off",
           blk=",indirect_desc=off,event_idx=off",
           texts=["features MAC STATUS CTRL_VQ VERSION_1"])
    r.boot("small queues", net=",rx_queue_size=256", blk=",queue-size=16")
    r.boot("a legacy device is named", status=3, net=",disable-modern=on",
           texts=["not a virtio 1 device; start QEMU with"])
    r.boot("a device without MSI-X is named", status=3, blk=",vectors=0",
           texts=["no MSI-X interrupts"])
    r.tap()
    r.image()
    r.boot("GRUB from BIOS", iso=True, texts=["kernel mappings"])
    if os.path.exists("/usr/share/ovmf/OVMF.fd"):
        r.boot("GRUB from UEFI", iso=True, options=["--uefi", "--smp", "2"])
    else:
        print("# no OVMF; run scripts/setup test")


def refuse(r):
    """The whole kernel with boot modules that are wrong."""
    def file(name, data):
        path = os.path.join(r.work, name)
        with open(path, "wb") as f:
            f.write(data)
        return path

    tar = os.path.join(r.work, "whole.tar")
    subprocess.run([os.path.join(SCRIPTS, "modules"), tar,
                    os.path.join(r.work, "bb")], check=True)
    with open(tar, "rb") as f:
        whole = f.read()
    bad_sum = bytearray(whole)
    bad_sum[0] ^= 1
    r.boot("a module that is no program", status=3, initrd=tar,
           texts=["first environment 'bb': it is not a static ELF64"])
    r.boot("no archive and no program", status=3,
           initrd=file("noise", os.urandom(5000)),
           texts=["it is not a static ELF64"])
    r.boot("an archive cut short", status=3,
           initrd=file("cut.tar", whole[:1000]),
           texts=["the archive is damaged; make it with"])
    r.boot("an archive with a wrong sum", status=3,
           initrd=file("sum.tar", bytes(bad_sum)),
           texts=["the archive is damaged; make it with"])
    r.boot("an empty archive", status=3,
           initrd=file("empty.tar", b"\0" * 512 + whole[512:]),
           texts=["not a static ELF64"])
    r.boot("a program of ELF's magic and nothing else", status=3,
           initrd=file("elf", b"\x7fELF\2\1\1" + b"\xff" * 4000),
           texts=["not a static ELF64"])


def main():
    with tempfile.TemporaryDirectory() as work:
        make_files(work)
        r = Runner(work)
        {"quick": quick, "full": full, "refuse": refuse}[TIER](r)
        print("1..%d" % r.count)
        return 1 if r.failed else 0


sys.exit(main())
