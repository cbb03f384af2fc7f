/* SPDX-License-Identifier: MIT */
/*
 * Bytes, labels and passes of the encoder. Every emit is bounds-checked in
 * x64_put.
 */
#include "dpf/x86_64/assemble.h"

#define BREATH 256u /* jumps between two breaths (dpf.h) */

void x64_open(struct x64 *x, const struct dpf_mem *mem)
{
    uint64_t key = mem->random != NULL
                       ? mem->random(mem->ctx)
                       : __builtin_ia32_rdtsc() * UINT64_C(0x9e3779b97f4a7c15);
    /* No half of the key may be short: it must not pass as harmless. */
    *x = (struct x64){.mem = mem,
                      .key = (uint32_t)(key >> 32) | UINT32_C(0x20080100)};
}

static void x64_release(const struct dpf_mem *mem, void *p, size_t size)
{
    if (p != NULL) {
        mem->free(mem->ctx, p, size);
    }
}

void x64_close(struct x64 *x)
{
    x64_release(x->mem, x->buf, x->cap);
    x64_release(x->mem, x->labels, x->label_cap * sizeof(x->labels[0]));
    x64_release(x->mem, x->jumps, x->jump_cap * sizeof(x->jumps[0]));
    *x = (struct x64){.mem = x->mem};
}

/*
 * The array at `p` of `*cap` elements of `size` bytes, made twice as large;
 * NULL and x->error if that cannot be.
 */
static void *x64_grow(struct x64 *x, void *p, uint32_t *cap, uint32_t size,
                      uint32_t first)
{
    uint32_t more = *cap == 0 ? first : *cap * 2;
    void *to = more > (UINT32_C(1) << 26)
                   ? NULL
                   : x->mem->alloc(x->mem->ctx, (size_t)more * size);
    if (to == NULL) {
        x->error = true;
        return NULL;
    }
    if (p != NULL) {
        __builtin_memcpy(to, p, (size_t)*cap * size);
        x->mem->free(x->mem->ctx, p, (size_t)*cap * size);
    }
    *cap = more;
    return to;
}

void x64_put(struct x64 *x, uint32_t byte)
{
    if (x->error) {
        return;
    }
    if (x->len == x->cap) {
        uint8_t *to = x64_grow(x, x->buf, &x->cap, 1, 1024);
        if (to == NULL) {
            return;
        }
        x->buf = to;
    }
    x->buf[x->len++] = (uint8_t)byte;
}

void x64_put_imm(struct x64 *x, uint64_t imm, uint32_t bytes)
{
    for (uint32_t n = 0; n < bytes; n++) {
        x64_put(x, (uint32_t)(imm >> (8 * n)) & 0xff);
    }
}

void x64_begin(struct x64 *x)
{
    if (x->len != 0) {
        x->pass++;
    }
    x->len = 0;
    x->label_count = 0;
    x->jump_count = 0;
}

x64_label x64_label_new(struct x64 *x)
{
    if (!x->error && x->label_count == x->label_cap) {
        uint32_t *to = x64_grow(x, x->labels, &x->label_cap, sizeof(*to), 64);
        x->labels = to != NULL ? to : x->labels;
    }
    if (x->error) {
        return 0;
    }
    if (x->pass == 0) {
        x->labels[x->label_count] = UINT32_MAX;
    }
    return x->label_count++;
}

void x64_place(struct x64 *x, x64_label l)
{
    if (!x->error) {
        x->labels[l] = x->len;
    }
}

bool x64_finish(struct x64 *x)
{
    for (uint32_t n = 0; n < x->jump_count && !x->error; n++) {
        const struct x64_jump *j = &x->jumps[n];
        uint32_t to = x->labels[j->label];
        int64_t distance = (int64_t)to - j->end;
        if (n % BREATH == BREATH - 1 && x->mem->breathe != NULL) {
            x->mem->breathe(x->mem->ctx);
        }
        bool fits = j->size == 4 || distance == (int8_t)distance;
        if (to > x->len || !fits) {
            x->error = true;
            break;
        }
        for (uint32_t b = 0; b < j->size; b++) {
            x->buf[j->end - j->size + b] = (uint8_t)(distance >> (8 * b));
        }
    }
    return !x->error;
}

/*
 * Will a jump from here fit one byte? Backward: the label is placed in this
 * pass. Forward: as far as in the last pass, or nearer.
 */
bool x64_is_near(const struct x64 *x, x64_label l)
{
    if (x->pass == 0) {
        return x->labels[l] != UINT32_MAX &&
               x->labels[l] + 126 >= x->len + 0u && x->labels[l] <= x->len;
    }
    const struct x64_jump *old = &x->jumps[x->jump_count];
    int64_t distance = (int64_t)x->labels[l] - old->end;
    return distance == (int8_t)distance;
}

void x64_put_jump(struct x64 *x, x64_label l, uint32_t size)
{
    if (!x->error && x->jump_count == x->jump_cap) {
        struct x64_jump *to =
            x64_grow(x, x->jumps, &x->jump_cap, sizeof(*to), 64);
        x->jumps = to != NULL ? to : x->jumps;
    }
    x64_put_imm(x, 0, size);
    if (!x->error) {
        x->jumps[x->jump_count++] =
            (struct x64_jump){.end = x->len, .label = l, .size = size};
    }
}
