/* SPDX-License-Identifier: MIT */
/*
 * Several processors at once, each a thread that plays ring 3 of whatever the
 * kernel gives it: allocate, bind, make and destroy each other's
 * environments, sleep and signal, and keep a disk and a card busy. At the end
 * all is destroyed and counted.
 * Speaks TAP; argv: processors, rounds, seed.
 */
#include "src/abi/disk.h"
#include "src/abi/net.h"
#include "src/abi/page.h"
#include "src/abi/sysno.h"
#include "src/kern/aspace.h"
#include "src/kern/disk.h"
#include "src/kern/event.h"
#include "src/kern/net.h"
#include "src/kern/page.h"
#include "src/kern/quantum.h"
#include "src/kern/sysinfo.h"
#include "src/kern/turn.h"
#include "tests/unit/kern/fake_arch.h"
#include "tests/unit/kern/fake_dev.h"
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CPUS_MAX 8u
#define PINS_MASK (0x3fffull << 46) /* src/kern/page.h */

static unsigned cpus, rounds;
static uint32_t seed;
static uint32_t root_id;
static _Atomic unsigned done;
static _Atomic uint64_t calls;

static uint32_t next_random(uint32_t *s)
{
    *s = *s * 1664525 + 1013904223;
    return *s >> 8;
}

/* Idle processors let time pass, so that sleepers wake; not for ever. */
static void idle(void)
{
    static _Thread_local unsigned turns;
    fake_tsc += 50000;
    sched_yield();
    if (++turns % 4 == 0) {
        fake_stop();
    }
}

/* Does the call return to who made it? Any call may be the last. */
static bool goes_on(const struct env *e, uint32_t id, int64_t result)
{
    return result >= 0 && fake_current() == e && e->id == id;
}

/* Ids of environments that may be alive. */
static uint32_t anybody(uint32_t *s)
{
    const struct env *e = env_at(1 + next_random(s) % 40);
    uint32_t id = e == NULL ? 0 : __atomic_load_n(&e->id, __ATOMIC_RELAXED);
    return id == root_id ? 0 : id;
}

static void use_memory(struct env *e, uint32_t id, uint32_t *s)
{
    uint64_t va = 0x10000000 + next_random(s) % 64 * 4096;
    int64_t f = CALL(SYS_PAGE_ALLOC, 0, PAGE_ANY, 1 + next_random(s) % 3);
    if (!goes_on(e, id, f)) {
        return;
    }
    struct page_binding b = {va, (uint64_t)f, 1, PAGE_W};
    if (goes_on(e, id, CALL(SYS_PAGE_BIND, 0, 0, 0, PUT(b), 1))) {
        (void)CALL(SYS_PAGE_FREE, 0, (uint64_t)f, 1);
    }
}

static void make_another(struct env *e, uint32_t id, uint32_t *s)
{
    int64_t made = CALL(SYS_ENV_CREATE, 0, 24, SHARES);
    if (goes_on(e, id, made) &&
        goes_on(e, id, CALL(SYS_CAP_GRANT, 0, (uint64_t)made, 0, 0)) &&
        goes_on(e, id,
                CALL(SYS_QUANTUM_ALLOC, 0, next_random(s) % cpus, QUANTUM_ANY,
                     (uint64_t)made))) {
        (void)CALL(SYS_QUANTUM_ALLOC, 0, next_random(s) % cpus, QUANTUM_ANY,
                   (uint64_t)made);
    }
}

/* Ask for more than the disk takes at once; give the ring up under way. */
static void use_disk(struct env *e, uint32_t id, uint32_t *s)
{
    int64_t f = CALL(SYS_PAGE_ALLOC, 0, PAGE_ANY, 2);
    if (!goes_on(e, id, f)) {
        return;
    }
    struct disk_ring_args a = {
        .slots = 16, .frames = 1, .frame = (uint64_t)f, .event = 0};
    int64_t ring = CALL(SYS_DISK_RING, 0, PUT(a));
    if (!goes_on(e, id, ring)) {
        return;
    }
    struct disk_slot *slot = arch_frame_ptr((uint64_t)f);
    for (unsigned i = 0; i < 16; i++) {
        slot[i] = (struct disk_slot){
            .op = next_random(s) % 2, .pieces = 1, .block = i, .count = 1};
        slot[i].piece[0] =
            (struct page_piece){((uint64_t)f + 1) * 4096, 4096, 0};
        __atomic_store_n(&slot[i].owner, DISK_OWNER_KERNEL, __ATOMIC_RELEASE);
    }
    if (!goes_on(e, id, CALL(SYS_DISK_SUBMIT, 0, (uint64_t)ring))) {
        return;
    }
    fake_disk_complete(1 + next_random(s) % 8);
    (void)CALL(SYS_DISK_RING_FREE, 0, (uint64_t)ring);
}

#define INSNS 40u /* reading as many, dpf has several breaths */

/* Byte 20 is `v`, tested again and again. */
static void filter_write(struct dpf_insn code[INSNS], int32_t v)
{
    size_t n = 0;
    code[n++] = (struct dpf_insn){0xb7, 0, 0, 0};
    while (n + 5 < INSNS) {
        code[n++] = (struct dpf_insn){0x71, 3 | 1 << 4, 20, 0};
        code[n++] = (struct dpf_insn){0x15, 3, 1, v};
        code[n++] = (struct dpf_insn){0x95, 0, 0, 0};
    }
    code[n++] = (struct dpf_insn){0xb7, 0, 0, 1};
    while (n < INSNS) {
        code[n++] = (struct dpf_insn){0x95, 0, 0, 0};
    }
}

static void receive(struct env *e, uint32_t id, uint32_t *s, uint64_t f)
{
    struct net_ring_args a = {.slots = 8, .frames = 5, .frame = f};
    int64_t ring = CALL(SYS_NET_RX_RING, 0, PUT(a));
    if (!goes_on(e, id, ring)) {
        return;
    }
    struct dpf_insn code[INSNS];
    filter_write(code, (int32_t)(next_random(s) % 4));
    uint64_t insns = fake_put(code, sizeof(code));
    struct net_bind_args b = {
        .ring = (uint32_t)ring, .insns = insns, .count = INSNS};
    int64_t binding = CALL(SYS_NET_BIND, 0, PUT(b));
    if (fake_current() != e || e->id != id) {
        return;
    }
    fake_trap(ARCH_VECTOR_KICK);
    if (binding >= 0 && goes_on(e, id, 0) && next_random(s) % 2 == 0) {
        (void)CALL(SYS_NET_UNBIND, 0, (uint64_t)binding);
    }
    if (goes_on(e, id, 0) && next_random(s) % 4 != 0) {
        (void)CALL(SYS_NET_RING_FREE, 0, (uint64_t)ring);
    }
}

static void transmit(struct env *e, uint32_t id, uint64_t f)
{
    struct net_ring_args a = {.slots = 8, .frames = 1, .frame = f};
    int64_t ring = CALL(SYS_NET_TX_RING, 0, PUT(a));
    if (!goes_on(e, id, ring)) {
        return;
    }
    struct net_ring_head *h = arch_frame_ptr(f);
    struct net_tx_slot *slot = (void *)(h + 1);
    for (unsigned i = 0; i < 8; i++) {
        slot[i] = (struct net_tx_slot){.header_len = 54, .pieces = 1};
        slot[i].piece[0] = (struct page_piece){(f + 1) * 4096, 1000, 0};
        __atomic_store_n(&slot[i].owner, NET_OWNER_KERNEL, __ATOMIC_RELEASE);
    }
    if (goes_on(e, id, CALL(SYS_NET_SEND, 0, (uint64_t)ring))) {
        cpu_this()->net_polling = 1;
        fake_nic.complete = 5;
        fake_trap(ARCH_VECTOR_KICK);
    }
    if (goes_on(e, id, 0)) {
        (void)CALL(SYS_NET_RING_FREE, 0, (uint64_t)ring);
    }
}

static void use_net(struct env *e, uint32_t id, uint32_t *s)
{
    static uint8_t packet[64];
    int64_t f = CALL(SYS_PAGE_ALLOC, 0, PAGE_ANY, 5);
    if (!goes_on(e, id, f)) {
        return;
    }
    fake_nic.frame[0] = packet;
    fake_nic.frame_len[0] = sizeof(packet);
    fake_nic.flood = 4;
    cpu_this()->net_polling = 1;
    if (next_random(s) % 2 == 0) {
        receive(e, id, s, (uint64_t)f);
    } else {
        transmit(e, id, (uint64_t)f);
    }
}

static void be_environment(struct env *e, uint32_t *s)
{
    uint32_t id = e->id, other = anybody(s);
    struct page_binding none = {0x10000000, 0, 64, 0};
    switch (next_random(s) % 18) {
    case 0:
    case 1:
    case 2:
        use_memory(e, id, s);
        break;
    case 3:
        (void)CALL(SYS_PAGE_BIND, 0, 0, 0, PUT(none), 1);
        break;
    case 4:
    case 5:
        make_another(e, id, s);
        break;
    case 6:
        if (id != root_id || other != 0) {
            (void)CALL(SYS_ENV_DESTROY, 0, other, 2);
        }
        break;
    case 7:
        (void)CALL(SYS_EVENT_WAIT, 1, fake_tsc + 100000, 0);
        break;
    case 8:
        (void)CALL(SYS_QUANTUM_YIELD, other);
        break;
    case 9:
        fake_tsc += 300000;
        (void)fake_trap(ARCH_VECTOR_TIMER);
        break;
    case 10:
        if (id != root_id) {
            (void)fake_trap(6); /* no entry: it ends */
        }
        break;
    case 11:
    case 12:
    case 13:
        use_disk(e, id, s);
        break;
    case 14:
    case 15:
    case 16:
        use_net(e, id, s);
        break;
    default:
        (void)fake_trap(ARCH_VECTOR_KICK);
    }
    calls++;
}

/* Where interrupts come in, another processor may have bind_lock. */
static void breathe(void)
{
    sched_yield();
}

static void *processor(void *arg)
{
    fake_cpu = (unsigned)(uintptr_t)arg;
    cpu_this()->info->online = 1;
    uint32_t s = seed + fake_cpu * 7919;
    if (fake_cpu != 0) {
        (void)fake_run();
    }
    for (unsigned n = 0; n < rounds; n++) {
        struct env *e = fake_current();
        if (e == NULL) {
            (void)fake_run();
            continue;
        }
        if (e->uarea->env != e->id) {
            printf("not ok 1 - u-area of another environment\n");
            exit(1);
        }
        be_environment(e, &s);
    }
    done++;
    /* Serve the others until all are done: they may want us to reap, or wait
       until we let go of a context, idle or not. */
    while (done < cpus) {
        if (fake_current() != NULL) {
            (void)fake_trap(ARCH_VECTOR_KICK);
        } else {
            fake_root[fake_cpu] = 0;
            atomic_store(&cpu_this()->loaded, NULL);
        }
        sched_yield();
    }
    return NULL;
}

/* Those that are idle let go of a context as their loop would. */
static void idle_ones_let_go(void)
{
    for (unsigned i = 0; i < cpus; i++) {
        if (cpu_at(i)->current == NULL) {
            fake_root[i] = 0;
            atomic_store(&cpu_at(i)->loaded, NULL);
        }
    }
}

/* One thread is all processors in turn, until only the root is left. */
static bool destroy_all(void)
{
    for (unsigned turn = 0; turn < 100000; turn++) {
        unsigned left = 0;
        for (uint32_t i = 1; i < ENVS_MAX; i++) {
            struct env *e = env_at(i);
            if (e == NULL || env_find(e->id) == NULL || e->id == root_id) {
                continue;
            }
            left++;
            env_kill(e, ENV_END_DESTROYED, 0, NULL);
        }
        if (left == 0) {
            return true;
        }
        for (fake_cpu = 0; fake_cpu < cpus; fake_cpu++) {
            if (fake_current() != NULL) {
                (void)fake_trap(ARCH_VECTOR_KICK);
            }
        }
        fake_cpu = 0;
    }
    return false;
}

/* The devices finish; nothing is pinned and no ring is left. */
static bool devices_are_quiet(struct env *root)
{
    lock_acquire(&bind_lock);
    for (bool gone = false; !gone;) {
        struct turn t = turn_begin(0);
        gone = net_env_end(root, &t) && disk_env_end(root, &t);
    }
    lock_release(&bind_lock);
    fake_disk_complete(fake_disk.reqs);
    cpu_this()->net_polling = 1;
    fake_nic.complete = fake_nic.sent_count;
    (void)fake_trap(ARCH_VECTOR_KICK);
    const uint64_t *word = arch_frame_ptr(FAKE_FIRST);
    bool quiet = fake_disk.reqs == 0 && fake_nic.sent_count == 0;
    for (uint64_t f = 0; f < FAKE_FRAMES; f++) {
        quiet &= (word[f] & PINS_MASK) == 0;
    }
    return quiet;
}

static void stop_idle(void)
{
    fake_stop();
}

int main(int argc, char **argv)
{
    cpus = argc > 1 ? (unsigned)atoi(argv[1]) : 4;
    rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 3000;
    seed = argc > 3 ? (uint32_t)atoi(argv[3]) : 1;
    cpus = cpus > CPUS_MAX ? CPUS_MAX : cpus;
    printf("# %u processors, %u rounds each, seed %u\n", cpus, rounds, seed);
    fake_boot(cpus);
    struct env *root = fake_first();
    root_id = root->id;
    fake_disk_attach();
    fake_disk.room = 8;
    fake_nic_attach(1);
    fake_nic.room = 8;
    for (unsigned i = 1; i < cpus; i++) {
        (void)CALL(SYS_QUANTUM_ALLOC, 0, i, 0, root_id);
    }
    for (unsigned i = 0; i < cpus; i++) { /* one that begins on each */
        int64_t id = CALL(SYS_ENV_CREATE, 0, 600, SHARES);
        (void)CALL(SYS_CAP_GRANT, 0, (uint64_t)id, 0, 0);
        (void)CALL(SYS_QUANTUM_ALLOC, 0, i, QUANTUM_ANY, (uint64_t)id);
    }
    fake_idle_hook = idle;
    fake_breathe_hook = breathe;
    pthread_t thread[CPUS_MAX] = {0};
    for (uintptr_t i = 1; i < cpus; i++) {
        if (pthread_create(&thread[i], NULL, processor, (void *)i) != 0) {
            printf("Bail out! no thread for processor %lu\n", (unsigned long)i);
            return 1;
        }
    }
    (void)processor(NULL);
    for (unsigned i = 1; i < cpus; i++) {
        pthread_join(thread[i], NULL);
    }
    fake_idle_hook = stop_idle;
    fake_pause_hook = idle_ones_let_go;
    bool ended = destroy_all();
    struct page_binding none = {0x10000000, 0, 64, 0};
    struct turn t = turn_begin(0);
    lock_acquire(&bind_lock);
    (void)aspace_bind(root, &none, &t);
    lock_release(&bind_lock);
    uint64_t children = 0;
    for (uint32_t i = 1; i < ENVS_MAX; i++) {
        children += env_at(i) != NULL && env_find(env_at(i)->id) != NULL;
    }
    uint64_t slices = 0;
    for (unsigned c = 0; c < cpus; c++) {
        slices += (uint64_t)__builtin_popcountll(cpu_at(c)->vector_used);
    }
    printf(
        "# %lu calls, %lu requests, %lu frames sent, %lu received\n",
        (unsigned long)calls,
        (unsigned long)(sysinfo()->disk[0].reads + sysinfo()->disk[0].writes),
        (unsigned long)sysinfo()->net[0].tx_packets,
        (unsigned long)(sysinfo()->net[0].rx_packets -
                        sysinfo()->net[0].rx_unowned));
    printf("%sok 1 - all but the first ended\n", ended ? "" : "not ");
    printf("%sok 2 - one is left\n", children == 1 ? "" : "not ");
    printf("%sok 3 - slices of the first only\n", slices == cpus ? "" : "not ");
    bool quiet = devices_are_quiet(root);
    printf("%sok 4 - nothing is pinned\n", quiet ? "" : "not ");
    printf("1..4\n");
    return ended && children == 1 && slices == cpus && quiet ? 0 : 1;
}
