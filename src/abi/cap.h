/* SPDX-License-Identifier: MIT */
/*
 * Hierarchical capabilities. A capability is a name and a set of rights. A
 * name is a list of components, and cap_mint appends one. A dominates B iff
 * A's components are the first of B's and A's rights include B's. A resource
 * has a guard, which is a name; a call presents a slot of the caller's list,
 * and the capability there must dominate the guard with the rights that the
 * call demands.
 *
 * Each component stands in the name behind a byte with its length. So names
 * are compared as strings of bytes, and the name of one resource is never the
 * beginning of the name of its neighbour, however both are called: "web" does
 * not dominate "web2".
 * Source: Mazieres97; Xok.
 */
#pragma once

#include <stdint.h>

#define CAP_NAME_MAX 20u /* bytes of name, one for each component included */
#define CAP_SLOTS 64u    /* capabilities in one environment's list */

/* Rights: all masks. */
#define CAP_READ (1u << 0)  /* bind for reading; receive */
#define CAP_WRITE (1u << 1) /* bind for writing; transmit */
#define CAP_CTL (1u << 2)   /* free, destroy, carve, revoke */
#define CAP_GRANT (1u << 3) /* may be granted to another environment */
#define CAP_ALL (CAP_READ | CAP_WRITE | CAP_CTL | CAP_GRANT)

struct cap {
    uint16_t rights; /* 0: the slot is empty */
    uint8_t len;     /* bytes of name in use; 0 with CAP_ALL is the root */
    uint8_t reserved;
    uint8_t name[CAP_NAME_MAX]; /* the rest is zero */
};
_Static_assert(sizeof(struct cap) == 24, "abi");
