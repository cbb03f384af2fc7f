#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scripts/bench http: requests per second of three guests, one after another.

  pavise   Cheetah on the exokernel
  nginx    nginx in a guest with Debian's cloud kernel
  reflect  a guest that sends every frame back: the ceiling of this QEMU,
           accelerator, tap and processor

Each guest gets the same QEMU, the same kind of tap and one virtual processor
pinned to processor 0; the load runs on processor 1. Rounds are interleaved
(pavise nginx reflect pavise ...) and the medians are compared. Everything runs
in a network namespace of its own, which ends with this script.

Under emulation time is the emulator's, so at the end the guest instructions
that Cheetah's machine executes for a request are counted too.
"""
import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
HOST, GUEST, BITS = "10.77.0.1", "10.77.0.2", 24
PATH = "1k.txt"
BODY = (b"pavise " * 147)[:1024]
GUESTS = ("pavise", "nginx", "reflect")
WORK = "PAVISE_BENCH_WORK"  # set for the half that runs in the namespace


def die(text):
    sys.exit(f"bench http: {text}")


def say(text):
    print(text, flush=True)


def run(*cmd, **kw):
    try:
        return subprocess.run(cmd, check=True, text=True, **kw)
    except FileNotFoundError:
        die(f"{cmd[0]} does not exist; scripts/bench http installs and builds "
            "what is needed")
    except subprocess.CalledProcessError as e:
        die(f"{' '.join(cmd)} ended with status {e.returncode}\n"
            f"{e.stderr or ''}".rstrip())


def end(proc):
    """End a machine, whatever it does."""
    proc.send_signal(signal.SIGTERM)
    try:
        proc.wait(10)
    except subprocess.TimeoutExpired:
        proc.kill()
        proc.wait()


def may_measure():
    """What this machine must allow, before anything is fetched."""
    if not os.path.exists("/dev/net/tun"):
        die("/dev/net/tun does not exist; load the tun module")
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        die("/dev/net/tun cannot be opened; run as root, or chmod 666 it")
    flags = ["-n"] if os.geteuid() == 0 else ["-Urn"]
    if subprocess.run(["unshare", *flags, "true"],
                      stderr=subprocess.DEVNULL).returncode != 0:
        die("cannot make a network namespace; run as root, or allow user "
            "namespaces (sysctl kernel.unprivileged_userns_clone=1)")
    return flags


def in_namespace(work):
    """Run again inside a network namespace (and a user one if not root)."""
    return subprocess.run(["unshare", *may_measure(), sys.executable,
                           *sys.argv],
                          env={**os.environ, WORK: work}).returncode


@contextlib.contextmanager
def tap():
    """A tap of the namespace's own, with the host's address on it."""
    run("ip", "link", "set", "lo", "up")
    run("ip", "tuntap", "add", "tap0", "mode", "tap")
    try:
        run("ip", "addr", "add", f"{HOST}/{BITS}", "dev", "tap0")
        run("ip", "link", "set", "tap0", "up")
        yield "tap0"
    finally:
        subprocess.run(["ip", "link", "del", "tap0"])


def qemu(accel, smp, *more):
    return ["taskset", "-c", "0", "qemu-system-x86_64", "-machine",
            f"q35,accel={accel}", "-cpu", "host" if accel == "kvm" else "max",
            "-smp", str(smp), "-display", "none", "-no-reboot",
            "-monitor", "none",
            "-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no,vhost=off",
            "-device", "virtio-net-pci,netdev=n,disable-legacy=on,"
            "mac=02:00:00:00:00:02", *more]


def guests(args, work):
    """Name -> command."""
    build = args.build
    table = {}
    kernel = f"{build}/src/pavise.elf"
    modules = f"{build}/programs/boot.tar"
    for path in (kernel, modules):
        if not os.path.exists(path):
            die(f"{path} is not built; run scripts/bench http, which builds it")
    if args.peer("pavise"):
        table["pavise"] = qemu(
            args.accel, 1, "-m", "256", "-kernel", kernel, "-initrd", modules,
            "-append", f"ip={GUEST}/{BITS} gw={HOST}",
            "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
            "-drive", f"if=none,id=d,format=raw,readonly=on,file={work}/site.img",
            "-device", "virtio-blk-pci,drive=d,disable-legacy=on")
    if args.peer("nginx"):
        linux = f"{build}/bench-linux"
        table["nginx"] = qemu(
            args.accel, 1, "-m", "512", "-kernel", f"{linux}/vmlinuz",
            "-initrd", f"{linux}/initramfs.gz",
            "-append", f"console=ttyS0 quiet guest={GUEST}/{BITS}")
    reflect = f"{build}/tests/bench/http/reflect.elf"
    if args.peer("reflect"):
        if not os.path.exists(reflect):
            die(f"{reflect} is not built; run scripts/bench http, which "
                "builds it")
        table["reflect"] = qemu(args.accel, 1, "-m", "64", "-kernel", reflect)
    return table


def prepare(args, work):
    """Outside the namespace, where apt reaches its sources."""
    os.mkdir(f"{work}/site")
    with open(f"{work}/site/{PATH}", "wb") as f:
        f.write(BODY)
    os.utime(f"{work}/site/{PATH}", (1700000000, 1700000000))
    run(f"{args.build}/cheetah/mksite", f"{work}/site", f"{work}/site.img",
        stdout=subprocess.DEVNULL)
    if args.peer("nginx"):
        run(f"{HERE}/linux-guest", f"{args.build}/bench-linux", f"{work}/site")


def wait_served(proc, limit):
    """Until the guest serves the very bytes; its boot time in seconds."""
    start = time.monotonic()
    while time.monotonic() - start < limit:
        if proc.poll() is not None:
            die(f"the guest ended with status {proc.returncode}")
        try:
            with urllib.request.urlopen(f"http://{GUEST}/{PATH}",
                                        timeout=0.5) as r:
                if r.read() != BODY:
                    die("the guest served other bytes than the file's")
                return time.monotonic() - start
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
    die(f"the guest served nothing within {limit} s")


def load_http(args):
    out = run("taskset", "-c", "1", "wrk", "-t1", f"-c{args.connections}",
              f"-d{args.seconds}s", f"http://{GUEST}/{PATH}",
              capture_output=True).stdout
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", out)
    if rate is None or "Non-2xx" in out:
        die(f"wrk did not succeed:\n{out}")
    errors = re.search(r"Socket errors.*", out)
    if errors:
        say(f"  wrk: {errors.group(0)}")
    return float(rate.group(1))


def load_reflect(args):
    out = run("taskset", "-c", "1", f"{args.build}/tests/bench/http/reflect_load",
              "tap0", str(args.connections), str(args.seconds),
              capture_output=True).stdout
    words = out.split()
    if not words:
        die("the reflector's load printed nothing")
    return float(words[0])


def counting(command):
    """The machine of `command` with a clock that counts instructions: by TCG,
    and without the x2APIC, whose timer QEMU 10 cannot set then."""
    command = [re.sub(r"accel=\w+", "accel=tcg", word) for word in command]
    command[command.index("-cpu") + 1] = "max,-x2apic"
    return [*command, "-icount", "shift=0,sleep=off"]


def count_instructions(command, args, work):
    """Guest instructions per request. With -icount the timestamp counter
    counts instructions, so what is not idle time is what was executed."""
    def look():
        url = f"http://{GUEST}/.pavise/counters"
        with urllib.request.urlopen(url, timeout=5) as r:
            c = json.load(r)
        m = c["machine"]
        return m["up_ticks"] - m["idle_ticks"], c["server"]["requests"]

    with tap(), open(f"{work}/icount.serial", "wb") as serial:
        proc = subprocess.Popen([*counting(command), "-serial", "stdio"],
                                stdin=subprocess.DEVNULL, stdout=serial,
                                stderr=serial)
        try:
            wait_served(proc, 60)
            busy, requests = look()
            load_http(args)
            busy_end, requests_end = look()
            return (busy_end - busy) / (requests_end - requests)
        finally:
            end(proc)


def measure(name, command, args, work):
    """One round: boot, check, load, end. Returns operations per second."""
    with tap(), open(f"{work}/{name}.serial", "wb") as serial:
        proc = subprocess.Popen([*command, "-serial", "stdio"],
                                stdin=subprocess.DEVNULL, stdout=serial,
                                stderr=serial)
        try:
            if name == "reflect":
                time.sleep(1)
                return load_reflect(args)
            wait_served(proc, 60)
            return load_http(args)
        finally:
            end(proc)


def report(args, rates):
    base = statistics.median(rates["nginx"]) if "nginx" in rates else None
    top = statistics.median(rates["reflect"]) if "reflect" in rates else None
    rows = []
    say(f"\n{'guest':8} {'median/s':>10} {'min':>10} {'max':>10} "
        f"{'x nginx':>8} {'of reflect':>10}")
    for name, r in rates.items():
        m = statistics.median(r)
        rows.append({"guest": name, "per_s": m, "min": min(r), "max": max(r),
                     "rounds": len(r),
                     "x_nginx": m / base if base else None,
                     "of_reflect": m / top if top else None})
        x = f"{m / base:8.2f}" if base else f"{'-':>8}"
        o = f"{m / top:10.3f}" if top else f"{'-':>10}"
        say(f"{name:8} {m:10.0f} {min(r):10.0f} {max(r):10.0f} {x} {o}")
    if args.json:
        with open(args.json, "w") as f:
            json.dump(rows, f, indent=1)


def whole(text):
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def names(text):
    for name in text.split(","):
        if name not in GUESTS:
            raise argparse.ArgumentTypeError(
                f"no guest {name!r}; there are {', '.join(GUESTS)}")
    return text


def arguments():
    p = argparse.ArgumentParser(prog="scripts/bench http", description=__doc__,
                                formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--rounds", type=whole, default=3)
    p.add_argument("--seconds", type=whole, default=5, help="of load a round")
    p.add_argument("--connections", type=whole, default=64)
    p.add_argument("--accel", default="tcg", choices=["tcg", "kvm"])
    p.add_argument("--build", default=f"{ROOT}/build")
    p.add_argument("--only", type=names, help="comma list of guests")
    p.add_argument("--json", metavar="FILE")
    p.add_argument("--judge", action="store_true", help=argparse.SUPPRESS)
    args = p.parse_args()
    args.peer = lambda n: args.only is None or n in args.only.split(",")
    return args


def main():
    args = arguments()
    if args.judge:
        may_measure()
        return
    for tool in ("qemu-system-x86_64", "wrk", "taskset", "ip"):
        if shutil.which(tool) is None:
            die(f"{tool} is not installed; run scripts/setup serve bench-http")
    work = os.environ.get(WORK)
    if work is None:
        with tempfile.TemporaryDirectory(prefix="pavise-bench-") as work:
            prepare(args, work)
            sys.exit(in_namespace(work))
    table = guests(args, work)
    rates = {n: [] for n in table}
    for i in range(args.rounds):
        for name, command in table.items():
            rates[name].append(measure(name, command, args, work))
            say(f"round {i + 1}/{args.rounds} {name}: {rates[name][-1]:.0f}/s")
    report(args, rates)
    if "pavise" in table and args.accel == "tcg":
        n = count_instructions(table["pavise"], args, work)
        say(f"pavise executes {n:.0f} guest instructions for a request")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
