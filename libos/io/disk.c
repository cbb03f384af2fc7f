/* SPDX-License-Identifier: MIT */
/*
 * Disk requests seen from the environment. Slots are put in ring order and
 * finish in any order: a bit says which are under way, and a slot is used
 * again only after its request was reaped.
 */
#include "libos/libos/disk.h"
#include "libos/libos/env.h"
#include "libos/libos/text.h"
#include "libos/sys/sys.h"
#include "src/abi/pte.h"

static uint32_t index_of(const struct disk_queue *q, uint32_t n)
{
    return n & (q->slots - 1);
}

static bool busy(const struct disk_queue *q, uint32_t i)
{
    return q->busy[i / 64] >> (i % 64) & 1;
}

int disk_open(struct disk_queue *q, uint32_t disk, uint32_t k, uint32_t range,
              uint32_t slots)
{
    int event = env_event_alloc();
    *q = (struct disk_queue){0};
    if (event < 0) {
        return event;
    }
    *q = (struct disk_queue){.disk = disk, .slots = slots, .event = event};
    int err =
        mem_run_alloc(&q->run, (uint64_t)slots * sizeof(struct disk_slot), 0);
    if (err) {
        goto no_memory;
    }
    q->slot = q->run.va;
    struct disk_ring_args args = (struct disk_ring_args){
        .disk = disk,
        .range = range,
        .slots = slots,
        .frames = (uint32_t)(q->run.bytes / PAGE_SIZE),
        .frame = q->run.paddr / PAGE_SIZE,
        .event = (uint32_t)q->event,
        .memory = SLOT_SELF,
    };
    int64_t id = sys_disk_ring(k, &args);
    if (id < 0) {
        err = (int)id;
        goto no_ring;
    }
    q->id = (uint32_t)id;
    return 0;

no_ring:
    mem_run_free(&q->run);
no_memory:
    env_event_free(q->event);
    *q = (struct disk_queue){0};
    return err;
}

int disk_close(struct disk_queue *q)
{
    if (!q->slots) {
        return 0;
    }
    int64_t err = sys_disk_ring_free(q->disk, q->id);
    if (err) {
        return (int)err;
    }
    mem_run_free(&q->run);
    env_event_free(q->event);
    *q = (struct disk_queue){0};
    return 0;
}

int disk_put(struct disk_queue *q, const struct disk_request *r)
{
    uint32_t i = index_of(q, q->next);
    struct disk_slot *s = &q->slot[i];
    if (busy(q, i)) {
        return -E_AGAIN;
    }
    s->op = (uint16_t)r->op;
    s->pieces = (uint16_t)r->pieces;
    s->block = r->block;
    s->count = r->count;
    s->status = 0;
    s->cookie = r->cookie;
    memcpy(s->piece, r->piece, r->pieces * sizeof(s->piece[0]));
    q->busy[i / 64] |= 1ull << (i % 64);
    __atomic_store_n(&s->owner, DISK_OWNER_KERNEL, __ATOMIC_RELEASE);
    q->next++;
    q->untold++;
    return 0;
}

void disk_kick(struct disk_queue *q)
{
    if (q->untold) {
        q->untold = 0;
        (void)sys_disk_submit(q->disk, q->id);
    }
}

bool disk_reap(struct disk_queue *q, uint64_t *cookie, int *status)
{
    for (uint32_t n = q->tail; n != q->next; n++) {
        uint32_t i = index_of(q, n);
        const struct disk_slot *s = &q->slot[i];
        if (!busy(q, i) ||
            __atomic_load_n(&s->owner, __ATOMIC_ACQUIRE) != DISK_OWNER_ENV) {
            continue;
        }
        *cookie = s->cookie;
        *status = s->status;
        q->busy[i / 64] &= ~(1ull << (i % 64));
        while (q->tail != q->next && !busy(q, index_of(q, q->tail))) {
            q->tail++;
        }
        return true;
    }
    return false;
}

uint32_t disk_pending(const struct disk_queue *q)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < DISK_RING_SLOTS_MAX / 64; i++) {
        n += (uint32_t)__builtin_popcountll(q->busy[i]);
    }
    return n;
}

int disk_read_now(struct disk_queue *q, uint64_t block, uint32_t count,
                  uint64_t paddr)
{
    const struct disk_request r = {
        .op = DISK_READ,
        .block = block,
        .count = count,
        .pieces = 1,
        .piece[0] = {.paddr = paddr, .len = count * DISK_BLOCK_SIZE},
    };
    int err = disk_put(q, &r);
    if (err) {
        return err;
    }
    disk_kick(q);
    int status;
    uint64_t cookie;
    while (!disk_reap(q, &cookie, &status)) {
        (void)env_wait(1ull << q->event, UINT64_MAX);
    }
    return status;
}
