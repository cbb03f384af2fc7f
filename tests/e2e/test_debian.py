#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The first minutes on a fresh Debian: one is bootstrapped for each release,
scripts/setup runs as root, and an ordinary user builds, serves and tests the
committed tree. Needs root, debootstrap, a network and 3 GB. Speaks TAP."""
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile

import e2e

RELEASES = ("bookworm", "trixie")
MIRROR = "http://deb.debian.org/debian"
STEP_SECONDS = 3600


def run(*command):
    p = subprocess.run(command, stdin=subprocess.DEVNULL, text=True,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       timeout=STEP_SECONDS)
    return p.returncode == 0, p.stdout[-2000:]


@contextlib.contextmanager
def machine(root):
    """`root` with /proc and /dev, in place of a machine."""
    mounted = []
    try:
        for kind, where in ((["-t", "proc", "proc"], "proc"),
                            (["--bind", "/dev"], "dev")):
            path = os.path.join(root, where)
            subprocess.run(["mount", *kind, path], check=True)
            mounted.append(path)
        yield
    finally:
        for path in reversed(mounted):
            subprocess.run(["umount", path])


def user(root, command):
    return run("chroot", root, "su", "-", "u", "-c", f"cd pavise && {command}")


def release(t, name, work):
    root = os.path.join(work, name)
    good, text = run("debootstrap", "--variant=minbase", name, root, MIRROR)
    if not t.ok(good, f"{name}: bootstrapped", text):
        return
    shutil.copy("/etc/resolv.conf", os.path.join(root, "etc"))
    with machine(root):
        home = os.path.join(root, "home", "u")
        run("chroot", root, "useradd", "-m", "u")
        run("git", "-c", "safe.directory=*", "clone", "-q", e2e.vm.ROOT,
            os.path.join(home, "pavise"))
        run("chroot", root, "chown", "-R", "u:u", "/home/u")
        for what, (good, text) in (
                ("setup", run("chroot", root, "/home/u/pavise/scripts/setup",
                              "-y", "build", "serve", "test")),
                ("serve", user(root, "scripts/serve --for 1 /usr/share/doc")),
                ("test", user(root, "scripts/test quick check"))):
            t.ok(good, f"{name}: scripts/{what}", text)


def main():
    t = e2e.Tap()
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        t.skip("a fresh Debian", "needs root and debootstrap")
        return t.done()
    with tempfile.TemporaryDirectory(prefix="pavise-debian-") as work:
        for name in RELEASES:
            release(t, name, work)
    return t.done()


if __name__ == "__main__":
    sys.exit(main())
