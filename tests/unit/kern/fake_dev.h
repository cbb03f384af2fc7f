/* SPDX-License-Identifier: MIT */
/* A network card and a disk whose other end is the test. */
#pragma once

#include "src/kern/blkdev.h"
#include "src/kern/netdev.h"

#define FAKE_SENT_MAX 64u
#define FAKE_BLOCKS 64u

/* What the card was given to send, oldest first, until it is completed. */
struct fake_nic {
    struct netdev dev;
    struct netdev_tx sent[FAKE_SENT_MAX];
    unsigned sent_count;
    unsigned room; /* frames it takes before it is full */
    unsigned kicks;
    bool interrupts; /* on */
    /* Frames that wait to be received. */
    const void *frame[64];
    size_t frame_len[64];
    unsigned frames;
    uint64_t ticks;       /* that each frame takes */
    unsigned flood;       /* so many polls find a frame, frame[0] */
    unsigned complete;    /* so many of sent[] at the next poll */
    void (*polled)(void); /* called first */
};
extern struct fake_nic fake_nic;

void fake_nic_attach(unsigned queues);
/* A frame arrives: it waits in the card, which interrupts if it may. */
void fake_nic_arrive(const void *frame, size_t len);

/* The first `n` of what it was given are sent; it interrupts if it may. */
void fake_nic_done(unsigned n);

struct fake_disk {
    struct blkdev dev;
    uint8_t data[FAKE_BLOCKS * 4096];
    struct blkdev_req req[64];
    unsigned reqs;
    unsigned room;
    unsigned kicks;
    int status;           /* what the next completions report */
    void (*polled)(void); /* called first */
};
extern struct fake_disk fake_disk;

void fake_disk_attach(void);
/* The first `n` requests are done when the disk is polled. */
void fake_disk_due(unsigned n);
/* It will do them in the other order. */
void fake_disk_swap(unsigned a, unsigned b);
/* Do the first `n` requests and interrupt. */
void fake_disk_complete(unsigned n);
