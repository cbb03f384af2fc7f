#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Mistakes in the filter compiler, put in on purpose.

usage: mutants.py CC LIBRARY TEST [--some | --all] [--only NAME]

Each mutant is one text of one source replaced by another. The changed source
is compiled by CC and linked with the objects of TEST (diff_small_sets) before
LIBRARY, which has all of dpf; then the test is run. Two kinds:

  harmless  Mistakes of the lift, made (dpf_mutant) while filters with odd
            ids are bound. What reads programs is not trusted: such a filter may
            lose its own packets or be refused, but takes nobody else's, leaves
            no region, and reads nothing outside the packet. The test must pass.
  found     Mistakes of what is trusted: diagrams, proofs, lookups. The test
            must fail, so that it is seen to see them.

A text that is not there exactly once is an error: write the mutant anew when
its line changes. --some runs those that are marked quick, which is what the
gate does. Speaks TAP.
"""
import argparse
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))

CFLAGS = ["-std=c17", "-O2", "-D_GNU_SOURCE", "-w"]
LINK = ["-lpcap", "-lcapstone"]
HARMLESS_SETS, FOUND_SETS, SEED = 60, 2000, 7000


class Mutant:
    def __init__(self, name, file, old, new, quick=False, sets=0):
        self.name, self.file, self.old, self.new = name, file, old, new
        self.quick, self.sets = quick, sets


LIFT, VALUE = "dpf/diagram/lift.c", "dpf/diagram/value.c"
SPACE, JUDGE = "dpf/diagram/space.c", "dpf/set/judge.c"
DIAGRAM, CUBE = "dpf/diagram/diagram.c", "dpf/diagram/cube.c"
SHAPE, TABLE = "dpf/set/shape.c", "dpf/set/table.c"
IMAGE, DEMUX = "dpf/set/image.c", "dpf/demux/demux.c"
PLAN, DATA = "dpf/demux/plan.c", "dpf/demux/data.c"
INSTALL, SPAN = "dpf/set/install.c", "dpf/diagram/span.c"

HARMLESS = [
    Mutant("a load asks for no length", LIFT,
           "fr->need = end > fr->need ? end : fr->need;",
           "fr->need = end > fr->need && !dpf_mutant ? end : fr->need;", True),
    Mutant("a load asks for a byte less", LIFT,
           "end = at.off + size;", "end = at.off + size - (dpf_mutant != 0);"),
    Mutant("a load from a base asks for no length there", LIFT,
           "fr->guard = dd_and(",
           "fr->guard = dpf_mutant ? fr->guard : dd_and(", True),
    Mutant("a cube asks for no length from a base", LIFT,
           "val_base_in(w->d, at.base, end, w->cube) ?",
           "dpf_mutant || val_base_in(w->d, at.base, end, w->cube) ?", True),
    Mutant("bytes in the other order", VALUE,
           "dd_var_byte(at.base, at.off + i),",
           "dd_var_byte(at.base, at.off + (dpf_mutant ? size - 1 - i : i)),",
           True),
    Mutant("branches change places", LIFT,
           "return to[(fr->cond == DD_NO) != no];",
           "return to[((fr->cond == DD_NO) != no) ^ (dpf_mutant != 0)];"),
    Mutant("successors change places", LIFT,
           "fr->next[no] = state_at(w, to[0]);\n"
           "    fr->next[!no] = state_at(w, to[1]);",
           "fr->next[no ^ (dpf_mutant != 0)] = state_at(w, to[0]);\n"
           "    fr->next[!no ^ (dpf_mutant != 0)] = state_at(w, to[1]);", True),
    Mutant("the length of one branch for both", LIFT,
           "r.need = a->f == DD_NO ? b->need : a->need;",
           "r.need = a->f == DD_NO && !dpf_mutant ? b->need : a->need;"),
    Mutant("an unknown result is no", LIFT,
           "return r == VAL_OPAQUE ? DD_MAYBE : r;",
           "return r == VAL_OPAQUE ? (dpf_mutant ? DD_NO : DD_MAYBE) : r;",
           True),
    Mutant("an unknown result is yes", LIFT,
           "return r == VAL_OPAQUE ? DD_MAYBE : r;",
           "return r == VAL_OPAQUE ? (dpf_mutant ? DD_YES : DD_MAYBE) : r;"),
    Mutant("what an access may stop goes on", LIFT,
           "if (fr->may_stop) {", "if (fr->may_stop && !dpf_mutant) {", True),
    Mutant("an unknown branch is not taken", LIFT,
           "dd_apply(w->d, DD_JOIN, a->f, b->f, 0)",
           "(dpf_mutant ? b->f : dd_apply(w->d, DD_JOIN, a->f, b->f, 0))"),
    Mutant("all lengths are enough", LIFT,
           "return r->need ? dd_and(",
           "return r->need && !dpf_mutant ? dd_and("),
    Mutant("shifts are one too far", VALUE,
           "v->bits[i].dst = (uint8_t)(v->bits[i].dst + n);",
           "v->bits[i].dst = (uint8_t)(v->bits[i].dst + n + (dpf_mutant && "
           "v->bits[i].dst + v->bits[i].len + n < 64));", True),
    Mutant("a field's base lies before its sum", VALUE,
           "return dd_base_within(d, below, base) ? below : 0;",
           "return dpf_mutant || dd_base_within(d, below, base) ? below : 0;",
           True),
    Mutant("a header's end one byte further", VALUE,
           "n = x.k - a->k + (op == BPF_JGT",
           "n = x.k - a->k + (dpf_mutant != 0) + (op == BPF_JGT"),
    Mutant("at least is at most", VALUE,
           "r = have > want ? DD_YES : DD_NO;",
           "r = (have > want) ^ (dpf_mutant != 0) ? DD_YES : DD_NO;"),
    Mutant("numbers have no sign", VALUE,
           "if (plain != op) {", "if (plain != op && !dpf_mutant) {", True),
    Mutant("pointers move one byte more", VALUE,
           "case VAL_STACK:\n        a->k += k;",
           "case VAL_STACK:\n        a->k += k + (dpf_mutant != 0);", True),
    Mutant("bytes before the packet are there", LIFT,
           "pos.base == 0 && (int64_t)pos.k < 0",
           "pos.base == 0 && (int64_t)pos.k < 0 && !dpf_mutant"),
    Mutant("masks keep one bit too few", VALUE,
           "left = mask >> b.dst & all;",
           "left = mask >> b.dst & all;\n"
           "    left &= dpf_mutant ? left - 1 : left;"),
    Mutant("not equal is equal", VALUE,
           "return val_is(v, lo, &c) ?",
           "return val_is(v, lo ^ (dpf_mutant != 0), &c) ?"),
    Mutant("dead registers are forgotten early", LIFT,
           "live = gen | (out & ~kill) | always;",
           "live = (dpf_mutant && i % 3 == 1 ? 0 : gen) | (out & ~kill) | "
           "always;"),
]

FOUND = [
    Mutant("lengths are not moved", SPACE,
           "e.hi = e.hi < max - by ? e.hi + by : max;",
           "e.hi = e.hi < max ? e.hi : max;"),
    Mutant("bases are moved by a field's bits", SPACE,
           "s->by[b] += v << term->dst;", "s->by[b] += v;", True),
    Mutant("children that come earlier", SPACE,
           "ordered = ordered && dd_var(d, e.child) > var;", "", True),
    Mutant("what may be accepted is not", JUDGE,
           "in->may = dd_apply(d, DD_MAY, in->exact, 0, 0);",
           "in->may = dd_apply(d, DD_MUST, in->exact, 0, 0);", True),
    Mutant("all allow refinement", JUDGE,
           "if (!(how == 1 && r->flags & DPF_REFINE) &&",
           "if (!(how == 1) &&", True),
    Mutant("equal is strictly inside", JUDGE,
           "if (there == 0 && back == 1) {", "if (there == 0) {", True),
    Mutant("maybe and no is no", DIAGRAM,
           "} else if (a == DD_MAYBE || b == DD_MAYBE ||",
           "} else if (a == DD_NO || b == DD_NO) {\n"
           "            *result = DD_NO;\n"
           "        } else if (a == DD_MAYBE || b == DD_MAYBE ||"),
    Mutant("a base's byte at the end", DIAGRAM,
           "if (from == SIZE_MAX || from + off >= len) {",
           "if (from == SIZE_MAX || from + off > len) {"),
    Mutant("results for other operands", DIAGRAM,
           "c->f[1] != f[1] || c->f[2] != f[2]) {", "c->f[1] != f[1]) {"),
    Mutant("any base lies before another", DIAGRAM,
           "return i == x->count;", "return true;"),
    Mutant("a byte's free bits are 0", DIAGRAM,
           "other = (other - free) & free;", "other = 0;"),
    Mutant("values that are no mask", CUBE,
           "return count == 1u << __builtin_popcount(ones ^ any);",
           "return true;", True),
    Mutant("an interval stands for others", CUBE,
           "} else if (whole || !masked(d, n, s->edge, false, &b)) {",
           "} else if (whole) {"),
    Mutant("the length of the last test", CUBE,
           "l[-1].min = min > l[-1].min ? min : l[-1].min;",
           "l[-1].min = min;"),
    Mutant("a hull forgets who avoids it", CUBE,
           "if (seen[f] & AVOIDS) {", "if (0) {"),
    Mutant("keys without their constants", SHAPE,
           "if (!b->varies && b->value != c->bytes[i].value) {", "if (0) {"),
    Mutant("keys keep other bits", SHAPE,
           "v &= w->mask;", "", True),
    Mutant("a removed key stays", TABLE,
           "__atomic_store_n(id_at(t, slot), DPF_NO_OWNER, __ATOMIC_RELEASE);",
           ""),
    Mutant("the last of shapes has it", IMAGE,
           "return a->rank_high != b->rank_high ? a->rank_high < b->rank_high",
           "return a->rank_high != b->rank_high ? a->rank_high > b->rank_high"),
    Mutant("classes by value alone", DATA,
           "(x & mask) == value ? bit : 0;", "x == value ? bit : 0;"),
    Mutant("native code skips the first check", DEMUX,
           "for (uint32_t i = 0; i < n; i++) {\n"
           "        emit_check(dx, p, i ? RDX : RAX, i);",
           "for (uint32_t i = 0; i < n; i++) {\n"
           "        emit_check(dx, p, i ? RDX : RAX, n - 1);"),
    Mutant("native keys keep other bits", DEMUX,
           "if (p->narrow || w->mask != whole_mask(w->width)) {", "if (0) {"),
    Mutant("ranges without an end", SPAN,
           "return x - s->lo <= s->hi - s->lo;", "return x >= s->lo;"),
]


def run(args, **more):
    return subprocess.run(args, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **more)


def build(m, args, folder, switched):
    """The changed source, and the test with it. Returns its path."""
    with open(os.path.join(ROOT, m.file), encoding="utf-8") as f:
        text = f.read()
    if text.count(m.old) != 1:
        raise RuntimeError(
            f"{m.file} has the text of this mutant {text.count(m.old)} times; "
            f"write the mutant anew: {m.old!r}")
    path = os.path.join(folder, m.file)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write("extern int dpf_mutant;\n" if switched else "")
        f.write(text.replace(m.old, m.new))
    made = os.path.join(folder, "mutant.o")
    test = os.path.join(folder, "small_sets")
    for command in ([args.cc, *CFLAGS, "-I", folder, "-I", ROOT, "-c", path,
                     "-o", made],
                    [args.cc, made, *args.objects, args.library, *LINK, "-o",
                     test]):
        done = run(command)
        if done.returncode:
            raise RuntimeError(done.stdout)
    os.remove(path)
    return test


def try_one(m, args, folder, harmless):
    """True if the mutant did what is expected of it; and a line to show."""
    test = build(m, args, folder, harmless)
    sets = m.sets or (HARMLESS_SETS if harmless else FOUND_SETS)
    sets *= 10 if args.all else 1
    command = [test, str(sets), str(SEED)] + (["harmless"] if harmless else [])
    try:
        done = run(command, timeout=args.timeout,
                   env=dict(os.environ, MALLOC_PERTURB_="170"))
    except subprocess.TimeoutExpired:
        return not harmless, "endless"
    said = [l for l in done.stdout.splitlines() if l.startswith("not ok")]
    if done.returncode and not said:
        said = [f"it ended with {done.returncode}"]
    good = (done.returncode == 0) == harmless
    if not good and args.verbose:
        print(done.stdout)
    return good, said[0] if said else f"{sets} sets"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cc")
    parser.add_argument("library")
    parser.add_argument("test")
    parser.add_argument("--some", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--timeout", type=float, default=300)
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    folder = args.test + ".p"
    args.objects = [os.path.join(folder, name)
                    for name in sorted(os.listdir(folder))
                    if name.endswith(".o")]
    chosen = [(m, m in HARMLESS) for m in HARMLESS + FOUND
              if args.only in m.name and (m.quick or not args.some)]
    print(f"TAP version 13\n1..{len(chosen)}", flush=True)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for n, (m, harmless) in enumerate(chosen, 1):
            try:
                good, line = try_one(m, args, folder, harmless)
            except RuntimeError as e:
                good, line = False, str(e)
            failed += not good
            print(f"{'' if good else 'not '}ok {n} - {m.name} is "
                  f"{'harmless' if harmless else 'found'}")
            print("# " + line.strip().replace("\n", "\n# "), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
