/* SPDX-License-Identifier: MIT */
/*
 * What one bind-time call of the network may cost. Programs that are easy to
 * write and hard to read are bound and made regions, alone, beside one another
 * and inside a region; each call must return within a number of the guest's
 * instructions, whatever it says. QEMU counts them (-icount): one is one
 * nanosecond of the time-stamp counter.
 */
#include "libos/libos/filter.h"
#include "libos/libos/ring.h"
#include "libos/libos/text.h"
#include "libos/libos/time.h"
#include "tests/qemu/env/families.h"

#define INSNS_MAX 4096u
#define BYTES 200 /* of the packet that programs look at */
#define ROUNDS 3u

static struct dpf_insn prog[INSNS_MAX];
static uint32_t used;
static uint64_t state;
static struct rx_ring ring;
static struct net_refusal why;

static uint32_t random_below(uint32_t n)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(state >> 33) % n;
}

static void put(uint8_t opcode, uint8_t dst, uint8_t src, uint32_t off,
                uint32_t imm)
{
    prog[used++] = (struct dpf_insn){opcode, (uint8_t)(src << 4 | dst),
                                     (int16_t)off, (int32_t)imm};
}

/* Opcodes of RFC 9669 by what they do here: register 1 is the packet. */
enum {
    LOAD1 = 0x71,
    LOAD2 = 0x69,
    LOAD8 = 0x79,
    SET = 0xb7,
    COPY = 0xbf,
    ADD = 0x0f,
    MUL = 0x2f,
    XOR = 0xaf,
    AND_IMM = 0x57,
    XOR_IMM = 0xa7,
    JUMP_EQ = 0x15,
    JUMP_GT = 0x25,
    JUMP_SET = 0x45,
    EXIT = 0x95
};

static void load(uint8_t opcode, uint8_t to)
{
    put(opcode, to, 1, random_below(BYTES), 0);
}

/* Compares of eight bytes at offsets that overlap. */
static void ladder(void)
{
    load(LOAD8, 4);
    put(random_below(2) ? JUMP_GT : JUMP_EQ, 4, 0, 1,
        random_below(1u << 30) * 2);
    put(XOR_IMM, 0, 0, 0, 1u << random_below(8));
}

/* The answer depends on every byte: each test doubles what can be. */
static void toggle(void)
{
    load(LOAD1, 4);
    put(JUMP_GT, 4, 0, 1, random_below(256));
    put(XOR_IMM, 0, 0, 0, 1u << random_below(31));
}

/* A base computed from a field, as of an IP header, from the base before. */
static void base(void)
{
    put(LOAD1, 4, 6, random_below(16), 0);
    put(AND_IMM, 4, 0, 0, 0x3c);
    put(ADD, 6, 4, 0, 0);
    put(LOAD2, 5, 6, random_below(16), 0);
    put(JUMP_EQ, 5, 0, 1, random_below(65536));
    put(XOR_IMM, 0, 0, 0, 1);
}

/* What no test of a constant says. */
static void product(void)
{
    load(LOAD8, 4);
    load(LOAD1, 5);
    put(MUL, 4, 5, 0, 0);
    put(JUMP_SET, 4, 0, 1, random_below(65536));
    put(XOR, 0, 4, 0, 0);
}

/* Far jumps forward, from bytes that come again and again. */
static void forward(void)
{
    uint32_t left = INSNS_MAX - used - 4;

    load(LOAD1, 4);
    put(random_below(2) ? JUMP_GT : JUMP_EQ, 4, 0,
        random_below(left < 60 ? left : 60), random_below(256));
}

/* A run of masks: each byte in a set of its own. */
static void mask(void)
{
    load(LOAD1, 4);
    put(AND_IMM, 4, 0, 0, random_below(256));
    put(JUMP_EQ, 4, 0, 1, random_below(256));
    put(SET, 0, 0, 0, random_below(3));
}

static void anything(void);

static const struct {
    const char *name;
    void (*step)(void);
} kinds[] = {{"ladder", ladder},    {"toggle", toggle},   {"base", base},
             {"product", product},  {"forward", forward}, {"mask", mask},
             {"anything", anything}};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void anything(void)
{
    kinds[random_below(KINDS - 1)].step();
}

/* A program of at most `n` instructions; inside the region of UDP or not. */
static void write_program(unsigned kind, uint32_t n, bool inside)
{
    used = 0;
    put(SET, 0, 0, 0, 0);
    if (inside) {
        put(LOAD1, 4, 1, 23, 0);
        put(JUMP_EQ, 4, 0, 1, 17);
        put(EXIT, 0, 0, 0, 0);
    }
    put(COPY, 6, 1, 0, 0);
    put(SET, 5, 0, 0, 0);
    while (used + 12 < n) {
        kinds[kind].step();
    }
    /* Jumps that go further than the last step end here. */
    for (uint32_t i = 0; i < used; i++) {
        uint32_t to = used - i - 1;

        if ((prog[i].opcode & 7) == 5 && prog[i].opcode != EXIT &&
            (uint32_t)prog[i].off > to) {
            prog[i].off = (int16_t)to;
        }
    }
    put(EXIT, 0, 0, 0, 0);
}

static uint64_t worst;

static int64_t timed_bind(uint32_t region, uint32_t flags)
{
    const struct net_bind_args a = {.region = region,
                                    .ring = ring.id,
                                    .flags = flags,
                                    .insns = (uint64_t)prog,
                                    .count = used,
                                    .refusal = (uint64_t)&why};
    uint64_t from = time_tsc();
    int64_t id = sys_net_bind(ROOT, &a);
    uint64_t took = time_tsc() - from;

    worst = took > worst ? took : worst;
    return id;
}

static int64_t timed_region(uint32_t parent, uint32_t flags)
{
    const struct net_region_args a = {.parent = parent,
                                      .guard = ROOT,
                                      .flags = flags,
                                      .insns = (uint64_t)prog,
                                      .count = used,
                                      .refusal = (uint64_t)&why};
    uint64_t from = time_tsc();
    int64_t id = sys_net_region(ROOT, &a);
    uint64_t took = time_tsc() - from;

    worst = took > worst ? took : worst;
    return id;
}

static int64_t udp_region(void)
{
    used = 0;
    put(SET, 0, 0, 0, 0);
    put(LOAD1, 4, 1, 23, 0);
    put(JUMP_EQ, 4, 0, 1, 17);
    put(EXIT, 0, 0, 0, 0);
    put(SET, 0, 0, 0, 1);
    put(EXIT, 0, 0, 0, 0);
    return timed_region(0, 0);
}

/* One program: as a region both ways, and bound; what was bound stays. */
static void attempt(unsigned kind, uint32_t n, uint32_t region)
{
    int64_t id;

    write_program(kind, n, region != 0);
    id = timed_region(region, 0);
    if (id >= 0) {
        (void)sys_net_region_free(ROOT, 0, 0, (uint32_t)id);
    }
    id = timed_region(0, NET_OUT);
    if (id >= 0) {
        (void)sys_net_region_free(ROOT, 0, NET_OUT, (uint32_t)id);
    }
    (void)timed_bind(region, NET_REFINE);
    (void)timed_bind(region, NET_TAP);
    write_program(kind, n, region != 0);
    (void)timed_bind(region, 0);
}

static uint64_t in_us(uint64_t ticks)
{
    return ticks * 1000 / env_sysinfo()->tsc_khz;
}

void family_bounds(void)
{
    static const uint32_t sizes[] = {60, 264, 516, 1500, INSNS_MAX};
    uint64_t most = text_option_number(env_sysinfo()->cmdline, "most_us", 0);
    int64_t udp;

    state = text_option_number(env_sysinfo()->cmdline, "seed", 1);
    IS(rx_ring_open(&ring, 0, ROOT, 0, 8), 0);
    udp = udp_region();
    OK(udp > 0);
    for (unsigned kind = 0; kind < KINDS; kind++) {
        for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            worst = 0;
            for (unsigned round = 0; round < ROUNDS; round++) {
                attempt(kind, sizes[i], round % 2 ? (uint32_t)udp : 0);
            }
            tap_ok(in_us(worst) <= most || most == 0,
                   "%s of %u: at most %lu us of %lu", kinds[kind].name,
                   sizes[i], in_us(worst), most);
        }
    }
    worst = time_tsc();
    rx_ring_close(&ring);
    tap_note("the ring ends in %lu us", in_us(time_tsc() - worst));
}
