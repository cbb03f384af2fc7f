/* SPDX-License-Identifier: MIT */
/*
 * Packet rings seen from the environment: fill descriptors in our own memory,
 * hand over the owner word last, tell the kernel once a batch.
 *
 * Receive: slot n is ours from the moment its owner word says so until
 * rx_ring_next. Transmit: slots [tail, next) are under way, in order.
 */
#include "libos/libos/ring.h"
#include "libos/libos/env.h"
#include "libos/libos/filter.h"
#include "libos/libos/text.h"
#include "libos/sys/sys.h"
#include "src/abi/pte.h"

static uint32_t owner_of(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void owner_set(uint32_t *word, uint32_t owner)
{
    __atomic_store_n(word, owner, __ATOMIC_RELEASE);
}

static struct net_ring_args
ring_args(const struct mem_run *run, uint32_t device, uint32_t slots, int event)
{
    return (struct net_ring_args){
        .device = device,
        .slots = slots,
        .frame = run->paddr / PAGE_SIZE,
        .frames = (uint32_t)(run->bytes / PAGE_SIZE),
        .event = (uint32_t)event,
        .memory = SLOT_SELF,
    };
}

/* ----------------------------------------------------------------- receive */

int rx_ring_open(struct rx_ring *r, uint32_t device, uint32_t k,
                 uint32_t region, uint32_t slots)
{
    uint64_t head = page_up(sizeof(struct net_ring_head) +
                            (uint64_t)slots * sizeof(struct net_rx_slot));
    int event = env_event_alloc();
    *r = (struct rx_ring){0};
    if (event < 0) {
        return event;
    }
    *r = (struct rx_ring){.device = device, .slots = slots, .event = event};
    int err = mem_run_alloc(&r->run, head + (uint64_t)slots * NET_RX_BUFFER, 0);
    if (err) {
        goto no_memory;
    }
    r->head = r->run.va;
    r->slot = (struct net_rx_slot *)(r->head + 1);
    r->buffer = (uint8_t *)r->run.va + head;
    for (uint32_t i = 0; i < slots; i++) {
        r->slot[i].owner = NET_OWNER_KERNEL;
    }
    struct net_ring_args args = ring_args(&r->run, device, slots, r->event);
    args.region = region;
    int64_t id = sys_net_rx_ring(k, &args);
    if (id < 0) {
        err = (int)id;
        goto no_ring;
    }
    r->id = (uint32_t)id;
    return 0;

no_ring:
    mem_run_free(&r->run);
no_memory:
    env_event_free(r->event);
    *r = (struct rx_ring){0};
    return err;
}

void rx_ring_close(struct rx_ring *r)
{
    if (r->slots) {
        (void)sys_net_ring_free(r->device, r->id);
        mem_run_free(&r->run);
        env_event_free(r->event);
        *r = (struct rx_ring){0};
    }
}

bool rx_ring_peek(struct rx_ring *r, struct rx_packet *p)
{
    uint32_t i = r->next & (r->slots - 1);
    const struct net_rx_slot *s = &r->slot[i];
    if (owner_of(&s->owner) != NET_OWNER_ENV) {
        return false;
    }
    p->data = r->buffer + (uint64_t)i * NET_RX_BUFFER;
    p->len = s->len < NET_RX_BUFFER ? s->len : NET_RX_BUFFER;
    p->flags = s->flags;
    p->binding = s->binding;
    p->tsc = s->tsc;
    return true;
}

void rx_ring_next(struct rx_ring *r)
{
    owner_set(&r->slot[r->next & (r->slots - 1)].owner, NET_OWNER_KERNEL);
    r->next++;
}

int rx_ring_bind(struct rx_ring *r, uint32_t k, uint32_t region, uint32_t flags,
                 const struct filter *filter, struct net_refusal *why)
{
    const struct net_bind_args args = {
        .device = r->device,
        .region = region,
        .ring = r->id,
        .flags = flags,
        .insns = (uint64_t)filter->insn,
        .count = filter->count,
        .refusal = (uint64_t)why,
    };
    return (int)sys_net_bind(k, &args);
}

/* ---------------------------------------------------------------- transmit */

int tx_ring_open(struct tx_ring *r, uint32_t device, uint32_t k,
                 uint32_t region, uint32_t slots)
{
    int err = -E_MEM, event = env_event_alloc();
    *r = (struct tx_ring){0};
    if (event < 0) {
        return event;
    }
    *r = (struct tx_ring){.device = device, .slots = slots, .event = event};
    r->pin = mem_alloc(slots * sizeof(struct net_pin *));
    if (r->pin == NULL) {
        goto no_pins;
    }
    err = mem_run_alloc(&r->run,
                        sizeof(struct net_ring_head) +
                            (uint64_t)slots * sizeof(struct net_tx_slot),
                        0);
    if (err) {
        goto no_memory;
    }
    r->head = r->run.va;
    r->slot = (struct net_tx_slot *)(r->head + 1);
    struct net_ring_args args = ring_args(&r->run, device, slots, r->event);
    args.region = region;
    int64_t id = sys_net_tx_ring(k, &args);
    if (id < 0) {
        err = (int)id;
        goto no_ring;
    }
    r->id = (uint32_t)id;
    return 0;

no_ring:
    mem_run_free(&r->run);
no_memory:
    mem_free(r->pin, slots * sizeof(struct net_pin *));
no_pins:
    env_event_free(r->event);
    *r = (struct tx_ring){0};
    return err;
}

void tx_ring_close(struct tx_ring *r)
{
    if (!r->slots) {
        return;
    }
    (void)sys_net_ring_free(r->device, r->id);
    /* Nothing is read in place any more: tell everybody who waits. */
    for (; r->tail != r->next; r->tail++) {
        net_pin_done(r->pin[r->tail & (r->slots - 1)]);
    }
    mem_run_free(&r->run);
    mem_free(r->pin, r->slots * sizeof(struct net_pin *));
    env_event_free(r->event);
    *r = (struct tx_ring){0};
}

static uint16_t slot_flags(const struct net_frame *f)
{
    uint16_t flags = 0;
    if (f->csum_start > 0) {
        flags |= NET_TX_CSUM;
    }
    if (f->gso == NET_GSO_TCP4) {
        flags |= NET_TX_TSO4;
    } else if (f->gso == NET_GSO_TCP6) {
        flags |= NET_TX_TSO6;
    }
    return flags;
}

/*
 * The frame's first pieces, if they may be copied and fit behind its headers:
 * so few bytes the kernel copies faster than a device looks up where they
 * are. Not of what is segmented: there the header's length says where data
 * begin. Returns how many pieces went.
 */
static uint32_t put_beside(struct net_tx_slot *s, const struct net_frame *f)
{
    uint32_t n = 0, at = f->hdr_len;
    while (f->gso == NET_GSO_NONE && n < f->count && f->piece[n].copy &&
           f->piece[n].len <= sizeof(s->header) - at) {
        memcpy(s->header + at, f->piece[n].va, f->piece[n].len);
        at += f->piece[n].len;
        n++;
    }
    s->header_len = (uint16_t)at;
    return n;
}

int tx_ring_put(struct tx_ring *r, const struct net_frame *f)
{
    uint32_t i = r->next & (r->slots - 1);
    struct net_tx_slot *s = &r->slot[i];
    if (r->next - r->tail == r->slots && tx_ring_reap(r) == 0) {
        return -NET_E_AGAIN;
    }
    memcpy(s->header, f->hdr, f->hdr_len);
    uint32_t first = put_beside(s, f);
    s->pieces = (uint16_t)(f->count - first);
    s->flags = slot_flags(f);
    s->csum_start = f->csum_start;
    s->csum_offset = f->csum_offset;
    s->gso_size = f->gso_size;
    for (uint32_t p = first; p < f->count; p++) {
        struct page_piece *to = &s->piece[p - first];
        *to = (struct page_piece){.paddr = f->piece[p].paddr,
                                  .len = f->piece[p].len};
    }
    r->pin[i] = f->pin;
    owner_set(&s->owner, NET_OWNER_KERNEL);
    r->next++;
    r->untold++;
    return 0;
}

void tx_ring_kick(struct tx_ring *r)
{
    if (r->untold) {
        r->untold = 0;
        (void)sys_net_send(r->device, r->id);
    }
}

uint32_t tx_ring_reap(struct tx_ring *r)
{
    uint32_t n = 0;
    while (r->tail != r->next) {
        uint32_t i = r->tail & (r->slots - 1);
        uint32_t owner = owner_of(&r->slot[i].owner);
        struct net_pin *pin = r->pin[i];
        if (owner == NET_OWNER_KERNEL) {
            break;
        }
        r->refused += owner == NET_OWNER_REFUSED;
        r->tail++;
        n++;
        net_pin_done(pin);
    }
    return n;
}
