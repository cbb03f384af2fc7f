/* SPDX-License-Identifier: MIT */
/*
 * Exposed kernel state: read-only pages at SYSINFO_VA in every environment.
 * A reader checks magic and version, then finds the tables by their offsets,
 * so that tables can grow without a new version. Counters only grow.
 */
#pragma once

#include "src/abi/cap.h"
#include <stdint.h>

#define SYSINFO_MAGIC 0x5041564953450001ull
#define SYSINFO_VERSION 1u
#define SYSINFO_CPUS_MAX 64u
#define SYSINFO_MODULES_MAX 16u
#define SYSINFO_NETS_MAX 4u
#define SYSINFO_DISKS_MAX 4u
#define SYSINFO_CMDLINE_MAX 1024u

struct sysinfo_module {
    uint64_t frame; /* first */
    uint64_t bytes;
    char name[48]; /* last word of its path; then zero */
};

#define SYSINFO_NET_CSUM (1u << 0) /* transmit checksum offload */
#define SYSINFO_NET_TSO4 (1u << 1)
#define SYSINFO_NET_TSO6 (1u << 2)
#define SYSINFO_NET_RX_CSUM (1u << 3) /* receive checksums checked */
#define SYSINFO_NET_LINK (1u << 4)    /* link is up */

struct sysinfo_net {
    uint8_t mac[6];
    uint16_t mtu; /* bytes of IP packet */
    uint32_t features;
    uint32_t queues;
    uint64_t rx_packets, rx_bytes;
    uint64_t rx_unowned; /* no binding wanted it */
    uint64_t rx_dropped; /* the owner's ring was full */
    uint64_t rx_starved; /* times the device had no buffer left: it dropped */
    uint64_t tx_packets, tx_bytes;
    uint64_t tx_refused;  /* outside the ring's region, or malformed */
    uint64_t demux_ticks; /* tsc ticks spent in the demultiplexer */
};

struct sysinfo_disk {
    uint64_t blocks;
    uint32_t read_only;
    uint32_t reserved;
    uint64_t reads, read_blocks;
    uint64_t writes, write_blocks;
    uint64_t errors;
};

struct sysinfo_cpu {
    uint32_t apic_id;
    uint32_t online;
    uint64_t slices;     /* given */
    uint64_t idle_ticks; /* tsc ticks with nothing to run */
    uint64_t syscalls, faults, interrupts;
};

/*
 * The longest stretches of a processor in the kernel, in tsc ticks, by the
 * reason for which it was entered. A system call has row SPAN_CALLS + number -
 * SYS_FIRST.
 */
enum {
    SPAN_IDLE,      /* looking for an environment to run */
    SPAN_INTERRUPT, /* from a device, the timer, another processor */
    SPAN_EXCEPTION, /* and calls that are not the kernel's */
    SPAN_CALLS,
};
#define SYSINFO_SPANS 64u

struct sysinfo_span {
    uint64_t closed; /* with interrupts off */
    uint64_t locked; /* with the lock that all bind-time calls take */
};

enum env_state {
    ENV_FREE,
    ENV_NEW, /* has no slice yet */
    ENV_READY,
    ENV_RUNNING, /* on processor `cpu` */
    ENV_ASLEEP,
    ENV_ENDING, /* is being torn down */
};

/* Why an environment ended; kept until its slot is used again. */
enum env_end {
    ENV_END_NONE,
    ENV_END_DESTROYED, /* by itself */
    ENV_END_FAULT,     /* exception with no handler or inside one */
    ENV_END_OVERRUN,   /* would not give the processor back */
    ENV_END_KILLED,    /* by another, who holds its name */
};

struct sysinfo_env {
    uint32_t id;         /* generation in the upper bits; 0 = never used */
    uint16_t state;      /* enum env_state */
    uint16_t end;        /* enum env_end */
    uint32_t end_detail; /* ENV_END_FAULT: vector; DESTROYED, KILLED: status */
    uint32_t cpu;
    uint64_t uarea_frame;
    uint64_t frames_used, frames_quota;
    uint64_t run_ticks;
    uint64_t end_rip, end_address; /* ENV_END_FAULT: where */
};

/*
 * Each environment's limit in each kernel table, and how much of it is used
 * (share.h).
 */
struct sysinfo_shares {
    uint32_t kinds; /* share_count[envs_max][kinds] follows */
    uint32_t reserved;
};

struct sysinfo {
    uint64_t magic;
    uint32_t version;
    uint32_t bytes; /* of all that is exposed from here */
    uint64_t tsc_khz;
    uint64_t boot_tsc;  /* when the kernel was entered */
    uint64_t boot_unix; /* seconds since 1970 UTC at boot_tsc */
    uint64_t frames;    /* of physical memory under management */
    uint64_t frames_free;
    uint32_t cpus, modules, nets, disks;
    uint32_t envs_max;
    uint32_t quantum_slots;
    uint32_t env_offset;     /* struct sysinfo_env[envs_max] */
    uint32_t quantum_offset; /* uint32_t env id [cpus][quantum_slots] */
    uint32_t cpu_offset;     /* struct sysinfo_cpu[cpus] */
    uint32_t share_offset;   /* struct sysinfo_shares */
    uint32_t power_button;   /* times that it was pressed */
    uint32_t span_offset;    /* struct sysinfo_span[cpus][SYSINFO_SPANS] */
    struct sysinfo_module module[SYSINFO_MODULES_MAX];
    struct sysinfo_net net[SYSINFO_NETS_MAX];
    struct sysinfo_disk disk[SYSINFO_DISKS_MAX];
    char cmdline[SYSINFO_CMDLINE_MAX]; /* zero-terminated */
};
