/* SPDX-License-Identifier: MIT */
/*
 * Native lookup in an image: which shapes can have this packet, and is its
 * key in one of their tables. The code grows with shapes; everything that an
 * environment chose (constants, masks, keys) is data it reads.
 *
 *   1. Classes. For each of a few bytes that tell shapes apart, a table gives
 *      the set of shapes (a 64-bit word) that its value allows. The words are
 *      anded, without a branch: what remains are the shapes that may have the
 *      packet, mostly one. The code of the first of them is jumped to.
 *   2. There: is the packet long enough, do the other constants hold (masked
 *      compares of eight bytes); load the key, hash, compare the four entries
 *      of a bucket, select the id. Overfull buckets go on in the next one.
 *      Nothing found: on to the next shape that remains, if one does.
 *   3. Packets shorter than the bytes of step 1 go to the plain lookup.
 *
 * Which shape a packet is of cannot be predicted where shapes mix, and a jump
 * that is mispredicted costs more than a lookup. So shapes with few bytes of
 * key share one piece of code: it reads the offsets and masks too from the
 * shape's descriptor, and the jump to it is always the same.
 *
 * No byte of the packet decides where the packet is read: a header's length
 * is taken for what it mostly is, and checked (demux.h). The slot jumped to is
 * always one of the image's: the last is in every class word.
 *
 * Registers: rdi packet, rsi length, r8 class set, rcx data or descriptor, r9
 * table, rdx bucket, eax id; words of the key in key_reg[]; rax, rcx, rdx, r9
 * anything in between.
 */
#include "dpf/demux/demux.h"

#include "dpf/x86_64/codeheap.h"

static const uint8_t key_reg[DEMUX_WORDS_MAX] = {R10, R11, RBX, RBP,
                                                 R12, R13, R14, R15};

/* ------------------------------------------------------------------- code */

static struct x64_mem data_at(uint32_t word)
{
    return x64_at(RCX, (int32_t)(8 * word));
}

static void emit_data_base(struct demux *dx)
{
    x64_mov_ri(&dx->x, RCX, (uint64_t)(uintptr_t)dx->data);
}

static void emit_classes(struct demux *dx, x64_label shorter)
{
    struct x64 *x = &dx->x;
    uint32_t last = 0;
    for (uint32_t b = 0; b < dx->byte_count; b++) {
        last = dx->bytes[b] > last ? dx->bytes[b] : last;
    }
    x64_alu_ri(x, X_CMP, 8, RSI, (int32_t)last + 1);
    x64_jcc(x, CC_B, shorter);
    emit_data_base(dx);
    for (uint32_t b = 0; b < dx->byte_count; b++) {
        enum x64_reg r = b % 2 ? RDX : RAX;
        struct x64_mem m = x64_index(RCX, r, 8, (int32_t)(2048 * b));
        x64_load(x, 1, r, x64_at(RDI, (int32_t)dx->bytes[b]));
        if (b == 0) {
            x64_load(x, 8, R8, m);
        } else {
            x64_alu_rm(x, X_AND, 8, R8, m);
        }
    }
}

/*
 * Load from the packet; of a narrow shape the descriptor's word `desc` says
 * where.
 */
static void emit_load(struct demux *dx, const struct demux_shape *p,
                      uint32_t width, enum x64_reg r, uint32_t off,
                      uint32_t desc)
{
    struct x64_mem m = x64_at(RDI, (int32_t)off);
    if (p->narrow) {
        x64_load(&dx->x, 8, r, data_at(desc));
        m = x64_index(RDI, r, 1, 0);
    }
    x64_load(&dx->x, width, r, m);
}

/* r is 0 if check i holds, whose data are the i-th. */
static void emit_check(struct demux *dx, const struct demux_shape *p,
                       enum x64_reg r, uint32_t i)
{
    uint32_t at = (p->narrow ? DESC_CHECK : p->check_at) + 2 * i;
    emit_load(dx, p, p->narrow ? 8 : p->checks[i].width, r, p->checks[i].off,
              DESC_CHECK_OFF + i);
    x64_alu_rm(&dx->x, X_AND, 8, r, data_at(at));
    x64_alu_rm(&dx->x, X_XOR, 8, r, data_at(at + 1));
}

static void emit_checks(struct demux *dx, const struct demux_shape *p,
                        x64_label miss)
{
    uint32_t n = p->narrow ? dx->narrow_checks : p->check_count;
    struct x64 *x = &dx->x;
    for (uint32_t i = 0; i < n; i++) {
        emit_check(dx, p, i ? RDX : RAX, i);
        if (i) {
            x64_alu_rr(x, X_OR, 8, RAX, RDX);
        }
    }
    if (n) {
        x64_test_rr(x, 8, RAX, RAX);
        x64_jcc(x, CC_NE, miss);
    }
}

/* A check failed: is the base another, so that nothing is known? */
static void emit_miss(struct demux *dx, const struct demux_shape *p)
{
    emit_check(dx, p, RAX, p->narrow ? DESC_CHECKS : p->check_count);
    x64_test_rr(&dx->x, 8, RAX, RAX);
    x64_jcc(&dx->x, CC_NE, dx->ask);
    x64_jmp(&dx->x, dx->again);
}

static uint64_t whole_mask(uint32_t width)
{
    return width == 8 ? UINT64_MAX : UINT32_MAX;
}

static void emit_key(struct demux *dx, const struct demux_shape *p)
{
    struct x64 *x = &dx->x;
    for (uint32_t i = 0; i < p->shape->word_count; i++) {
        const struct shape_word *w = &p->shape->words[i];
        enum x64_reg r = (enum x64_reg)key_reg[i];
        if (!p->narrow && w->off == SHAPE_NOWHERE) {
            x64_mov_ri(x, r, 0);
            continue;
        }
        emit_load(dx, p, w->width, r, w->off + (w->base ? p->usual : 0),
                  DESC_WORD_OFF + i);
        if (p->narrow || w->mask != whole_mask(w->width)) {
            x64_alu_rm(x, X_AND, w->width, r,
                       data_at((p->narrow ? DESC_MASK : p->mask_at) + i));
        }
    }
}

#define TABLE_AT(field) x64_at(R9, (int32_t)offsetof(struct table, field))

/* rdx = the address of the key's bucket; as bucket_of in table.c. */
static void emit_bucket(struct demux *dx, const struct demux_shape *p)
{
    struct x64 *x = &dx->x;
    uint32_t n = p->shape->word_count, entry = p->shape->table->entry;
    x64_load(x, 8, R9, data_at(p->narrow ? DESC_TABLE : p->table_at));
    x64_load(x, 8, RAX, TABLE_AT(seed[0]));
    for (uint32_t i = 0; i < n; i += 2) {
        x64_alu_rr(x, X_XOR, 8, RAX, (enum x64_reg)key_reg[i]);
        x64_load(x, 8, RDX, TABLE_AT(seed[1]));
        if (i + 1 < n) {
            x64_alu_rr(x, X_XOR, 8, RDX, (enum x64_reg)key_reg[i + 1]);
        }
        x64_unary(x, X_MUL, 8, RDX);
        x64_alu_rr(x, X_XOR, 8, RAX, RDX);
    }
    x64_load(x, 8, RDX, TABLE_AT(buckets));
    x64_unary(x, X_MUL, 8, RDX);
    if (entry * TABLE_WAYS == 64) {
        x64_shift_i(x, X_SHL, 8, RDX, 6);
    } else {
        x64_imul_rri(x, 8, RDX, RDX, (int32_t)(entry * TABLE_WAYS));
    }
    x64_alu_rm(x, X_ADD, 8, RDX, TABLE_AT(slots));
}

/* eax = the id of the key in the bucket at rdx, DPF_NO_OWNER or TABLE_NEXT. */
static void emit_compare(struct demux *dx, const struct shape *s)
{
    struct x64 *x = &dx->x;
    int32_t entry = (int32_t)s->table->entry, id = entry - 4;
    x64_mov_ri(x, RAX, DPF_NO_OWNER);
    x64_alu_mi(x, X_CMP, 4, x64_at(RDX, 3 * entry + id), (int32_t)TABLE_NEXT);
    x64_cmov_rm(x, CC_E, 4, RAX, x64_at(RDX, 3 * entry + id));
    /* The last entry first: of one that leads on, the key is an old one. */
    for (int32_t w = (int32_t)TABLE_WAYS - 1; w >= 0; w--) {
        int32_t at = w * entry;
        for (uint32_t i = 0; i < s->word_count; i++) {
            uint32_t width = s->words[i].width;
            enum x64_reg r = i ? R9 : RCX;
            x64_load(x, width, r, x64_at(RDX, at));
            x64_alu_rr(x, X_XOR, 8, r, (enum x64_reg)key_reg[i]);
            if (i) {
                x64_alu_rr(x, X_OR, 8, RCX, R9);
            }
            at += (int32_t)width;
        }
        x64_cmov_rm(x, CC_E, 4, RAX, x64_at(RDX, at));
    }
}

/*
 * Leave with what eax holds, or go to the next shape if that is nothing. That
 * another shape may have the packet is more easily predicted than whether
 * this one does, so it is asked first.
 */
static void emit_leave(struct demux *dx, const struct demux_shape *p)
{
    struct x64 *x = &dx->x;
    if (p->kind == DEMUX_OWNER && !dx->has_classes) {
        x64_ret(x);
        return;
    }
    if (p->kind == DEMUX_OWNER) {
        x64_lea(x, 8, RDX, x64_at(R8, -1));
        x64_alu_rr(x, X_AND, 8, RDX, R8);
        x64_lea(x, 8, RCX, x64_at(RDX, -1));
        x64_test_rr(x, 8, RCX, RDX);
        x64_jcc(x, CC_E, dx->found);
    }
    x64_alu_ri(x, X_CMP, 4, RAX, -1);
    x64_jcc(x, CC_NE,
            p->kind == DEMUX_OWNER      ? dx->found
            : p->kind == DEMUX_RESIDUAL ? dx->residual
                                        : dx->ask);
    x64_jmp(x, dx->again);
}

/* Look the key up; leaves with eax if it is there, else goes on. */
static void emit_probe(struct demux *dx, const struct demux_shape *p,
                       uint32_t saved)
{
    struct x64 *x = &dx->x;
    x64_label again = x64_label_new(x), next = x64_label_new(x);
    emit_bucket(dx, p);
    x64_place(x, again);
    emit_compare(dx, p->shape);
    x64_alu_ri(x, X_CMP, 4, RAX, (int32_t)TABLE_NEXT);
    x64_jcc(x, CC_E, next);
    for (uint32_t i = saved; i-- > 0;) {
        x64_pop(x, (enum x64_reg)key_reg[2 + i]);
    }
    emit_leave(dx, p);
    x64_place(x, next); /* table.c: a chain never leaves the table */
    x64_alu_ri(x, X_ADD, 8, RDX,
               (int32_t)(p->shape->table->entry * TABLE_WAYS));
    x64_jmp(x, again);
}

/* The lookup in a shape's table; with classes, to be jumped to. */
static void emit_lookup(struct demux *dx, const struct demux_shape *p)
{
    struct x64 *x = &dx->x;
    uint32_t words = p->shape->word_count, saved = words > 2 ? words - 2 : 0;
    bool based = p->base || p->narrow;
    x64_label miss = based ? x64_label_new(x) : dx->again;
    if (p->narrow) {
        x64_alu_rm(x, X_CMP, 8, RSI, data_at(DESC_LEAST));
    } else {
        x64_alu_ri(x, X_CMP, 8, RSI, (int32_t)p->least);
        emit_data_base(dx);
    }
    x64_jcc(x, CC_B, based ? dx->ask : dx->again);
    emit_checks(dx, p, miss);
    for (uint32_t k = 0; k < saved; k++) {
        x64_push(x, (enum x64_reg)key_reg[2 + k]);
    }
    emit_key(dx, p);
    emit_probe(dx, p, saved);
    if (based) {
        x64_place(x, miss);
        emit_miss(dx, p);
    }
}

/* The code of a shape by itself, or of all narrow ones of its kind, once. */
static void emit_shape(struct demux *dx, const struct demux_shape *p)
{
    x64_label own = x64_label_new(&dx->x);
    if (!p->plain && !(p->narrow && dx->narrow[p->kind])) {
        dx->narrow[p->kind] = p->narrow ? own : dx->narrow[p->kind];
        x64_place(&dx->x, own);
        emit_lookup(dx, p);
    }
    if (dx->has_classes) {
        dx->slots[p->slot] = p->plain    ? dx->ask
                             : p->narrow ? dx->narrow[p->kind]
                                         : own;
    } else if (p->plain) {
        x64_jmp(&dx->x, dx->ask);
    }
}

/* Go to the code of the first slot in r8; the last slot is always in it. */
static void emit_dispatch(struct demux *dx)
{
    struct x64 *x = &dx->x;
    x64_tzcnt_rr(x, 8, RAX, R8);
    x64_shift_i(x, X_SHL, 4, RAX, DESC_SHIFT);
    x64_lea(x, 8, RCX, x64_index(RCX, RAX, 1, (int32_t)(8 * dx->slots_at)));
    x64_jmp_m(x, data_at(DESC_CODE));
}

/* The next slot; the last is nobody. */
static void emit_again(struct demux *dx)
{
    struct x64 *x = &dx->x;
    x64_place(x, dx->again);
    if (dx->has_classes) {
        x64_lea(x, 8, RAX, x64_at(R8, -1));
        x64_alu_rr(x, X_AND, 8, R8, RAX);
        emit_data_base(dx);
        emit_dispatch(dx);
        x64_place(x, dx->slots[dx->slot_count - 1]);
    }
    x64_mov_ri(x, RAX, DPF_NO_OWNER);
    x64_place(x, dx->found);
    x64_ret(x);
}

/* Leave to the plain lookup: all of it, or that of the tag in eax first. */
static void emit_exits(struct demux *dx)
{
    struct x64 *x = &dx->x;
    x64_place(x, dx->ask);
    x64_mov_ri(x, RAX, DPF_NO_OWNER); /* nobody's tag */
    x64_place(x, dx->residual);
    x64_mov_rr(x, 4, RCX, RAX);
    x64_mov_ri(x, RDX, (uint64_t)(uintptr_t)dx->im);
    x64_mov_ri(x, RAX, (uint64_t)(uintptr_t)image_residual);
    x64_jmp_r(x, RAX);
}

static void emit_owner(struct demux *dx)
{
    struct x64 *x = &dx->x;
    dx->ask = x64_label_new(x);
    dx->again = x64_label_new(x);
    dx->found = x64_label_new(x);
    dx->residual = x64_label_new(x);
    __builtin_memset(dx->narrow, 0, sizeof(dx->narrow));
    if (dx->has_classes) {
        dx->slots[dx->slot_count - 1] = x64_label_new(x);
        emit_classes(dx, dx->ask);
        emit_dispatch(dx);
    }
    for (uint32_t i = 0; i < dx->shape_count; i++) {
        emit_shape(dx, &dx->shapes[i]);
    }
    emit_again(dx);
    emit_exits(dx);
}

/* One pass over all of it. */
static void emit(struct demux *dx)
{
    x64_begin(&dx->x);
    emit_owner(dx);
}

/* Let lookups and writers know where the code and its data are. */
static void link(struct demux *dx)
{
    struct image *im = dx->im;
    uintptr_t code = (uintptr_t)im->code;
    im->owner = (demux_owner *)code;
    for (uint32_t i = 0; i < dx->slot_count; i++) {
        dx->data[dx->slots_at + i * DESC_WORDS + DESC_CODE] =
            code + dx->x.labels[dx->slots[i]];
    }
    for (uint32_t i = 0; i < dx->shape_count; i++) {
        im->shapes[i]->code_table = &dx->data[dx->shapes[i].table_at];
    }
}

static void unlink_tables(struct image *im)
{
    for (uint32_t i = 0; i < im->shape_count; i++) {
        im->shapes[i]->code_table = NULL;
    }
}

static int generate(struct demux *dx)
{
    bool ok = true;
    x64_open(&dx->x, &dx->s->mem);
    for (int pass = 0; pass < 3 && ok; pass++) {
        emit(dx);
        ok = x64_finish(&dx->x);
    }
    if (ok) {
        dx->im->code = codeheap_put(&dx->s->mem, dx->x.buf, dx->x.len);
        dx->im->code_bytes = dx->x.len;
    }
    if (dx->im->code != NULL) {
        unlink_tables(dx->im);
        link(dx);
    }
    x64_close(&dx->x);
    return dx->im->code != NULL ? 0 : -DPF_E_MEM;
}

static int compile(struct demux *dx)
{
    struct image *im = dx->im;
    int r = demux_plan(dx);
    if (r) {
        return r;
    }
    /* Without a byte to tell classes by, the plain lookup is as good. */
    if (dx->has_classes && !dx->byte_count) {
        heap_free(&dx->s->heap, dx->data, dx->data_words * sizeof(*dx->data));
        unlink_tables(im);
        return 0;
    }
    im->data = dx->data;
    im->data_bytes = dx->data_words * sizeof(*dx->data);
    demux_fill(dx);
    r = generate(dx);
    dx->s->code_bytes += im->code != NULL ? im->code_bytes : 0;
    dx->s->compiles++;
    return r;
}

int demux_compile(struct dpf_set *s, struct image *im)
{
    uint32_t shapes = im->shape_count;
    size_t bytes = sizeof(struct demux) + shapes * sizeof(struct demux_shape);
    if (!codeheap_usable(&s->mem) || !shapes) {
        unlink_tables(im);
        return 0;
    }
    struct demux *dx = heap_alloc(&s->heap, bytes);
    if (dx == NULL) {
        return -DPF_E_MEM;
    }
    __builtin_memset(dx, 0, bytes);
    dx->s = s;
    dx->im = im;
    dx->shape_count = shapes;
    dx->shapes = (struct demux_shape *)(void *)(dx + 1);
    int r = compile(dx);
    heap_free(&s->heap, dx, bytes);
    return r;
}

void demux_discard(struct dpf_set *s, struct image *im)
{
    if (im->code != NULL) {
        s->code_bytes -= im->code_bytes;
        codeheap_free(&s->mem, im->code, im->code_bytes);
    }
    heap_free(&s->heap, im->data, im->data_bytes);
}
