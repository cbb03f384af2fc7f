/* SPDX-License-Identifier: MIT */
/*
 * Revocation by force: a name and all that are longer go out of every list,
 * and what was made by presenting them is broken wherever it is: rings,
 * bindings, regions, ranges, predicates, and with them the pins by which
 * devices and programs reach frames. Entries of page tables stay: nothing
 * leads from a frame to them.
 *
 * The lists are cleared in one go, so that the name cannot move on to a list
 * that was seen already. After that nobody can make anything by it, and what
 * was made is looked for in turns.
 * Source: Engler95 s3.5 (the abort protocol).
 */
#include "src/kern/cap.h"
#include "src/kern/demand.h"
#include "src/kern/disk.h"
#include "src/kern/event.h"
#include "src/kern/net.h"
#include "src/kern/sysproto.h"
#include "src/kern/turn.h"

static void clear_lists(const struct revocation *r, const struct cap *own)
    REQUIRES(bind_lock)
{
    for (unsigned i = 1; i < ENVS_MAX; i++) {
        struct env *e = env_at(i);
        for (unsigned s = 0; e != NULL && s < CAP_SLOTS; s++) {
            struct cap *k = &e->cap[s];
            /* Copies in the caller's own list go too, but for the slot. */
            if (k != own && cap_revoked(r, k, NULL)) {
                *k = (struct cap){0};
            }
        }
    }
}

/* Where each kind of thing begins in the order in which they are looked at. */
enum {
    AT_NETS = 1, /* 0 is the first turn */
    AT_DISKS = AT_NETS + NET_REVOKE_STEPS,
    AT_PREDICATES = AT_DISKS + DISK_REVOKE_STEPS,
};

int64_t sys_cap_revoke(struct env *e, const struct cap *slot, struct turn *t)
{
    REFUSE_IF((slot->rights & CAP_CTL) == 0, E_CAP);
    const struct revocation r = {.name = *slot, .by = e};
    if (t->done == 0) {
        clear_lists(&r, slot);
        t->done = AT_NETS;
    }
    static const struct {
        uint32_t first;
        bool (*revoke)(const struct revocation *, uint32_t *, struct turn *);
    } kinds[] = {{AT_NETS, net_revoke},
                 {AT_DISKS, disk_revoke},
                 {AT_PREDICATES, event_revoke}};
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        uint32_t at = t->done > kinds[i].first ? t->done - kinds[i].first : 0;
        if (!kinds[i].revoke(&r, &at, t)) {
            return turn_again(t, kinds[i].first + at);
        }
    }
    return 0;
}
