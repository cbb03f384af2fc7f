#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scripts/serve as a person uses it: it serves, says what it does, leaves
nothing behind after Ctrl-C, and names cause and remedy when it cannot. Speaks
TAP."""
import glob
import os
import re
import signal
import subprocess
import sys
import tempfile

import e2e

SERVE = os.path.join(e2e.vm.ROOT, "scripts", "lib", "serve.py")
URL = re.compile(r"serving +(http://\S+/)")


def run(*args, timeout=60):
    p = subprocess.run([sys.executable, SERVE, *args], text=True,
                       capture_output=True, timeout=timeout)
    return p.returncode, p.stdout + p.stderr


def session(t, what, folder, *args):
    """Start, fetch a file, Ctrl-C."""
    tmp = tempfile.mkdtemp(prefix="pavise-serve-test-")
    p = subprocess.Popen([sys.executable, SERVE, *args, folder], text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         env={**os.environ, "TMPDIR": tmp},
                         start_new_session=True)
    text = ""
    for line in p.stdout:
        text += line
        if "Ctrl-C ends it" in line:
            break
    url = URL.search(text)
    if t.ok(url is not None, f"{what}: it serves", text[-3000:]):
        got = subprocess.run(["curl", "-sS", "--fail", "--max-time", "20",
                              url.group(1) + "a.bin"], capture_output=True)
        with open(os.path.join(folder, "a.bin"), "rb") as f:
            t.ok(got.stdout == f.read(), f"{what}: the bytes are the same",
                 got.stderr.decode())
        for word in ("accelerator:", "network:", "first byte"):
            t.ok(f"serve: {word}" in text, f"{what}: it says {word}")
        os.killpg(p.pid, signal.SIGINT)
    text += p.stdout.read()
    t.ok(p.wait(20) == 0, f"{what}: Ctrl-C is a good end", text[-1000:])
    t.ok(not glob.glob(tmp + "/*"), f"{what}: no file is left")
    os.rmdir(tmp)


def failures(t, folder):
    bad = os.path.join(folder, "a.bin")
    for args, want in (
            (("/nowhere",), "not a directory"),
            (("--port", "70000", folder), "1 to 65535"),
            (("--site-image", "/nowhere.img"), "no such file"),
            (("--site-image", bad), "make it again"),
            (("--smp", "0", folder), "from 1 to 64"),
            ((), "directory")):
        status, text = run(*args)
        t.ok(status == 1 and want in text and "Traceback" not in text,
             f"serve {' '.join(args)}: refused with a remedy", text)


def taps():
    out = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True)
    return out.stdout.count("pavise")


def main():
    t = e2e.Tap()
    folder = e2e.fresh(os.path.join(e2e.WORK, "serve"))
    with open(os.path.join(folder, "a.bin"), "wb") as f:
        f.write(os.urandom(100_000))
    session(t, "user mode", folder, "--port", str(e2e.vm.free_port()))
    if os.geteuid() == 0 and os.path.exists("/dev/net/tun"):
        before = taps()
        session(t, "tap", folder, "--tap", "--smp", "2")
        t.ok(taps() == before, "the tap is removed")
    else:
        t.skip("tap", "needs root and /dev/net/tun")
    failures(t, folder)
    return t.done()


if __name__ == "__main__":
    sys.exit(main())
