/* SPDX-License-Identifier: MIT */
/*
 * A network in memory: hosts with a stack each, one wire between them all, a
 * clock that jumps to the next event. The wire loses, repeats, delays and
 * reorders as told, from a seeded generator, so every run can be repeated.
 *
 * It plays the device as harshly as a device may: pieces are read when the
 * frame is given and again when it completes, which must show the same bytes;
 * checksums and segmentation are done as virtio does them.
 */
#pragma once

#include "libos/libos/net.h"
#include "libos/net/wire.h"

#define FAKE_FRAME_MAX 70000u

struct fake_net;

struct fake_host {
    struct net_link link;
    struct fake_net *net;
    struct net_stack *stack; /* NULL: the test itself is the host */
    void *mem, *pool;
    uint32_t room; /* frames the link takes between completions */
    uint32_t used;
    void (*tap)(struct fake_host *h, const uint8_t *frame, uint32_t len);
    void *user;
};

struct fake_frame {
    struct fake_frame *next;
    uint64_t at_ns;
    uint64_t order;
    struct fake_host *to;   /* arrives there, or: */
    struct fake_host *from; /* is done with there */
    struct net_frame frame; /* as given, for the second look */
    uint32_t len;
    uint8_t bytes[];
};

struct fake_net {
    uint64_t now_ns;
    uint64_t seed;
    uint64_t order;
    struct fake_frame *queue; /* by time */
    struct fake_host *host[2];
    uint64_t delay_ns, jitter_ns;
    uint32_t loss, repeat, corrupt; /* of 1000 frames */
    uint64_t ns_per_byte;           /* bandwidth; 0: endless */
    uint64_t wire_free_ns[2];
    uint64_t frames, lost;
    /* Somebody between the hosts, who gets each frame that is not lost, for
       `to`, and hands on by fake_deliver; NULL: nobody. */
    void (*middle)(struct fake_net *n, struct fake_host *to,
                   const uint8_t *frame, uint32_t len);
    void (*between)(struct fake_net *n); /* two events; may be NULL */
};

uint64_t fake_random(struct fake_net *n);
uint32_t fake_below(struct fake_net *n, uint32_t limit);

/* True `of_1000` times in 1000. */
bool fake_chance(struct fake_net *n, uint32_t of_1000);

void fake_net_init(struct fake_net *n, uint64_t seed);

/* Host 0 is 10.0.0.1, host 1 is 10.0.0.2. `cfg` may be NULL. */
void fake_host_init(struct fake_net *n, struct fake_host *h, uint32_t caps,
                    const struct net_config *cfg);
void fake_host_finish(struct fake_host *h);
void fake_net_finish(struct fake_net *n);

struct net_addr fake_addr(const struct fake_net *n, const struct fake_host *h);

/* A frame arrives at `to`, `after_ns` from now. */
void fake_deliver(struct fake_net *n, struct fake_host *to,
                  const uint8_t *frame, uint32_t len, uint64_t after_ns);

/* Run events until `until_ns` or until `stop` says so. */
void fake_run(struct fake_net *n, uint64_t until_ns, bool (*stop)(void *),
              void *ctx);
