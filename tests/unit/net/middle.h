/* SPDX-License-Identifier: MIT */
/*
 * Somebody between two stacks, or beside them. The box in the middle cuts
 * segments anew, with overlaps and in another order, makes long ones of
 * several, adds IP options and trailers, takes options out of SYNs, and repeats
 * old frames much later: all that networks do and TCP must bear. The attacker
 * does not see what the hosts say and forges everything else: what RFC 5961,
 * RFC 7323 and RFC 5927 call harmless.
 */
#pragma once

#include "tests/unit/net/fakenet.h"

struct tcp_conn;

/* Of 1000 frames. */
struct middle {
    uint32_t recut, longer, options, trailer, replay, forge;
    uint32_t strip; /* of 1000, for each kind of option */
    /* The connection of the host, whose next numbers an attack lies beside;
       NULL: it has none now. */
    const struct tcp_conn *(*victim)(const struct fake_host *h);
};

/* Between the hosts of `n` from now on; forgets what it saw before. `m` must
   outlive the network. */
void middle_start(struct fake_net *n, const struct middle *m);
