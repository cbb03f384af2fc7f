#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measure with dpf bench and write the tables and plots of docs/bench-dpf.md.

usage: report.py DPF FOLDER [CAPTURES]

Writes FOLDER/bench-dpf-tables.md, bench-dpf-demux.svg and
bench-dpf-single.svg (gnuplot), and the raw figures as bench-dpf.json.
"""
import json
import math
import os
import subprocess
import sys


FLOOR_NS = 0.25  # less is noise, and would rule a geometric mean


def bench(dpf, what, captures):
    command = [dpf, "bench", what, "--json"]
    if captures and what == "single":
        command += ["-r", captures]
    print("+", " ".join(command), file=sys.stderr)
    return json.loads(subprocess.run(command, check=True,
                                     stdout=subprocess.PIPE).stdout)


def engines(rows):
    seen = []
    for r in rows:
        if r["engine"] not in seen:
            seen.append(r["engine"])
    return seen


def table(out, head, rows):
    out.append("| " + " | ".join(head) + " |")
    out.append("|" + " --- |" * len(head))
    out.extend("| " + " | ".join(r) + " |" for r in rows)
    out.append("")


def demux(out, rows):
    names = engines(rows)
    for work in ("demux/connections", "demux/ten shapes"):
        part = [r for r in rows if r["workload"] == work]
        used = [e for e in names if any(r["engine"] == e for r in part)]
        out.append(f"### {work}: ns a packet, median (minimum)\n")
        body = []
        for n in sorted({r["n"] for r in part}):
            cell = {r["engine"]: f'{r["ns"]:.1f} ({r["ns_min"]:.1f})'
                    for r in part if r["n"] == n}
            body.append([f"{n:,}"] + [cell.get(e, "") for e in used])
        table(out, ["filters"] + used, body)


def single(out, rows):
    names = engines(rows)
    out.append("### single filters: ns a packet, median (minimum)\n")
    body = []
    for work in dict.fromkeys(r["workload"] for r in rows):
        cell = {r["engine"]: f'{r["ns"]:.2f} ({r["ns_min"]:.2f})'
                for r in rows if r["workload"] == work}
        body.append([work[7:]] + [cell.get(e, "") for e in names])
    mean = {}
    for e in names:
        logs = [math.log(max(r["ns"], FLOOR_NS)) for r in rows if r["engine"] == e]
        mean[e] = math.exp(sum(logs) / len(logs))
    body.append(["geometric mean"] + [f"{mean[e]:.2f}" for e in names])
    table(out, ["filter/traffic"] + names, body)
    return mean


def install(out, rows):
    out.append("### installing: microseconds, median (minimum)\n")
    body = [[r["workload"][8:], r["engine"], f'{r["n"]:,}',
             f'{r["us"]:.2f} ({r["us_min"]:.2f})',
             f'{r["bytes"]:.0f}' if r["bytes"] else ""] for r in rows]
    table(out, ["what", "engine", "filters", "us", "bytes a filter"], body)


def plot(folder, rows, mean):
    part = [r for r in rows if r["workload"] == "demux/connections"]
    script = ["set terminal svg size 720,420 dynamic background '#ffffff'",
              f"set output '{folder}/bench-dpf-demux.svg'",
              "set logscale xy", "set key left top",
              "set xlabel 'TCP connections'", "set ylabel 'ns a packet'",
              "set title 'Whose packet is it?'"]
    curves = []
    for e in engines(part):
        points = "\n".join(f'{r["n"]} {r["ns"]}' for r in part
                           if r["engine"] == e)
        block = "$" + e.replace("-", "_")
        script.append(f"{block} << EOD\n{points}\nEOD")
        curves.append(f"{block} with linespoints title '{e}' noenhanced")
    script.append("plot " + ", ".join(curves))
    script += ["unset logscale", "set style fill solid 0.6",
               f"set output '{folder}/bench-dpf-single.svg'",
               "set boxwidth 0.6", "set yrange [0:*]", "unset key",
               "set xtics noenhanced", "set xlabel ''",
               "set title 'Single filters, geometric mean'",
               "$mean << EOD\n" + "\n".join(f'"{e}" {v}' for e, v
                                            in mean.items()) + "\nEOD",
               "plot $mean using 2:xtic(1) with boxes"]
    subprocess.run(["gnuplot"], input="\n".join(script), text=True, check=True)


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    dpf, folder = sys.argv[1:3]
    captures = sys.argv[3] if len(sys.argv) == 4 else None
    rows = {w: bench(dpf, w, captures) for w in ("single", "demux", "install")}
    out = []
    demux(out, rows["demux"])
    mean = single(out, rows["single"])
    install(out, rows["install"])
    with open(os.path.join(folder, "bench-dpf-tables.md"), "w") as f:
        f.write("\n".join(out))
    with open(os.path.join(folder, "bench-dpf.json"), "w") as f:
        json.dump(rows, f, indent=1)
    plot(folder, rows["demux"], mean)


if __name__ == "__main__":
    main()
