/* SPDX-License-Identifier: MIT */
/*
 * What the kernel command line asks of init.
 *
 *   ip=ADDR/LEN gw=ADDR   static address; ip=dhcp asks for one; none: no net
 *   run=NAME,NAME...      environments to start; default: every module
 *   NAME.tcp=PORT,PORT... ports of its part of packet space
 *   NAME.udp=PORT,PORT...
 *   NAME.disk=N           the disk that it may read
 *   NAME.mem=BYTES        its quota
 *   NAME.cpu=N            the processor that it gets slices of
 *   NAME.slices=N
 *   kill=NAME@MS          end an environment after so many milliseconds
 *   halt=MS               stop the machine after so many milliseconds
 * All words "NAME.key=value" are handed to NAME as "key=value".
 */
#pragma once

#include "libos/libos/start.h"
#include "src/abi/cap.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_PORTS_MAX 8u

/*
 * What init mints of the root's name: a kind and a program's name, as one
 * component. Neither dominates the other's, whatever a program is called.
 */
#define NAME_ENV "env/"
#define NAME_IN "in/"
#define NAME_OUT "out/"
#define NAME_DISK "blk/"
#define NAME_SHARED "shared"
_Static_assert(sizeof(NAME_DISK) - 1 + START_NAME_MAX <= CAP_NAME_MAX,
               "a kind, the longest name and the component's length fit");

struct config {
    bool dhcp;
    uint8_t addr[4], gateway[4]; /* zero: none */
    uint32_t prefix;
    char kill[START_NAME_MAX];
    uint64_t kill_ns, halt_ns; /* UINT64_MAX: never */
};

struct program {
    char name[START_NAME_MAX];
    uint16_t tcp[CONFIG_PORTS_MAX], udp[CONFIG_PORTS_MAX]; /* 0 ends a list */
    bool has_disk;
    uint32_t disk;
    uint64_t frames; /* quota */
    uint32_t cpu, slices;
    char args[START_ARGS_MAX];
};

/* Read `line`. False with a message in `why` for a word that says nonsense. */
bool config_read(const char *line, struct config *c, char *why, size_t size);

/*
 * What `name` gets.
 *
 * frames  what remains to be shared out, for the default
 */
bool config_program(const char *line, const char *name, uint64_t frames,
                    struct program *p, char *why, size_t size);

/* Is `name` one to start? */
bool config_runs(const char *line, const char *name);
