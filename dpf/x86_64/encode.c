/* SPDX-License-Identifier: MIT */
/*
 * x86-64 encodings: the tables of SDM 2A chapter 2 (prefixes, ModRM, SIB)
 * written down.
 */
#include "dpf/x86_64/encode.h"

#include "dpf/x86_64/assemble.h"

/* ------------------------------------------------------ prefixes, ModRM */

/*
 * A form in one word: the opcode's bytes, most significant first (0x0fb6 is
 * 0f b6), and how its operands change the prefixes.
 */
#define W8 (1u << 24)       /* 8-byte operands: REX.W */
#define W2 (1u << 25)       /* 2-byte operands: the 66 prefix */
#define BYTE_RM (1u << 26)  /* the r/m operand is a byte register */
#define BYTE_REG (1u << 27) /* so is the other */
#define REPNE (1u << 28)    /* the f2 prefix is part of the opcode */

static void x64_prefix(struct x64 *x, uint32_t form, uint32_t reg,
                       uint32_t base, uint32_t index)
{
    uint32_t rex = (reg >> 3 & 1) << 2 | (index >> 3 & 1) << 1 |
                   (base >> 3 & 1) | ((form & W8) != 0 ? 8u : 0);
    /* spl, bpl, sil and dil exist only under a REX prefix. */
    bool need = ((form & BYTE_REG) != 0 && reg >= 4) ||
                ((form & BYTE_RM) != 0 && base >= 4);
    if ((form & W2) != 0) {
        x64_put(x, 0x66);
    }
    if ((form & REPNE) != 0) {
        x64_put(x, 0xf2);
    }
    if (rex != 0 || need) {
        x64_put(x, 0x40 | rex);
    }
    for (uint32_t shift = 16; shift > 0; shift -= 8) {
        if ((form & 0xffffff) >> shift != 0) {
            x64_put(x, form >> shift & 0xff);
        }
    }
    x64_put(x, form & 0xff);
}

static void reg_rm(struct x64 *x, uint32_t form, uint32_t reg, uint32_t rm)
{
    x64_prefix(x, form, reg, rm, 0);
    x64_put(x, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

static uint32_t scale_bits(struct x64 *x, uint32_t scale)
{
    static const uint8_t bits[9] = {[2] = 1, [4] = 2, [8] = 3};
    if (scale > 8 || (scale != 1 && !bits[scale])) {
        x->error = true;
        return 0;
    }
    return bits[scale];
}

static void reg_mem(struct x64 *x, uint32_t form, uint32_t reg,
                    struct x64_mem m)
{
    bool based = m.base != X64_NONE, indexed = m.index != X64_NONE;
    if (m.index == RSP) {
        x->error = true;
    }
    x64_prefix(x, form & ~BYTE_RM, reg, based ? m.base : 0,
               indexed ? m.index : 0);
    uint32_t r = (reg & 7) << 3;
    uint32_t base = based ? m.base & 7u : 5, mod = 0, bytes = 4;
    if (based) {
        /* Base 5 (rbp, r13) without displacement means none: give it one. */
        bool zero = m.disp == 0 && base != 5;
        bool small = m.disp == (int8_t)m.disp;
        mod = zero ? 0 : small ? 0x40 : 0x80;
        bytes = zero ? 0 : small ? 1 : 4;
    }
    if (indexed || !based || base == 4) {
        uint32_t index = indexed ? m.index & 7u : 4;
        x64_put(x, mod | r | 4);
        x64_put(x, scale_bits(x, m.scale) << 6 | index << 3 | base);
    } else {
        x64_put(x, mod | r | base);
    }
    x64_put_imm(x, (uint32_t)m.disp, bytes);
}

/* The form for operands of w = 2, 4 or 8 bytes. */
static uint32_t wide(uint32_t opcode, uint32_t w)
{
    return opcode | (w == 8 ? W8 : w == 2 ? W2 : 0);
}

/* The same where the byte variant is the opcode below. */
static uint32_t sized(uint32_t opcode, uint32_t w)
{
    return w == 1 ? (opcode - 1) | BYTE_RM | BYTE_REG : wide(opcode, w);
}

/* The same with a register and an extension of the opcode as operands. */
static uint32_t x64_unary_form(uint32_t opcode, uint32_t w)
{
    return sized(opcode, w) & ~BYTE_REG;
}

/* ------------------------------------------------ arithmetic and logic */

void x64_alu_rr(struct x64 *x, enum x64_alu op, uint32_t w, enum x64_reg d,
                enum x64_reg s)
{
    reg_rm(x, sized((uint32_t)op << 3 | 1, w), s, d);
}

void x64_alu_rm(struct x64 *x, enum x64_alu op, uint32_t w, enum x64_reg d,
                struct x64_mem m)
{
    reg_mem(x, sized((uint32_t)op << 3 | 3, w), d, m);
}

void x64_alu_mr(struct x64 *x, enum x64_alu op, uint32_t w, struct x64_mem m,
                enum x64_reg s)
{
    reg_mem(x, sized((uint32_t)op << 3 | 1, w), s, m);
}

/* Bytes of an immediate operand of width w. */
static uint32_t imm_bytes(uint32_t w)
{
    return w < 4 ? w : 4;
}

void x64_alu_ri(struct x64 *x, enum x64_alu op, uint32_t w, enum x64_reg d,
                int32_t imm)
{
    bool small = w > 1 && imm == (int8_t)imm;
    reg_rm(x, x64_unary_form(small ? 0x83 : 0x81, w), op, d);
    x64_put_imm(x, (uint32_t)imm, small ? 1 : imm_bytes(w));
}

void x64_alu_mi(struct x64 *x, enum x64_alu op, uint32_t w, struct x64_mem m,
                int32_t imm)
{
    bool small = w > 1 && imm == (int8_t)imm;
    reg_mem(x, x64_unary_form(small ? 0x83 : 0x81, w), op, m);
    x64_put_imm(x, (uint32_t)imm, small ? 1 : imm_bytes(w));
}

void x64_test_rr(struct x64 *x, uint32_t w, enum x64_reg a, enum x64_reg b)
{
    reg_rm(x, sized(0x85, w), b, a);
}

void x64_test_ri(struct x64 *x, uint32_t w, enum x64_reg a, int32_t imm)
{
    reg_rm(x, x64_unary_form(0xf7, w), 0, a);
    x64_put_imm(x, (uint32_t)imm, imm_bytes(w));
}

void x64_test_mi(struct x64 *x, uint32_t w, struct x64_mem m, int32_t imm)
{
    reg_mem(x, x64_unary_form(0xf7, w), 0, m);
    x64_put_imm(x, (uint32_t)imm, imm_bytes(w));
}

void x64_shift_i(struct x64 *x, enum x64_shift op, uint32_t w, enum x64_reg d,
                 uint8_t count)
{
    reg_rm(x, x64_unary_form(count == 1 ? 0xd1 : 0xc1, w), op, d);
    if (count != 1) {
        x64_put(x, count);
    }
}

void x64_shift_cl(struct x64 *x, enum x64_shift op, uint32_t w, enum x64_reg d)
{
    reg_rm(x, x64_unary_form(0xd3, w), op, d);
}

void x64_unary(struct x64 *x, enum x64_unary op, uint32_t w, enum x64_reg d)
{
    reg_rm(x, x64_unary_form(0xf7, w), op, d);
}

void x64_imul_rr(struct x64 *x, uint32_t w, enum x64_reg d, enum x64_reg s)
{
    reg_rm(x, wide(0x0faf, w), d, s);
}

void x64_tzcnt_rr(struct x64 *x, uint32_t w, enum x64_reg d, enum x64_reg s)
{
    x64_put(x, 0xf3);
    reg_rm(x, wide(0x0fbc, w), d, s);
}

void x64_imul_rm(struct x64 *x, uint32_t w, enum x64_reg d, struct x64_mem m)
{
    reg_mem(x, wide(0x0faf, w), d, m);
}

void x64_imul_rri(struct x64 *x, uint32_t w, enum x64_reg d, enum x64_reg s,
                  int32_t imm)
{
    bool small = imm == (int8_t)imm;
    reg_rm(x, wide(small ? 0x6b : 0x69, w), d, s);
    x64_put_imm(x, (uint32_t)imm, small ? 1 : 4);
}

void x64_cdq(struct x64 *x, uint32_t w)
{
    x64_prefix(x, wide(0x99, w), 0, 0, 0);
}

void x64_bswap(struct x64 *x, uint32_t w, enum x64_reg d)
{
    if (w == 2) {
        x64_shift_i(x, X_ROL, 2, d, 8);
        return;
    }
    x64_prefix(x, wide(0x0fc8 | (d & 7u), w), 0, d, 0);
}

/* ---------------------------------------------------------------- moves */

void x64_mov_rr(struct x64 *x, uint32_t w, enum x64_reg d, enum x64_reg s)
{
    reg_rm(x, sized(0x89, w), s, d);
}

void x64_mov_ri(struct x64 *x, enum x64_reg d, uint64_t imm)
{
    if (imm <= UINT32_MAX) {
        x64_prefix(x, 0xb8 | (d & 7u), 0, d, 0);
        x64_put_imm(x, imm, 4);
    } else if ((int64_t)imm == (int32_t)imm) {
        reg_rm(x, 0xc7 | W8, 0, d);
        x64_put_imm(x, imm, 4);
    } else {
        x64_prefix(x, 0xb8 | (d & 7u) | W8, 0, d, 0);
        x64_put_imm(x, imm, 8);
    }
}

/* movzx of w = 1 or 2 bytes. */
static uint32_t zero_extending(uint32_t w)
{
    return w == 1 ? 0x0fb6 | BYTE_RM : 0x0fb7;
}

/* movsx of w = 1, 2 or 4 bytes into `to`. */
static uint32_t sign_extending(uint32_t to, uint32_t w)
{
    return wide(w == 1 ? 0x0fbe | BYTE_RM : w == 2 ? 0x0fbf : 0x63, to);
}

void x64_load(struct x64 *x, uint32_t w, enum x64_reg d, struct x64_mem m)
{
    reg_mem(x, w < 4 ? zero_extending(w) : wide(0x8b, w), d, m);
}

void x64_load_signed(struct x64 *x, uint32_t w, enum x64_reg d,
                     struct x64_mem m)
{
    reg_mem(x, sign_extending(8, w), d, m);
}

void x64_store(struct x64 *x, uint32_t w, struct x64_mem m, enum x64_reg s)
{
    reg_mem(x, sized(0x89, w), s, m);
}

void x64_store_imm(struct x64 *x, uint32_t w, struct x64_mem m, int32_t imm)
{
    reg_mem(x, x64_unary_form(0xc7, w), 0, m);
    x64_put_imm(x, (uint32_t)imm, imm_bytes(w));
}

void x64_load_swapped(struct x64 *x, uint32_t w, enum x64_reg d,
                      struct x64_mem m)
{
    reg_mem(x, wide(0x0f38f0, w), d, m);
}

void x64_lea(struct x64 *x, uint32_t w, enum x64_reg d, struct x64_mem m)
{
    reg_mem(x, wide(0x8d, w), d, m);
}

void x64_zero_extend(struct x64 *x, uint32_t w, enum x64_reg d, enum x64_reg s)
{
    if (w == 4) {
        x64_mov_rr(x, 4, d, s);
        return;
    }
    reg_rm(x, zero_extending(w), d, s);
}

void x64_sign_extend(struct x64 *x, uint32_t to, uint32_t w, enum x64_reg d,
                     enum x64_reg s)
{
    reg_rm(x, sign_extending(to, w), d, s);
}

void x64_cmov_rr(struct x64 *x, enum x64_cc cc, uint32_t w, enum x64_reg d,
                 enum x64_reg s)
{
    reg_rm(x, wide(0x0f40 | cc, w), d, s);
}

void x64_cmov_rm(struct x64 *x, enum x64_cc cc, uint32_t w, enum x64_reg d,
                 struct x64_mem m)
{
    reg_mem(x, wide(0x0f40 | cc, w), d, m);
}

void x64_setcc(struct x64 *x, enum x64_cc cc, enum x64_reg d)
{
    reg_rm(x, 0x0f90 | cc | BYTE_RM, 0, d);
}

void x64_bt_rr(struct x64 *x, uint32_t w, enum x64_reg d, enum x64_reg s)
{
    reg_rm(x, wide(0x0fa3, w), s, d);
}

void x64_bt_ri(struct x64 *x, uint32_t w, enum x64_reg d, uint8_t bit)
{
    reg_rm(x, wide(0x0fba, w), 4, d);
    x64_put(x, bit);
}

static uint32_t crc32(uint32_t w)
{
    return x64_unary_form(0x0f38f1, w) | REPNE;
}

void x64_crc32_rr(struct x64 *x, uint32_t w, enum x64_reg d, enum x64_reg s)
{
    reg_rm(x, crc32(w), d, s);
}

void x64_crc32_rm(struct x64 *x, uint32_t w, enum x64_reg d, struct x64_mem m)
{
    reg_mem(x, crc32(w), d, m);
}

void x64_prefetch(struct x64 *x, struct x64_mem m)
{
    reg_mem(x, 0x0f18, 1, m);
}

/* ----------------------------------------------------- control transfer */

void x64_push(struct x64 *x, enum x64_reg r)
{
    x64_prefix(x, 0x50 | (r & 7u), 0, r, 0);
}

void x64_pop(struct x64 *x, enum x64_reg r)
{
    x64_prefix(x, 0x58 | (r & 7u), 0, r, 0);
}

void x64_ret(struct x64 *x)
{
    x64_put(x, 0xc3);
}

void x64_trap(struct x64 *x)
{
    x64_put(x, 0xcc);
}

void x64_data(struct x64 *x, uint32_t v)
{
    x64_put_imm(x, v, 4);
}

static void x64_jump(struct x64 *x, x64_label l, uint32_t near_op,
                     uint32_t far_op)
{
    if (x->error) {
        return;
    }
    if (x64_is_near(x, l)) {
        x64_put(x, near_op);
        x64_put_jump(x, l, 1);
        return;
    }
    if (far_op > 0xff) {
        x64_put(x, far_op >> 8);
    }
    x64_put(x, far_op & 0xff);
    x64_put_jump(x, l, 4);
}

void x64_jcc(struct x64 *x, enum x64_cc cc, x64_label l)
{
    x64_jump(x, l, 0x70 | cc, 0x0f80 | cc);
}

void x64_jmp(struct x64 *x, x64_label l)
{
    x64_jump(x, l, 0xeb, 0xe9);
}

void x64_lea_label(struct x64 *x, enum x64_reg d, x64_label l)
{
    x64_prefix(x, 0x8d | W8, d, 0, 0);
    x64_put(x, (d & 7u) << 3 | 5); /* rip-relative */
    x64_put_jump(x, l, 4);
}

void x64_jmp_r(struct x64 *x, enum x64_reg r)
{
    reg_rm(x, 0xff, 4, r);
}

void x64_jmp_m(struct x64 *x, struct x64_mem m)
{
    reg_mem(x, 0xff, 4, m);
}

void x64_call_r(struct x64 *x, enum x64_reg r)
{
    reg_rm(x, 0xff, 2, r);
}

void x64_call_m(struct x64 *x, struct x64_mem m)
{
    reg_mem(x, 0xff, 2, m);
}

/* --------------------------------------------------------- blinding */

bool x64_harmless(int64_t imm)
{
    if (imm >= INT16_MIN && imm <= UINT16_MAX) {
        return true;
    }
    /* Two adjacent bytes between zeros. */
    return imm == (imm & UINT32_C(0x00ffff00)) ||
           imm == (imm & UINT32_C(0xffff0000));
}

void x64_mov_chosen(struct x64 *x, enum x64_reg d, uint64_t imm)
{
    if (x64_harmless((int64_t)imm)) {
        x64_mov_ri(x, d, imm);
        return;
    }
    if (imm <= UINT32_MAX) {
        x64_mov_ri(x, d, (uint32_t)imm ^ x->key);
        x64_alu_ri(x, X_XOR, 4, d, (int32_t)x->key);
        return;
    }
    /*
     * The high half under the key, the low half as a sum: there is no 64-bit
     * exclusive or with an immediate that is not sign-extended.
     */
    int64_t a = (int32_t)x->key;
    int64_t b = (int32_t)((uint32_t)imm - x->key);
    uint32_t high = (uint32_t)((imm - (uint64_t)a - (uint64_t)b) >> 32);
    x64_mov_ri(x, d, high ^ x->key);
    x64_alu_ri(x, X_XOR, 4, d, (int32_t)x->key);
    x64_shift_i(x, X_SHL, 8, d, 32);
    x64_alu_ri(x, X_ADD, 8, d, (int32_t)a);
    x64_alu_ri(x, X_ADD, 8, d, (int32_t)b);
}
