/* SPDX-License-Identifier: MIT */
/*
 * Physical memory for parsers under test: PHYS_SIZE bytes at PHYS_BASE. Every
 * read returns a copy of exactly the length asked for, so that the sanitizer
 * sees one byte too many.
 */
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PHYS_BASE 0x10000u
#define PHYS_SIZE 0x10000u
#define PHYS_READS 4096

static uint8_t phys[PHYS_SIZE];
static void *phys_copies[PHYS_READS];
static unsigned phys_reads;

static inline void phys_forget(void)
{
    while (phys_reads > 0) {
        free(phys_copies[--phys_reads]);
    }
}

static inline const void *phys_at(uint64_t paddr, uint64_t len)
{
    if (paddr < PHYS_BASE || paddr - PHYS_BASE > PHYS_SIZE ||
        len > PHYS_SIZE - (paddr - PHYS_BASE) || phys_reads == PHYS_READS) {
        return NULL;
    }
    void *copy = malloc(len + !len);

    memcpy(copy, phys + (paddr - PHYS_BASE), len);
    phys_copies[phys_reads++] = copy;
    return copy;
}
