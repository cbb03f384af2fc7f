#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Boots: how soon the first byte is served, a few files through GRUB from BIOS
and from UEFI firmware, the same through DHCP instead of a static address.
Speaks TAP."""
import os
import subprocess
import sys

import e2e
import site_tree

OVMF = "/usr/share/ovmf/OVMF.fd"
IMAGE = os.path.join(e2e.vm.ROOT, "scripts", "image")
SIZES = (0, 1, 1460, 4097, 1_000_001)
# From QEMU's start to the first served byte, on a quiet machine.
KERNEL_LIMIT, GRUB_LIMIT = 0.6, 6.0
LOAD_BUSY = 3  # a processor; these tests alone make one or two
STARTS = 5  # the best counts: a noisy machine is late, never early


def small_site():
    root = e2e.fresh(os.path.join(e2e.WORK, "iso-site"))
    for size in SIZES:
        with open(os.path.join(root, f"{size}.bin"), "wb") as f:
            f.write(site_tree.noise(size))
    return root, e2e.mksite(root, os.path.join(e2e.WORK, "iso-site.img"))


def same(s, root, name):
    out = os.path.join(e2e.WORK, "iso-one")
    status, _ = s.curl("--fail", "-o", out, f"{s.url}/{name}", timeout=30)
    return status == 0 and e2e.sha256(out) == e2e.sha256(
        os.path.join(root, name))


def soon(t, what, image, limit, **kw):
    """The first byte is served within `limit` in the best of a few starts."""
    seen = []
    while len(seen) < STARTS and (not seen or min(seen) > limit):
        with e2e.Server(image, **kw) as s:
            first = s.first_byte(max(10 * limit, 30))
            if first is None:
                t.note(s.vm.tail(30))
            seen.append(first or float("inf"))
    name = f"{what}: the first byte within {limit} s"
    took = f"starts took {', '.join(f'{x:.3f}' for x in seen)} s"
    load, busy = os.getloadavg()[0], LOAD_BUSY * (os.cpu_count() or 1)
    if limit < min(seen) < float("inf") and load > busy:
        t.skip(name, f"others use the machine, load {load:.0f}; {took}")
        return
    t.ok(min(seen) <= limit, name, took)
    t.note(f"{what}: {min(seen):.3f} s, start {len(seen)} of up to {STARTS}")


def try_boot(t, what, root, image, patience, **kw):
    with e2e.Server(image, **kw) as s:
        first = s.first_byte(patience)
        if not t.ok(first is not None, f"{what}: the first byte is served",
                    s.vm.tail(30)):
            return
        t.note(f"{what}: first byte {first:.2f} s after QEMU's start")
        for size in SIZES:
            t.ok(same(s, root, f"{size}.bin"), f"{what}: {size} bytes")


def main():
    t = e2e.Tap()
    os.makedirs(e2e.WORK, exist_ok=True)
    root, image = small_site()
    soon(t, "-kernel, one processor", image, KERNEL_LIMIT)
    iso = os.path.join(e2e.WORK, "pavise.iso")
    run = subprocess.run([IMAGE, "--kernel", e2e.vm.KERNEL,
                          "--modules", e2e.vm.MODULES, "--append",
                          e2e.vm.SLIRP_ADDR, iso],
                         capture_output=True, text=True)
    if not t.ok(run.returncode == 0, "scripts/image", run.stderr):
        return t.done()
    soon(t, "GRUB from BIOS", image, GRUB_LIMIT, iso=iso)
    try_boot(t, "BIOS", root, image, 40, iso=iso)
    if os.path.exists(OVMF):
        try_boot(t, "UEFI", root, image, 90, iso=iso, firmware=OVMF)
    else:
        t.skip("UEFI", f"{OVMF} is not installed")
    try_boot(t, "two processors", root, image, 30, smp=2)
    dhcp(t, root, image)
    return t.done()


def dhcp(t, root, image):
    s = e2e.Server(image)
    s.vm.command = [w.replace(e2e.vm.SLIRP_ADDR, "ip=dhcp")
                    for w in s.vm.command]
    with s:
        first = s.first_byte(30)
        t.ok(first is not None, "DHCP: the first byte is served",
             s.vm.tail(30))
        t.ok("init: leased 10.0.2.15/24" in s.vm.text(), "DHCP: the lease")
        t.ok(same(s, root, "4097.bin"), "DHCP: 4097 bytes")


if __name__ == "__main__":
    sys.exit(main())
