/* SPDX-License-Identifier: MIT */
/*
 * Filters as one decision. One set owns its packets: disjoint filters go
 * there, where a known shape costs a table insert. What meets another filter
 * is bound in a shared region of a further set, so that every one that accepts
 * a packet gets a copy; those sets grow with each, and may be several.
 */
#include "dpf/cli/cli.h"

#include <stdlib.h>
#include <string.h>

enum { REGION_ALL = 1 };

/* One more set, with the region that takes everything; the first one owns. */
static int add_set(struct merged *m)
{
    uint32_t flags = m->set_count == 0 ? 0 : DPF_SHARED;
    static const struct dpf_insn all[] = {{.opcode = 0xb7, .imm = 1},
                                          {.opcode = 0x95}};
    struct dpf_program *every = NULL;
    struct dpf_set **bigger =
        realloc(m->sets, (m->set_count + 1) * sizeof(struct dpf_set *));
    if (bigger == NULL) {
        return -DPF_E_MEM;
    }
    m->sets = bigger;
    m->sets[m->set_count] = NULL;
    int result =
        dpf_program_create(cli_mem(), DPF_FILTER, all, 2, &every, NULL);
    result =
        result ? result : dpf_set_create(cli_mem(), &m->sets[m->set_count]);
    if (result == 0) {
        m->set_count++;
        result = dpf_set_region_insert(m->sets[m->set_count - 1], REGION_ALL, 0,
                                       every, flags, NULL);
    }
    dpf_program_destroy(every);
    return result;
}

static int merged_insert(struct merged *m, size_t set, uint32_t i,
                         const struct dpf_program *p, struct dpf_error *err)
{
    int result = set < m->set_count ? 0 : add_set(m);
    result = result ? result
                    : dpf_set_insert(m->sets[set], i, REGION_ALL, p, 0, err);
    if (result == 0) {
        /* Nobody looks up yet: older versions are of no use. */
        dpf_set_reclaim(m->sets[set], dpf_set_version(m->sets[set]));
    }
    return result;
}

/*
 * Into the set of owners if it meets no other there, else into the last shared
 * set, and into a new one when that is full. A refusal of any other kind is
 * one of the filter itself.
 */
static int add_filter(struct merged *m, uint32_t i, const struct dpf_program *p,
                      struct dpf_error *err)
{
    int result = merged_insert(m, 0, i, p, err);
    if (result == -DPF_E_CONFLICT || result == -DPF_E_TOO_BIG ||
        result == -DPF_E_FUEL) {
        size_t last = m->set_count > 1 ? m->set_count - 1 : 1;
        result = merged_insert(m, last, i, p, err);
        if (result == -DPF_E_TOO_BIG || result == -DPF_E_FUEL) {
            result = merged_insert(m, last + 1, i, p, err);
        }
    }
    return result;
}

/*
 * A set refuses what meets something in it. So a few sets, each filled with
 * what fits, sort filters by judging each only against the groups.
 */
int filters_group(const struct filters *f, uint8_t *group)
{
    struct merged m[FILTER_GROUPS] = {0};
    bool memory = true;
    for (size_t i = 0; i < f->count && memory; i++) {
        group[i] = 0;
        for (uint8_t k = 0; k < FILTER_GROUPS && memory && !group[i]; k++) {
            struct dpf_error err = {0};
            int result =
                merged_insert(&m[k], 0, (uint32_t)i, f->all[i].program, &err);
            group[i] = result == 0 ? k + 1 : 0;
            memory = result != -DPF_E_MEM;
        }
    }
    for (size_t k = 0; k < FILTER_GROUPS; k++) {
        merged_finish(&m[k]);
    }
    return memory ? 0 : -DPF_E_MEM;
}

int merged_make(struct merged *m, const struct filters *f)
{
    struct dpf_error err = {0};
    *m = (struct merged){.count = f->count};
    m->hit = calloc(f->count + 1, sizeof(*m->hit));
    int result = m->hit != NULL ? 0 : -DPF_E_MEM;
    for (size_t i = 0; i < f->count && result == 0; i++) {
        result = add_filter(m, (uint32_t)i, f->all[i].program, &err);
        if (result != 0) {
            cli_say("filter %s cannot be merged: %s", f->all[i].name,
                    err.text[0] ? err.text : dpf_strerror(result));
        }
    }
    if (result != 0) {
        merged_finish(m);
    }
    return result ? CLI_NO : CLI_OK;
}

/*
 * Called by a lookup for each filter that gets a copy; the owner is its
 * result.
 */
static void hit(void *ctx, uint32_t id)
{
    struct merged *m = ctx;
    m->hit[id] = 1;
}

const uint8_t *merged_run(struct merged *m, const void *packet, size_t len)
{
    memset(m->hit, 0, m->count);
    for (size_t k = 0; k < m->set_count; k++) {
        uint32_t owner = dpf_set_match(m->sets[k], packet, len, hit, m);
        if (owner != DPF_NO_OWNER) {
            m->hit[owner] = 1;
        }
    }
    return m->hit;
}

void merged_finish(struct merged *m)
{
    for (size_t k = 0; k < m->set_count; k++) {
        dpf_set_destroy(m->sets[k]);
    }
    free(m->sets);
    free(m->hit);
    *m = (struct merged){0};
}
