/* SPDX-License-Identifier: MIT */
#include "src/dev/virtq.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };
#define NO_INTERRUPT 1u /* avail->flags */
#define NO_NOTIFY 1u    /* used->flags */

/*
 * The three parts of a queue in one piece of memory, the used ring on a cache
 * line of its own: the device writes it, the driver the rest.
 */
static size_t avail_at(uint16_t size)
{
    return size * sizeof(struct virtq_desc);
}

static size_t used_at(uint16_t size)
{
    return (avail_at(size) + 6 + 2u * size + 63) & ~(size_t)63;
}

size_t virtq_bytes(uint16_t size)
{
    return used_at(size) + 6 + 8u * size;
}

void virtq_init(struct virtq *q, void *memory, uint16_t size,
                struct virtq_desc *tables, uint64_t tables_paddr)
{
    uint8_t *m = memory;
    *q = (struct virtq){
        .desc = memory,
        .avail = (struct virtq_avail *)(void *)(m + avail_at(size)),
        .used = (struct virtq_used *)(void *)(m + used_at(size)),
        .tables = tables,
        .tables_paddr = tables_paddr,
        .size = size,
        .free = size,
    };
    for (uint16_t i = 0; i < size; i++) {
        q->next[i] = (uint16_t)(i + 1);
    }
}

bool virtq_start(struct virtq *q, unsigned pieces)
{
    /*
     * A short chain stands in the ring itself, which saves the device a read.
     * It goes to a table too when the ring is nearly full.
     */
    bool indirect = q->tables != NULL && pieces <= VIRTQ_TABLE &&
                    (pieces > VIRTQ_DIRECT_MAX || pieces > q->free);
    uint16_t need = (uint16_t)(indirect ? 1 : pieces);
    if (q->broken || pieces == 0 || pieces > q->size || need > q->free) {
        return false;
    }
    q->head = q->tail = q->free_head;
    q->free = (uint16_t)(q->free - need);
    q->under_way[q->head] = need;
    q->build_left = (uint16_t)pieces;
    q->build = NULL;
    if (indirect) {
        size_t table = (size_t)q->head * VIRTQ_TABLE;
        q->build = &q->tables[table];
        q->desc[q->head] = (struct virtq_desc){
            .paddr = q->tables_paddr + table * sizeof(struct virtq_desc),
            .len = (uint32_t)(pieces * sizeof(struct virtq_desc)),
            .flags = DESC_INDIRECT,
        };
        q->free_head = q->next[q->head];
        q->tail = 0;
    }
    return true;
}

void virtq_piece(struct virtq *q, uint64_t paddr, uint32_t len,
                 bool device_writes)
{
    struct virtq_desc *table = q->build != NULL ? q->build : q->desc;
    uint16_t at = q->tail;
    q->tail = q->build != NULL ? (uint16_t)(at + 1) : q->next[at];
    q->build_left--;
    table[at] = (struct virtq_desc){
        .paddr = paddr,
        .len = len,
        .flags = (uint16_t)((device_writes ? DESC_WRITE : 0) |
                            (q->build_left > 0 ? DESC_NEXT : 0)),
        .next = q->tail,
    };
    if (q->build == NULL) {
        q->free_head = q->tail;
    }
}

uint16_t virtq_finish(struct virtq *q)
{
    q->avail->ring[q->added & (q->size - 1)] = q->head;
    q->added++;
    return q->head;
}

bool virtq_publish(struct virtq *q)
{
    uint16_t old = q->told;
    if (old == q->added || q->broken) {
        return false;
    }
    q->told = q->added;
    /*
     * Release: the device must see descriptors and heads before the index that
     * says they are there.
     */
    __atomic_store_n(&q->avail->idx, q->told, __ATOMIC_RELEASE);
    /* The device looks at idx after it stops wanting to be notified. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (q->event_idx) {
        const uint16_t *avail_event = (const uint16_t *)&q->used->ring[q->size];
        /*
         * The device names the index at which it wants to hear. It is owed a
         * notification if that index lies among those told just now; the
         * differences are right across the wrap at 65536.
         */
        uint16_t event = __atomic_load_n(avail_event, __ATOMIC_RELAXED);
        return (uint16_t)(q->told - event - 1) < (uint16_t)(q->told - old);
    }
    return (__atomic_load_n(&q->used->flags, __ATOMIC_RELAXED) & NO_NOTIFY) ==
           0;
}

/* The chain's descriptors go back to the front of the free list. */
static void virtq_release(struct virtq *q, uint16_t head)
{
    uint16_t n = q->under_way[head], last = head;
    for (uint16_t i = 1; i < n; i++) {
        last = q->next[last];
    }
    q->next[last] = q->free_head;
    q->free_head = head;
    q->free = (uint16_t)(q->free + n);
    q->under_way[head] = 0;
}

uint16_t virtq_waiting(const struct virtq *q)
{
    return (uint16_t)(__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) -
                      q->taken);
}

int virtq_take(struct virtq *q, uint16_t *head, uint32_t *len)
{
    uint16_t at = q->taken & (uint16_t)(q->size - 1);
    if (q->broken ||
        __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) == q->taken) {
        return 0;
    }
    uint32_t id = __atomic_load_n(&q->used->ring[at].id, __ATOMIC_RELAXED);
    *len = __atomic_load_n(&q->used->ring[at].len, __ATOMIC_RELAXED);
    /*
     * An identifier that names no chain under way would make us hand one
     * request's buffer back twice, and reuse it while the device writes. A
     * device that does this once cannot be believed again.
     */
    if (id >= q->size || q->under_way[id] == 0) {
        q->broken = true;
        return -1;
    }
    *head = (uint16_t)id;
    virtq_release(q, *head);
    q->taken++;
    return 1;
}

bool virtq_abandon(struct virtq *q, uint16_t *head)
{
    q->broken = true;
    for (uint16_t i = 0; i < q->size; i++) {
        if (q->under_way[i] != 0) {
            *head = i;
            virtq_release(q, i);
            return true;
        }
    }
    return false;
}

bool virtq_interrupt(struct virtq *q, uint16_t after)
{
    if (q->event_idx) {
        /* None: the event lies as far ahead as numbers go. */
        uint16_t *used_event = &q->avail->ring[q->size];
        __atomic_store_n(used_event, (uint16_t)(q->taken + after - 1),
                         __ATOMIC_RELAXED);
    } else {
        __atomic_store_n(&q->avail->flags,
                         (uint16_t)(after == 0 ? NO_INTERRUPT : 0),
                         __ATOMIC_RELAXED);
    }
    /* Else a chain completed just before would raise nothing. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return after != 0 &&
           __atomic_load_n(&q->used->idx, __ATOMIC_RELAXED) != q->taken;
}
