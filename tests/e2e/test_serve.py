#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scripts/serve as a person uses it: it serves, says what it does, leaves
nothing behind after Ctrl-C, and names cause and remedy when it cannot. Speaks
TAP."""
import contextlib
import glob
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import e2e

SERVE = os.path.join(e2e.vm.ROOT, "scripts", "lib", "serve.py")
URL = re.compile(r"serving +(http://\S+/)")


def run(*args, timeout=60):
    p = subprocess.run([sys.executable, SERVE, *args], text=True,
                       capture_output=True, timeout=timeout)
    return p.returncode, p.stdout + p.stderr


NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def until(p, words):
    """What it prints up to the line with one of `words`."""
    text = ""
    for line in p.stdout:
        text += line
        if any(w in line for w in words):
            break
    return text


@contextlib.contextmanager
def started(*args, before=()):
    """scripts/serve, in a folder of its own for what it leaves."""
    with tempfile.TemporaryDirectory(prefix="pavise-serve-test-") as tmp:
        os.chmod(tmp, 0o777)
        python = "python3" if before else sys.executable
        env = {**os.environ, "TMPDIR": tmp}
        env.pop("PYTHONUNBUFFERED", None)  # as users start it
        p = subprocess.Popen([*before, python, SERVE, *args],
                             text=True, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, env=env,
                             start_new_session=True)
        try:
            yield p, tmp
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(p.pid, signal.SIGKILL)
            p.wait()


def session(t, what, folder, *args, before=(), reach=True):
    """Start, fetch a file, Ctrl-C. reach: from here, not only from itself."""
    with started(*args, before=before) as (p, tmp):
        text = until(p, ["Ctrl-C ends it"])
        url = URL.search(text)
        if t.ok(url is not None, f"{what}: it serves", text[-3000:]):
            if reach:
                same_bytes(t, what, url.group(1), folder)
            for word in ("accelerator:", "network:", "first byte "):
                t.ok(f"serve: {word}" in text, f"{what}: it says {word}")
            os.killpg(p.pid, signal.SIGINT)
        text += p.stdout.read()
        t.ok(p.wait(20) == 0, f"{what}: Ctrl-C is a good end", text[-1000:])
        t.ok(not glob.glob(tmp + "/*"), f"{what}: no file is left")
    return text


def same_bytes(t, what, url, folder):
    got = subprocess.run(["curl", "-sS", "--fail", "--max-time", "20",
                          url + "a.bin"], capture_output=True)
    with open(os.path.join(folder, "a.bin"), "rb") as f:
        t.ok(got.stdout == f.read(), f"{what}: the bytes are the same",
             got.stderr.decode())


def first_command(t):
    """README's first: scripts/serve /usr/share/doc, by its own name."""
    doc, name = "/usr/share/doc", "qemu-system-x86/copyright"
    if not os.access(os.path.join(doc, name), os.R_OK):
        t.skip("scripts/serve /usr/share/doc", f"no {name} to fetch")
        return
    p = subprocess.Popen([os.path.join(e2e.vm.ROOT, "scripts", "serve"), doc],
                         text=True, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, start_new_session=True)
    try:
        text = until(p, ["Ctrl-C ends it"])
        url = URL.search(text)
        if t.ok(url is not None, f"scripts/serve {doc}: it serves",
                text[-3000:]):
            got = subprocess.run(["curl", "-sS", "--fail", "--max-time", "20",
                                  url.group(1) + name], capture_output=True)
            with open(os.path.join(doc, name), "rb") as f:
                t.ok(got.stdout == f.read(), "curl gets identical bytes",
                     got.stderr.decode())
        os.killpg(p.pid, signal.SIGINT)
        p.stdout.read()
        t.ok(p.wait(20) == 0, "Ctrl-C is a good end")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(p.pid, signal.SIGKILL)
        p.wait()


def options(t, folder):
    """What a person may ask for beside a directory."""
    pcap = os.path.join(e2e.WORK, "serve.pcap")
    port = ("--port", str(e2e.vm.free_port()))
    session(t, "--pcap", folder, *port, "--pcap", pcap, folder)
    with open(pcap, "rb") as f:
        data = f.read()
    t.ok(data[:4] in (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4") and
         b"GET /a.bin" in data, "--pcap: the request is in the file")
    t.ok(b"GET / HTTP" not in data, "--pcap: and none of serve's own")
    image = e2e.mksite(folder, os.path.join(e2e.WORK, "serve.img"))
    session(t, "--site-image, 4 processors", folder, *port, "--smp", "4",
            "--site-image", image)
    session(t, "--iso", folder, *port, "--iso", folder)
    text = session(t, "--log", folder, *port, "--log", folder)
    t.ok('"GET /a.bin HTTP/1.1" 200 100000' in text,
         "--log: the request has its line", text[-1000:])
    t.ok(text.count('"GET ') == 1, "--log: and serve itself has none", text)


LOG_LINE = re.compile(r'10\.0\.2\.2 - - \[[^]]+\] "GET /(\d+)x*\.\.\." '
                      r"404 \d+")


def whole_lines(t, folder):
    """--log: no line is cut by another, while others print too."""
    count = 60
    with started("--port", str(e2e.vm.free_port()), "--log", "--smp", "2",
                 folder) as (p, _):
        text = until(p, ["Ctrl-C ends it"])
        url = URL.search(text).group(1)
        subprocess.run(["curl", "-s", "-o", "/dev/null", "--parallel",
                        "--parallel-max", "8",
                        *(f"{url}{i}{'x' * 180}" for i in range(count))],
                       timeout=60, capture_output=True)
        time.sleep(1)
        os.killpg(p.pid, signal.SIGINT)
        text += p.stdout.read()
    lines = [line for line in text.splitlines() if "GET" in line]
    bad = [line for line in lines if not LOG_LINE.fullmatch(line)]
    t.ok(len(lines) == count and not bad,
         f"--log: {count} requests are {count} whole lines",
         "\n".join([f"{len(lines)} lines", *bad[:3]]))


def debugger(t, folder):
    """--gdb prints a line that works: it stops in the kernel's C code."""
    if not shutil.which("gdb"):
        t.skip("--gdb", "gdb is not installed")
        return
    gdb = os.path.join(e2e.vm.ROOT, "scripts", "gdb")
    for args, want in (((), "start one with"), (("/nowhere",), "no kernel")):
        g = subprocess.run([gdb, *args], text=True,
                           stdin=subprocess.DEVNULL, capture_output=True,
                           timeout=60)
        t.ok(g.returncode == 1 and want in g.stderr and not g.stdout,
             f"{' '.join(('scripts/gdb', *args))}: {want}", g.stdout + g.stderr)
    with started("--gdb", "--port", str(e2e.vm.free_port()), folder) as (p, _):
        text = until(p, ["scripts/gdb", "in use"])
        line = re.search(r"^ +(\S+/scripts/gdb \S+)$", text, re.M)
        if not t.ok(line is not None, "--gdb prints how to attach", text):
            return
        until(p, ["network:"])
        time.sleep(1)
        g = subprocess.run([*line.group(1).split(), "-batch", "-ex",
                            "continue", "-ex", "backtrace"], text=True,
                           capture_output=True, timeout=60)
        t.ok("#0  kern_main" in g.stdout, "--gdb: it stops in kern_main",
             g.stdout + g.stderr)


def may_be_nobody():
    return os.geteuid() == 0 and shutil.which("setpriv") and subprocess.run(
        [*NOBODY, "python3", "-c", f"open('{e2e.vm.KERNEL}')"],
        capture_output=True).returncode == 0


def unprivileged(t, folder):
    """As a user without any right; the tap then lies in a namespace."""
    if not may_be_nobody():
        t.skip("as nobody", "needs root, and a tree that all may read")
        return
    session(t, "as nobody", folder, "--port", str(e2e.vm.free_port()), folder,
            before=NOBODY)
    namespace = subprocess.run([*NOBODY, "unshare", "-Urn", "test", "-w",
                                "/dev/net/tun"], capture_output=True)
    if namespace.returncode != 0:
        t.skip("tap as nobody", "needs user namespaces and /dev/net/tun")
        return
    session(t, "tap as nobody", folder, "--tap", folder, before=NOBODY,
            reach=False)


def failures(t, folder):
    bad = os.path.join(folder, "a.bin")
    for args, want in (
            (("/nowhere",), "name a directory that exists"),
            ((bad,), "name the one it is in"),
            ((bad + "/x",), "name a directory that exists"),
            ((folder, folder), "see scripts/serve --help"),
            (("--bogus", folder), "see scripts/serve --help"),
            (("--po", "8081", folder), "see scripts/serve --help"),
            (("--smp",), "see scripts/serve --help"),
            (("--smp", "x", folder), "'x' is not a whole number"),
            (("--smp", "1.5", folder), "'1.5' is not a whole number"),
            (("--port", "http", folder), "'http' is not a whole number"),
            (("--for", "0", folder), "seconds above 0"),
            (("--for", "-1", folder), "--for"),
            (("--for", "nan", folder), "seconds above 0"),
            (("--pcap", folder, folder), "name a file in it"),
            (("--site-image", folder), "without --site-image"),
            (("--port", "70000", folder), "1 to 65535"),
            (("--site-image", "/nowhere.img"), "no such file"),
            (("--site-image", bad), "make it again"),
            (("--smp", "0", folder), "from 1 to 64"),
            (("--mem", "1", folder), "at least 48M"),
            (("--mem", "banana", folder), "like 256M"),
            (("--pcap", "/nowhere/x.pcap", folder), "choose another"),
            (("--append", "cheetah.mem=1M", folder), "the server ended"),
            ((), "directory")):
        status, text = run(*args)
        t.ok(status == 1 and want in text and "Traceback" not in text,
             f"serve {' '.join(args)}: refused with a remedy", text)


def one_line(t, folder):
    """Mistakes that are seen before anything starts: a line, and no file."""
    with tempfile.TemporaryDirectory(prefix="pavise-serve-test-") as tmp:
        work, closed = os.path.join(tmp, "work"), os.path.join(tmp, "closed")
        os.makedirs(os.path.join(closed, "in"))
        os.mkdir(work)
        for path, mode in ((tmp, 0o755), (work, 0o777), (closed, 0)):
            os.chmod(path, mode)
        who = [sys.executable]
        if os.geteuid() == 0:  # who reads everything
            who = [*NOBODY, "python3"] if may_be_nobody() else None
        for args, who in ((("--smp", "x", folder), [sys.executable]),
                          (("--bogus", folder), [sys.executable]),
                          (("/nowhere",), [sys.executable]),
                          ((closed,), who), ((closed + "/in",), who)):
            name = "serve " + " ".join(args).replace(tmp, "TMP")
            if not who:
                t.skip(name, "needs a user who may not read everything")
                continue
            p = subprocess.run([*who, SERVE, *args], text=True,
                               capture_output=True, timeout=60,
                               env={**os.environ, "TMPDIR": work})
            t.ok(p.returncode == 1 and p.stdout == "" and
                 re.fullmatch(r"serve: .+; .+\n", p.stderr),
                 f"{name}: one line with a remedy", p.stdout + p.stderr)
            t.ok(not os.listdir(work), f"{name}: no file is left")
        os.chmod(closed, 0o700)
    script = os.path.join(e2e.vm.ROOT, "scripts", "serve")
    p = subprocess.run([script, "/nowhere"], text=True, capture_output=True,
                       timeout=60)
    t.ok(p.returncode == 1 and p.stdout == "" and
         re.fullmatch(r"serve: .+; .+\n", p.stderr),
         "scripts/serve /nowhere: told before anything is built",
         p.stdout + p.stderr)


def hang_up(t, folder):
    """The terminal is closed, or who reads its output ends."""
    with started("--port", str(e2e.vm.free_port()), folder) as (p, tmp):
        until(p, ["Ctrl-C ends it"])
        os.kill(p.pid, signal.SIGHUP)
        p.stdout.read()
        t.ok(p.wait(20) == 129 and not glob.glob(tmp + "/*"),
             "SIGHUP: no file is left", glob.glob(tmp + "/*"))
    with started("--port", str(e2e.vm.free_port()), "--log", folder) as (p, tmp):
        p.stdout.readline()
        p.stdout.close()
        t.ok(p.wait(20) == 1 and not glob.glob(tmp + "/*"),
             "nobody reads its output: it ends, no file is left",
             glob.glob(tmp + "/*"))
    p = subprocess.run(["bash", "-c", f'set -o pipefail; "$0" "$1" --port '
                        f'{e2e.vm.free_port()} "$2" | head -n 1',
                        sys.executable, SERVE, folder], text=True,
                       capture_output=True, timeout=60)
    t.ok(p.returncode == 1 and p.stdout.count("\n") == 1 and p.stderr == "",
         "| head: it ends without a word", p.stdout + p.stderr)


def killed(t, folder):
    """What a killed serve leaves, the next one removes."""
    with started("--port", str(e2e.vm.free_port()), folder) as (p, tmp):
        until(p, ["Ctrl-C ends it"])
        os.kill(p.pid, signal.SIGKILL)
        p.wait()
        left = glob.glob(tmp + "/*")
        t.ok(left, "a killed one leaves its folder", left)
        env = {**os.environ, "TMPDIR": tmp}
        status = subprocess.run(
            [sys.executable, SERVE, "--port", str(e2e.vm.free_port()), "--for",
             "0.5", folder], env=env, capture_output=True, timeout=60)
        t.ok(status.returncode == 0 and not glob.glob(tmp + "/*"),
             "the next one removes it", glob.glob(tmp + "/*"))
        with started("--port", str(e2e.vm.free_port()), folder) as (q, other):
            until(q, ["Ctrl-C ends it"])
            subprocess.run([sys.executable, SERVE, "--port",
                            str(e2e.vm.free_port()), "--for", "0.5", folder],
                           env={**os.environ, "TMPDIR": other},
                           capture_output=True, timeout=60)
            t.ok(glob.glob(other + "/*/site.img"),
                 "and leaves alone what is in use", glob.glob(other + "/*"))


def busy_port(t, folder):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = str(s.getsockname()[1])
        status, text = run("--port", port, folder)
        t.ok(status == 1 and "choose another with --port" in text and
             "laying out" not in text,
             "serve on a port in use: refused with a remedy, first", text)
        p = subprocess.run([os.path.join(e2e.vm.ROOT, "scripts", "serve"),
                            "--port", port, folder], text=True,
                           capture_output=True, timeout=60)
        t.ok(p.returncode == 1 and p.stdout == "" and "--port" in p.stderr,
             "and before anything is built", p.stdout + p.stderr)
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # then another has it
            s.bind(("127.0.0.1", 8080))
            s.listen()
        status, text = run("--for", "0.5", folder)
        t.ok(status == 0 and re.match(
                 r"serve: port 8080 of 127\.0\.0\.1 is in use; taking \d+ ",
                 text),
             "the usual port in use: it says so first, and which it took", text)


def for_seconds(t, folder):
    status, text = run("--for", "0.01", "--port", str(e2e.vm.free_port()),
                       folder)
    t.ok(status == 0 and "first byte " in text,
         "--for counts from the first byte on", text)


def through_a_link(t, folder):
    with tempfile.TemporaryDirectory(prefix="pavise-serve-test-") as tmp:
        link = os.path.join(tmp, "serve")
        os.symlink(os.path.join(e2e.vm.ROOT, "scripts", "serve"), link)
        p = subprocess.run([link, "--for", "0.5", "--port",
                            str(e2e.vm.free_port()), folder], text=True,
                           capture_output=True, timeout=60)
        t.ok(p.returncode == 0, "through a symbolic link",
             p.stdout + p.stderr)


def taps():
    out = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True)
    return out.stdout.count("pavise")


def main():
    t = e2e.Tap()
    folder = e2e.fresh(os.path.join(e2e.WORK, "serve"))
    with open(os.path.join(folder, "a.bin"), "wb") as f:
        f.write(os.urandom(100_000))
    session(t, "user mode", folder, "--port", str(e2e.vm.free_port()), folder)
    if os.geteuid() == 0 and os.path.exists("/dev/net/tun"):
        before = taps()
        session(t, "tap", folder, "--tap", "--smp", "2", folder)
        t.ok(taps() == before, "the tap is removed")
    else:
        t.skip("tap", "needs root and /dev/net/tun")
    first_command(t)
    unprivileged(t, folder)
    options(t, folder)
    debugger(t, folder)
    failures(t, folder)
    one_line(t, folder)
    hang_up(t, folder)
    whole_lines(t, folder)
    killed(t, folder)
    busy_port(t, folder)
    for_seconds(t, folder)
    through_a_link(t, folder)
    return t.done()


if __name__ == "__main__":
    sys.exit(main())
