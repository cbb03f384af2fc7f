#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The first minutes on a fresh Debian: one is bootstrapped for each release,
scripts/setup runs as root, and an ordinary user builds, serves and runs every
suite of the committed tree. Needs root, debootstrap, a network and 3 GB.
Speaks TAP. usage: test_debian.py [RELEASE...]"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

import e2e

RELEASES = ("bookworm", "trixie")
MIRROR = "http://deb.debian.org/debian"
STEP_SECONDS = 3600
LAST_WORDS = 4000  # characters of a failed step's output that are shown
INSIDE = "PAVISE_DEBIAN_INSIDE"
# A machine's /dev without the host's: what is removed there is not ours.
NODES = {"null": "1 3", "zero": "1 5", "full": "1 7", "random": "1 8",
         "urandom": "1 9", "tty": "5 0", "net/tun": "10 200"}
# The mount at ROOT becomes the root, as in a machine: the kernel makes no user
# name space for who was only sent there by chroot.
ENTER = """cd "$1" && pivot_root . mnt && cd / && umount -l mnt && shift &&
exec "$@" """


def own_namespaces():
    """Run again where mounts and processes end with this test."""
    if os.environ.get(INSIDE):
        return
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--mount", "--pid", "--fork",
                          "--kill-child", "--mount-proc", sys.executable,
                          *sys.argv])


def run(*command):
    """Whether it succeeded, its last words, and the seconds that it took."""
    began = time.monotonic()
    try:
        p = subprocess.run(command, stdin=subprocess.DEVNULL, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           timeout=STEP_SECONDS, errors="replace")
        good, text = p.returncode == 0, p.stdout
    except subprocess.TimeoutExpired as e:
        good, text = False, (e.stdout or b"").decode(errors="replace")
    return good, text[-LAST_WORDS:], time.monotonic() - began


def must(*command):
    good, text, _ = run(*command)
    if not good:
        raise RuntimeError(f"{' '.join(command)}: {text}")


def furnish(root):
    """/proc, and a /dev with the nodes that every machine has."""
    dev = os.path.join(root, "dev")
    must("mount", "--bind", root, root)
    must("mount", "-t", "proc", "proc", os.path.join(root, "proc"))
    must("mount", "-t", "tmpfs", "-o", "mode=755", "dev", dev)
    os.mkdir(os.path.join(dev, "net"))
    for name, numbers in NODES.items():
        must("mknod", "-m", "666", os.path.join(dev, name), "c",
             *numbers.split())
    for name, kind, options in (
            ("pts", "devpts", "newinstance,ptmxmode=666,mode=620"),
            ("shm", "tmpfs", "mode=1777")):
        os.mkdir(os.path.join(dev, name))
        must("mount", "-t", kind, "-o", options, name, os.path.join(dev, name))
    os.symlink("pts/ptmx", os.path.join(dev, "ptmx"))
    for name, to in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"),
                     ("stderr", "/2")):
        os.symlink("/proc/self/fd" + to, os.path.join(dev, name))


def strip(root):
    """Unmount it all, so that removing `root` removes nothing else."""
    for name in ("dev/pts", "dev/shm", "dev", "proc", ""):
        subprocess.run(["umount", "--lazy", os.path.join(root, name)],
                       stderr=subprocess.DEVNULL)


def clone(root, work):
    """The committed tree, as a clone that user u owns."""
    bundle = os.path.join(work, "tree")
    must("git", "-c", "safe.directory=*", "-C", e2e.vm.ROOT, "bundle",
         "create", bundle, "HEAD")
    must("git", "clone", "-q", bundle, os.path.join(root, "home/u/pavise"))
    must("chroot", root, "chown", "-R", "u:u", "/home/u")


def inside(root, *command):
    return run("unshare", "--mount", "sh", "-c", ENTER, "sh", root, *command)


def user(root, command):
    return inside(root, "su", "-", "u", "-c", f"cd pavise && {command}")


def step(t, name, result):
    good, text, seconds = result
    t.ok(good, f"{name} ({seconds:.0f} s)", text)
    if good and text:
        t.note(text.splitlines()[-1])
    return good


def release(t, name, work):
    root = os.path.join(work, name)
    if not step(t, f"{name}: bootstrapped", run(
            "debootstrap", "--variant=minbase", name, root, MIRROR)):
        return
    shutil.copy("/etc/resolv.conf", os.path.join(root, "etc"))
    try:
        furnish(root)
        must("chroot", root, "useradd", "-m", "-s", "/bin/bash", "u")
        clone(root, work)
        scripts = "/home/u/pavise/scripts"
        if not step(t, f"{name}: scripts/setup as root", inside(
                root, f"{scripts}/setup", "-y", "build", "serve", "test")):
            return
        step(t, f"{name}: scripts/serve as a user",
             user(root, "scripts/serve --for 1 /usr/share/doc"))
        step(t, f"{name}: scripts/test as a user", user(root, "scripts/test"))
    finally:
        strip(root)


def main(releases):
    t = e2e.Tap()
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        t.skip("a fresh Debian", "needs root and debootstrap")
        return t.done()
    own_namespaces()
    with tempfile.TemporaryDirectory(prefix="pavise-debian-") as work:
        for name in releases:
            release(t, name, work)
            shutil.rmtree(os.path.join(work, name), ignore_errors=True)
    return t.done()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or RELEASES))
