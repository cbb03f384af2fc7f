/* SPDX-License-Identifier: MIT */
/*
 * The reflecting guest of `scripts/bench http`: a kernel without a portable
 * half that sends every frame back where it came from. Its rate is the most
 * that this QEMU, tap and processor can carry; a guest that also parses,
 * protects or serves cannot do more.
 */
#include "src/abi/pte.h"
#include "src/arch.h"
#include "src/dev/dev.h"
#include "src/kern/blkdev.h"
#include "src/kern/irq.h"
#include "src/kern/netdev.h"
#include "src/kern/rngdev.h"
#include "src/lib/log.h"
#include "src/lib/string.h"

#define BUFFERS 256u /* frames on their way out */
#define BUFFER_LEN 2048u
#define ETH_ADDR_LEN 6u
#define ETH_TYPE_AT 12u
#define BUDGET 64u

static struct netdev *net;
static uint8_t *buffers; /* BUFFERS of BUFFER_LEN bytes, contiguous */
static uint32_t free_list[BUFFERS], free_count;
static irq_handler *handlers[256];
static void *handler_args[256];
static uint64_t kalloc_next, kalloc_end; /* frames */

void panic(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    log_line_list(fmt, args);
    va_end(args);
    arch_halt(1);
}

uint64_t page_kalloc(uint64_t count)
{
    uint64_t at = kalloc_next;
    if (count > kalloc_end - at) {
        return FRAME_NONE;
    }
    kalloc_next += count;
    memset(arch_frame_ptr(at), 0, count * PAGE_SIZE);
    return at;
}

void *page_kalloc_bytes(uint64_t bytes)
{
    uint64_t frame = page_kalloc(page_frames(bytes));
    return frame == FRAME_NONE ? NULL : arch_frame_ptr(frame);
}

/* Memory is never short here, and nothing is taken back. */
void page_kfree(uint64_t frame, uint64_t count)
{
    (void)frame;
    (void)count;
}

int irq_alloc(unsigned cpu, irq_handler *handler, void *arg, uint64_t *address,
              uint32_t *data)
{
    int vector = arch_msi_alloc(cpu, address, data);
    if (vector >= 0) {
        handlers[vector] = handler;
        handler_args[vector] = arg;
    }
    return vector;
}

struct frame *kern_trap(uint32_t vector, struct frame *f)
{
    if (f != NULL) {
        panic("reflect: trap %u from ring 3, which is empty", vector);
    }
    if (vector < 256 && handlers[vector] != NULL) {
        handlers[vector](handler_args[vector]);
    }
    return NULL;
}

int net_attach(struct netdev *dev)
{
    if (net != NULL) {
        return -1;
    }
    net = dev;
    return 0;
}

void net_interrupt(struct netdev *dev, unsigned queue)
{
    dev->ops->interrupts(dev, queue, false);
}

void net_starved(struct netdev *dev, unsigned queue)
{
    (void)dev;
    (void)queue;
}

void net_transmitted(struct netdev *dev, unsigned queue, uint32_t token)
{
    (void)dev;
    (void)queue;
    free_list[free_count++] = token;
}

bool net_receive(struct netdev *dev, unsigned queue, const void *frame,
                 size_t len, uint32_t flags)
{
    const uint8_t *in = frame;
    struct netdev_tx tx = {.header_len = (uint16_t)len};
    (void)flags;
    if (free_count == 0 || len > BUFFER_LEN - NETDEV_HEADROOM ||
        len < ETH_TYPE_AT) {
        return true;
    }
    tx.token = free_list[free_count - 1];
    uint8_t *out = buffers + (size_t)tx.token * BUFFER_LEN + NETDEV_HEADROOM;
    memcpy(out, in + ETH_ADDR_LEN, ETH_ADDR_LEN);
    memcpy(out + ETH_ADDR_LEN, dev->mac, ETH_ADDR_LEN);
    memcpy(out + ETH_TYPE_AT, in + ETH_TYPE_AT, len - ETH_TYPE_AT);
    tx.header = out;
    if (dev->ops->transmit(dev, queue, &tx) == 0) {
        free_count--;
    }
    return true;
}

void entropy_attach(struct rngdev *dev)
{
    (void)dev;
}

/* Disks are refused, so that their drivers leave them alone. */
int disk_attach(struct blkdev *dev)
{
    (void)dev;
    return -1;
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

static void take_memory(const struct boot_info *info)
{
    for (uint32_t i = 0; i < info->rams; i++) {
        const struct boot_range *r = &info->ram[i];
        if (r->end / PAGE_SIZE - r->start / PAGE_SIZE >
            kalloc_end - kalloc_next) {
            kalloc_next = r->start / PAGE_SIZE;
            kalloc_end = r->end / PAGE_SIZE;
        }
    }
}

void kern_console_end(void)
{
}

void kern_start(unsigned cpu)
{
    (void)cpu;
    for (;;) {
        arch_idle();
    }
}

void kern_main(const struct boot_info *info)
{
    take_memory(info);
    uint64_t frame = page_kalloc((uint64_t)BUFFERS * BUFFER_LEN / PAGE_SIZE);
    if (frame == FRAME_NONE) {
        panic("reflect: not enough memory; give QEMU at least -m 64");
    }
    buffers = arch_frame_ptr(frame);
    while (free_count < BUFFERS) {
        free_list[free_count] = free_count;
        free_count++;
    }
    dev_probe();
    if (net == NULL) {
        panic("reflect: no virtio network device");
    }
    log_line("reflect: ready");
    for (;;) {
        if (net->ops->poll(net, 0, BUDGET) > 0) {
            net->ops->kick(net, 0);
        } else if (!net->ops->interrupts(net, 0, true)) {
            arch_idle();
        }
    }
}
