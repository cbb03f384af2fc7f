/* SPDX-License-Identifier: MIT */
/*
 * Cheetah as an environment: one disk, one network interface, one loop.
 *
 * Memory is taken when it is needed: frames of the cache two megabytes at a
 * time, connections a few hundred at a time, each up to its limit. So the
 * first answer does not wait for the kernel to zero what may never be used.
 *
 * Arguments: cache=BYTES of cache, conns=N connections at a time, log for an
 * access log on the console.
 */
#include "cheetah/server/server.h"
#include "libos/libos/console.h"
#include "libos/libos/disk.h"
#include "libos/libos/env.h"
#include "libos/libos/filter.h"
#include "libos/libos/ring.h"
#include "libos/libos/text.h"
#include "libos/libos/time.h"

#define TURN_BUDGET 256u /* frames received in one turn */
#define RX_SLOTS 1024u
#define TX_SLOTS 1024u
#define DISK_SLOTS 128u
#define FLIGHTS (TX_SLOTS + 128u) /* some frames wait for their next hop */
#define CARRIES 256u
#define POOL_BYTES (2u << 20) /* packet memory of the stack */
#define CONNS_MAX 10000u
#define CONNS_STEP 128u
#define CACHE_STEP (2u << 20)
#define LOG_BYTES (64u << 10)
#define COMPLAINTS_MAX 16u  /* a broken image is not worth more lines */
#define RESERVE (12u << 20) /* rings, stack, tables */

static struct disk_queue queue;
static struct netif nif;
static struct cache cache;
static struct server server;
static struct cache_disk disk;
static struct access_log access_log;
static uint32_t conns_left; /* that more_conns may still give */

/* ---------------------------------------------------------------------- disk
 */

static int read_blocks(struct cache_disk *d, uint32_t block, uint32_t count,
                       const uint64_t *paddr, uint64_t cookie)
{
    struct disk_request r = {
        .op = DISK_READ, .block = block, .count = count, .cookie = cookie};
    (void)d;
    for (uint32_t i = 0; i < count; i++) {
        struct page_piece *last = &r.piece[r.pieces - (r.pieces != 0)];
        if (r.pieces != 0 && last->paddr + last->len == paddr[i]) {
            last->len += SITE_BLOCK;
        } else {
            r.piece[r.pieces++] =
                (struct page_piece){.paddr = paddr[i], .len = SITE_BLOCK};
        }
    }
    return disk_put(&queue, &r);
}

static void kick(struct cache_disk *d)
{
    (void)d;
    disk_kick(&queue);
}

static bool open_disk(const struct start_info *start, struct site_super *site)
{
    if (start->disk == START_NO_RESOURCE) {
        console_printf("cheetah: no disk was given; attach a site image as a "
                       "virtio disk\n");
        return false;
    }
    int err = disk_open(&queue, start->disk, SLOT_DISK, start->disk_range,
                        DISK_SLOTS);
    struct mem_run page;
    if (err == 0) {
        err = mem_run_alloc(&page, SITE_BLOCK, 0);
    }
    if (err == 0) {
        err = disk_read_now(&queue, 0, 1, page.paddr);
    }
    if (err != 0) {
        console_printf("cheetah: disk %u cannot be read: %s\n", start->disk,
                       env_strerror(err));
        return false;
    }
    enum site_error e = site_super_read(page.va, start->disk_blocks, site);
    mem_run_free(&page);
    if (e != SITE_OK) {
        console_printf("cheetah: disk %u: %s\n", start->disk,
                       site_error_text(e));
    }
    return e == SITE_OK;
}

/* -------------------------------------------------------------------- memory
 */

static bool grow_cache(struct cache *c)
{
    uint64_t want = (uint64_t)(c->room - c->frames) * SITE_BLOCK;
    uint32_t flags = want >= CACHE_STEP ? MEM_LARGE : 0;
    struct mem_run run;
    want = want < CACHE_STEP ? want : CACHE_STEP;
    int err = mem_run_alloc(&run, want, flags);
    if (err != 0 && flags != 0) {
        err = mem_run_alloc(&run, want, 0);
    }
    if (err != 0) {
        console_printf("cheetah: the cache stays at %u frames: %s\n", c->frames,
                       env_strerror(err));
        return false;
    }
    cache_add(c, run.va, run.paddr, (uint32_t)(run.bytes / SITE_BLOCK));
    return true;
}

static bool more_conns(struct server *s)
{
    uint32_t n = conns_left < CONNS_STEP ? conns_left : CONNS_STEP;
    struct mem_run run;
    if (n == 0 || mem_run_alloc(&run, n * sizeof(struct conn), 0) != 0) {
        return false;
    }
    conns_left -= n;
    server_add_conns(s, run.va, run.paddr, n);
    return true;
}

/* Divide the quota: connections first, an eighth at most; the cache is the
   rest, or what was asked for. */
static bool open_memory(const struct start_info *start)
{
    uint64_t bytes = mem_frames_left() * SITE_BLOCK;
    uint64_t conns = text_option_number(start->args, "conns", CONNS_MAX);
    uint64_t most = bytes / 8 / sizeof(struct conn);
    conns_left = (uint32_t)(conns < most ? conns : most);
    uint64_t used = RESERVE + (uint64_t)conns_left * sizeof(struct conn);
    uint64_t rest = bytes > used ? bytes - used : 0;
    /* Tables take some 72 bytes for each frame. */
    uint64_t frames = rest / (SITE_BLOCK + 80);
    uint64_t asked = text_option_number(start->args, "cache", 0) / SITE_BLOCK;
    if (asked != 0) {
        frames = asked < frames ? asked : frames;
    }
    frames = frames < CACHE_MIN ? CACHE_MIN : frames;
    frames = frames > UINT32_MAX / 128 ? UINT32_MAX / 128 : frames;
    void *tables = mem_alloc(cache_size((uint32_t)frames));
    if (tables == NULL || conns_left == 0) {
        console_printf("cheetah: %lu MB of memory are too little; give more "
                       "with cheetah.mem=64M\n",
                       (unsigned long)(bytes >> 20));
        return false;
    }
    disk = (struct cache_disk){.read = read_blocks, .kick = kick};
    cache_init(&cache, tables, (uint32_t)frames, &disk);
    cache.grow = grow_cache;
    return true;
}

/* ------------------------------------------------------------------- network
 */

static bool bind(uint32_t slot, uint32_t region, struct filter *f,
                 const char *what)
{
    (void)filter_end(f);
    return rx_ring_bind_said(&nif.rx, slot, region, 0, f, "cheetah", what) >= 0;
}

static bool bind_all(const struct start_info *start)
{
    static struct filter f;
    filter_begin(&f);
    filter_v4_to(&f, start->addr, FILTER_TCP, start->port);
    if (!bind(SLOT_NET_IN, start->net_in, &f, "its port")) {
        return false;
    }
    filter_begin(&f);
    filter_arp(&f);
    if (!bind(SLOT_NET_ALL, start->net_shared, &f, "ARP")) {
        return false;
    }
    filter_begin(&f);
    filter_icmp_errors(&f, start->addr);
    return bind(SLOT_NET_ALL, start->net_shared, &f, "ICMP errors");
}

static int open_stack(const struct start_info *start)
{
    struct net_config stack = {
        /* init answers ARP and echo requests for the host. */
        .flags = NET_QUIET_ARP | NET_QUIET_ICMP,
        .conns = conns_left,
        .half_open = conns_left < 1024 ? conns_left : 1024,
        .time_wait = 2 * conns_left,
        .neighbours = 256,
        .ooo_bufs_conn = 4,
    };
    const struct netif_config cfg = {
        .device = start->net_device,
        .in_slot = SLOT_NET_IN,
        .in_region = start->net_in,
        .out_slot = SLOT_NET_OUT,
        .out_region = start->net_out,
        .rx_slots = RX_SLOTS,
        .tx_slots = TX_SLOTS,
        .pool_bytes = POOL_BYTES,
        .stack = &stack,
    };
    const uint8_t *a = start->addr, *g = start->gateway;
    struct net_addr gateway = {0};
    int err = netif_open(&nif, &cfg);
    if (err != 0) {
        return err;
    }
    if ((g[0] | g[1] | g[2] | g[3]) != 0) {
        gateway = net_v4(g[0], g[1], g[2], g[3]);
    }
    err = net_set_v4(nif.stack, net_v4(a[0], a[1], a[2], a[3]), start->prefix,
                     gateway);
    return err != 0 ? -E_INVAL : 0;
}

static bool open_network(const struct start_info *start)
{
    if (start->net_device == START_NO_RESOURCE) {
        console_printf("cheetah: no network was given; attach a virtio network "
                       "card and set ip=\n");
        return false;
    }
    int err = open_stack(start);
    if (err != 0) {
        console_printf("cheetah: the network cannot be opened: %s\n",
                       env_strerror(err));
    }
    return err == 0 && bind_all(start);
}

/* ---------------------------------------------------------------------- server
 */

/* What the server cannot see from where it is; sysinfo is the kernel's. */
static void observe(struct server *s)
{
    const struct sysinfo *i = env_sysinfo();
    const struct sysinfo_cpu *cpu =
        (const void *)((const char *)i + i->cpu_offset);
    s->link.rx_dropped = nif.rx.head->dropped;
    s->link.tx_refused = nif.tx.refused;
    s->link.log_lost = access_log.lost;
    s->machine = (struct machine_stats){
        .cpus = i->cpus,
        .tsc_khz = i->tsc_khz,
        .up_ticks = time_tsc() - i->boot_tsc,
        .demux_ticks = i->net[nif.rx.device].demux_ticks,
        .frames_free = i->frames_free,
        .rx_unowned = i->net[nif.rx.device].rx_unowned,
        .rx_overrun = i->net[nif.rx.device].rx_dropped,
        .rx_starved = i->net[nif.rx.device].rx_starved,
    };
    for (uint32_t n = 0; n < i->cpus; n++) {
        s->machine.idle_ticks += cpu[n].idle_ticks;
        s->machine.slices += cpu[n].slices;
        s->machine.syscalls += cpu[n].syscalls;
        s->machine.faults += cpu[n].faults;
        s->machine.interrupts += cpu[n].interrupts;
    }
}

static void damaged(struct server *s, uint32_t block)
{
    if (s->stats.damaged <= COMPLAINTS_MAX) {
        console_printf("cheetah: block %u of the image breaks the promises of "
                       "its format: answered 500; check it with mksite "
                       "--check%s\n",
                       block,
                       s->stats.damaged == COMPLAINTS_MAX
                           ? "; no more is said of such blocks"
                           : "");
    }
}

static bool open_log(const struct start_info *start)
{
    char value[8];
    if (!text_option(start->args, "log", value, sizeof(value)) ||
        strcmp(value, "0") == 0) {
        return true;
    }
    char *text = mem_alloc(LOG_BYTES);
    if (text == NULL) {
        console_printf("cheetah: no memory for the access log\n");
        return false;
    }
    log_init(&access_log, text, LOG_BYTES, console_write);
    server.log = &access_log;
    return true;
}

static bool open_server(const struct start_info *start,
                        const struct site_super *site)
{
    const struct server_memory m = {
        .flights = mem_alloc(FLIGHTS * sizeof(struct flight)),
        .flight_count = FLIGHTS,
        .carries = mem_alloc(CARRIES * CARRY_MAX),
        .carry_count = CARRIES,
    };
    if (m.flights == NULL || m.carries == NULL) {
        console_printf("cheetah: no memory for connections\n");
        return false;
    }
    server_init(&server, &cache, nif.stack, site, &m);
    server.more_conns = more_conns;
    server.damaged = damaged;
    server.observe = observe;
    server.now_ns = time_ns();
    if (server_listen(&server, (uint16_t)start->port, conns_left) != 0) {
        console_printf("cheetah: port %u cannot be listened on\n", start->port);
        return false;
    }
    return open_log(start);
}

static void turn(void)
{
    uint64_t events = 1ull << queue.event;
    server.now_ns = time_ns();
    server.now_unix = (int64_t)time_unix();
    int status;
    uint64_t cookie;
    while (disk_reap(&queue, &cookie, &status)) {
        cache_done(&cache, cookie, status);
    }
    server_turn(&server);
    uint32_t taken = netif_turn(&nif, TURN_BUDGET);
    cache_kick(&cache);
    if (server.log != NULL &&
        log_turn(&access_log, server.now_ns, taken == 0)) {
        return;
    }
    if (taken == TURN_BUDGET || server_busy(&server)) {
        return;
    }
    if (server.device_waits || cache.starved != NULL) {
        server.device_waits = false;
        events |= 1ull << nif.tx.event;
    }
    (void)netif_wait(&nif, events, UINT64_MAX);
}

int env_main(const struct start_info *start)
{
    struct site_super site;
    if (!open_disk(start, &site) || !open_memory(start) ||
        !open_network(start) || !open_server(start, &site)) {
        return 1;
    }
    const uint8_t *a = start->addr;
    console_printf("cheetah: serving %u paths on http://%u.%u.%u.%u:%u/, "
                   "cache of up to %u MB for a site of %u MB\n",
                   site.paths, a[0], a[1], a[2], a[3], start->port,
                   cache.room / 256, site.blocks / 256);
    for (;;) {
        turn();
    }
}
