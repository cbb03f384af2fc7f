/* SPDX-License-Identifier: MIT */
/*
 * Native lookup in an image: which shapes can have this packet, and is its
 * key in one of their tables. The code grows with shapes; everything that an
 * environment chose (constants, masks, keys) is data it reads.
 *
 *   1. Classes. For each of the bytes that the constants of shapes test, a
 *      table gives the set of shapes (a 64-bit word) that its value allows.
 *      The words are anded, without a branch: what remains are the shapes
 *      whose constants all hold. With one shape alone, masked compares of
 *      eight bytes do the same.
 *   2. For each remaining shape, the most demanding first: is the packet
 *      long enough, load the key, hash, compare the four entries of a
 *      bucket, select the id. Overfull buckets go on in the next one.
 *   3. Packets shorter than the bytes of step 1, and those that a merged
 *      diagram may accept before a shape does, are left to the plain lookup.
 *
 * Data that decides an address (a header's length) is forced to 0 where its
 * check fails, before the check's branch: no load leaves the packet, not
 * even one that the processor starts too early.
 *
 * Registers: rdi packet, rsi length, r8 class set, r9 base, then table;
 * words of the key in key_reg[]; rax, rcx, rdx anything.
 */
#include "dpf/filter/set.h"
#include "dpf/native/codeheap.h"
#include "dpf/native/x86_64.h"

#define BYTES_MAX 16u  /* class tables */
#define SHAPES_MAX 48u /* bits of a class word; above them: */
#define TREE_BIT 62u   /* an exclusive tree may have the packet */
#define COPIES_BIT 63u
#define WORDS_MAX 8u
#define CHECKS_MAX 12u

static const uint8_t key_reg[WORDS_MAX] = {R10, R11, RBX, RBP,
                                           R12, R13, R14, R15};

/* A masked compare of eight or four bytes with constants. */
struct check {
    uint32_t base, off, width;
    uint64_t mask, value;
};

struct shape_plan {
    const struct shape *shape;
    bool plain;    /* not this shape: the plain lookup does it */
    uint32_t base; /* the only base but 0 that it loads from, or 0 */
    uint32_t check_count;
    uint32_t check_at; /* in data, words: mask, value, mask, value... */
    uint32_t mask_at;  /* in data: the masks of its key's words */
    uint32_t table_at; /* in data: the table's address */
    bool unsure;       /* residual: a cube's rank lies between its own */
    struct check checks[CHECKS_MAX];
};

struct demux {
    struct x64 x; /* first: the kernel's text is small */
    struct dpf_set *s;
    struct image *im;
    uint32_t byte_count; /* class tables; 0 if there is one shape alone */
    uint64_t *data;
    uint32_t data_words;
    uint32_t tree_rank; /* highest rank of a binding in an exclusive tree */
    x64_label ask, miss, found, residual;
    uint32_t copies_at; /* where that function begins in the code */
    bool has_classes;
    struct shape_plan *plans;
    uint32_t bytes[BYTES_MAX]; /* offsets in the packet */
};

/* ------------------------------------------------------------------- plan */

static uint32_t least_len(const struct cube *c, uint32_t base)
{
    for (uint32_t i = 0; i < c->len_count; i++) {
        if (c->lens[i].base == base) {
            return c->lens[i].min;
        }
    }
    return 0;
}

static bool classed(const struct demux *dx, uint32_t var)
{
    for (uint32_t i = 0; i < dx->byte_count; i++) {
        if (DD_VAR_BYTE(0, dx->bytes[i]) == var) {
            return true;
        }
    }
    return false;
}

static void want_byte(struct demux *dx, uint32_t off)
{
    if (!classed(dx, DD_VAR_BYTE(0, off)) && dx->byte_count < BYTES_MAX) {
        dx->bytes[dx->byte_count++] = off;
    }
}

/* The constants that no class table decides, as masked compares. */
static void plan_checks(const struct demux *dx, struct shape_plan *p)
{
    const struct cube *c = &p->shape->cube;

    for (uint32_t i = 0; i < c->count && !p->plain; i++) {
        const struct cube_byte *b = &c->bytes[i];
        uint32_t base = DD_VAR_BASE(b->var), off = DD_VAR_OFF(b->var);
        struct check *k = p->checks, *end = k + p->check_count;

        if (b->varies || classed(dx, b->var)) {
            continue;
        }
        while (k < end &&
               (k->base != base || off < k->off || off >= k->off + k->width)) {
            k++;
        }
        if (k == end) {
            uint32_t len = least_len(c, base), width = len < 8 ? 4 : 8;

            if (p->check_count == CHECKS_MAX || len < width) {
                p->plain = true;
                return;
            }
            *k = (struct check){base, off < len - width ? off : len - width,
                                width, 0, 0};
            p->check_count++;
        }
        k->mask |= (uint64_t)b->mask << 8 * (off - k->off);
        k->value |= (uint64_t)b->value << 8 * (off - k->off);
    }
}

/* Can its one base be computed from bytes that its length covers? */
static void plan_base(const struct demux *dx, struct shape_plan *p)
{
    const struct cube *c = &p->shape->cube;

    for (uint32_t i = 0; i < c->len_count; i++) {
        uint32_t base = c->lens[i].base;
        const struct dd_base *def = &dx->im->bases[base];

        if (!base) {
            continue;
        }
        if (p->base || c->lens[i].min > least_len(c, 0)) {
            p->plain = true;
        }
        p->base = base;
        for (uint32_t t = 0; t < def->count; t++) {
            if (DD_VAR_BASE(def->terms[t].var) ||
                DD_VAR_OFF(def->terms[t].var) >= least_len(c, 0)) {
                p->plain = true;
            }
        }
    }
    if (!least_len(c, 0) || p->shape->word_count > WORDS_MAX) {
        p->plain = true;
    }
}

static int plan(struct demux *dx)
{
    const struct image *im = dx->im;
    uint32_t words = 0;

    dx->has_classes = im->shape_count != 1 || im->tree_count;
    for (uint32_t i = 0; dx->has_classes && i < im->shape_count; i++) {
        const struct cube *c = &im->shapes[i]->cube;

        for (uint32_t k = 0; k < c->count; k++) {
            if (!c->bytes[k].varies && DD_VAR_BASE(c->bytes[k].var) == 0) {
                want_byte(dx, DD_VAR_OFF(c->bytes[k].var));
            }
        }
    }
    /* Trees are told apart by the bytes they test first. */
    for (uint32_t i = 0; im->tree_count && i < im->node_count; i++) {
        uint32_t var = im->nodes[im->node_count - 1 - i].var;

        if (!DD_VAR_IS_LEN(var) && DD_VAR_BASE(var) == 0 &&
            DD_VAR_OFF(var) < 24) {
            want_byte(dx, DD_VAR_OFF(var));
        }
    }
    words = dx->byte_count * 256;
    for (uint32_t i = 0; i < im->shape_count; i++) {
        struct shape_plan *p = &dx->plans[i];

        __builtin_memset(p, 0, sizeof(*p));
        p->shape = im->shapes[i];
        plan_base(dx, p);
        plan_checks(dx, p);
        p->check_at = words;
        words += 2 * p->check_count;
        p->mask_at = words;
        words += p->shape->word_count;
        p->table_at = words++;
        for (uint32_t k = 0; p->shape->residual && k < im->shape_count; k++) {
            const struct shape *o = im->shapes[k];

            p->unsure |= o != p->shape && o->rank <= p->shape->rank_high &&
                         o->rank_high > p->shape->rank;
        }
    }
    for (uint32_t i = 0; i < dx->s->binding_count; i++) {
        const struct binding *b = dx->s->bindings[i];

        if (b && !b->cube_count && !b->residual &&
            !(b->flags & (DPF_TAP | DPF_SHARED)) && b->rank > dx->tree_rank) {
            dx->tree_rank = b->rank;
        }
    }
    dx->data_words = words + 1;
    dx->data = heap_alloc(&dx->s->heap, dx->data_words * sizeof(*dx->data));
    return dx->data ? 0 : -DPF_E_MEM;
}

/* ------------------------------------------------------------------- data */

/*
 * Values of byte `var` with which the tree can reach a chain, in set[]: all
 * if it can do so without testing var. `open` has a byte for each node.
 */
static void tree_values(const struct image *im, uint32_t root, uint32_t var,
                        uint8_t *open, uint64_t set[4])
{
    bool all = dd_is_term(root) && root != DD_NO;

    set[0] = set[1] = set[2] = set[3] = 0;
    for (uint32_t i = 0; !dd_is_term(root) && i <= root; i++) {
        const struct dd_node *n = &im->nodes[i];
        uint32_t lo = 0;

        open[i] = 0;
        for (uint32_t k = 0; k < n->count; k++) {
            const struct dd_edge *e = &im->edges[n->edges + k];

            if (e->child == DD_NO) {
            } else if (n->var != var) {
                open[i] |= dd_is_term(e->child) || open[e->child];
            } else {
                for (uint32_t x = lo; x <= e->hi; x++) {
                    set[x / 64] |= UINT64_C(1) << x % 64;
                }
            }
            lo = e->hi + 1;
        }
        all = open[root] && i == root;
    }
    if (all) {
        set[0] = set[1] = set[2] = set[3] = UINT64_MAX;
    }
}

static int fill_tree_classes(struct demux *dx)
{
    const struct image *im = dx->im;
    uint8_t *open = heap_alloc(&dx->s->heap, im->node_count + 1);

    if (!open) {
        return -DPF_E_MEM;
    }
    for (uint32_t t = 0; t < im->tree_count; t++) {
        uint64_t bit = UINT64_C(1)
                       << (t < im->exclusive_trees ? TREE_BIT : COPIES_BIT);

        for (uint32_t b = 0; b < dx->byte_count; b++) {
            uint64_t set[4];

            tree_values(im, im->roots[t], DD_VAR_BYTE(0, dx->bytes[b]), open,
                        set);
            for (uint32_t x = 0; x < 256; x++) {
                dx->data[256 * b + x] |= set[x / 64] >> x % 64 & 1 ? bit : 0;
            }
        }
    }
    heap_free(&dx->s->heap, open, im->node_count + 1);
    return 0;
}

static void fill_shape(struct demux *dx, uint32_t i)
{
    const struct shape_plan *p = &dx->plans[i];
    const struct cube *c = &p->shape->cube;

    for (uint32_t b = 0; b < dx->byte_count; b++) {
        uint8_t mask = 0, value = 0;

        for (uint32_t k = 0; k < c->count; k++) {
            if (c->bytes[k].var == DD_VAR_BYTE(0, dx->bytes[b]) &&
                !c->bytes[k].varies) {
                mask = c->bytes[k].mask;
                value = c->bytes[k].value;
            }
        }
        for (uint32_t x = 0; x < 256; x++) {
            dx->data[256 * b + x] |= (uint64_t)((x & mask) == value) << i;
        }
    }
    for (uint32_t k = 0; k < p->check_count; k++) {
        dx->data[p->check_at + 2 * k] = p->checks[k].mask;
        dx->data[p->check_at + 2 * k + 1] = p->checks[k].value;
    }
    dx->data[p->table_at] = (uint64_t)(uintptr_t)p->shape->table;
    for (uint32_t k = 0; k < p->shape->word_count; k++) {
        dx->data[p->mask_at + k] = p->shape->words[k].mask;
    }
}

static int fill(struct demux *dx)
{
    __builtin_memset(dx->data, 0, dx->data_words * sizeof(*dx->data));
    for (uint32_t i = 0; i < dx->im->shape_count; i++) {
        fill_shape(dx, i);
    }
    return dx->byte_count && dx->im->tree_count ? fill_tree_classes(dx) : 0;
}

/* ------------------------------------------------------------------- code */

static struct x64_mem packet_at(uint32_t base, uint32_t off)
{
    return base ? x64_index(RDI, R9, 1, (int32_t)off)
                : x64_at(RDI, (int32_t)off);
}

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

/* r9 = where the shape's base lies; skip if the packet ends before it. */
static void emit_base(struct demux *dx, const struct shape_plan *p,
                      x64_label skip)
{
    const struct dd_base *def = &dx->im->bases[p->base];
    struct x64 *x = &dx->x;

    for (uint32_t i = 0; i < def->count; i++) {
        const struct dd_bits *t = &def->terms[i];
        enum x64_reg r = i ? RAX : R9;
        uint32_t mask = (1u << t->len) - 1u;

        x64_load(x, 1, r, x64_at(RDI, (int32_t)DD_VAR_OFF(t->var)));
        if (t->src) {
            x64_shift_i(x, X_SHR, 4, r, t->src);
        }
        if (t->src + t->len < 8) {
            x64_alu_ri(x, X_AND, 4, r, (int32_t)mask);
        }
        if (t->dst) {
            x64_shift_i(x, X_SHL, 4, r, t->dst);
        }
        if (i) {
            x64_alu_rr(x, X_ADD, 4, R9, RAX);
        }
    }
    x64_lea(x, 8, RAX,
            x64_at(R9, (int32_t)least_len(&p->shape->cube, p->base)));
    x64_mov_ri(x, RDX, 0);
    x64_alu_rr(x, X_CMP, 8, RAX, RSI);
    x64_cmov_rr(x, CC_A, 8, R9, RDX);
    x64_jcc(x, CC_A, skip);
}

static void emit_checks(struct demux *dx, const struct shape_plan *p,
                        x64_label skip)
{
    struct x64 *x = &dx->x;

    for (uint32_t i = 0; i < p->check_count; i++) {
        const struct check *k = &p->checks[i];
        enum x64_reg r = i ? RDX : RAX;

        x64_load(x, k->width, r, packet_at(k->base, k->off));
        x64_alu_rm(x, X_AND, 8, r, data_at(p->check_at + 2 * i));
        x64_alu_rm(x, X_XOR, 8, r, data_at(p->check_at + 2 * i + 1));
        if (i) {
            x64_alu_rr(x, X_OR, 8, RAX, RDX);
        }
    }
    if (p->check_count == 1) {
        x64_test_rr(x, 8, RAX, RAX);
    }
    if (p->check_count) {
        x64_jcc(x, CC_NE, skip);
    }
}

static uint64_t whole_mask(uint32_t width)
{
    return width == 8 ? UINT64_MAX : UINT32_MAX;
}

static void emit_key(struct demux *dx, const struct shape_plan *p)
{
    struct x64 *x = &dx->x;

    for (uint32_t i = 0; i < p->shape->word_count; i++) {
        const struct shape_word *w = &p->shape->words[i];
        enum x64_reg r = (enum x64_reg)key_reg[i];

        x64_load(x, w->width, r, packet_at(w->base, w->off));
        if (w->mask != whole_mask(w->width)) {
            x64_alu_rm(x, X_AND, w->width, r, data_at(p->mask_at + i));
        }
    }
}

#define TABLE_AT(field) x64_at(R9, (int32_t)offsetof(struct table, field))

/* rax = the address of the key's bucket; as bucket_of in table.c. */
static void emit_bucket(struct demux *dx, const struct shape_plan *p)
{
    struct x64 *x = &dx->x;
    uint32_t n = p->shape->word_count, entry = p->shape->table->entry;

    x64_load(x, 8, R9, data_at(p->table_at));
    if (n) {
        x64_load(x, 8, RAX, TABLE_AT(seed[0]));
    }
    for (uint32_t i = 0; i < n; i += 2) {
        x64_alu_rr(x, X_XOR, 8, RAX, (enum x64_reg)key_reg[i]);
        x64_load(x, 8, RDX, TABLE_AT(seed[1]));
        if (i + 1 < n) {
            x64_alu_rr(x, X_XOR, 8, RDX, (enum x64_reg)key_reg[i + 1]);
        }
        x64_unary(x, X_MUL, 8, RDX);
        x64_alu_rr(x, X_XOR, 8, RAX, RDX);
    }
    if (n) {
        x64_mov_rr(x, 4, RAX, RAX);
        x64_imul_rm(x, 8, RAX, TABLE_AT(buckets));
        x64_shift_i(x, X_SHR, 8, RAX, 32);
        if (entry * TABLE_WAYS == 64) {
            x64_shift_i(x, X_SHL, 8, RAX, 6);
        } else {
            x64_imul_rri(x, 8, RAX, RAX, (int32_t)(entry * TABLE_WAYS));
        }
        x64_alu_rm(x, X_ADD, 8, RAX, TABLE_AT(slots));
    } else {
        x64_load(x, 8, RAX, TABLE_AT(slots));
    }
}

/* edx = the id of the key in the bucket at rax, DPF_NO_OWNER or TABLE_NEXT. */
static void emit_compare(struct demux *dx, const struct shape *s)
{
    struct x64 *x = &dx->x;
    int32_t entry = (int32_t)s->table->entry, id = entry - 4;

    x64_mov_ri(x, RDX, DPF_NO_OWNER);
    x64_alu_mi(x, X_CMP, 4, x64_at(RAX, 3 * entry + id), (int32_t)TABLE_NEXT);
    x64_cmov_rm(x, CC_E, 4, RDX, x64_at(RAX, 3 * entry + id));
    /* The last entry first: of one that leads on, the key is an old one. */
    for (int32_t w = (int32_t)TABLE_WAYS - 1; w >= 0; w--) {
        int32_t at = w * entry;

        for (uint32_t i = 0; i < s->word_count; i++) {
            uint32_t width = s->words[i].width;
            enum x64_reg r = i ? R9 : RCX;

            x64_load(x, width, r, x64_at(RAX, at));
            x64_alu_rr(x, X_XOR, 8, r, (enum x64_reg)key_reg[i]);
            if (i) {
                x64_alu_rr(x, X_OR, 8, RCX, R9);
            }
            at += (int32_t)width;
        }
        if (s->word_count == 0) { /* one binding, in some entry */
            x64_alu_rm(x, X_CMP, 4, RDX, x64_at(RAX, at));
            x64_cmov_rm(x, CC_A, 4, RDX, x64_at(RAX, at));
            continue;
        }
        x64_cmov_rm(x, CC_E, 4, RDX, x64_at(RAX, at));
    }
}

/* Leave with what edx holds, or go to the next shape if that is nothing. */
static void emit_leave(struct demux *dx, const struct shape_plan *p,
                       x64_label skip)
{
    struct x64 *x = &dx->x;

    if (!dx->has_classes && !p->shape->residual) {
        x64_mov_rr(x, 4, RAX, RDX);
        x64_ret(x);
        return;
    }
    x64_alu_ri(x, X_CMP, 4, RDX, -1);
    if (!p->shape->residual) {
        x64_jcc(x, CC_NE, dx->found);
    } else {
        x64_jcc(x, CC_NE, p->unsure ? dx->ask : dx->residual);
    }
    x64_jmp(x, skip);
}

/* Look the key up; leaves with edx if it is there, else goes to `skip`. */
static void emit_probe(struct demux *dx, const struct shape_plan *p,
                       uint32_t saved, x64_label skip)
{
    const struct shape *s = p->shape;
    struct x64 *x = &dx->x;
    x64_label again = x64_label_new(x), next = x64_label_new(x);

    emit_bucket(dx, p);
    x64_place(x, again);
    emit_compare(dx, s);
    if (s->word_count) {
        x64_alu_ri(x, X_CMP, 4, RDX, (int32_t)TABLE_NEXT);
        x64_jcc(x, CC_E, next);
    }
    for (uint32_t i = saved; i-- > 0;) {
        x64_pop(x, (enum x64_reg)key_reg[2 + i]);
    }
    emit_leave(dx, p, skip);
    x64_place(x, next); /* table.c: a chain never leaves the table */
    if (s->word_count) {
        x64_alu_ri(x, X_ADD, 8, RAX, (int32_t)(s->table->entry * TABLE_WAYS));
        x64_jmp(x, again);
    }
}

static void emit_shape(struct demux *dx, uint32_t i)
{
    const struct shape_plan *p = &dx->plans[i];
    struct x64 *x = &dx->x;
    x64_label skip = dx->miss;
    uint32_t words = p->shape->word_count, saved = words > 2 ? words - 2 : 0;

    if (dx->has_classes) {
        skip = x64_label_new(x);
        x64_bt_ri(x, 8, R8, (uint8_t)i);
        x64_jcc(x, CC_AE, skip);
    }
    if (p->plain) {
        x64_jmp(x, dx->ask);
        if (dx->has_classes) {
            x64_place(x, skip);
        }
        return;
    }
    x64_alu_ri(x, X_CMP, 8, RSI, (int32_t)least_len(&p->shape->cube, 0));
    x64_jcc(x, CC_B, skip);
    if (p->base) {
        emit_base(dx, p, skip);
    }
    emit_data_base(dx);
    emit_checks(dx, p, skip);
    for (uint32_t k = 0; k < saved; k++) {
        x64_push(x, (enum x64_reg)key_reg[2 + k]);
    }
    emit_key(dx, p);
    emit_probe(dx, p, saved, skip);
    if (dx->has_classes) {
        x64_place(x, skip);
    }
}

/* Tail calls of the plain lookup. */
static void emit_exits(struct demux *dx)
{
    struct x64 *x = &dx->x;

    x64_place(x, dx->residual);
    x64_mov_rr(x, 4, RCX, RDX);
    x64_mov_ri(x, RDX, (uint64_t)(uintptr_t)dx->im);
    x64_mov_ri(x, RAX, (uint64_t)(uintptr_t)image_residual);
    x64_jmp_r(x, RAX);
    x64_place(x, dx->ask);
    x64_mov_ri(x, RDX, (uint64_t)(uintptr_t)dx->im);
    x64_mov_ri(x, RAX, (uint64_t)(uintptr_t)image_owner);
    x64_jmp_r(x, RAX);
}

static void emit_owner(struct demux *dx)
{
    struct x64 *x = &dx->x;
    bool asked = dx->im->exclusive_trees == 0;

    dx->ask = x64_label_new(x);
    dx->miss = x64_label_new(x);
    dx->found = x64_label_new(x);
    dx->residual = x64_label_new(x);
    if (dx->has_classes) {
        emit_classes(dx, dx->ask);
    }
    for (uint32_t i = 0; i <= dx->im->shape_count; i++) {
        bool last = i == dx->im->shape_count;

        if (!asked && (last || dx->im->shapes[i]->rank <= dx->tree_rank)) {
            /* From here on a diagram's binding may go first. */
            x64_bt_ri(x, 8, R8, TREE_BIT);
            x64_jcc(x, CC_B, dx->ask);
            asked = true;
        }
        if (!last) {
            emit_shape(dx, i);
        }
    }
    x64_place(x, dx->miss);
    x64_mov_ri(x, RDX, DPF_NO_OWNER);
    x64_place(x, dx->found);
    x64_mov_rr(x, 4, RAX, RDX);
    x64_ret(x);
    emit_exits(dx);
}

static void emit_copies(struct demux *dx)
{
    struct x64 *x = &dx->x;
    x64_label yes = x64_label_new(x);

    emit_classes(dx, yes);
    x64_mov_rr(x, 8, RAX, R8);
    x64_shift_i(x, X_SHR, 8, RAX, COPIES_BIT);
    x64_ret(x);
    x64_place(x, yes);
    x64_mov_ri(x, RAX, 1);
    x64_ret(x);
}

/* One pass over all of it. */
static void emit(struct demux *dx)
{
    x64_begin(&dx->x);
    emit_owner(dx);
    dx->copies_at = dx->x.len;
    if (dx->has_classes && dx->im->tree_count > dx->im->exclusive_trees) {
        emit_copies(dx);
    }
}

/* Let lookups and writers know where the code and its data are. */
static void link(struct demux *dx)
{
    struct image *im = dx->im;
    uintptr_t code = (uintptr_t)im->code;

    im->owner = (demux_owner *)code;
    if (dx->copies_at < im->code_bytes) {
        im->may_copy = (demux_copies *)(code + dx->copies_at);
    }
    for (uint32_t i = 0; i < im->shape_count; i++) {
        im->shapes[i]->code_table = &dx->data[dx->plans[i].table_at];
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
    if (dx->im->code) {
        link(dx);
    }
    x64_close(&dx->x);
    return dx->im->code ? 0 : -DPF_E_MEM;
}

int demux_compile(struct dpf_set *s, struct image *im)
{
    uint32_t shapes = im->shape_count;
    struct demux *dx;
    int r;

    if (!codeheap_usable(&s->mem) || shapes > SHAPES_MAX ||
        (!shapes && !im->tree_count)) {
        unlink_tables(im);
        return 0;
    }
    dx = heap_alloc(&s->heap, sizeof(*dx));
    if (!dx) {
        return -DPF_E_MEM;
    }
    __builtin_memset(dx, 0, sizeof(*dx));
    dx->s = s;
    dx->im = im;
    dx->plans = heap_alloc(&s->heap, (shapes + 1) * sizeof(*dx->plans));
    r = dx->plans ? plan(dx) : -DPF_E_MEM;
    /* Without a byte to tell classes by, the plain lookup is as good. */
    if (!r && (dx->byte_count || !dx->has_classes)) {
        im->data = dx->data;
        im->data_bytes = dx->data_words * sizeof(*dx->data);
        r = fill(dx);
        r = r ? r : generate(dx);
        s->code_bytes += im->code ? im->code_bytes : 0;
        s->compiles++;
    } else if (dx->data) {
        heap_free(&s->heap, dx->data, dx->data_words * sizeof(*dx->data));
        unlink_tables(im);
    }
    heap_free(&s->heap, dx->plans, (shapes + 1) * sizeof(*dx->plans));
    heap_free(&s->heap, dx, sizeof(*dx));
    return r;
}

void demux_free(struct dpf_set *s, struct image *im)
{
    if (im->code) {
        s->code_bytes -= im->code_bytes;
        codeheap_free(&s->mem, im->code, im->code_bytes);
    }
    heap_free(&s->heap, im->data, im->data_bytes);
}
