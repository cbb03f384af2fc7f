#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Every instruction of RFC 9669 with operands at its edges, through the plug-in
that the public conformance suite runs: both engines against the model below,
which was written from the standard and shares nothing with them.

A batch is one program: it computes an instruction on many operands and folds
the results into r0. When a batch disagrees its cases are run one by one, so
that the message names the operands. Speaks TAP. usage: conformance.py DPF
"""
import struct
import subprocess
import sys

M32, M64 = (1 << 32) - 1, (1 << 64) - 1
EDGES = [0, 1, 2, 7, 8, 31, 32, 33, 63, 64, 65, 0x7F, 0x80, 0xFF, 0x7FFF,
         0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000000,
         0x180000000, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000,
         0xFFFFFFFF80000000, 0xFFFFFFFFFFFFFFFE, M64, 0x0123456789ABCDEF,
         0xFEDCBA9876543210]
IMMS = [v for v in EDGES if v <= M32] + [0xFFFFFFFE, 0x12345678, 0x89ABCDEF]
FOLD = 0x9E3779B97F4A7C15
ALU32, ALU64, JMP, JMP32 = 4, 7, 5, 6
K, X = 0, 8


# ------------------------------------------------------------------ the model


def signed(v, bits):
    """v's low bits as a two's complement number."""
    v &= (1 << bits) - 1
    return v - (1 << bits) if v >> (bits - 1) else v


def extend(v, low, width):
    """Sign-extend the low bits to the width (RFC 9669 s2.2)."""
    return signed(v, low) & ((1 << width) - 1)


def toward_zero(a, b):
    q = abs(a) // abs(b)
    return -q if (a < 0) != (b < 0) else q


def alu(op, width, dst, src, offset):
    """s4.1: the destination after `op`; 32 bits clear the upper half."""
    mask = (1 << width) - 1
    a, b, shift = dst & mask, src & mask, src & (width - 1)
    sa, sb = signed(a, width), signed(b, width)
    if op == 'div' and offset == 1:
        result = toward_zero(sa, sb) if b else 0
    elif op == 'mod' and offset == 1:
        result = sa - sb * toward_zero(sa, sb) if b else a
    elif op == 'mov':
        result = extend(b, offset, width) if offset else b
    else:
        result = {
            'add': lambda: a + b, 'sub': lambda: a - b, 'mul': lambda: a * b,
            'div': lambda: a // b if b else 0, 'or': lambda: a | b,
            'and': lambda: a & b, 'lsh': lambda: a << shift,
            'rsh': lambda: a >> shift, 'neg': lambda: -a,
            'mod': lambda: a % b if b else a, 'xor': lambda: a ^ b,
            'arsh': lambda: sa >> shift,
        }[op]()
    return result & mask


def jump(op, width, dst, src):
    """s4.3: is the jump taken?"""
    mask = (1 << width) - 1
    a, b = dst & mask, src & mask
    sa, sb = signed(a, width), signed(b, width)
    return {'jeq': a == b, 'jgt': a > b, 'jge': a >= b, 'jset': a & b != 0,
            'jne': a != b, 'jsgt': sa > sb, 'jsge': sa >= sb, 'jlt': a < b,
            'jle': a <= b, 'jslt': sa < sb, 'jsle': sa <= sb}[op]


def swap(v, bits):
    return int.from_bytes((v & ((1 << bits) - 1)).to_bytes(bits // 8, 'little'),
                          'big')


def fold(results):
    r0 = 0
    for v in results:
        r0 = (r0 * FOLD + v) & M64
    return r0


# ---------------------------------------------------------------- instructions

ALU = {'add': 0x00, 'sub': 0x10, 'mul': 0x20, 'div': 0x30, 'or': 0x40,
       'and': 0x50, 'lsh': 0x60, 'rsh': 0x70, 'neg': 0x80, 'mod': 0x90,
       'xor': 0xA0, 'mov': 0xB0, 'arsh': 0xC0}
JUMPS = {'jeq': 0x10, 'jgt': 0x20, 'jge': 0x30, 'jset': 0x40, 'jne': 0x50,
         'jsgt': 0x60, 'jsge': 0x70, 'jlt': 0xA0, 'jle': 0xB0, 'jslt': 0xC0,
         'jsle': 0xD0}
SIZES = {8: 0x10, 16: 0x08, 32: 0x00, 64: 0x18}
MEM, MEMSX = 0x60, 0x80


def insn(opcode, dst=0, src=0, off=0, imm=0):
    return struct.pack('<BBhI', opcode, dst | src << 4, off, imm & M32)


def lddw(dst, v):
    return insn(0x18, dst, 0, 0, v) + insn(0, 0, 0, 0, v >> 32)


EXIT = insn(0x95)
# r0 = r0 * FOLD + r3, with FOLD in r9
ACCUMULATE = insn(ALU64 | X | 0x20, 0, 9) + insn(ALU64 | X, 0, 3)


def program(bodies):
    """Each body leaves its result in r3; r1 is kept in r6."""
    head = insn(0xBF, 6, 1) + insn(0xB7, 0) + lddw(9, FOLD)
    return head + b''.join(b + ACCUMULATE for b in bodies) + EXIT


# --------------------------------------------------------------------- batches


class Batch:
    """Cases of one instruction: (name, body, expected result)."""

    def __init__(self, name, memory=b''):
        self.name, self.memory, self.cases = name, memory, []

    def add(self, what, body, want):
        self.cases.append((what, body, want & M64))


# Operands lie in memory as well, so that no compiler can fold them.
OPERANDS = struct.pack('<%dQ' % len(EDGES), *EDGES)


def operand(reg, index, constant):
    if constant:
        return lddw(reg, EDGES[index])
    return insn(0x61 | SIZES[64], reg, 6, 8 * index)


def pairs(batch, apply, instruction):
    """All operands against all; apply is the model, instruction the code."""
    for i, a in enumerate(EDGES):
        for k, b in enumerate(EDGES):
            fixed = (i + k) % 3 == 0
            batch.add('%#x, %#x' % (a, b), operand(3, i, fixed)
                      + operand(4, k, fixed) + instruction, apply(a, b))


def alu_batches():
    for width, cls in ((32, ALU32), (64, ALU64)):
        for op, code in ALU.items():
            offsets = {'div': (0, 1), 'mod': (0, 1), 'mov': (0, 8, 16, 32)}
            for off in offsets.get(op, (0,)):
                if op == 'mov' and off == 32 and width == 32:
                    continue
                name = '%s%d%s' % (op, width, ' offset %d' % off if off else '')
                if op != 'neg':
                    batch = Batch(name + ' register', OPERANDS)
                    pairs(batch, lambda a, b: alu(op, width, a, b, off),
                          insn(cls | X | code, 3, 4, off))
                    yield batch
                if op == 'mov' and off:
                    continue  # sign extension has the register form only
                batch = Batch(name + ' immediate', OPERANDS)
                for i, a in enumerate(EDGES):
                    for b in IMMS if op != 'neg' else [0]:
                        batch.add('%#x, %#x' % (a, b), operand(3, i, b & 1)
                                  + insn(cls | code, 3, 0, off, b),
                                  alu(op, width, a, extend(b, 32, 64), off))
                yield batch


def swap_batches():
    for name, opcode in (('le', 0xD4), ('be', 0xDC), ('bswap', 0xD7)):
        batch = Batch(name, OPERANDS)
        for bits in (16, 32, 64):
            for i, a in enumerate(EDGES):
                want = a & ((1 << bits) - 1) if name == 'le' else swap(a, bits)
                batch.add('%d of %#x' % (bits, a), operand(3, i, i & 1)
                          + insn(opcode, 3, 0, 0, bits), want)
        yield batch


def taken(test):
    """r3 = 1 if the jump `test` over one instruction is taken, else 2."""
    return (insn(0xB7, 5, 0, 0, 1) + test + insn(0xB7, 5, 0, 0, 2)
            + insn(0xBF, 3, 5))


def jump_batches():
    for width, cls in ((64, JMP), (32, JMP32)):
        for op, code in JUMPS.items():
            name = '%s%d' % (op, width)
            batch = Batch(name + ' register', OPERANDS)
            pairs(batch, lambda a, b: 2 - jump(op, width, a, b),
                  taken(insn(cls | X | code, 3, 4, 1)))
            yield batch
            batch = Batch(name + ' immediate', OPERANDS)
            for i, a in enumerate(EDGES):
                for b in IMMS:
                    want = 2 - jump(op, width, a, extend(b, 32, 64))
                    batch.add('%#x, %#x' % (a, b), operand(3, i, b & 1)
                              + taken(insn(cls | code, 3, 0, 1, b)), want)
            yield batch


def way_batches():
    """Jumps that always go, forwards and back, and loops."""
    batch = Batch('jumps')
    batch.add('ja over one', taken(insn(0x05, 0, 0, 1)), 1)
    batch.add('gotol over one', taken(insn(0x06, 0, 0, 0, 1)), 1)
    batch.add('ja to the next', taken(insn(0x05)), 2)
    for name, over, back in (
            ('ja', insn(0x05, 0, 0, 2), insn(0x05, 0, 0, -3)),
            ('gotol', insn(0x06, 0, 0, 0, 2), insn(0x06, 0, 0, 0, -3 & M32))):
        # over the instruction, back to it, over what follows
        batch.add(name + ' back', insn(0xB7, 3, 0, 0, 1) + over
                  + insn(0x07, 3, 0, 0, 40) + insn(0x05, 0, 0, 1) + back, 41)
    loop = (insn(0xB7, 3) + insn(0xB7, 4, 0, 0, 1000)
            + insn(0x0F, 3, 4) + insn(0x17, 4, 0, 0, 1)
            + insn(0x55, 4, 0, -3))
    batch.add('a loop', loop, 500500)
    yield batch


def memory_batches():
    image = bytes((i * 37 + 0x71) & 0xFF for i in range(64))
    loads = Batch('loads', image)
    for bits, size in SIZES.items():
        for at in (0, 1, 7, 64 - bits // 8):
            raw = int.from_bytes(image[at:at + bits // 8], 'little')
            for base in (0, 40, 64):
                shift = insn(0xBF, 4, 6) + insn(0x07, 4, 0, 0, base)
                what = '%d bits at %d from %d' % (bits, at, base)
                loads.add(what, shift
                          + insn(0x01 | MEM | size, 3, 4, at - base), raw)
                if bits < 64:
                    loads.add(what + ', extended', shift + insn(
                        0x01 | MEMSX | size, 3, 4, at - base),
                        extend(raw, bits, 64))
    yield loads
    # Store all over a pattern, then read the eight bytes around it.
    for place, base, low in (('memory', 6, 0), ('stack', 10, -512)):
        stores = Batch('stores to ' + place, bytes(64))
        for bits, size in SIZES.items():
            mask = (1 << bits) - 1
            for at in (0, 8 - bits // 8):
                for v in IMMS:
                    around = M64 & ~(mask << 8 * at)
                    clear = insn(0x7A, base, 0, low, M64)
                    back = insn(0x79, 3, base, low)
                    what = '%d bits of %#x at %d' % (bits, v, at)
                    stores.add(what, clear + insn(0x02 | MEM | size, base, 0,
                                                  low + at, v) + back,
                               around | (extend(v, 32, 64) & mask) << 8 * at)
                    stores.add(what + ', register', clear + lddw(4, ~v & M64)
                               + insn(0x03 | MEM | size, base, 4, low + at)
                               + back, around | (~v & mask) << 8 * at)
        yield stores
    wide = Batch('wide loads')
    for v in EDGES:
        wide.add('%#x' % v, lddw(3, v), v)
    yield wide


# ------------------------------------------------------------------ the plug-in


class Tap:
    def __init__(self, dpf):
        self.dpf, self.count, self.bad, self.cases = dpf, 0, 0, 0

    def run(self, engine, code, memory=b''):
        """(exit status, what was printed)"""
        done = subprocess.run(
            [self.dpf, 'plugin', memory.hex(' '), '--engine ' + engine],
            input=code.hex(' ').encode(), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, timeout=60, check=False)
        return done.returncode, (done.stdout or done.stderr).decode().strip()

    def say(self, ok, name, why=''):
        self.count += 1
        self.bad += not ok
        print('%s %d - %s%s' % ('ok' if ok else 'not ok', self.count, name,
                                why and '\n# ' + why), flush=True)

    def batch(self, b):
        self.cases += len(b.cases)
        want = 0, '%x' % fold(c[2] for c in b.cases)
        code = program([c[1] for c in b.cases])
        for engine in ('interp', 'native'):
            why = ''
            got = self.run(engine, code, b.memory)
            if got != want:
                why = self.first_bad(engine, b) or 'together: %s' % (got,)
            self.say(not why, '%s, %s' % (b.name, engine), why)

    def first_bad(self, engine, b):
        for what, body, want in b.cases:
            got = self.run(engine, program([body]), b.memory)
            if got != (0, '%x' % want):
                return '%s: %s, not %x' % (what, got, want)
        return ''

    def ends(self, name, code, status, text, memory=b''):
        for engine in ('interp', 'native'):
            got = self.run(engine, code, memory)
            self.say(got[0] == status and text in got[1],
                     '%s, %s' % (name, engine), '' if got[0] == status
                     and text in got[1] else '%s' % (got,))


ZERO = insn(0xB7)  # r0 = 0


def stops(tap):
    """What ends a run, and what a program is told about where it is."""
    length = insn(0xBF, 0, 2) + EXIT
    for n in (0, 1, 8, 300):
        tap.ends('r2 of %d bytes' % n, length, 0, '%x' % n, bytes(n))
    for n in range(8):
        tap.ends('a load past %d bytes' % n, insn(0x79, 0, 1) + EXIT, 1,
                 'outside', bytes(n))
    tap.ends('a load before the memory', insn(0x71, 0, 1, -1) + EXIT, 1,
             'outside', bytes(8))
    tap.ends('a store past the memory', ZERO + insn(0x7A, 1, 0, 1) + EXIT, 1,
             'outside', bytes(8))
    tap.ends('a loop without an end', ZERO + insn(0x05, 0, 0, -1) + EXIT, 1,
             'fuel')
    tap.ends('exit in the middle', ZERO + insn(0x05, 0, 0, 1) + EXIT
             + insn(0x05, 0, 0, -2), 0, '0')


def refusals(tap):
    known = {cls | x | code for cls in (JMP, JMP32) for x in (K, X)
             for code in JUMPS.values()}
    known |= {cls | x | code for cls in (ALU32, ALU64) for x in (K, X)
              for op, code in ALU.items() if (op, x) != ('neg', X)}
    known |= {c | MEM | s for c in (1, 2, 3) for s in SIZES.values()}
    known |= {1 | MEMSX | s for b, s in SIZES.items() if b < 64}
    known |= {0xD4, 0xDC, 0xD7, 0x05, 0x06, 0x85, 0x95, 0x18}
    strange = [o for o in range(256) if o not in known]
    bad = [o for o in strange for e in ('interp', 'native')
           if tap.run(e, ZERO + insn(o) + EXIT, bytes(8))[0] != 1]
    tap.say(not bad, '%d opcodes that are none are refused' % len(strange),
            ' '.join('%#x' % o for o in bad))
    for name, body, text in (
            ('an atomic operation', insn(0xDB, 10, 0, -8), 'atomic'),
            ('legacy packet access', insn(0x30), 'legacy'),
            ('a call of a function', insn(0x85, 0, 1, 0, 1), 'function'),
            ('a call of an unknown helper', insn(0x85, 0, 0, 0, 77), 'helper'),
            ('a call by type', insn(0x85, 0, 2, 0, 7), 'call'),
            ('a wide load of a map', insn(0x18, 3, 1) + insn(0), 'map'),
            ('half a wide load', insn(0x18, 3), 'insn 1'),
            ('a swap of 24 bits', insn(0xD4, 0, 0, 0, 24), 'insn 1'),
            ('an offset of an addition', insn(0x07, 0, 0, 1), 'insn 1'),
            ('a source beside an immediate', insn(0x07, 0, 3), 'insn 1'),
            ('register 11', insn(0xB7, 11), 'insn 1'),
            ('writing r10', insn(0xB7, 10), 'insn 1'),
            ('reading what was not written', insn(0xBF, 0, 5), 'insn 1'),
            ('a jump out', insn(0x05, 0, 0, 9), 'insn 1')):
        tap.ends(name + ' is refused', ZERO + body + EXIT, 1, text)
    tap.ends('a program without an end is refused', ZERO, 1, 'insn 0')


def main():
    tap = Tap(sys.argv[1])
    for batches in (alu_batches, swap_batches, jump_batches, way_batches,
                    memory_batches):
        for b in batches():
            tap.batch(b)
    stops(tap)
    refusals(tap)
    print('# %d cases' % tap.cases)
    print('1..%d' % tap.count)
    return tap.bad != 0


sys.exit(main())
