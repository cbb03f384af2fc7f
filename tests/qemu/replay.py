#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""pcap files through the network device into the running kernel, and through
the same filters on the host: classified identically? Speaks TAP.

usage: replay.py QTEST KERNEL DPF SYNTHETIC

Captures: the folders in PAVISE_PCAPS (separated by colons), else those that
Debian's packages bring, and a synthetic one always.
"""
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "scripts", "lib"))
import vm  # noqa: E402

EXPRESSIONS = (
    "", "ip", "ip6", "arp", "tcp", "udp", "icmp", "tcp port 80",
    "udp port 53 or tcp port 53", "host 192.168.0.1", "net 10.0.0.0/8",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "ip[6:2] & 0x1fff != 0",
    "port 80 and tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420",
    "vlan", "ether broadcast or ether multicast", "len > 500",
    "ip proto 89 or ip proto 2", "src portrange 1024-65535",
    "ip6 and udp dst port 547", "not ip and not ip6",
)
FOLDERS = ("/usr/share/gocode/src/github.com/google/gopacket:"
           "/usr/share/sip-tester")
PACKETS_MAX, LENGTHS = 3000, range(14, 1515)
BATCH = 32
FNV, PRIME, MASK = 0xcbf29ce484222325, 0x100000001b3, (1 << 64) - 1


def packets(path):
    """The frames of a classic pcap file of Ethernet; none from others."""
    with open(path, "rb") as f:
        data = f.read()
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">",
             b"\x4d\x3c\xb2\xa1": "<", b"\xa1\xb2\x3c\x4d": ">"}.get(data[:4])
    if not order or len(data) < 24 or \
            struct.unpack(order + "I", data[20:24])[0] & 0xffff != 1:
        return
    at = 24
    while at + 16 <= len(data):
        kept, = struct.unpack(order + "I", data[at + 8:at + 12])
        frame = data[at + 16:at + 16 + kept]
        at += 16 + kept
        if len(frame) == kept and kept in LENGTHS:
            yield frame


def collect(synthetic):
    out, files = list(packets(synthetic))[:1000], 1
    for folder in os.environ.get("PAVISE_PCAPS", FOLDERS).split(":"):
        for root, dirs, names in os.walk(folder):
            dirs.sort()
            for name in sorted(names):
                if len(out) < PACKETS_MAX and name.endswith((".pcap", ".cap")):
                    more = list(packets(os.path.join(root, name)))[:40]
                    out += more
                    files += bool(more)
    return out[:PACKETS_MAX], files


def write_pcap(path, frames):
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        for frame in frames:
            f.write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)


def write_filters(dpf, path):
    with open(path, "wb") as f:
        f.write(struct.pack("<I", len(EXPRESSIONS)))
        for e in EXPRESSIONS:
            code = subprocess.run([dpf, "compile", "--format", "raw", e],
                                  capture_output=True, check=True).stdout
            f.write(struct.pack("<I", len(code) // 8) + code)


def digest(frame):
    h = FNV
    for b in frame:
        h = (h ^ b) * PRIME & MASK
    return h


def on_host(dpf, pcap, frames):
    """For each filter: packets accepted, sum of their digests."""
    answer = [[0, 0] for _ in EXPRESSIONS]
    digests = [digest(f) for f in frames]
    for i, e in enumerate(EXPRESSIONS):
        run = subprocess.run([dpf, "run", "--each", "-r", pcap, e],
                             capture_output=True, text=True)
        for line in run.stdout.splitlines():
            number, colon, names = line.partition(":")
            if colon and number.isdigit() and names.strip() not in ("", "-"):
                answer[i][0] += 1
                answer[i][1] += digests[int(number) - 1]
        answer[i][1] &= MASK
    return answer


def replay(m, frames, to):
    """At a pace that the receive ring follows."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for i, frame in enumerate(frames):
            s.sendto(frame, ("127.0.0.1", to))
            if i % BATCH == BATCH - 1:
                m.pump(0.03)
                time.sleep(0.02)


def in_kernel(m):
    answer = {}
    for line in m.text().splitlines():
        w = line.split()
        if line.startswith("trace: filter ") and len(w) == 5:
            answer[int(w[2])] = [int(w[3]), int(w[4], 16)]
    return answer


def main(qtest, kernel, dpf, synthetic):
    vm.KERNEL = kernel
    with tempfile.TemporaryDirectory(prefix="pavise-replay-") as work:
        frames, files = collect(synthetic)
        pcap = os.path.join(work, "all.pcap")
        write_pcap(pcap, frames)
        write_filters(dpf, os.path.join(work, "filters"))
        modules = os.path.join(work, "modules.tar")
        subprocess.run([os.path.join(vm.ROOT, "scripts", "modules"), modules,
                        qtest, os.path.join(work, "filters")], check=True)
        want = on_host(dpf, pcap, frames)
        here, there = vm.free_port(), vm.free_port()
        m = vm.Vm(append=f"test=trace frames={len(frames)}", modules=modules,
                  netdev=f"socket,udp=127.0.0.1:{there},"
                         f"localaddr=127.0.0.1:{here}")
        with m:
            ready = m.wait_for("trace: ready", 30)
            if ready:
                replay(m, frames, here)
            status = m.wait(60)
            m.stop()
        return report(m, ready, status, want, frames, files)


def report(m, ready, status, want, frames, files):
    got = in_kernel(m)
    results = [(ready, "the filters are bound and the device is up"),
               (status == vm.EXIT_OK, "the machine ends well"),
               (got.get(0, [0])[0] == len(frames),
                f"{len(frames)} packets of {files} captures arrived")]
    results += [(got.get(i) == w,
                 f"'{EXPRESSIONS[i]}': {w[0]} packets, the same in the kernel")
                for i, w in enumerate(want)]
    for n, (good, name) in enumerate(results, 1):
        print("ok" if good else "not ok", n, "-", name)
        if not good and n > 3:
            print(f"# host {want[n - 4]}, kernel {got.get(n - 4)}")
    if not all(good for good, _ in results):
        for line in m.tail(40).splitlines():
            print("#", line)
    print(f"1..{len(results)}")
    return 0 if all(good for good, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
