/* SPDX-License-Identifier: MIT */
#include "tests/unit/libos/fake_kernel.h"
#include "libos/libos/env.h"
#include "libos/libos/mem.h"
#include "libos/libos/time.h"
#include "libos/sys/sys.h"
#include "src/abi/err.h"
#include "src/abi/pte.h"
#include <stdlib.h>
#include <string.h>

struct fake_kernel fk;

void fk_reset(void)
{
    fk = (struct fake_kernel){.allocs_left = -1};
}

/* -------------------------------------------------------------------- memory
 */

static void *take(size_t bytes)
{
    if (fk.allocs_left == 0) {
        return NULL;
    }
    fk.allocs_left -= fk.allocs_left > 0;
    fk.live++;
    void *p = aligned_alloc(PAGE_SIZE, bytes);
    memset(p, 0, bytes);
    return p;
}

static void give(void *p)
{
    fk.live -= p != NULL;
    free(p);
}

int mem_run_alloc(struct mem_run *run, uint64_t bytes, uint32_t flags)
{
    (void)flags;
    bytes = (bytes + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
    void *p = take(bytes);
    if (p == NULL) {
        return -E_MEM;
    }
    *run = (struct mem_run){p, (uint64_t)(uintptr_t)p, bytes};
    return 0;
}

void mem_run_free(struct mem_run *run)
{
    give(run->va);
    *run = (struct mem_run){0};
}

void *mem_alloc(size_t bytes)
{
    return take((bytes + PAGE_SIZE - 1) & ~(size_t)(PAGE_SIZE - 1));
}

void mem_free(void *p, size_t bytes)
{
    (void)bytes;
    give(p);
}

/* --------------------------------------------------------------- environment
 */

int env_event_alloc(void)
{
    for (int i = 0; i < 64; i++) {
        if ((fk.events >> i & 1) == 0) {
            fk.events |= 1ull << i;
            return i;
        }
    }
    return -E_LIMIT;
}

void env_event_free(int bit)
{
    fk.events &= ~(1ull << bit);
}

uint64_t env_wait(uint64_t mask, uint64_t deadline_ns)
{
    (void)deadline_ns;
    fk.waits++;
    if (fk.on_wait != NULL) {
        fk.on_wait();
    }
    return mask;
}

int env_entropy(void *bytes, size_t len)
{
    memset(bytes, 7, len);
    return fk.fail_entropy;
}

uint64_t time_ns(void)
{
    return 1000000000;
}

/* --------------------------------------------------------------------- rings
 */

int64_t sys_net_rx_ring(uint32_t k, const struct net_ring_args *args)
{
    (void)k;
    fk.rx = *args;
    fk.rx_next = 0;
    fk.rings += fk.fail_rx == 0;
    return fk.fail_rx != 0 ? fk.fail_rx : 5;
}

int64_t sys_net_tx_ring(uint32_t k, const struct net_ring_args *args)
{
    (void)k;
    fk.tx = *args;
    fk.tx_next = 0;
    fk.rings += fk.fail_tx == 0;
    return fk.fail_tx != 0 ? fk.fail_tx : 6;
}

int64_t sys_net_ring_free(uint32_t device, uint32_t ring)
{
    (void)device;
    (void)ring;
    fk.rings--;
    return 0;
}

int64_t sys_net_bind(uint32_t k, const struct net_bind_args *args)
{
    (void)k;
    return args->ring == 5 ? 11 : -E_NONE;
}

int64_t sys_net_send(uint32_t device, uint32_t ring)
{
    (void)device;
    (void)ring;
    fk.sends++;
    if (fk.complete_on_send) {
        fk_transmitted(UINT32_MAX, NET_OWNER_ENV);
    }
    return 0;
}

static void *ring_at(uint64_t frame)
{
    return (void *)(uintptr_t)(frame * PAGE_SIZE);
}

bool fk_deliver(uint32_t len, uint8_t fill)
{
    struct net_ring_head *head = ring_at(fk.rx.frame);
    struct net_rx_slot *slot = (void *)(head + 1);
    uint64_t slots_end =
        sizeof(*head) + (uint64_t)fk.rx.slots * sizeof(struct net_rx_slot);
    uint8_t *buffer = (uint8_t *)head + ((slots_end + PAGE_SIZE - 1) &
                                         ~(uint64_t)(PAGE_SIZE - 1));
    uint32_t i = fk.rx_next % fk.rx.slots;
    if (slot[i].owner != NET_OWNER_KERNEL) {
        head->dropped++;
        return false;
    }
    uint32_t n = len < NET_RX_BUFFER ? len : NET_RX_BUFFER;
    memset(buffer + (size_t)i * NET_RX_BUFFER, fill, n);
    slot[i].len = len;
    slot[i].flags = NET_RX_CSUM_OK;
    slot[i].binding = fill;
    __atomic_store_n(&slot[i].owner, NET_OWNER_ENV, __ATOMIC_RELEASE);
    fk.rx_next++;
    return true;
}

static struct net_tx_slot *tx_slot(uint32_t index)
{
    struct net_ring_head *head = ring_at(fk.tx.frame);
    return (struct net_tx_slot *)(head + 1) + index % fk.tx.slots;
}

const struct net_tx_slot *fk_tx_slot(uint32_t index)
{
    return tx_slot(index);
}

uint32_t fk_transmitted(uint32_t n, uint32_t owner)
{
    uint32_t done = 0;
    while (done < n && done < fk.tx.slots) {
        struct net_tx_slot *s = tx_slot(fk.tx_next);
        if (s->owner != NET_OWNER_KERNEL) {
            break;
        }
        __atomic_store_n(&s->owner, owner, __ATOMIC_RELEASE);
        fk.tx_next++;
        done++;
    }
    return done;
}

int64_t sys_disk_ring(uint32_t k, const struct disk_ring_args *args)
{
    (void)k;
    fk.disk = *args;
    fk.rings += fk.fail_disk == 0;
    return fk.fail_disk != 0 ? fk.fail_disk : 9;
}

int64_t sys_disk_ring_free(uint32_t disk, uint32_t ring)
{
    (void)disk;
    (void)ring;
    fk.rings -= fk.fail_free == 0;
    return fk.fail_free;
}

int64_t sys_disk_submit(uint32_t disk, uint32_t ring)
{
    (void)disk;
    (void)ring;
    fk.submits++;
    return 0;
}

struct disk_slot *fk_disk_slot(uint32_t index)
{
    struct disk_slot *slot = ring_at(fk.disk.frame);
    return &slot[index % fk.disk.slots];
}

void fk_disk_done(uint32_t index, int32_t status)
{
    struct disk_slot *s = fk_disk_slot(index);
    s->status = status;
    __atomic_store_n(&s->owner, DISK_OWNER_ENV, __ATOMIC_RELEASE);
}
