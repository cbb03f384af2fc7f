/* SPDX-License-Identifier: MIT */
/*
 * Cheetah's server core and the network stack as a program of the host, under
 * sanitizers, behind a TAP device in a network namespace of its own. A command
 * runs in the same namespace and meets the server at 10.9.0.2, port 80, by the
 * sockets of Linux. The disk is a site image in memory that answers late.
 *
 * usage: tap_web IMAGE FRAMES CONNS CAPS COMMAND...
 *
 * FRAMES of cache, CONNS connections at a time, CAPS as in NET_CAP_*. The exit
 * status is the command's. Where the machine
 * permits no TAP device, the program skips in TAP, the other one.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cheetah/server/server.h"
#include "tests/unit/net/tap.h"

#define CARRIES 64u
#define FLIGHTS 300u
#define READS 16u
#define LATE_NS 2000000u

static struct net_stack *stack;
static struct server server;
static struct cache cache;
static uint8_t *image;
static size_t image_len;

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "tap_web: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *zeroed(size_t align, size_t len)
{
    len = (len + align - 1) & ~(align - 1);
    void *p = aligned_alloc(align, len);
    if (p == NULL) {
        die("memory");
    }
    memset(p, 0, len);
    return p;
}

/* ---------------------------------------------------------------------- disk
 */

static struct {
    uint64_t at_ns, cookie, paddr[CACHE_READ_MAX];
    uint32_t block, count;
} pending[READS];
static unsigned reads;

static int disk_read(struct cache_disk *d, uint32_t block, uint32_t count,
                     const uint64_t *paddr, uint64_t cookie)
{
    (void)d;
    if (reads == READS) {
        return -1;
    }
    pending[reads].at_ns = now_ns(CLOCK_MONOTONIC) + (uint64_t)rand() % LATE_NS;
    pending[reads].cookie = cookie;
    pending[reads].block = block;
    pending[reads].count = count;
    memcpy(pending[reads].paddr, paddr, count * sizeof(*paddr));
    reads++;
    return 0;
}

static void disk_turn(uint64_t now)
{
    for (unsigned i = 0; i < reads;) {
        uint64_t cookie = pending[i].cookie;
        int status = 0;
        if (pending[i].at_ns > now) {
            i++;
            continue;
        }
        for (uint32_t k = 0; k < pending[i].count; k++) {
            size_t at = ((size_t)pending[i].block + k) * SITE_BLOCK;
            if (at + SITE_BLOCK > image_len) {
                status = -1;
                break;
            }
            memcpy((void *)(uintptr_t)pending[i].paddr[k], image + at,
                   SITE_BLOCK);
        }
        pending[i] = pending[--reads];
        cache_done(&cache, cookie, status);
        i = 0;
    }
}

static void read_image(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL || fseek(f, 0, SEEK_END) != 0) {
        die(path);
    }
    image_len = (size_t)ftell(f);
    rewind(f);
    image = malloc(image_len);
    if (image == NULL || fread(image, 1, image_len, f) != image_len) {
        die(path);
    }
    fclose(f);
}

/* -------------------------------------------------------------------- server
 */

static int transmit(struct net_link *l, const struct net_frame *f)
{
    static uint8_t bytes[TAP_FRAME_MAX];
    (void)l;
    tap_write(bytes, tap_flatten(f, bytes));
    return 0;
}

static void input(unsigned budget)
{
    static uint8_t bytes[TAP_FRAME_MAX];
    ssize_t n;
    while (budget-- > 0 && (n = tap_read(bytes)) >= (ssize_t)TAP_HDR) {
        net_input(stack, bytes + TAP_HDR, (size_t)n - TAP_HDR, 0);
    }
}

static void start_stack(uint32_t caps)
{
    static struct net_link link = {.transmit = transmit,
                                   .gso_max = 60000,
                                   .mtu = 1500,
                                   .mac = {2, 0, 0, 0, 9, 2}};
    struct net_config cfg = {.link = &link,
                             .now_ns = now_ns(CLOCK_MONOTONIC),
                             .conns = 1024,
                             .half_open = 64,
                             .time_wait = 1024,
                             .neighbours = 8,
                             .ooo_bufs_conn = 4};
    const size_t pool = 256 * 2048;
    link.caps = caps;
    if (getrandom(cfg.entropy, sizeof(cfg.entropy), 0) < 0) {
        die("entropy");
    }
    stack = net_init(zeroed(64, net_size(&cfg)), &cfg);
    void *mem = zeroed(2048, pool);
    net_pool_add(stack, mem, 0, pool);
    if (net_set_v4(stack, net_v4(10, 9, 0, 2), 24, net_v4(10, 9, 0, 1)) != 0) {
        die("address");
    }
}

static void start_server(uint32_t frames, uint32_t conns)
{
    static struct cache_disk disk = {.read = disk_read};
    struct server_memory m = {
        .flights = zeroed(64, FLIGHTS * sizeof(struct flight)),
        .flight_count = FLIGHTS,
        .carries = zeroed(64, CARRIES * (size_t)CARRY_MAX),
        .carry_count = CARRIES};
    uint8_t *blocks = zeroed(SITE_BLOCK, (size_t)frames * SITE_BLOCK);
    struct conn *c = zeroed(64, conns * sizeof(struct conn));
    cache_init(&cache, zeroed(64, cache_size(frames)), frames, &disk);
    cache_add(&cache, blocks, (uint64_t)(uintptr_t)blocks, frames);
    struct site_super site;
    if (site_super_read(image, image_len / SITE_BLOCK, &site) != SITE_OK) {
        die("the image");
    }
    server_init(&server, &cache, stack, &site, &m);
    server_add_conns(&server, c, (uint64_t)(uintptr_t)c, conns);
    server.now_ns = now_ns(CLOCK_MONOTONIC);
    if (server_listen(&server, 80, conns) != 0) {
        die("listen");
    }
}

/* What main.c does in a turn. */
static void turn(void)
{
    uint64_t now = now_ns(CLOCK_MONOTONIC), d = net_deadline(stack);
    struct pollfd p = {.fd = tap_fd(), .events = POLLIN};
    bool busy = reads != 0 || server_busy(&server) || server.device_waits ||
                cache.starved != NULL;
    int ms = d <= now || busy     ? 0
             : d - now > 20000000 ? 20
                                  : (int)((d - now) / 1000000);
    poll(&p, 1, reads != 0 && ms == 0 && !server_busy(&server) ? 1 : ms);
    server.device_waits = false;
    server.now_ns = now_ns(CLOCK_MONOTONIC);
    server.now_unix = (int64_t)(now_ns(CLOCK_REALTIME) / 1000000000u);
    disk_turn(server.now_ns);
    net_tick(stack, server.now_ns);
    server_turn(&server);
    input(64);
    net_flush(stack);
    cache_kick(&cache);
    if (!cache_ok(&cache)) {
        fprintf(stderr, "tap_web: the cache is in disorder\n");
        abort();
    }
}

int main(int argc, char **argv)
{
    int status = 0;
    if (argc < 6) {
        fprintf(stderr, "usage: tap_web IMAGE FRAMES CONNS CAPS COMMAND...\n");
        return 2;
    }
    read_image(argv[1]);
    const char *why = tap_open();
    if (why != NULL) {
        printf("1..0 # SKIP %s: %s\n", why, strerror(errno));
        return 0;
    }
    start_stack((uint32_t)atoi(argv[4]));
    start_server((uint32_t)atoi(argv[2]), (uint32_t)atoi(argv[3]));
    pid_t child = fork();
    if (child == 0) {
        execvp(argv[5], argv + 5);
        die(argv[5]);
    }
    while (waitpid(child, &status, WNOHANG) == 0) {
        turn();
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
