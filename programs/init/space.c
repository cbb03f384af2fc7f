/* SPDX-License-Identifier: MIT */
/*
 * Packet space, divided. A part is a list of (protocol, port) of our address;
 * what leaves must come from the same and from our station, or be ARP that
 * speaks for us alone. So nobody here can take another's packets or speak
 * with another's voice, whatever its stack does.
 */
#include "programs/init/space.h"
#include "libos/libos/console.h"
#include "libos/libos/env.h"
#include "libos/libos/ring.h"
#include "libos/libos/text.h"
#include "libos/sys/sys.h"
#include "src/abi/net.h"

/* Too large for stack frames; init has one thread of control. */
static struct filter scratch;

static int mint(uint32_t slot, const char *name, uint32_t rights)
{
    return (int)sys_cap_mint(SLOT_SELF, slot, (const uint8_t *)name,
                             (uint32_t)strlen(name), rights);
}

static int carve(const struct host *h, uint32_t guard, uint32_t flags,
                 const struct filter *f)
{
    static struct net_refusal why;
    const struct net_region_args args = {
        .device = h->device,
        .parent = NET_REGION_ALL,
        .guard = guard,
        .flags = flags,
        .insns = (uint64_t)f->insn,
        .count = f->count,
        .refusal = (uint64_t)&why,
    };
    why.text[0] = '\0';
    if (f->count > FILTER_INSNS_MAX) {
        return -E_LIMIT;
    }
    int region = (int)sys_net_region(SLOT_SELF, &args);
    if (region < 0) {
        net_refusal_say("init", "a region", region, &why);
    }
    return region;
}

int space_shared(const struct host *h, uint32_t slot)
{
    struct filter *f = &scratch;
    int err = mint(slot, NAME_SHARED, CAP_READ | CAP_GRANT);
    if (err) {
        return err;
    }
    filter_begin(f);
    filter_arp(f);
    filter_or(f);
    filter_icmp_errors(f, h->addr);
    (void)filter_end(f);
    return carve(h, slot, NET_SHARED, f);
}

static void add_ports(struct filter *f, const struct host *h, bool out,
                      unsigned protocol, const uint16_t *ports)
{
    for (; *ports; ports++) {
        if (f->count > 0) {
            filter_or(f);
        }
        if (out) {
            filter_v4_from(f, h->mac, h->addr, protocol, *ports);
        } else {
            filter_v4_to(f, h->addr, protocol, *ports);
        }
    }
}

static int part(const struct host *h, const struct program *p, bool out,
                uint32_t slot)
{
    struct filter *f = &scratch;
    char name[CAP_NAME_MAX + 1];
    text_format(name, sizeof(name), "%s%s", out ? NAME_OUT : NAME_IN, p->name);
    int err =
        mint(slot, name, (out ? CAP_WRITE : CAP_READ) | CAP_CTL | CAP_GRANT);
    if (err) {
        return err;
    }
    filter_begin(f);
    add_ports(f, h, out, FILTER_TCP, p->tcp);
    add_ports(f, h, out, FILTER_UDP, p->udp);
    if (out) {
        filter_or(f);
        filter_arp_from(f, h->mac, h->addr);
    }
    (void)filter_end(f);
    return carve(h, slot, out ? NET_OUT : 0, f);
}

int space_program(const struct host *h, const struct program *p, uint32_t in,
                  uint32_t ids[2])
{
    for (uint32_t out = 0; out < 2; out++) {
        int region = part(h, p, out == 1, in + out);
        if (region < 0) {
            return region;
        }
        ids[out] = (uint32_t)region;
    }
    return 0;
}

int space_host_filter(const struct host *h, struct filter *f)
{
    const uint8_t *a = h->addr;
    filter_begin(f);
    filter_match(f, 12, 2, 0x0800);
    filter_match(f, 30, 4,
                 (uint64_t)a[0] << 24 | (uint64_t)a[1] << 16 |
                     (uint64_t)a[2] << 8 | a[3]);
    return filter_end(f);
}

int space_arp_filter(struct filter *f)
{
    filter_begin(f);
    filter_arp(f);
    return filter_end(f);
}

int space_dhcp_filter(struct filter *f, bool broadcast_only)
{
    static const uint8_t broadcast[4] = {255, 255, 255, 255};
    filter_begin(f);
    filter_v4_to(f, broadcast_only ? broadcast : NULL, FILTER_UDP, 68);
    return filter_end(f);
}
