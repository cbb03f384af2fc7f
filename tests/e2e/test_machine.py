#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Machines as others make them: an old processor without a random generator,
no virtio-rng, no way to end but to be switched off. They serve, say where
entropy comes from, and end by their button and by themselves. Speaks TAP."""
import fcntl
import http.client
import os
import re
import socket
import subprocess
import sys
import time

import e2e

F_SETPIPE_SZ = 1031  # Linux; fcntl has it from Python 3.10 on
ACCESS = re.compile(r'^[0-9.]+ - - \[[^]]*\] "GET [^"]*" \d+ \d+')


def press(path):
    """The power button, by QEMU's monitor; virsh shutdown does the same."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5)
        s.connect(path)
        s.recv(4096)
        s.sendall(b"system_powerdown\n")
        time.sleep(0.2)


def machine(image, kind, cpu, smp=1, append="", port=None, monitor=None,
            icount=None):
    more = ["-monitor", f"unix:{monitor},server=on,wait=off"] if monitor else []
    return e2e.vm.Vm(
        machine=kind, cpu=cpu, plain=True, accel="tcg", disk=image, smp=smp,
        append=f"{e2e.vm.SLIRP_ADDR} {append}".strip(), extra=more, icount=icount,
        netdev=f"user,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:80" if port
        else None)


def serves_and_ends(t, image, kind, cpu, smp):
    name = f"{kind}, {cpu}, {smp} processors"
    port = e2e.vm.free_port()
    monitor = os.path.join(e2e.WORK, "monitor")
    with machine(image, kind, cpu, smp, port=port, monitor=monitor) as m:
        m.wait_for("cheetah: serving", 30)
        t.ok("entropy: from timing jitter" in m.text(),
             f"{name}: it says where entropy comes from", m.tail())
        got = subprocess.run(["curl", "-sS", "--max-time", "10",
                              f"http://127.0.0.1:{port}/a.txt"],
                             capture_output=True, text=True)
        t.ok(got.stdout == "a page\n", f"{name}: it serves",
             got.stderr + m.tail())
        press(monitor)
        status = m.wait(10)
        t.ok(status == 0 and "init: the power button was pressed" in m.text(),
             f"{name}: the power button ends it", f"{status}\n{m.tail()}")


def ends_at_the_second_press(t, image):
    """What manages the machine is busy looking for an address."""
    monitor = os.path.join(e2e.WORK, "monitor")
    m = e2e.vm.Vm(machine="q35", plain=True, accel="tcg", append="ip=dhcp",
                  netdev="socket,listen=127.0.0.1:0",
                  extra=["-monitor", f"unix:{monitor},server=on,wait=off"])
    with m:
        m.wait_for("init: 1 cpus", 30)
        time.sleep(0.5)
        press(monitor)
        first = m.wait(1)
        press(monitor)
        status = m.wait(5)
        t.ok(first is None and status == 0 and "ending at once" in m.text(),
             "pressed twice, it ends at once", f"{first} {status}\n{m.tail()}")


def a_reader_that_stops(t, image):
    """Without a reader of its serial line, the server goes on."""
    port, slowest, good = e2e.vm.free_port(), 0.0, 0
    with machine(image, "q35", "max", 2, "run=cheetah cheetah.log",
                 port=port) as m:
        fcntl.fcntl(m.process.stdout, F_SETPIPE_SZ, 4096)
        m.wait_for("cheetah: serving", 30)
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for n in range(400):
            began = time.monotonic()
            client.request("GET", f"/a.txt?{n}")
            good += client.getresponse().read() == b"a page\n"
            slowest = max(slowest, time.monotonic() - began)
        t.ok(good == 400 and slowest < 5,
             "a serial line that is not read keeps no request waiting",
             f"{good} of 400, the slowest took {slowest:.1f} s")
        client.request("GET", "/a.txt?again")
        client.getresponse().read()
        m.wait_for("lost", 10)
        client.request("GET", "/a.txt?last")
        client.getresponse().read()
        t.ok(m.wait_for("/a.txt?last", 10), "read again, it goes on", m.tail())
        cut = [x for x in m.text().splitlines()
               if "GET" in x and not ACCESS.match(x)]
        t.ok(not cut, "no line is cut", "\n".join(cut[:5]))


def nobody_is_left(t, image):
    with machine(image, "pc", "kvm64", append="run=none") as m:
        status = m.wait(20)
        t.ok(status == 0 and "init: nobody is left" in m.text(),
             "when nobody is left it switches itself off",
             f"{status}\n{m.tail()}")


def regular(t, image):
    """A clock that counts instructions is no source."""
    with machine(image, "pc", "kvm64", append="run=none",
                 icount="shift=0") as m:
        m.wait(30)
        t.ok("entropy: none" in m.text() and "virtio-rng" in m.text(),
             "regular timing is refused, with a remedy", m.tail())


def main():
    t = e2e.Tap()
    folder = e2e.fresh(os.path.join(e2e.WORK, "machine"))
    with open(os.path.join(folder, "a.txt"), "w", encoding="ascii") as f:
        f.write("a page\n")
    image = e2e.mksite(folder, os.path.join(e2e.WORK, "machine.img"))
    serves_and_ends(t, image, "pc", "kvm64", 1)
    serves_and_ends(t, image, "q35", "qemu64", 2)
    ends_at_the_second_press(t, image)
    a_reader_that_stops(t, image)
    nobody_is_left(t, image)
    regular(t, image)
    return t.done()


if __name__ == "__main__":
    sys.exit(main())
