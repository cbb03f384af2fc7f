/* SPDX-License-Identifier: MIT */
/*
 * The network: packet space, receive and transmit rings.
 *
 * Rings lie in physically contiguous frames of the environment; the kernel
 * keeps its own indices and reads from the ring nothing but what the owner
 * word hands over, once. Either side may lie: the kernel then refuses or
 * drops, and never looks outside the ring.
 *
 * Packet space. Regions form a tree per device and direction; region 0 is
 * every packet and is guarded by the root name. Carving a region presents a
 * capability that dominates the parent's guard; the new region's guard is the
 * name in another slot. Binding presents one that dominates the region's.
 */
#pragma once

#include "src/abi/page.h"
#include <stdint.h>

#define NET_RINGS_MAX 64u /* rings of all environments on one device */
#define NET_RING_SLOTS_MAX 4096u
#define NET_WITNESS_MAX 256u

#define NET_REGION_ALL 0u /* the root region of each direction */

/* Outgoing regions inside one another: each runs its program for a frame. */
#define NET_OUT_DEPTH_MAX 4u

/* flags of net_region_args and net_bind_args */
#define NET_SHARED (1u << 0) /* region: each binder gets a copy */
#define NET_REFINE (1u << 1) /* binding: others may bind strictly inside */
#define NET_TAP (1u << 2)    /* binding: copies of others' packets */
#define NET_OUT (1u << 3)    /* region of outgoing frames */

/*
 * A limit on the work that bindings cause for each packet. No environment can
 * be charged for that work, since it is done before a packet's owner is known.
 * A filter that tests of constants do not decide costs its instructions; a
 * binding in a shared region, and a tap, NET_COPY_STEPS besides. The sum over
 * all bindings is at most NET_STEPS_MAX, which is divided as SHARE_NET_STEPS.
 */
#define NET_STEPS_MAX 131072u
#define NET_COPY_STEPS 64u

/* Why a region or a binding was refused; written when its address is given */
struct net_refusal {
    uint32_t insn;        /* E_VERIFY: index of the instruction */
    uint32_t other;       /* E_CONFLICT: binding collided with */
    uint32_t witness_len; /* bytes of witness */
    uint32_t reserved;
    char text[128]; /* one line, zero-terminated */
    uint8_t witness[NET_WITNESS_MAX];
};
_Static_assert(sizeof(struct net_refusal) == 400, "abi");

struct net_region_args {
    uint32_t device;
    uint32_t parent; /* region */
    uint32_t guard;  /* slot whose name becomes the region's guard */
    uint32_t flags;  /* NET_SHARED | NET_OUT */
    uint64_t insns;  /* address of struct dpf_insn[count] */
    uint32_t count;
    uint32_t reserved;
    uint64_t refusal; /* address of struct net_refusal, or 0 */
};
_Static_assert(sizeof(struct net_region_args) == 40, "abi");

struct net_bind_args {
    uint32_t device;
    uint32_t region;
    uint32_t ring;  /* receive ring of the caller */
    uint32_t flags; /* NET_REFINE | NET_TAP */
    uint64_t insns; /* address of struct dpf_insn[count] */
    uint32_t count;
    uint32_t reserved;
    uint64_t refusal; /* address of struct net_refusal, or 0 */
};
_Static_assert(sizeof(struct net_bind_args) == 40, "abi");

struct net_const {
    uint32_t index;
    uint32_t reserved;
    uint64_t value;
};

/* Bind binding `like` again with other constants (see dpf.h). */
struct net_like_args {
    uint32_t device;
    uint32_t like;
    uint32_t ring;
    uint32_t count;  /* constants */
    uint64_t consts; /* address of struct net_const[count]; count <= 16 */
    uint64_t refusal;
};
_Static_assert(sizeof(struct net_like_args) == 32, "abi");

/*
 * A ring in frames [frame, frame + frames). The header is at offset 0, the
 * slots follow; a receive ring's buffers start at the next page boundary,
 * NET_RX_BUFFER bytes each.
 */
struct net_ring_args {
    uint32_t device;
    uint32_t slots; /* a power of two, at most NET_RING_SLOTS_MAX */
    uint64_t frame;
    uint32_t frames; /* at least what the layout needs */
    uint32_t event;  /* bit of uarea.pending that the kernel sets */
    uint32_t region; /* of incoming or outgoing frames, by kind */
    uint32_t memory; /* slot: capability over the frames of the ring and, of a
                        transmit ring, over what pieces may name */
};
_Static_assert(sizeof(struct net_ring_args) == 32, "abi");

struct net_ring_head {
    uint64_t done;    /* slots handed back, since creation */
    uint64_t dropped; /* receive: packets lost to a full ring.
                         transmit: frames refused */
    uint8_t reserved[48];
};
_Static_assert(sizeof(struct net_ring_head) == 64, "abi");

/* Owner words. A slot is used in index order, round and round. */
#define NET_OWNER_ENV 0u
#define NET_OWNER_KERNEL 1u
#define NET_OWNER_REFUSED 2u /* transmit: back at the environment, not sent */

#define NET_RX_BUFFER 2048u
#define NET_RX_CSUM_OK (1u << 0) /* the device or host checked L4 checksum */

struct net_rx_slot {
    uint32_t owner;   /* KERNEL: empty, to be filled. ENV: a packet */
    uint32_t len;     /* bytes in the slot's buffer */
    uint32_t flags;   /* NET_RX_* */
    uint32_t binding; /* whose packet it is: one of the ring's bindings; of a
                         copy, one of those that asked for it */
    uint64_t tsc;     /* when it was taken from the device */
    uint64_t reserved;
};
_Static_assert(sizeof(struct net_rx_slot) == 32, "abi");

#define NET_TX_HEADER_MAX 128u /* bytes checked against the region */
#define NET_TX_PIECES_MAX 7u
#define NET_TX_BYTES_MAX 65550u

/*
 * device fills the checksum: of TCP (csum_offset 16) or UDP (6), directly
 * behind an IPv4 header or the fixed header of IPv6, without VLAN tags; all
 * else is refused, since the device writes after the region has been checked
 */
#define NET_TX_CSUM (1u << 0)
#define NET_TX_TSO4 (1u << 1) /* segment: TCP over IPv4, needs NET_TX_CSUM */
#define NET_TX_TSO6 (1u << 2) /* segment: TCP over IPv6, needs NET_TX_CSUM */

struct net_tx_slot {
    uint32_t owner;      /* NET_OWNER_*; written last by the environment */
    uint16_t header_len; /* bytes of header[] in use */
    uint16_t pieces;
    uint16_t flags;                    /* NET_TX_* */
    uint16_t csum_start;               /* from the frame's first byte */
    uint16_t csum_offset;              /* from csum_start */
    uint16_t gso_size;                 /* bytes of payload in each segment */
    uint8_t header[NET_TX_HEADER_MAX]; /* copied, then checked */
    struct page_piece piece[NET_TX_PIECES_MAX]; /* read in place */
};
_Static_assert(sizeof(struct net_tx_slot) == 256, "abi");
