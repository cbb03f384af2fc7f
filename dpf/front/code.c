/* SPDX-License-Identifier: MIT */
/*
 * The program builder shared by the text front ends. Protects: a program
 * never exceeds DPF_INSNS_MAX, and a jump that was named by label lands on
 * it. Distances follow RFC 9669 s4.3: 16 bits in `off`, 32 in `imm` of JA in
 * class JMP32.
 */
#include "dpf/front/code.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int front_fail(struct dpf_error *err, int code, size_t position,
               const char *format, ...)
{
    if (err != NULL) {
        memset(err, 0, sizeof(*err));
        err->code = code;
        err->position = position > UINT32_MAX ? UINT32_MAX : (uint32_t)position;
        va_list ap;
        va_start(ap, format);
        vsnprintf(err->text, sizeof(err->text), format, ap);
        va_end(ap);
        /* Quotes of the input may hold anything; the message is a line. */
        for (char *p = err->text; *p != '\0'; p++) {
            if (*p > 0 && *p < ' ') {
                *p = ' ';
            }
        }
    }
    return code;
}

void dpf_code_finish(struct dpf_code *c)
{
    if (c == NULL) {
        return;
    }
    free(c->insns);
    free(c->lines);
    free(c->names);
    *c = (struct dpf_code){0};
}

void code_finish(struct code *c)
{
    free(c->insns);
    free(c->label_of);
    free(c->at);
    free(c->labels);
    *c = (struct code){0};
}

/* Replace *array by one of `room` elements; false leaves it as it was. */
static bool code_resize(void *array, size_t room, size_t size)
{
    void **p = array, *bigger = realloc(*p, room * size);
    if (bigger != NULL) {
        *p = bigger;
    }
    return bigger != NULL;
}

static bool code_grow(struct code *c)
{
    size_t room = c->room ? c->room * 2 : 64;
    /*
     * The limit is checked here and not at the end, so that a text which asks
     * for a program without end costs no more memory than the largest one.
     */
    if (c->count >= DPF_INSNS_MAX) {
        c->err = -DPF_E_TOO_BIG;
        return false;
    }
    if (!code_resize(&c->insns, room, sizeof(*c->insns)) ||
        !code_resize(&c->label_of, room, sizeof(*c->label_of)) ||
        !code_resize(&c->at, room, sizeof(*c->at))) {
        c->err = -DPF_E_MEM;
        return false;
    }
    c->room = room;
    return true;
}

static void emit_to(struct code *c, struct dpf_insn insn, uint32_t label)
{
    if (c->err ||
        ((c->count == c->room || c->count >= DPF_INSNS_MAX) && !code_grow(c))) {
        return;
    }
    c->insns[c->count] = insn;
    c->label_of[c->count] = label;
    c->at[c->count] = c->here;
    c->count++;
}

void code_emit(struct code *c, struct dpf_insn insn)
{
    emit_to(c, insn, CODE_NO_LABEL);
}

static struct dpf_insn insn_k(int opcode, int dst, int32_t imm)
{
    return (struct dpf_insn){
        .opcode = (uint8_t)opcode, .regs = (uint8_t)dst, .imm = imm};
}

static struct dpf_insn insn_x(int opcode, int dst, int src)
{
    return (struct dpf_insn){.opcode = (uint8_t)(opcode | BPF_X),
                             .regs = (uint8_t)(dst | src << 4)};
}

void code_k(struct code *c, int opcode, int dst, int32_t imm)
{
    code_emit(c, insn_k(opcode, dst, imm));
}

void code_x(struct code *c, int opcode, int dst, int src)
{
    code_emit(c, insn_x(opcode, dst, src));
}

void code_load_be(struct code *c, int dst, int src, int16_t off, int width)
{
    static const uint8_t size[] = {
        [1] = BPF_B, [2] = BPF_H, [4] = BPF_W, [8] = BPF_DW};
    code_emit(c, (struct dpf_insn){
                     .opcode = (uint8_t)(BPF_LDX | BPF_MEM | size[width]),
                     .regs = (uint8_t)(dst | src << 4),
                     .off = off});
    if (width > 1) { /* BPF_X: to and from big endian */
        code_k(c, BPF_ALU | BPF_END | BPF_X, dst, width * 8);
    }
}

void code_load64(struct code *c, int dst, uint64_t value)
{
    code_k(c, BPF_LD | BPF_IMM | BPF_DW, dst, (int32_t)(uint32_t)value);
    code_k(c, 0, 0, (int32_t)(uint32_t)(value >> 32));
}

void code_jump_k(struct code *c, int opcode, int dst, int32_t imm,
                 uint32_t label)
{
    emit_to(c, insn_k(opcode, dst, imm), label);
}

void code_jump_x(struct code *c, int opcode, int dst, int src, uint32_t label)
{
    emit_to(c, insn_x(opcode, dst, src), label);
}

void code_goto(struct code *c, uint32_t label)
{
    emit_to(c, insn_k(BPF_JMP | BPF_JA, 0, 0), label);
}

void code_return(struct code *c, uint32_t value)
{
    code_k(c, BPF_ALU | BPF_MOV, 0, (int32_t)value);
    code_k(c, BPF_JMP | BPF_EXIT, 0, 0);
}

uint32_t code_label(struct code *c)
{
    if (c->err) {
        return 0;
    }
    if (c->label_count == c->label_room) {
        uint32_t room = c->label_room ? c->label_room * 2 : 64;
        if (!code_resize(&c->labels, room, sizeof(*c->labels))) {
            c->err = -DPF_E_MEM;
            return 0;
        }
        c->label_room = room;
    }
    c->labels[c->label_count] = UINT32_MAX;
    return c->label_count++;
}

void code_place(struct code *c, uint32_t label)
{
    if (!c->err) {
        c->labels[label] = (uint32_t)c->count;
    }
}

bool code_placed(const struct code *c, uint32_t label)
{
    return c->err || c->labels[label] != UINT32_MAX;
}

/* ------------------------------------------------------------ resolution */

static bool is_conditional(const struct dpf_insn *i)
{
    return BPF_OP(i->opcode) != BPF_JA;
}

static bool is_wide(const struct dpf_insn *i)
{
    return i->opcode == (BPF_JMP32 | BPF_JA);
}

/*
 * Places of all instructions (one more than their number) given `far`. Only
 * an unconditional jump has a wide form. A far conditional one becomes three
 * instructions: a jump over a jump over a wide jump.
 */
static void lay_out(const struct code *c, const bool *far, uint32_t *place)
{
    uint32_t at = 0;
    for (size_t i = 0; i < c->count; i++) {
        place[i] = at;
        at += far[i] && is_conditional(&c->insns[i]) ? 3 : 1;
    }
    place[c->count] = at;
}

/*
 * From the end of instruction i to its label, as jumps count (RFC 9669 s4.3).
 * For a jump that became three, that is the end of the third, which is the one
 * that goes there.
 */
static int64_t distance(const struct code *c, const uint32_t *place, size_t i)
{
    return (int64_t)place[c->labels[c->label_of[i]]] - (int64_t)place[i + 1];
}

/*
 * Mark the jumps that do not reach. Each mark moves what lies behind it, and
 * may put other labels out of reach: so go round until none is added. It ends,
 * since a mark is never taken back, and mostly after one round.
 */
static void relax(const struct code *c, bool *far, uint32_t *place)
{
    for (bool again = true; again;) {
        again = false;
        lay_out(c, far, place);
        for (size_t i = 0; i < c->count; i++) {
            int64_t d =
                c->label_of[i] == CODE_NO_LABEL ? 0 : distance(c, place, i);
            if (!far[i] && !is_wide(&c->insns[i]) &&
                (d > INT16_MAX || d < INT16_MIN)) {
                far[i] = again = true;
            }
        }
    }
}

/* Make the jump `to` go `d`; a far one gets a wide jump of its own. */
static void set_distance(struct dpf_insn *to, int32_t d, bool far)
{
    if (is_wide(to)) {
        to->imm = d;
        return;
    }
    if (!far) {
        to->off = (int16_t)d;
        return;
    }
    if (is_conditional(to)) {
        to->off = 1;
        *++to = (struct dpf_insn){.opcode = BPF_JMP | BPF_JA, .off = 1};
        ++to;
    }
    *to = (struct dpf_insn){.opcode = BPF_JMP32 | BPF_JA, .imm = d};
}

static void code_write_out(const struct code *c, const bool *far,
                           const uint32_t *place, struct dpf_code *out)
{
    for (size_t i = 0; i < c->count; i++) {
        struct dpf_insn *to = out->insns + place[i];
        *to = c->insns[i];
        if (c->label_of[i] != CODE_NO_LABEL) {
            set_distance(to, (int32_t)distance(c, place, i), far[i]);
        }
        for (uint32_t k = place[i]; out->lines != NULL && k < place[i + 1];
             k++) {
            out->lines[k] = c->at[i];
        }
    }
}

int code_take(struct code *c, bool lines, struct dpf_code *out,
              struct dpf_error *err)
{
    struct dpf_code made = {0};
    bool *far = calloc(c->count + 1, sizeof(*far));
    uint32_t *place = calloc(c->count + 1, sizeof(*place));
    if (!c->err && (far == NULL || place == NULL)) {
        c->err = -DPF_E_MEM;
    }
    if (!c->err) {
        relax(c, far, place);
        made.count = place[c->count];
        made.insns = calloc(made.count + 1, sizeof(*made.insns));
        made.lines = lines ? calloc(made.count + 1, sizeof(*made.lines)) : NULL;
        if (made.insns == NULL || (lines && made.lines == NULL)) {
            c->err = -DPF_E_MEM;
        } else if (made.count > DPF_INSNS_MAX) {
            c->err = -DPF_E_TOO_BIG;
        } else {
            code_write_out(c, far, place, &made);
        }
    }
    free(far);
    free(place);
    int result = c->err;
    code_finish(c);
    if (result) {
        dpf_code_finish(&made);
        return result == -DPF_E_TOO_BIG
                   ? front_fail(err, result, 0,
                                "the program needs more than %u instructions; "
                                "split it into several filters",
                                DPF_INSNS_MAX)
                   : front_fail(err, result, 0, "out of memory");
    }
    *out = made;
    return 0;
}
