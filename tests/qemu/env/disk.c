/* SPDX-License-Identifier: MIT */
/*
 * The disk: ranges by capability, requests in place, lies refused. Block n of
 * the test disk begins with the number n, 64 bits little endian.
 */
#include "libos/libos/disk.h"
#include "libos/libos/text.h"
#include "tests/qemu/env/families.h"

#define NARROW FREE_SLOT

static struct disk_queue q;
static struct mem_run buffer;

static int request(uint64_t block, uint32_t count, uint64_t paddr, uint32_t len,
                   enum disk_op op)
{
    const struct disk_request r = {
        .op = op,
        .block = block,
        .count = count,
        .pieces = 1,
        .piece[0] = {.paddr = paddr, .len = len},
        .cookie = 0x1234,
    };
    uint64_t cookie = 0;
    int status = 1;
    if (disk_put(&q, &r) != 0) {
        return -E_AGAIN;
    }
    disk_kick(&q);
    while (!disk_reap(&q, &cookie, &status)) {
        (void)env_wait(1ull << q.event, UINT64_MAX);
    }
    return cookie == 0x1234 ? status : 1;
}

static bool holds(uint32_t at, uint64_t block)
{
    return *(volatile uint64_t *)((uint8_t *)buffer.va +
                                  at * DISK_BLOCK_SIZE) == block;
}

static void reading(uint64_t blocks)
{
    uint64_t p = buffer.paddr;
    IS(request(0, 1, p, 4096, DISK_READ), 0);
    OK(holds(0, 0));
    IS(request(5, 4, p, 4 * 4096, DISK_READ), 0);
    OK(holds(0, 5) && holds(3, 8));
    IS(request(blocks - 1, 1, p, 4096, DISK_READ), 0);
    OK(holds(0, blocks - 1));
    OK(request(blocks, 1, p, 4096, DISK_READ) < 0);
    OK(request(UINT64_MAX, 1, p, 4096, DISK_READ) < 0);
    OK(request(blocks - 1, 2, p, 8192, DISK_READ) < 0);
    OK(request(0, 1, p, 8192, DISK_READ) < 0);
    OK(request(0, 1, p + 1, 4096, DISK_READ) < 0);
    OK(request(0, 0, p, 0, DISK_READ) < 0);
    OK(request(0, 1, p, 4096, (enum disk_op)77) < 0);
    tap_ok(request(0, 1, 0x100000, 4096, DISK_READ) < 0,
           "a piece in the kernel's memory is refused");
    tap_ok(request(0, 1, UINT64_MAX - 4095, 4096, DISK_READ) < 0,
           "a piece beyond all memory is refused");
    OK(request(0, 1, p, 4096, DISK_WRITE) < 0);
    IS(request(1, 1, p, 4096, DISK_READ), 0);
    OK(holds(0, 1));
}

static void many(uint64_t blocks)
{
    unsigned put = 0, done = 0;
    bool good = true;
    int status;
    uint64_t cookie;
    while (done < 200) {
        struct disk_request r = {
            .op = DISK_READ,
            .block = put % blocks,
            .count = 1,
            .pieces = 1,
            .piece[0] = {buffer.paddr + (put % 16) * 4096, 4096, 0},
            .cookie = put,
        };
        while (put < 200 && put - done < 16 && disk_put(&q, &r) == 0) {
            put++;
            r.block = put % blocks;
            r.piece[0].paddr = buffer.paddr + (put % 16) * 4096;
            r.cookie = put;
        }
        disk_kick(&q);
        while (disk_reap(&q, &cookie, &status)) {
            good = good && status == 0;
            done++;
        }
        if (done < put) {
            (void)env_wait(1ull << q.event, UINT64_MAX);
        }
    }
    tap_ok(good, "200 requests, 16 under way");
    OK(disk_pending(&q) == 0);
}

static void ranges(uint64_t blocks)
{
    struct disk_range_args a = {.guard = NARROW, .start = 8, .count = 4};
    IS(sys_cap_mint(ROOT, NARROW, (const uint8_t *)"disk/x", 6, CAP_READ), 0);
    int64_t range = sys_disk_range(ROOT, &a);
    OK(range > 0);
    a.start = blocks;
    OK(sys_disk_range(ROOT, &a) < 0);
    a.start = 1;
    a.count = UINT64_MAX;
    OK(sys_disk_range(ROOT, &a) < 0);
    a.count = 1;
    a.disk = 99;
    OK(sys_disk_range(ROOT, &a) < 0);
    OK(sys_disk_range(NARROW, &(struct disk_range_args){.guard = NARROW,
                                                        .count = 1}) == -E_CAP);
    IS(disk_open(&q, 0, NARROW, DISK_RANGE_ALL, 16), -E_CAP);
    IS(disk_open(&q, 0, NARROW, (uint32_t)range, 16), 0);
    IS(request(8, 4, buffer.paddr, 4 * 4096, DISK_READ), 0);
    OK(holds(0, 8) && holds(3, 11));
    OK(request(7, 1, buffer.paddr, 4096, DISK_READ) < 0);
    OK(request(12, 1, buffer.paddr, 4096, DISK_READ) < 0);
    OK(request(11, 2, buffer.paddr, 8192, DISK_READ) < 0);
    IS(sys_disk_range_free(ROOT, 0, (uint32_t)range), -E_BUSY);
    IS(disk_close(&q), 0);
    IS(sys_disk_range_free(ROOT, 0, (uint32_t)range), 0);
    IS(sys_disk_range_free(ROOT, 0, (uint32_t)range), -E_NONE);
}

void family_disk(void)
{
    uint64_t blocks = env_sysinfo()->disk[0].blocks;
    if (!OK(env_sysinfo()->disks == 1) || !OK(blocks >= 16)) {
        return;
    }
    IS(mem_run_alloc(&buffer, 16 * DISK_BLOCK_SIZE, 0), 0);
    IS(disk_open(&q, 0, ROOT, DISK_RANGE_ALL, 16), 0);
    reading(blocks);
    many(blocks);
    IS(disk_close(&q), 0);
    ranges(blocks);
}
