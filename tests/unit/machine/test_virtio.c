/* SPDX-License-Identifier: MIT */
/*
 * Opening a virtio device whose configuration space is an array here: what it
 * says of where its registers are, right and wrong.
 */
#ifdef NDEBUG
#error "tests need assertions"
#endif

#include "src/arch.h"
#include "src/dev/dev.h"
#include "src/dev/virtio.h"
#include "src/kern/blkdev.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

#define BAR 0xfeb00000u
#define BAR_SIZE 0x4000u
#define COMMON 0x1000u /* offsets in the BAR */
#define CONFIG 0x2000u
#define NOTIFY 0x3000u

static uint32_t space[64];
static unsigned reads; /* of the space */
static uint8_t bar[BAR_SIZE] __attribute__((aligned(8)));

uint32_t arch_pci_read(uint32_t bdf, uint32_t offset)
{
    (void)bdf;
    ck_assert_uint_lt(++reads, 100000); /* it would never end */
    return space[offset / 4];
}

void arch_pci_write(uint32_t bdf, uint32_t offset, uint32_t value)
{
    (void)bdf;
    if (offset == 4) { /* its upper half is the status */
        value = (space[1] & 0xffff0000u) | (value & 0xffff);
    } else if (offset == 0x10 && value == UINT32_MAX) {
        value = ~(BAR_SIZE - 1);
    }
    space[offset / 4] = value;
}

void *arch_device_map(uint64_t paddr, size_t size)
{
    ck_assert_uint_ge(paddr, BAR);
    ck_assert_uint_le(paddr - BAR + size, BAR_SIZE);
    return bar + (paddr - BAR);
}

void arch_pause(void)
{
}

uint64_t arch_ptr_paddr(const void *direct)
{
    (void)direct;
    return 0;
}

void *page_kalloc_bytes(uint64_t bytes)
{
    /* What a driver took for a device it then refuses, it keeps. */
    static uint8_t memory[1u << 20] __attribute__((aligned(4096)));
    static size_t used;
    used += (size_t)(bytes + 4095) & ~(size_t)4095;
    ck_assert_uint_le(used, sizeof(memory));
    return memory + used - ((bytes + 4095) & ~4095ull);
}

unsigned arch_cpu_count(void)
{
    return 1;
}

static unsigned disks;

int disk_attach(struct blkdev *dev)
{
    (void)dev;
    disks++;
    return 0;
}

void disk_interrupt(struct blkdev *dev)
{
    (void)dev;
}

void disk_done(struct blkdev *dev, uint32_t token, int status)
{
    (void)dev;
    (void)token;
    (void)status;
}

int irq_alloc(unsigned cpu, irq_handler *handler, void *arg, uint64_t *address,
              uint32_t *data)
{
    (void)cpu;
    (void)handler;
    (void)arg;
    *address = 0;
    *data = 0;
    return 0;
}

/* A vendor's capability at `at`, of `kind`; the next one is at `next`. */
static void window(unsigned at, unsigned next, unsigned kind, uint32_t offset,
                   uint32_t len)
{
    space[at / 4] = 9 | next << 8 | 20u << 16 | kind << 24;
    space[at / 4 + 1] = 0; /* BAR 0 */
    space[at / 4 + 2] = offset;
    space[at / 4 + 3] = len;
    space[at / 4 + 4] = 4;
}

static void setup(void)
{
    memset(space, 0, sizeof(space));
    memset(bar, 0, sizeof(bar));
    reads = 0;
    space[1] = 1u << 20; /* it has capabilities */
    space[4] = BAR;
    space[13] = 0x40;
    window(0x40, 0x54, 1, COMMON, 56);
    window(0x54, 0x68, 2, NOTIFY, 0x1000);
    window(0x68, 0x7c, 4, CONFIG, 8);
    space[0x7c / 4] = 0x11 | 1u << 16; /* MSI-X, two vectors, at the start */
    memset(bar + CONFIG, 0x5a, 8);
}

static bool open_it(struct virtio *v)
{
    const struct pci_device pci = {.vendor = VIRTIO_VENDOR};
    return virtio_open(v, &pci, "virtio-test");
}

START_TEST(a_good_one_opens)
{
    setup();
    struct virtio v;
    ck_assert(open_it(&v));
    ck_assert(v.notify == bar + NOTIFY);
    ck_assert_uint_eq(v.notify_step, 4);
    ck_assert_uint_eq(virtio_config32(&v, 4), 0x5a5a5a5a);
    ck_assert_uint_eq(virtio_config32(&v, 8), 0);
}
END_TEST

START_TEST(a_list_that_goes_round_ends)
{
    setup();
    space[0x7c / 4] |= 0x40u << 8; /* the last is before the first */
    struct virtio v;
    ck_assert(open_it(&v));
    setup();
    window(0x40, 0x40, 2, NOTIFY, 0x1000); /* and no common window */
    ck_assert(!open_it(&v));
}
END_TEST

START_TEST(windows_outside_are_none)
{
    static const struct {
        uint32_t offset, len;
    } outside[] = {{BAR_SIZE, 1},
                   {BAR_SIZE - 7, 8},
                   {UINT32_MAX, 8},
                   {CONFIG, UINT32_MAX},
                   {CONFIG, 0}};
    struct virtio v;
    for (unsigned i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
        setup();
        window(0x40, 0x54, 1, outside[i].offset, outside[i].len);
        ck_assert(!open_it(&v));
        setup();
        window(0x54, 0x68, 2, outside[i].offset, outside[i].len);
        ck_assert(!open_it(&v));
        /* Its own configuration it may lack: every field is 0. */
        setup();
        window(0x68, 0x7c, 4, outside[i].offset, outside[i].len);
        ck_assert(open_it(&v));
        ck_assert_uint_eq(virtio_config8(&v, 0), 0);
        ck_assert_uint_eq(virtio_config64(&v, 0), 0);
    }
    setup();
    window(0x40, 0x54, 1, COMMON, 55); /* short */
    ck_assert(!open_it(&v));
}
END_TEST

/* A disk that offers `features` in both halves, of such a queue and limits. */
static bool disk_is_taken(uint32_t features, uint16_t queue, uint32_t size_max,
                          uint32_t seg_max)
{
    const struct pci_device pci = {.vendor = VIRTIO_VENDOR};
    unsigned before = disks;
    setup();
    window(0x68, 0x7c, 4, CONFIG, 16);
    memcpy(bar + COMMON + 4, &features, 4);
    bar[COMMON + 18] = 1; /* queues */
    memcpy(bar + COMMON + 24, &queue, 2);
    memcpy(bar + CONFIG + 8, &size_max, 4);
    memcpy(bar + CONFIG + 12, &seg_max, 4);
    virtio_blk_found(&pci);
    return disks > before;
}

#define VERSION_1 1u /* in the upper half */
#define INDIRECT (1u << 28)

/* What the kernel may ask of it, 14 pieces of up to 4 MiB, it must take. */
START_TEST(lesser_disks_are_refused)
{
    const uint32_t all = VERSION_1 | INDIRECT, sizes = all | 1u << 1,
                   pieces = all | 1u << 2;
    ck_assert(disk_is_taken(all, 16, 0, 0));
    ck_assert(!disk_is_taken(all, 8, 0, 0)); /* no chain is longer than it */
    ck_assert(!disk_is_taken(VERSION_1, 8, 0, 0));
    ck_assert(disk_is_taken(sizes, 128, 4u << 20, 0));
    ck_assert(!disk_is_taken(sizes, 128, (4u << 20) - 512, 0));
    ck_assert(disk_is_taken(pieces, 128, 0, 14));
    ck_assert(!disk_is_taken(pieces, 128, 0, 13));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("virtio");
    TCase *t = tcase_create("virtio");
    tcase_add_test(t, a_good_one_opens);
    tcase_add_test(t, a_list_that_goes_round_ends);
    tcase_add_test(t, windows_outside_are_none);
    tcase_add_test(t, lesser_disks_are_refused);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    srunner_free(r);
    return 0; /* TAP tells */
}
