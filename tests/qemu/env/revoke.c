/* SPDX-License-Identifier: MIT */
/*
 * Revocation with real devices: a ring whose memory was named by a capability
 * that is revoked moves no byte of frames that get the name later; a binding
 * made by one receives nothing; a child keeps nothing from its maker by it.
 */
#include "libos/libos/disk.h"
#include "libos/libos/filter.h"
#include "libos/libos/mem.h"
#include "libos/libos/ring.h"
#include "libos/libos/text.h"
#include "libos/libos/time.h"
#include "src/abi/disk.h"
#include "src/abi/page.h"
#include "tests/qemu/env/families.h"

#define OWNER FREE_SLOT        /* "m" */
#define GUEST (FREE_SLOT + 1)  /* a longer name, lent to somebody */
#define REGION (FREE_SLOT + 2) /* "reg" */
#define INSIDE (FREE_SLOT + 3) /* a longer one */
#define CHILD (FREE_SLOT + 4)
#define SPARE (FREE_SLOT + 5)

static struct rx_ring rx;
static struct tx_ring tx;
static struct filter f;
static struct net_refusal why;
static struct mem_run ring, secret;

static void mint(uint32_t from, uint32_t to, const char *name)
{
    IS(sys_cap_mint(from, to, (const uint8_t *)name, (uint32_t)strlen(name),
                    CAP_ALL),
       0);
}

/* Is there a capability in slot `k`, from which `name` can be minted? */
static bool still_held(uint32_t k, const char *name)
{
    int64_t r = sys_cap_mint(k, SPARE, (const uint8_t *)name,
                             (uint32_t)strlen(name), CAP_ALL);
    return r == 0 && sys_cap_drop(SPARE) == 0;
}

/* Who has 10.0.2.2? QEMU answers. */
static void ask(uint8_t bytes[42])
{
    static const uint8_t head[] = {0, 1, 8, 0, 6, 4, 0, 1};
    const uint8_t *mac = env_sysinfo()->net[0].mac;
    memset(bytes, 0, 42);
    memset(bytes, 0xff, 6);
    memcpy(bytes + 6, mac, 6);
    memcpy(bytes + 12, "\x08\x06", 2);
    memcpy(bytes + 14, head, sizeof(head));
    memcpy(bytes + 22, mac, 6);
    memcpy(bytes + 28, "\x0a\x00\x02\x0f", 4);
    memcpy(bytes + 38, "\x0a\x00\x02\x02", 4);
}

/* A ring is open while the name is revoked; then a frame gets the name. */
static void disk(void)
{
    struct disk_ring_args a = {.slots = 16, .frames = 1, .memory = GUEST};
    mint(OWNER, GUEST, "x");
    int64_t rings = sys_page_alloc(GUEST, PAGE_ANY, 1);
    a.frame = (uint64_t)rings;
    IS(mem_run_bind(&ring, ROOT, (uint64_t)rings, 1, true), 0);
    int64_t id = sys_disk_ring(ROOT, &a);
    OK(id >= 0);
    IS(sys_cap_revoke(OWNER), 0);
    mint(OWNER, GUEST, "x");
    int64_t later = sys_page_alloc(GUEST, PAGE_ANY, 1);
    IS(mem_run_bind(&secret, ROOT, (uint64_t)later, 1, true), 0);
    memcpy(secret.va, "written later", 14);
    struct disk_slot *s = ring.va;
    s[0] = (struct disk_slot){.op = DISK_READ, .pieces = 1, .count = 1};
    s[0].piece[0] = (struct page_piece){(uint64_t)later * PAGE_SIZE, 4096, 0};
    __atomic_store_n(&s[0].owner, DISK_OWNER_KERNEL, __ATOMIC_RELEASE);
    IS(sys_disk_submit(0, (uint32_t)id), -E_NONE);
    (void)env_wait(0, time_ns() + 50 * TIME_MS);
    tap_ok(memcmp(secret.va, "written later", 14) == 0,
           "a frame that got the name later is not overwritten");
    IS(sys_disk_ring_free(0, (uint32_t)id), -E_NONE);
    IS(sys_page_free(GUEST, (uint64_t)later, 1), 0);
    IS(sys_page_free(ROOT, (uint64_t)rings, 1), 0);
}

static void receive(void)
{
    static uint8_t bytes[42];
    const struct net_frame frame = {.hdr = bytes, .hdr_len = sizeof(bytes)};
    struct net_region_args a = {.guard = INSIDE};
    mint(ROOT, REGION, "reg");
    mint(REGION, INSIDE, "in");
    filter_begin(&f);
    filter_arp(&f);
    (void)filter_end(&f);
    a.insns = (uint64_t)f.insn;
    a.count = f.count;
    int64_t region = sys_net_region(ROOT, &a);
    OK(region > 0);
    IS(rx_ring_open(&rx, 0, ROOT, NET_REGION_ALL, 64), 0);
    IS(tx_ring_open(&tx, 0, ROOT, NET_REGION_ALL, 64), 0);
    OK(rx_ring_bind(&rx, INSIDE, (uint32_t)region, 0, &f, &why) >= 0);
    IS(sys_cap_revoke(REGION), 0);
    ask(bytes);
    IS(tx_ring_put(&tx, &frame), 0);
    tx_ring_kick(&tx);
    uint64_t end = time_ns() + 100 * TIME_MS;
    while (time_ns() < end && rx.head->done == 0) {
        (void)env_wait(1ull << rx.event, time_ns() + 10 * TIME_MS);
    }
    tap_ok(rx.head->done == 0, "nothing is received by what was revoked");
    IS(sys_net_region_free(ROOT, 0, 0, (uint32_t)region), 0);
    tx_ring_close(&tx);
    rx_ring_close(&rx);
}

/* It shares its name with us, revokes it, and is ended all the same. */
static void child(void)
{
    mint(ROOT, CHILD, "child");
    struct child c;
    IS(child_start(&c, "revoke-self", CHILD, 1024), 0);
    /* Look without letting go: a name that is dropped and made anew may be
       missing just when the child revokes it. */
    for (unsigned i = 0; i < 5000 && still_held(CHILD, "child"); i++) {
        (void)child_wait(&c, 1);
    }
    tap_ok(sys_cap_drop(CHILD) == -E_CAP, "the child took its name from us");
    OK(!child_ended(&c));
    child_destroy(&c);
    OK(child_wait(&c, 5000));
}

void family_revoke(void)
{
    mint(ROOT, OWNER, "m");
    disk();
    receive();
    child();
}
