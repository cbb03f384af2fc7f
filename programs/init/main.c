/* SPDX-License-Identifier: MIT */
/*
 * The first environment: it holds the root capability and divides the machine
 * among its siblings, then answers for the host what nobody else does and
 * says who ended and why. It has no part in what the others do.
 *
 * Capability slots here: the root in SLOT_SELF, then for child n four slots
 * from SLOT_FREE + 4n: its own name, its parts of packet space in and out, its
 * range of the disk.
 */
#include "libos/libos/child.h"
#include "libos/libos/console.h"
#include "libos/libos/env.h"
#include "libos/libos/mem.h"
#include "libos/libos/text.h"
#include "libos/libos/time.h"
#include "libos/sys/sys.h"
#include "programs/init/config.h"
#include "programs/init/host.h"
#include "programs/init/space.h"
#include "src/abi/disk.h"

#define CHILD_SLOTS 4u
#define LOOK_NS (100 * TIME_MS) /* how often ends are looked for */
#define RESERVE_FRAMES 1024u    /* what init keeps for itself */

/* What each program may hold of the kernel's tables; the slices are those of
   its configuration. CHILDREN_MAX of them leave init enough for itself. */
static const uint32_t child_shares[SHARE_KINDS] = {
    [SHARE_ENVS] = 24,           [SHARE_NAMES] = 6144,
    [SHARE_NET_RINGS] = 6,       [SHARE_NET_REGIONS] = 24,
    [SHARE_NET_BINDINGS] = 1792, [SHARE_NET_FILTERS] = 112,
    [SHARE_NET_STEPS] = 14336,   [SHARE_DISK_RANGES] = 6,
    [SHARE_DISK_RINGS] = 6,
};

enum { CHILD_SELF, CHILD_IN, CHILD_OUT, CHILD_DISK };

static struct child children[CHILDREN_MAX];
static unsigned child_count;
static unsigned alive;

static uint32_t child_slot(unsigned n, unsigned which)
{
    return SLOT_FREE + n * CHILD_SLOTS + which;
}

static int mint(uint32_t slot, const char *name, uint32_t rights)
{
    return (int)sys_cap_mint(SLOT_SELF, slot, (const uint8_t *)name,
                             (uint32_t)strlen(name), rights);
}

/* What was set up for one child and is told to it. */
struct plan {
    const struct sysinfo_module *module;
    struct program program;
    struct start_info start;
    unsigned n;
};

static int plan_net(struct plan *p, const struct host *h, uint32_t shared)
{
    struct start_info *s = &p->start;
    s->net_device = START_NO_RESOURCE;
    if (!h->prefix || (!p->program.tcp[0] && !p->program.udp[0])) {
        return 0;
    }
    uint32_t ids[2];
    int err = space_program(h, &p->program, child_slot(p->n, CHILD_IN), ids);
    if (err) {
        return err;
    }
    s->net_device = h->device;
    s->net_in = ids[0];
    s->net_out = ids[1];
    s->net_shared = shared;
    memcpy(s->addr, h->addr, 4);
    memcpy(s->gateway, h->gateway, 4);
    s->prefix = h->prefix;
    s->port = p->program.tcp[0] ? p->program.tcp[0] : p->program.udp[0];
    return 0;
}

/* The whole disk, to read. */
static int plan_disk(struct plan *p)
{
    const struct sysinfo *sys = env_sysinfo();
    struct disk_range_args args = {
        .disk = p->program.disk,
        .parent = DISK_RANGE_ALL,
        .guard = child_slot(p->n, CHILD_DISK),
    };
    p->start.disk = START_NO_RESOURCE;
    if (!p->program.has_disk || p->program.disk >= sys->disks) {
        return 0;
    }
    char name[CAP_NAME_MAX + 1];
    text_format(name, sizeof(name), NAME_DISK "%s", p->program.name);
    int err = mint(args.guard, name, CAP_READ | CAP_GRANT);
    if (err) {
        return err;
    }
    args.count = sys->disk[args.disk].blocks;
    int64_t range = sys_disk_range(SLOT_SELF, &args);
    if (range < 0) {
        return (int)range;
    }
    p->start.disk = args.disk;
    p->start.disk_range = (uint32_t)range;
    p->start.disk_blocks = args.count;
    return 0;
}

static int plan_grant(const struct plan *p, const struct child *c)
{
    bool net = p->start.net_device != START_NO_RESOURCE;
    bool disk = p->start.disk != START_NO_RESOURCE;
    const struct {
        bool wanted;
        uint32_t from, to;
    } grants[] = {
        {true, SLOT_CONSOLE, SLOT_CONSOLE},
        {net, child_slot(p->n, CHILD_IN), SLOT_NET_IN},
        {net, child_slot(p->n, CHILD_OUT), SLOT_NET_OUT},
        {net, SLOT_NET_ALL, SLOT_NET_ALL},
        {disk, child_slot(p->n, CHILD_DISK), SLOT_DISK},
    };
    int err = 0;

    for (unsigned i = 0; err == 0 && i < sizeof(grants) / sizeof(grants[0]);
         i++) {
        if (grants[i].wanted) {
            err = child_grant(c, grants[i].from, grants[i].to);
        }
    }
    return err;
}

static int plan_load(struct plan *p, struct child *c, const char **why)
{
    const struct sysinfo_module *m = p->module;
    uint64_t frames = (m->bytes + PAGE_SIZE - 1) / PAGE_SIZE;
    struct mem_run image;
    int err = mem_run_bind(&image, SLOT_SELF, m->frame, frames, false);
    if (err) {
        return err;
    }
    p->start.frames = p->program.frames;
    memcpy(p->start.args, p->program.args, sizeof(p->start.args));
    err = child_load(c, image.va, m->bytes, &p->start, why);
    mem_run_unbind(&image);
    return err;
}

static int plan_create(const struct plan *p, struct child *c, uint32_t self)
{
    uint32_t left = env_share_left(SHARE_SLICES);
    uint32_t shares[SHARE_KINDS];
    memcpy(shares, child_shares, sizeof(shares));
    shares[SHARE_SLICES] = p->program.slices < left ? p->program.slices : left;
    return child_create(c, p->program.name, self, p->program.frames, shares);
}

static int plan_carry_out(struct plan *p, const struct host *h, uint32_t shared,
                          const char **step)
{
    struct child *c = &children[p->n];
    uint32_t self = child_slot(p->n, CHILD_SELF);
    uint32_t cpu = p->program.cpu % env_sysinfo()->cpus;
    *step = "its name";
    char name[CAP_NAME_MAX + 1];
    text_format(name, sizeof(name), NAME_ENV "%s", p->program.name);
    int err = mint(self, name, CAP_ALL);
    if (err == 0) {
        *step = "its part of packet space";
        err = plan_net(p, h, shared);
    }
    if (err == 0) {
        *step = "its range of the disk";
        err = plan_disk(p);
    }
    if (err == 0) {
        *step = "the environment";
        err = plan_create(p, c, self);
    }
    if (err == 0) {
        const char *why = "";
        err = plan_load(p, c, &why);
        *step = *why ? why : "its memory";
    }
    if (err == 0) {
        *step = "its capabilities";
        err = plan_grant(p, c);
    }
    if (err == 0) {
        *step = "its slices";
        err = child_run(c, cpu, p->program.slices);
    }
    return err < 0 ? err : 0;
}

/* A name stands for one authority, so two programs must not share it. */
static bool runs_already(const char *name)
{
    for (unsigned i = 0; i < child_count; i++) {
        if (strcmp(children[i].name, name) == 0) {
            console_printf("init: two modules are called %s\n", name);
            return true;
        }
    }
    return false;
}

static void start_one(const struct sysinfo_module *m, const struct host *h,
                      uint32_t shared)
{
    static struct plan p; /* too large for a stack frame */
    uint64_t left = mem_frames_left();
    if (runs_already(m->name)) {
        return;
    }
    p = (struct plan){.module = m, .n = child_count};
    left = left > RESERVE_FRAMES ? left - RESERVE_FRAMES : 0;
    char why[128];
    if (!config_program(env_sysinfo()->cmdline, m->name, left, &p.program, why,
                        sizeof(why))) {
        console_printf("init: %s\n", why);
        return;
    }
    const char *step;
    int err = plan_carry_out(&p, h, shared, &step);
    if (err) {
        console_printf("init: cannot start %s: %s: %s\n", p.program.name, step,
                       env_strerror(err));
        child_destroy(&children[p.n]);
        return;
    }
    host_away(child_count, &p.program);
    child_count++;
    alive++;
    console_printf("init: started %s, %lu MiB\n", p.program.name,
                   p.program.frames / 256);
}

static void start_all(const struct host *h, uint32_t shared)
{
    const struct sysinfo *s = env_sysinfo();
    for (uint32_t i = 1; i < s->modules && child_count < CHILDREN_MAX; i++) {
        if (config_runs(s->cmdline, s->module[i].name)) {
            start_one(&s->module[i], h, shared);
        }
    }
}

static void look(void)
{
    for (unsigned i = 0; i < child_count; i++) {
        char text[128];
        if (children[i].env && child_ended(&children[i])) {
            child_end_text(&children[i], text, sizeof(text));
            console_printf("init: %s %s\n", children[i].name, text);
            children[i].env = 0;
            host_home(i);
            alive--;
        }
    }
}

static void kill_child(const char *name)
{
    for (unsigned i = 0; i < child_count; i++) {
        if (children[i].env && strcmp(children[i].name, name) == 0) {
            console_printf("init: killing %s, as kill= says\n", name);
            child_destroy(&children[i]);
            return;
        }
    }
    console_printf("init: nobody is called %s\n", name);
}

/* The kernel counts in what it exposes. */
static bool button_pressed(void)
{
    return __atomic_load_n(&env_sysinfo()->power_button, __ATOMIC_RELAXED) != 0;
}

/* Until told to stop, or nobody is left. */
static void supervise(struct config *c)
{
    while (alive > 0) {
        uint64_t now = time_ns();
        if (now >= c->kill_ns) {
            kill_child(c->kill);
            c->kill_ns = UINT64_MAX;
        }
        if (now >= c->halt_ns) {
            console_printf("init: told to stop\n");
            return;
        }
        if (button_pressed()) {
            console_printf("init: the power button was pressed\n");
            return;
        }
        host_turn(now + LOOK_NS);
        look();
    }
    console_printf("init: nobody is left\n");
}

int env_main(const struct start_info *start)
{
    const struct sysinfo *s = env_sysinfo();
    int shared = 0;
    (void)start;
    (void)mint(SLOT_CONSOLE, "console", CAP_WRITE | CAP_GRANT);
    console_printf("init: %u cpus, %lu MiB, %u net, %u disks\n", s->cpus,
                   s->frames / 256, s->nets, s->disks);
    char why[128];
    struct config config;
    if (!config_read(s->cmdline, &config, why, sizeof(why))) {
        console_printf("init: %s\n", why);
        (void)sys_machine_halt(SLOT_SELF, 1);
    }
    struct host host;
    if (host_open(&host, &config)) {
        shared = space_shared(&host, SLOT_NET_ALL);
        if (shared < 0) {
            (void)sys_machine_halt(SLOT_SELF, 1);
        }
    } else {
        host.prefix = 0;
    }
    start_all(&host, (uint32_t)shared);
    if (host.prefix) {
        (void)host_answer(&host, SLOT_NET_ALL, (uint32_t)shared);
    }
    supervise(&config);
    (void)sys_machine_halt(SLOT_SELF, 0);
    return 1;
}
