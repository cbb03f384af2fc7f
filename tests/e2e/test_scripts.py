#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scripts/setup and scripts/test as a person meets them, against an apt and a
Meson that only pretend: what they say, when they ask, and what Ctrl-C does.
Speaks TAP."""
import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import e2e

SCRIPTS = os.path.join(e2e.vm.ROOT, "scripts")
TOOLS = ("bash sh env sed awk mktemp mkfifo rm tee head cat grep tail "
         "dirname readlink nproc sleep date touch true cut").split()

# It notes each call; SLOW_FETCH and SLOW_INSTALL make a step take seconds.
APT = r"""#!/bin/bash
echo "apt-get $*" >>"$FAKE/calls"
case " $* " in
*" -s "*)
    echo "Inst alpha (1)"; echo "Inst beta (1)"; exit 0 ;;
*" --print-uris "*)
    echo "'http://x/a.deb' a.deb 3145728 SHA256:0"; exit 0 ;;
*" update "*) touch "$FAKE/updated"; exit 0 ;;
*" --download-only "*)
    trap 'echo interrupted >>"$FAKE/calls"; exit 130' INT
    [ -z "${FAIL_FETCH-}" ] || { echo "E: Unable to fetch a.deb"; exit 100; }
    n=${SLOW_FETCH:-0}
    for i in $(seq 0 "$n"); do
        echo "dlstatus:1:$i.5:Retrieving file 1 of 2 (9s remaining)"
        [ "$n" = 0 ] || sleep 1
    done ;;
*" --no-download "*)
    trap 'echo "killed in dpkg" >>"$FAKE/calls"; exit 130' INT TERM HUP
    n=${SLOW_INSTALL:-0}
    echo "pmstatus:alpha:10.0:Unpacking alpha (amd64)"
    for i in $(seq 1 "$n"); do sleep 1; done
    touch "$FAKE/installed"
    echo "dpkg done" >>"$FAKE/calls" ;;
esac
"""
APT_CACHE = r"""#!/bin/bash
case $1 in
show) [ -z "${UNKNOWN-}" ] || [ -e "$FAKE/updated" ] || exit 100
    for p in "${@:3}"; do echo "Package: $p"; done
    echo "Installed-Size: 2048" ;;
depends) echo "  Depends: clang-${CLANG_OF_ARCHIVE:-14}" ;;
esac
"""
DPKG_QUERY = r"""#!/bin/bash
[ -e "$FAKE/installed" ] && echo -n installed || exit 1
"""


@contextlib.contextmanager
def world(uid=0, sudo=None, **more):
    """A PATH of pretended tools; yields its folder and the environment."""
    with tempfile.TemporaryDirectory(prefix="pavise-setup-test-") as fake:
        for name in TOOLS + ["seq"]:
            os.symlink(shutil.which(name), os.path.join(fake, name))
        files = {"apt-get": APT, "apt-cache": APT_CACHE,
                 "dpkg-query": DPKG_QUERY, "id": f"#!/bin/sh\necho {uid}\n"}
        if sudo:
            files["sudo"] = sudo
        for name, text in files.items():
            path = os.path.join(fake, name)
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            os.chmod(path, 0o755)
        env = {k: v for k, v in os.environ.items() if k not in ("CI", "CC")}
        yield fake, {**env, "PATH": fake, "FAKE": fake, **more}


def calls(fake):
    try:
        with open(os.path.join(fake, "calls"), encoding="utf-8") as f:
            return f.read()
    except FileNotFoundError:
        return ""


def setup(env, *args):
    p = subprocess.run([os.path.join(SCRIPTS, "setup"), *args], env=env,
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=60)
    return p.returncode, p.stdout


def installs(t):
    with world() as (fake, env):
        status, text = setup(env, "build")
        t.ok(status == 0 and "2 packages: 4 MiB to fetch, " in text,
             "setup says how much it installs", text)
        done = calls(fake)
        t.ok(done.count("--download-only") == 1 and
             done.count("--no-download") == 1 and "apt-get update" not in done,
             "it fetches once, installs once, and trusts the lists", done)
        status, text = setup(env, "build")
        t.ok(status == 0 and text == "", "a second run is silent", text)
    with world(UNKNOWN="1") as (fake, env):
        status, text = setup(env, "build")
        t.ok(status == 0 and " update" in calls(fake),
             "without package lists it asks for some", text + calls(fake))
    with world(FAIL_FETCH="1") as (fake, env):
        status, text = setup(env, "build")
        t.ok(status == 1 and "E: Unable to fetch a.deb" in text and
             "--no-download" not in calls(fake),
             "a failed fetch is named, and nothing is installed", text)


def compilers(t):
    for archive in ("14", "16", "19"):
        with world(CLANG_OF_ARCHIVE=archive) as (fake, env):
            status, text = setup(env, "test")
            t.ok(status == 0 and f"libclang-rt-{archive}-dev" in text,
                 f"the run times are those of clang {archive}", text)
    with world(CC="clang-19") as (fake, env):
        status, text = setup(env, "build", "test")
        t.ok(all(f"need {w} " in text for w in (
                 "clang-19", "lld-19", "llvm-19", "libclang-rt-19-dev")),
             "CC=clang-19 brings the linker and run times of 19", text)


def not_root(t):
    line = re.compile(r"^apt-get update && apt-get install .*\bmeson\b.*$",
                      re.M)
    refusing = "#!/bin/sh\nexit 1\n"
    passing = '#!/bin/sh\nwhile case $1 in -*) true;; *) false;; esac; ' \
              'do shift; done\nexec "$@"\n'
    with world(uid=1000) as (fake, env):
        status, text = setup(env, "build")
        t.ok(status == 1 and line.search(text) and "apt-get" not in calls(fake),
             "neither root nor sudo: the line for an administrator", text)
    with world(uid=1000, sudo=refusing) as (fake, env):
        status, text = setup(env, "build")
        t.ok(status == 1 and line.search(text),
             "sudo refuses: the line for an administrator", text)
    with world(uid=1000, sudo=passing) as (fake, env):
        status, text = setup(env, "build")
        t.ok(status == 0 and "dpkg done" in calls(fake), "by sudo", text)


def on_terminal(env, answer, *args):
    """setup on a terminal: what it said, its status."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(os.path.join(SCRIPTS, "setup"), ["setup", *args], env)
    text, sent = "", False
    with contextlib.suppress(OSError):
        while data := os.read(fd, 4096):
            text += data.decode(errors="replace")
            if "[Y/n]" in text and not sent:
                sent = True
                os.write(fd, answer)
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text


def asks(t):
    with world() as (fake, env):
        status, text = on_terminal(env, b"n\n", "build")
        t.ok(status == 1 and "[Y/n]" in text and
             "--download-only" not in calls(fake),
             "on a terminal it asks, and no means no", text)
        status, text = on_terminal(env, b"\n", "build")
        t.ok(status == 0 and "dpkg done" in calls(fake),
             "Enter means yes", text)
    for name, args, more in (("-y", ("-y",), {}), ("CI", (), {"CI": "true"})):
        with world(**more) as (fake, env):
            status, text = on_terminal(env, b"n\n", *args, "build")
            t.ok(status == 0 and "[Y/n]" not in text,
                 f"{name}: it does not ask", text)


def interrupt(env, fake, before, wait):
    """Ctrl-C once apt was called with `before`; (status, text, longest pause
    between lines)."""
    p = subprocess.Popen([os.path.join(SCRIPTS, "setup"), "build"], env=env,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, start_new_session=True)
    end = time.monotonic() + 20
    while before not in calls(fake) and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(wait)
    os.killpg(p.pid, signal.SIGINT)  # as the terminal does it
    text, last, pause = "", time.monotonic(), 0.0
    while data := os.read(p.stdout.fileno(), 4096):
        pause = max(pause, time.monotonic() - last)
        last = time.monotonic()
        text += data.decode()
    return p.wait(30), text, pause


def stops(t):
    with world(SLOW_FETCH="30") as (fake, env):
        began = time.monotonic()
        status, text, _ = interrupt(env, fake, "--download-only", 1)
        t.ok(status == 130 and time.monotonic() - began < 15,
             "Ctrl-C while it fetches ends it", f"{status}\n{text}")
        done = calls(fake)
        t.ok(done.count("--download-only") == 1 and "interrupted" in done and
             "--no-download" not in done and " update" not in done,
             "and it neither tries again nor installs", done)
        t.ok("network" not in text and "again to go on" in text,
             "and it says how to go on", text)
    with world(SLOW_INSTALL="9") as (fake, env):
        status, text, pause = interrupt(env, fake, "--no-download", 1)
        done = calls(fake)
        t.ok("killed in dpkg" not in done and done.count("dpkg done") == 1,
             "Ctrl-C while dpkg works lets dpkg finish", done)
        t.ok(status == 130 and "half installed" in text,
             "and ends then, having said why it waits", f"{status}\n{text}")
        t.ok(0 < pause < 5, "a line every few seconds meanwhile", pause)
        status, text = setup(env, "build")
        t.ok(status == 0 and text == "", "the next run finds all there", text)


# Meson in place of the real one: the first suite waits for its end.
MESON = r"""#!/bin/bash
echo "meson $*" >>"$FAKE/calls"
trap 'echo one test is cancelled; trap "" INT' INT
trap 'exit 1' TERM
for i in $(seq 1 100); do sleep 0.2; done
"""


def test_stops(t):
    """scripts/test of a copy with nothing to install or build."""
    with world() as (fake, env):
        path = os.path.join(fake, "meson")
        with open(path, "w", encoding="utf-8") as f:
            f.write(MESON)
        os.chmod(path, 0o755)
        tree_of(fake, "scripts/test", qemu="echo tcg")
        p = subprocess.Popen([os.path.join(fake, "tree", "scripts", "test")],
                             env=env, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True,
                             start_new_session=True)
        end = time.monotonic() + 20
        while "meson" not in calls(fake) and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.5)
        began = time.monotonic()
        os.killpg(p.pid, signal.SIGINT)
        text, _ = p.communicate(timeout=60)
        t.ok(p.returncode == 130 and time.monotonic() - began < 5,
             "Ctrl-C ends scripts/test at once", text)
        t.ok(calls(fake).count("meson test") == 1 and "quick" in text,
             "and no further suite starts", calls(fake))


def tallies(t):
    """A passing run has no line that looks like an error; what is skipped has
    its reason."""
    for name, entry, want in (
            ("TAP", {"stdout": "1..2\nok 1 - a\n# said\nok 2 - b\n"},
             ["2 passed, 0 failed"]),
            ("a line that is no TAP",
             {"stdout": "Running suite(s)\nok 1 - a\n"},
             ["FAILED   x: prints what is no TAP: Running suite(s)",
              "1 passed, 1 failed"]),
            ("a skipped plan",
             {"stdout": "1..0 # SKIP no tap: refused\n", "result": "SKIP"},
             ["skipped  x (no tap: refused)", "0 passed, 0 failed, 1 skipped"]),
            ("a skipped command", {"stderr": "fmt: other\n", "result": "SKIP"},
             ["skipped  x (fmt: other)", "0 passed, 0 failed, 1 skipped"])):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
            json.dump({"name": "x", "result": "OK", **entry}, f)
            f.flush()
            p = subprocess.run([sys.executable, os.path.join(
                SCRIPTS, "lib", "tally.py"), f.name], capture_output=True,
                text=True)
            t.ok(p.stdout.splitlines() == want, f"tally of {name}", p.stdout)


def tree_of(fake, *files, **made):
    """A tree with copies of `files`, and scripts that note how they are
    called; returns its root."""
    root = os.path.join(fake, "tree")
    for name in files:
        to = os.path.join(root, name)
        os.makedirs(os.path.dirname(to), exist_ok=True)
        shutil.copy(os.path.join(e2e.vm.ROOT, name), to)
    for name in ("setup", "build", "qemu"):
        path = os.path.join(root, "scripts", name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(f'#!/bin/bash\necho "{name} $*" >>"$FAKE/calls"\n'
                    f'{made.get(name, "")}\n')
        os.chmod(path, 0o755)
    return root


# Compilers, their tools, and a Meson that makes what ninja wants.
BUILD_TOOLS = {
    "clang": "echo ${CLANG-14}.0.6", "clang-19": "echo 19.1.7",
    "llvm-ar": "echo LLVM version ${CLANG-14}.0.6",
    "ld.lld": "echo LLD ${CLANG-14}.0.6",
    "llvm-ar-19": "echo LLVM version 19.1.7", "ld.lld-19": "echo LLD 19.1.7",
    "meson": 'echo "meson by $CC $CC_LD $AR" >>"$FAKE/calls"; '
             "touch build/build.ninja",
    "ninja": "true"}


def compiler_changes(t):
    """The build folder is that of the compiler that was asked for."""
    with world() as (fake, env):
        for tool in ("flock", "mkdir"):
            os.symlink(shutil.which(tool), os.path.join(fake, tool))
        for name, text in BUILD_TOOLS.items():
            path = os.path.join(fake, name)
            with open(path, "w", encoding="utf-8") as f:
                f.write(f"#!/bin/sh\n{text}\n")
            os.chmod(path, 0o755)
        os.makedirs(os.path.join(fake, "tree", "scripts"))
        script = shutil.copy(os.path.join(SCRIPTS, "build"),
                             os.path.join(fake, "tree", "scripts"))
        for more, want, name in (
                ({}, "meson by clang lld llvm-ar", "the default compiler"),
                ({}, "", "the folder is made once"),
                ({"CC": "gcc"}, "", "gcc stands for clang"),
                ({"CC": "clang-19"}, "meson by clang-19 lld-19 llvm-ar-19",
                 "CC makes it anew, with its own tools"),
                ({}, "", "without CC it stays with that compiler"),
                ({"CC": "clang"}, "meson by clang lld llvm-ar", "and back"),
                ({"CLANG": "16"}, "meson by clang lld llvm-ar",
                 "an upgraded compiler makes it anew")):
            before = calls(fake)
            p = subprocess.run([script], env={**env, **more}, text=True,
                               capture_output=True, timeout=60)
            t.ok(p.returncode == 0 and calls(fake)[len(before):].strip() == want,
                 f"build: {name}", p.stdout + p.stderr + calls(fake))
        p = subprocess.run([script], env={**env, "CC": "clang-15"}, text=True,
                           capture_output=True, timeout=60)
        t.ok(p.returncode == 1 and "CC=clang-15 scripts/setup build" in p.stderr,
             "build: a compiler that is absent, and what installs it",
             p.stdout + p.stderr)


def bench(t):
    """scripts/bench in a tree where nothing was built yet."""
    made = ('mkdir -p "$FAKE/tree/build/dpf"; cd "$FAKE/tree/build/dpf"; '
            r'printf "#!/bin/sh\necho usage: dpf \$*\n" >dpf; '
            'for f in dpf; do chmod +x $f; done')
    with world() as (fake, env):
        os.symlink(shutil.which("chmod"), os.path.join(fake, "chmod"))
        os.symlink(shutil.which("mkdir"), os.path.join(fake, "mkdir"))
        os.symlink(shutil.which("unshare"), os.path.join(fake, "unshare"))
        os.symlink("/usr/bin/python3", os.path.join(fake, "python3"))
        root = tree_of(fake, "scripts/bench", "tests/bench/http/run.py",
                       build=made)

        def run(*args):
            p = subprocess.run([os.path.join(root, "scripts", "bench"), *args],
                               env=env, text=True, timeout=60,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            return p.returncode, p.stdout

        status, text = run("dpf", "--help")
        t.ok(status == 0 and "usage: dpf bench --help" in text,
             "bench dpf --help builds the tool and asks it", text)
        status, text = run("http", "--help")
        t.ok(status == 0 and "--rounds" in text, "bench http --help", text)
        before = calls(fake)
        for args in (("--only", "apache"), ("--rounds", "0")):
            status, text = run("http", *args)
            t.ok(status == 2 and "Traceback" not in text and
                 calls(fake) == before,
                 f"bench http {' '.join(args)}: refused before it installs",
                 text)
        status, text = run("http")
        done = calls(fake)
        t.ok(status == 1 and "Traceback" not in text,
             "bench http says what is missing", text)
        if "/dev/net/tun" in text or "namespace" in text:
            t.ok("serve" not in done, "and what is not allowed, first", done)
        else:
            t.ok("setup build serve bench-http" in done and
                 "reflect.elf" in done and "reflect_load" in done,
                 "bench http installs its load and builds the reflector", done)


# QEMU on an accelerator that hangs guests, and on one that runs them.
QEMU = """#!/bin/bash
echo "qemu-system-x86_64" >>"$FAKE/calls"
[ -n "${KVM_WORKS-}" ] && exit 31
exec sleep 30
"""


def probes(t):
    """scripts/qemu tries /dev/kvm, and remembers when guests hang on it."""
    name = "an accelerator that hangs guests is tried once"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        t.skip(name, "needs /dev/kvm")
        return
    with world() as (fake, env):
        env.pop("PAVISE_ACCEL", None)
        for tool in ("timeout", "stat", "mv"):
            os.symlink(shutil.which(tool), os.path.join(fake, tool))
        path = os.path.join(fake, "qemu-system-x86_64")
        with open(path, "w", encoding="utf-8") as f:
            f.write(QEMU)
        os.chmod(path, 0o755)
        root = os.path.join(fake, "tree")
        os.makedirs(os.path.join(root, "build"))
        os.makedirs(os.path.join(root, "scripts"))
        script = shutil.copy(os.path.join(SCRIPTS, "qemu"),
                             os.path.join(root, "scripts"))
        kernel = os.path.join(root, "kernel")

        def probe(**more):
            p = subprocess.run([script, "--kernel", kernel, "--probe"],
                               env={**env, **more}, capture_output=True,
                               text=True, timeout=30)
            return p.stdout, p.stderr

        with open(kernel, "w", encoding="ascii") as f:
            f.write("one")
        first, second = probe(), probe()
        t.ok(first[0].startswith("tcg ") and first[0] == second[0] and
             calls(fake).count("qemu-system") == 1, name,
             f"{first}\n{second}\n{calls(fake)}")
        t.ok("trying /dev/kvm" in first[1] and not second[1],
             "it says so while it tries", f"{first}\n{second}")
        with open(kernel, "w", encoding="ascii") as f:
            f.write("another")
        t.ok(probe(KVM_WORKS="1")[0].startswith("kvm ") and
             probe(KVM_WORKS="1")[0].startswith("kvm "),
             "another kernel is tried again", calls(fake))


def main():
    t = e2e.Tap()
    probes(t)
    compiler_changes(t)
    bench(t)
    tallies(t)
    installs(t)
    compilers(t)
    not_root(t)
    asks(t)
    stops(t)
    test_stops(t)
    return t.done()


if __name__ == "__main__":
    sys.exit(main())
