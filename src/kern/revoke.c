/* SPDX-License-Identifier: MIT */
/*
 * Revocation by force: a name and all that are longer go out of every list,
 * and what was made by presenting them is broken wherever it is: rings,
 * bindings, regions, ranges, predicates, and with them the pins by which
 * devices and programs reach frames. Entries of page tables stay: nothing
 * leads from a frame to them.
 *
 * All of it goes in turns. The lists are first, and each is cleared in one go.
 * `env.going` says meanwhile which name is taken out of them, and nobody can
 * grant what goes, so that it does not move on to a list that was cleared.
 * After that nobody can make anything by it, and what was made is looked for.
 * If the caller never comes back, the name is not granted until it ends or
 * revokes another; nothing else is held.
 * Source: Engler95 s3.5 (the abort protocol).
 */
#include "src/kern/cap.h"
#include "src/kern/demand.h"
#include "src/kern/disk.h"
#include "src/kern/event.h"
#include "src/kern/net.h"
#include "src/kern/sysproto.h"
#include "src/kern/turn.h"

#define LIST_UNITS 80u /* of a turn, to clear a list */

/* How many environments have a name in `going`: mostly none. */
static uint32_t revokers GUARDED_BY(bind_lock);

bool cap_going(const struct cap *k, const struct env *holder)
{
    for (uint32_t i = 1; revokers != 0 && i < ENVS_MAX; i++) {
        const struct env *e = env_at(i);
        if (e != NULL && e->going.rights != 0) {
            const struct revocation r = {.name = e->going, .by = e};
            if (cap_revoked(&r, k, holder)) {
                return true;
            }
        }
    }
    return false;
}

void cap_going_end(struct env *e)
{
    revokers -= e->going.rights != 0;
    e->going = (struct cap){0};
}

static void list_clear(const struct revocation *r, struct env *e,
                       const struct cap *own) REQUIRES(bind_lock)
{
    for (unsigned s = 0; s < CAP_SLOTS; s++) {
        struct cap *k = &e->cap[s];
        /* Copies in the caller's own list go too, but for the slot. */
        if (k != own && cap_revoked(r, k, NULL)) {
            *k = (struct cap){0};
        }
    }
}

/*
 * Clear the lists of all environments, from the beginning if this is the first
 * turn or the caller revoked another name in between. False: the turn ended
 * first.
 */
static bool lists_clear(struct env *e, const struct cap *own, struct turn *t)
    REQUIRES(bind_lock)
{
    if (t->done == 0 ||
        __builtin_memcmp(&e->going, own, sizeof(e->going)) != 0) {
        cap_going_end(e);
        e->going = *own;
        e->going_at = 1;
        revokers++;
    }
    const struct revocation r = {.name = *own, .by = e};
    for (; e->going_at < ENVS_MAX; e->going_at++) {
        struct env *other = env_at(e->going_at);
        if (!turn_take(t, other != NULL ? LIST_UNITS : 1)) {
            return false;
        }
        if (other != NULL) {
            list_clear(&r, other, own);
        }
    }
    cap_going_end(e);
    return true;
}

/* Where each kind of thing begins in the order in which they are looked at. */
enum {
    AT_LISTS = 1, /* 0 is the first turn */
    AT_NETS,
    AT_DISKS = AT_NETS + NET_REVOKE_STEPS,
    AT_PREDICATES = AT_DISKS + DISK_REVOKE_STEPS,
};

int64_t sys_cap_revoke(struct env *e, const struct cap *slot, struct turn *t)
{
    REFUSE_IF((slot->rights & CAP_CTL) == 0, E_CAP);
    const struct revocation r = {.name = *slot, .by = e};
    if (t->done <= AT_LISTS) {
        if (!lists_clear(e, slot, t)) {
            return turn_again(t, AT_LISTS);
        }
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
