/* SPDX-License-Identifier: MIT */
/*
 * Programs are run as they will be for packets: natively where that is so.
 */
#include "dpf/diagram/confirm.h"

#include "dpf/diagram/guard.h"
#include "dpf/diagram/lift.h"
#include "dpf/diagram/probe.h"
#include "dpf/vm/program.h"

/* Loops turn as often as fuel allows them: fewer packets, for more work. */
#define LOOP_RUNS 8u
#define LOOP_WORK 4096u

#define FIELD_BYTES 4u

/* A diagram, or a cube, and the program that it is said to be. */
struct reading {
    struct dd *d;
    const struct dpf_program *filter;
    uint32_t f;
    const struct cube *cube;
    size_t room; /* bytes of a packet that is made of the cube */
};

/* Does the program say something else than the diagram? */
static bool differs(void *ctx, const uint8_t *packet, size_t len)
{
    const struct reading *r = ctx;
    uint32_t says = dd_eval(r->d, r->f, packet, len);
    if (says == DD_MAYBE) {
        return false;
    }
    bool takes = dpf_filter_run(r->filter, packet, len) != 0;
    return takes != (says == DD_YES);
}

/* The work of one run, at most. */
static uint32_t run_work(const struct dpf_program *filter)
{
    size_t count;
    (void)dpf_program_insns(filter, &count);
    return dpf_program_loops(filter) ? LOOP_WORK : (uint32_t)count / 8 + 1;
}

/* ------------------------------------------------------------------- cubes */

static bool cube_has(const struct reading *r, const uint8_t *packet, size_t len)
{
    size_t at = 0;
    uint32_t base = 0;
    for (uint32_t i = 0; i < r->cube->len_count; i++) {
        at = dd_base_at(r->d->bases, r->cube->lens[i].base, packet, len);
        if (at > len || len - at < r->cube->lens[i].min) {
            return false;
        }
    }
    at = 0;
    for (uint32_t i = 0; i < r->cube->count; i++) {
        const struct cube_byte *b = &r->cube->bytes[i];
        if (dd_var_base(b->var) != base) {
            base = dd_var_base(b->var);
            at = dd_base_at(r->d->bases, base, packet, len);
        }
        if ((packet[at + dd_var_off(b->var)] & b->mask) != b->value) {
            return false;
        }
    }
    return true;
}

/* `has`: is the packet in the cube if no byte lies in two places? */
static bool cube_differs(const struct reading *r, const uint8_t *packet,
                         size_t len, bool has)
{
    bool takes = dpf_filter_run(r->filter, packet, len) != 0;
    return takes != has && takes != cube_has(r, packet, len);
}

/* The place of byte i of the cube; all of its bases lie in the packet. */
static uint8_t *cube_place(const struct reading *r, uint32_t i, uint8_t *packet)
{
    uint32_t var = r->cube->bytes[i].var, base = dd_var_base(var);
    size_t at = base ? dd_base_at(r->d->bases, base, packet, r->room) : 0;
    return &packet[at + dd_var_off(var)];
}

/* Make a packet of the cube: its length, or 0 if there is no room for it. */
static size_t cube_packet(const struct reading *r, uint8_t *packet)
{
    const struct cube *c = r->cube;
    size_t len = 0;
    for (uint32_t i = 0, k = 0; i <= c->count; i++) {
        uint32_t base =
            i < c->count ? dd_var_base(c->bytes[i].var) : UINT32_MAX;

        /* Lengths of bases up to this one; what decides them is there. */
        for (; k < c->len_count && c->lens[k].base <= base; k++) {
            size_t at =
                dd_base_at(r->d->bases, c->lens[k].base, packet, r->room);

            if (at > r->room || r->room - at < c->lens[k].min) {
                return 0;
            }
            len = at + c->lens[k].min > len ? at + c->lens[k].min : len;
        }
        if (i < c->count) {
            uint8_t *byte = cube_place(r, i, packet);
            *byte = (uint8_t)((*byte & ~c->bytes[i].mask) | c->bytes[i].value);
        }
    }
    return len;
}

/* With one tested bit of the i-th byte turned. */
static bool cube_turned(const struct reading *r, uint8_t *packet, size_t len,
                        uint32_t i, uint32_t bit)
{
    uint8_t *byte = cube_place(r, i, packet), mask = r->cube->bytes[i].mask;
    for (bit %= (uint32_t)__builtin_popcount(mask); bit > 0; bit--) {
        mask &= (uint8_t)(mask - 1);
    }
    mask &= (uint8_t)-mask;
    *byte ^= mask;
    bool fails = cube_differs(r, packet, len, false);
    *byte ^= mask;
    return fails;
}

/*
 * A packet of the cube with all bits set that are not tested; the same shorter
 * by one; and of each field, as long as four bytes, the same with one bit
 * turned. Of a program that is interpreted, two packets must do: running it
 * takes a tenth as long as all else.
 */
static bool cube_fails(const struct reading *r, uint8_t *packet)
{
    const struct cube *c = r->cube;
    size_t code;
    bool native = dpf_program_code(r->filter, &code) != NULL;
    uint32_t left = native ? c->count : 1;
    __builtin_memset(packet, 0xff, r->room);
    size_t len = cube_packet(r, packet);
    if (len == 0) {
        return false;
    }
    if (cube_differs(r, packet, len, true) ||
        (native && cube_differs(r, packet, len - 1, false))) {
        return true;
    }
    for (uint32_t i = 0, n; i < c->count && left > 0; i += n, left--) {
        for (n = 1; n < FIELD_BYTES && i + n < c->count &&
                    c->bytes[i + n].var == c->bytes[i].var + n;
             n++) {
        }
        if (cube_turned(r, packet, len, i + (uint32_t)len % n,
                        (uint32_t)len + i)) {
            return true;
        }
    }
    return false;
}

/* --------------------------------------------------------------- both kinds */

/* The bytes that a packet of the cube has at most, or PROBE_BYTES. */
static size_t cube_room(const struct reading *r)
{
    size_t room = 0;
    for (uint32_t i = 0; i < r->cube->len_count; i++) {
        const struct cube_len *l = &r->cube->lens[i];
        size_t end = (size_t)r->d->bases[l->base].max + l->min;
        room = end > room ? end : room;
    }
    return room < PROBE_BYTES ? room : PROBE_BYTES;
}

static int confirm_cube(struct reading *r, bool *fails)
{
    struct heap *h = r->d->heap;
    uint32_t work =
        (r->cube->count / 4 + 2) * run_work(r->filter) + r->cube->count + 16;
    uint8_t small[256], *packet = small;

    *fails = !cube_is_guarded(r->d->bases, r->cube);
    if (*fails || !dd_work(r->d, work)) {
        return 0;
    }
    r->room = cube_room(r);
    if (r->room > sizeof(small)) {
        packet = heap_alloc(h, r->room);
        if (packet == NULL) {
            return -DPF_E_MEM;
        }
    }
    *fails = cube_fails(r, packet);
    if (packet != small) {
        heap_free(h, packet, r->room);
    }
    return 0;
}

/* The constants that the program compares with, and their bytes. */
static void find_hints(struct heap *h, const struct dpf_program *filter,
                       struct probe_plan *plan)
{
    size_t count;
    const struct dpf_insn *in = dpf_program_insns(filter, &count);
    for (size_t i = 0; i < count; i++) {
        uint32_t imm = (uint32_t)in[i].imm;
        heap_pass(h, 1 + plan->hint_count / 2);
        if (!insn_is_jump(&in[i]) || BPF_SRC(in[i].opcode) != BPF_K) {
            continue;
        }
        for (uint32_t k = 0; k < 6; k++) {
            uint32_t x = k < 4 ? imm >> 8 * k & 0xff : imm + k - 4, j = 0;
            while (j < plan->hint_count && plan->hints[j] != x) {
                j++;
            }
            if (x && j == plan->hint_count && j < PROBE_HINTS_MAX) {
                plan->hints[plan->hint_count++] = x;
            }
        }
    }
}

static int confirm_diagram(struct reading *r, bool *fails)
{
    struct probe_plan plan = {
        .max = CONFIRM_MAX,
        .work = run_work(r->filter),
        .visit = differs,
        .ctx = r,
    };
    *fails = !dd_is_guarded(r->d, r->f);
    if (*fails) {
        return r->d->err;
    }
    if (dpf_program_loops(r->filter)) {
        plan.max = LOOP_RUNS;
    }
    find_hints(r->d->heap, r->filter, &plan);
    int found = probe_paths(r->d, r->f, &plan);
    *fails = found == 1;
    return found == -DPF_E_MEM ? found : 0;
}

int dd_confirm(struct dd *d, const struct dpf_program *filter, int lifted,
               struct cube *cube, uint32_t *f, bool *misread)
{
    struct reading r = {d, filter, *f, cube, 0};
    bool fails = false;
    *misread = false;
    if (lifted < 0) {
        return lifted;
    }
    int result =
        lifted ? confirm_cube(&r, &fails) : confirm_diagram(&r, &fails);
    if (result == -DPF_E_MEM) {
        return result;
    }
    *misread = fails && result != -DPF_E_FUEL;
    d->half_read = d->half_read || result == -DPF_E_FUEL;
    if (fails || result) {
        *f = DD_MAYBE;
        lifted = 0;
    }
    d->err = 0; /* of fuel: what was done by then counts */
    return lifted;
}

int dd_read(struct dd *d, const struct dpf_program *filter, struct cube *cube,
            uint32_t *f, bool *misread)
{
    size_t count;
    const struct dpf_insn *insns = dpf_program_insns(filter, &count);
    return dd_confirm(d, filter, dd_lift(d, insns, count, cube, f), cube, f,
                      misread);
}
