/* SPDX-License-Identifier: MIT */
/*
 * The stack against Linux's TCP. The program makes itself a user and a network
 * namespace, so it needs no privilege, and in it a TAP device: Linux is
 * 10.9.0.1 on one end, the stack 10.9.0.2 on the other. One thread turns the
 * stack's loop, the other is a Linux program with sockets. Loss, repetition
 * and reordering are made here, between the two.
 *
 * Speaks TAP, the other one; skips by name what the machine does not permit.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "libos/libos/net.h"
#include "libos/libos/tcp.h"
#include "libos/libos/udp.h"
#include "tests/unit/net/tap.h"

#define CONNS 600
#define RING 65536u
#define PERIOD 65521u

static uint8_t pattern[PERIOD * 3];
static int wake_fd;
static struct net_stack *stack;
static atomic_uint loss_of_1000, reorder_of_1000;
static atomic_bool stop_loop;
static uint64_t dropped;

/* ------------------------------------------------------------------- checks */

static unsigned checks, failures;

static void check(bool ok, const char *name)
{
    printf("%sok %u - %s\n", ok ? "" : "not ", ++checks, name);
    fflush(stdout);
    failures += !ok;
}

static void skip_all(const char *why)
{
    printf("1..0 # SKIP %s: %s\n", why, strerror(errno));
    exit(0);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --------------------------------------------------------------------- link */

static bool chance(uint32_t of_1000)
{
    return of_1000 && (uint32_t)rand() % 1000 < of_1000;
}

static int transmit(struct net_link *l, const struct net_frame *f)
{
    static uint8_t bytes[2][TAP_FRAME_MAX];
    static size_t held;
    uint8_t *at = bytes[0];
    size_t len = tap_flatten(f, at);
    (void)l;
    if (chance(loss_of_1000)) {
        dropped++;
        return 0;
    }
    if (!held && chance(reorder_of_1000)) {
        memcpy(bytes[1], bytes[0], len);
        held = len;
        return 0;
    }
    tap_write(at, len);
    if (held) {
        tap_write(bytes[1], held);
        held = 0;
    }
    return 0;
}

static struct net_link tap_link = {
    .transmit = transmit,
    .gso_max = 60000,
    .mtu = 1500,
    .mac = {2, 0, 0, 0, 9, 2},
};

static void read_tap(void)
{
    static uint8_t bytes[TAP_FRAME_MAX];
    for (int i = 0; i < 64; i++) {
        ssize_t n = tap_read(bytes);
        if (n < (ssize_t)TAP_HDR) {
            return;
        }
        if (chance(loss_of_1000)) {
            dropped++;
            continue;
        }
        net_input(stack, bytes + TAP_HDR, (size_t)n - TAP_HDR, 0);
    }
}

static void start_client(void);

static void *loop(void *arg)
{
    struct pollfd p[2] = {{tap_fd(), POLLIN, 0}, {wake_fd, POLLIN, 0}};
    uint64_t v;
    while (!stop_loop) {
        uint64_t now = now_ns(), d = net_deadline(stack);
        int ms = d <= now             ? 0
                 : d - now > 50000000 ? 50
                                      : (int)((d - now) / 1000000);
        poll(p, 2, ms);
        net_tick(stack, now_ns());
        if (p[1].revents && read(wake_fd, &v, sizeof v) > 0) {
            start_client();
        }
        read_tap();
        net_flush(stack);
    }
    return arg;
}

/* ---------------------------------------------------- services on the stack */

enum { ECHO = 7, DISCARD = 9, SOURCE = 19 };

/* ECHO sends back. SOURCE reads 8 bytes, a count, and sends as many. DISCARD
   compares with the pattern, and says at the end how many were right. */
struct service {
    struct tcp_conn c;
    struct net_pin pin;
    bool used;
    uint16_t kind;
    uint64_t got, acked, right, limit;
    uint8_t ring[RING];
    uint8_t said[8];
    bool client; /* opened by us: sends `limit` bytes and reads as many */
};

static struct service *services;
static atomic_uint live, resets, bad_ends, clients_done, clients_ok, refused;

static struct tcp_conn *service_accept(struct tcp_listener *l,
                                       const struct net_endpoint *peer)
{
    (void)peer;
    for (int i = 0; i < CONNS; i++) {
        struct service *v = &services[i];
        if (!v->used) {
            memset(v, 0, sizeof *v);
            v->used = true;
            v->kind = l->port;
            live++;
            return &v->c;
        }
    }
    return NULL;
}

static struct service *service_of(struct tcp_conn *c)
{
    return (struct service *)(void *)c;
}

static uint32_t one_piece(struct tcp_gather *g, const uint8_t *p, uint32_t len,
                          struct net_pin *pin)
{
    g->piece[0] = (struct net_piece){.paddr = 0, .va = p, .len = len};
    g->count = 1;
    g->pin = pin;
    return len;
}

static uint32_t service_gather(struct tcp_conn *c, uint64_t offset,
                               uint32_t len, struct tcp_gather *g)
{
    struct service *v = service_of(c);
    uint32_t at = (uint32_t)(offset % RING);
    if (v->kind == SOURCE) {
        return one_piece(g, &pattern[offset % PERIOD], len, &v->pin);
    }
    if (v->kind == DISCARD) {
        return one_piece(g, &v->said[offset], len, &v->pin);
    }
    return one_piece(g, &v->ring[at], len < RING - at ? len : RING - at,
                     &v->pin);
}

static void echo_window(struct service *v)
{
    tcp_receive_window(&v->c, RING - (uint32_t)(v->got - v->acked));
}

static uint32_t take_echo(struct service *v, const uint8_t *d, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        v->ring[(v->got + i) % RING] = d[i];
    }
    v->got += len;
    echo_window(v);
    tcp_send_limit(&v->c, v->got);
    return len;
}

static uint32_t service_received(struct tcp_conn *c, const void *data,
                                 uint32_t len)
{
    struct service *v = service_of(c);
    const uint8_t *d = data;
    if (v->kind == ECHO) {
        return take_echo(v, d, len);
    }
    for (uint32_t i = 0; i < len; i++, v->got++) {
        if (v->kind == SOURCE && !v->client && v->got < 8) {
            v->said[v->got] = d[i];
            if (v->got == 7) {
                memcpy(&v->limit, v->said, 8);
                tcp_send_limit(c, v->limit);
                tcp_finish(c);
            }
        }
        v->right += d[i] == pattern[v->got % PERIOD];
    }
    return len;
}

static void service_finished(struct tcp_conn *c)
{
    struct service *v = service_of(c);
    if (v->kind == DISCARD) {
        memcpy(v->said, &v->right, 8);
        tcp_send_limit(c, 8);
    }
    tcp_finish(c);
}

static void service_acked(struct tcp_conn *c, uint64_t upto)
{
    struct service *v = service_of(c);
    v->acked = upto;
    if (v->kind == ECHO) {
        echo_window(v);
    }
}

static void service_established(struct tcp_conn *c)
{
    struct service *v = service_of(c);
    if (v->client) {
        tcp_send_limit(c, v->limit);
        tcp_finish(c);
    }
}

static void service_closed(struct tcp_conn *c, enum tcp_reason why)
{
    struct service *v = service_of(c);
    if (v->client) {
        clients_ok += why == TCP_DONE && v->right == v->limit &&
                      v->got == v->limit && v->acked == v->limit;
        refused += why == TCP_REFUSED;
        clients_done++;
    } else if (why == TCP_RESET) {
        resets++;
    } else if (why != TCP_DONE) {
        fprintf(stderr, "# closed for reason %d\n", why);
        bad_ends++;
    }
    v->used = false;
    live--;
}

static const struct tcp_ops service_ops = {
    .accept = service_accept,
    .established = service_established,
    .gather = service_gather,
    .received = service_received,
    .finished = service_finished,
    .acked = service_acked,
    .closed = service_closed,
};

static struct tcp_listener listeners[3];
static atomic_uint client_port, client_bytes;

/* On the loop's thread: open a connection to Linux. */
static void start_client(void)
{
    struct net_endpoint to = {net_v4(10, 9, 0, 1), (uint16_t)client_port};
    struct service *v =
        service_of(service_accept(&(struct tcp_listener){.port = SOURCE}, &to));

    v->client = true;
    v->limit = client_bytes;
    if (tcp_connect(stack, &v->c, &service_ops, &to, 0)) {
        fprintf(stderr, "# tcp_connect failed\n");
        bad_ends++;
    }
}

static void call_linux(uint16_t port, uint32_t bytes)
{
    uint64_t one = 1;
    client_port = port;
    client_bytes = bytes;
    if (write(wake_fd, &one, sizeof one) < 0) {
        abort();
    }
}

static void udp_echo(struct udp_port *p, const struct net_endpoint *from,
                     const struct net_addr *to, const void *data, uint32_t len)
{
    (void)to;
    (void)udp_send_copy(p, from, data, len);
}

static struct udp_port udp7 = {.received = udp_echo, .port = 7};

static void start_stack(uint32_t caps, uint32_t half_open)
{
    static const uint16_t ports[] = {ECHO, DISCARD, SOURCE};
    struct net_config cfg = {.link = &tap_link,
                             .now_ns = now_ns(),
                             .conns = 1024,
                             .half_open = half_open,
                             .time_wait = 1024,
                             .neighbours = 8,
                             .ooo_bufs_conn = 64};
    size_t pool_bytes = 512 * 2048;
    tap_link.caps = caps;
    for (unsigned i = 0; i < sizeof cfg.entropy; i++) {
        cfg.entropy[i] = (uint8_t)rand();
    }
    void *mem = aligned_alloc(64, (net_size(&cfg) + 63) & ~63ull);
    void *pool = aligned_alloc(2048, pool_bytes);
    stack = net_init(mem, &cfg);
    if (stack == NULL) {
        abort();
    }
    net_pool_add(stack, pool, 0, pool_bytes);
    if (net_set_v4(stack, net_v4(10, 9, 0, 2), 24, net_v4(10, 9, 0, 1))) {
        abort();
    }
    for (int i = 0; i < 3; i++) {
        listeners[i] = (struct tcp_listener){
            .ops = &service_ops, .port = ports[i], .window = RING};
        if (tcp_listen(stack, &listeners[i])) {
            abort();
        }
    }
    if (udp_bind(stack, &udp7)) {
        abort();
    }
}

/* ------------------------------------------------------------ the Linux side
 */

static int dial(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval t = {30, 0};
    int s = socket(AF_INET, SOCK_STREAM, 0);
    inet_pton(AF_INET, "10.9.0.2", &to.sin_addr);
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
    if (connect(s, (struct sockaddr *)&to, sizeof to)) {
        close(s);
        return -1;
    }
    return s;
}

static bool send_all(int s, const void *data, size_t len)
{
    const uint8_t *p = data;
    while (len) {
        ssize_t n = send(s, p, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static bool recv_all(int s, void *data, size_t len)
{
    uint8_t *p = data;
    while (len) {
        ssize_t n = recv(s, p, len, 0);
        if (n <= 0) {
            return false;
        }
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static bool send_pattern(int s, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes;) {
        size_t n = bytes - at < 30000 ? (size_t)(bytes - at) : 30000;
        if (!send_all(s, &pattern[at % PERIOD], n)) {
            return false;
        }
        at += n;
    }
    return true;
}

/* Reads to the end; true when it was `bytes` of the pattern. */
static bool recv_pattern(int s, uint64_t bytes)
{
    static _Thread_local uint8_t buf[60000];
    uint64_t at = 0;

    ssize_t n;
    while ((n = recv(s, buf, sizeof buf, 0)) > 0) {
        if (memcmp(buf, &pattern[at % PERIOD], (size_t)n) != 0) {
            return false;
        }
        at += (uint64_t)n;
    }
    return n == 0 && at == bytes;
}

static bool down(uint64_t bytes, int rcvbuf, unsigned pause_ms)
{
    int s = dial(SOURCE);
    if (s < 0) {
        return false;
    }
    if (rcvbuf) {
        setsockopt(s, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof rcvbuf);
    }
    bool ok = send_all(s, &bytes, 8);
    usleep(pause_ms * 1000);
    ok = ok && recv_pattern(s, bytes);
    close(s);
    return ok;
}

static bool up(uint64_t bytes)
{
    uint64_t right = 0;
    int s = dial(DISCARD);
    bool ok = s >= 0 && send_pattern(s, bytes);
    shutdown(s, SHUT_WR);
    ok = ok && recv_all(s, &right, 8) && right == bytes;
    close(s);
    return ok;
}

struct echo_job {
    int s;
    uint64_t bytes;
    bool ok;
};

static void *echo_sender(void *arg)
{
    struct echo_job *j = arg;
    j->ok = send_pattern(j->s, j->bytes);
    shutdown(j->s, SHUT_WR);
    return NULL;
}

/* With a pause before reading, both windows close. */
static bool echo(uint64_t bytes, unsigned pause_ms)
{
    struct echo_job j = {dial(ECHO), bytes, false};
    pthread_t t;
    if (j.s < 0 || pthread_create(&t, NULL, echo_sender, &j)) {
        return false;
    }
    usleep(pause_ms * 1000);
    bool ok = recv_pattern(j.s, bytes);
    pthread_join(t, NULL);
    close(j.s);
    return ok && j.ok;
}

static bool wait_for(const atomic_uint *v, unsigned want, unsigned ms)
{
    uint64_t end = now_ns() + ms * UINT64_C(1000000);
    while (*v != want && now_ns() < end) {
        usleep(1000);
    }
    return *v == want;
}

/* Many at once, closed in every order there is. */
static bool crowd(unsigned count)
{
    static int s[CONNS];
    struct linger hard = {1, 0};
    unsigned aborted = 0, before = resets;
    bool ok = true;
    char buf[100];
    memset(buf, 'q', sizeof buf);
    for (unsigned i = 0; i < count; i++) {
        s[i] = dial(ECHO);
        ok = ok && s[i] >= 0 && send_all(s[i], buf, sizeof buf);
    }
    char back[100];
    for (unsigned i = 0; i < count && ok; i++) {
        ok = recv_all(s[i], back, sizeof back) && !memcmp(buf, back, 100);
    }
    for (unsigned i = 0; i < count && ok; i++) {
        switch (i % 4) {
        case 0: /* both ways at once */
            close(s[i]);
            break;
        case 1: /* ours first, and wait for theirs */
            shutdown(s[i], SHUT_WR);
            ok = recv(s[i], back, 1, 0) == 0;
            close(s[i]);
            break;
        case 2: /* a reset, which nobody sends again if it is lost */
            if (loss_of_1000) {
                close(s[i]);
                break;
            }
            setsockopt(s[i], SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
            close(s[i]);
            aborted++;
            break;
        default: /* last words and the end together */
            ok = send_all(s[i], buf, 50);
            shutdown(s[i], SHUT_WR);
            ok = ok && recv_all(s[i], back, 50) && recv(s[i], back, 1, 0) == 0;
            close(s[i]);
            break;
        }
    }
    return ok && wait_for(&live, 0, 10000) && resets - before == aborted;
}

/* The stack closes first: it keeps the TIME_WAIT, and its ports come again. */
static bool again_and_again(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (!down(100, 0, 0)) {
            return false;
        }
    }
    return wait_for(&live, 0, 10000);
}

static bool called(uint32_t bytes, bool listening)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(4000)};
    struct echo_job j = {.bytes = bytes};
    unsigned done = clients_done, good = clients_ok, no = refused;
    int one = 1, l = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(l, (struct sockaddr *)&at, sizeof at)) {
        return false;
    }
    if (!listening) {
        call_linux(4000, bytes);
        close(l);
        return wait_for(&clients_done, done + 1, 10000) && refused == no + 1;
    }
    listen(l, 8);
    call_linux(4000, bytes);
    j.s = accept(l, NULL, NULL);
    pthread_t t;
    if (j.s < 0 || pthread_create(&t, NULL, echo_sender, &j)) {
        return false;
    }
    bool ok = recv_pattern(j.s, bytes);
    pthread_join(t, NULL);
    close(j.s);
    close(l);
    return wait_for(&clients_done, done + 1, 10000) && clients_ok == good + 1 &&
           ok && j.ok;
}

static bool udp_works(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(7)};
    struct timeval t = {2, 0};
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    bool ok = true;
    inet_pton(AF_INET, "10.9.0.2", &to.sin_addr);
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    ok = connect(s, (struct sockaddr *)&to, sizeof to) == 0;
    char buf[1472];
    for (size_t len = 0; len <= sizeof buf && ok; len += 184) {
        ok = send(s, pattern, len, 0) == (ssize_t)len;
        ssize_t n = recv(s, buf, sizeof buf, 0);
        ok = ok && n == (ssize_t)len && !memcmp(buf, pattern, len);
    }
    /* A closed port is told of. */
    to.sin_port = htons(99);
    ok = ok && connect(s, (struct sockaddr *)&to, sizeof to) == 0 &&
         send(s, "x", 1, 0) == 1 && recv(s, buf, 1, 0) < 0 &&
         errno == ECONNREFUSED;
    close(s);
    return ok;
}

static bool closed_port_refuses(void)
{
    return dial(81) < 0 && errno == ECONNREFUSED;
}

static uint64_t megabytes(uint64_t n)
{
    const char *e = getenv("NET_MB");
    return (e != NULL ? strtoull(e, NULL, 10) : n) << 20;
}

static void named(bool ok, const char *what, const char *how)
{
    char name[120];
    snprintf(name, sizeof name, "%s, %s", what, how);
    check(ok, name);
}

static void bulk(const char *how, uint64_t bytes)
{
    uint64_t t = now_ns();
    named(down(bytes, 0, 0), "bulk to Linux", how);
    named(up(bytes), "bulk from Linux", how);
    named(echo(bytes, 0), "echo", how);
    named(called((uint32_t)bytes, true), "call to Linux, both ways", how);
    fprintf(stderr, "# %s: %.2f s, %llu frames dropped\n", how,
            (double)(now_ns() - t) / 1e9, (unsigned long long)dropped);
}

static void sysctl(const char *name, const char *value)
{
    char path[100];
    snprintf(path, sizeof path, "/proc/sys/net/ipv4/%s", name);
    tap_setting(path, value);
}

static void with_stack(uint32_t caps, uint32_t half_open, void (*body)(void))
{
    start_stack(caps, half_open);
    stop_loop = false;
    pthread_t t;
    if (pthread_create(&t, NULL, loop, NULL)) {
        abort();
    }
    body();
    wait_for(&live, 0, 20000);
    check(live == 0 && bad_ends == 0, "every connection ended as it should");
    stop_loop = true;
    pthread_join(t, NULL);
}

static void all_of_it(void)
{
    check(udp_works(), "UDP echo and port unreachable");
    check(closed_port_refuses(), "a closed port refuses");
    check(called(1, false), "Linux refuses us");
    bulk("fine weather", megabytes(8));
    check(down(megabytes(1), 4096, 1500), "a reader that sleeps");
    check(echo(megabytes(8), 2500), "an echo whose reader sleeps");
    check(crowd(200), "200 connections, closed in every order");
    check(again_and_again(100), "100 short connections in turn");
    loss_of_1000 = 10;
    reorder_of_1000 = 20;
    bulk("loss 1%, reordering 2%", megabytes(1));
    check(crowd(60), "a crowd in bad weather");
    loss_of_1000 = 50;
    bulk("loss 5%", megabytes(1) / 4);
    loss_of_1000 = 0;
    reorder_of_1000 = 0;
}

static void offloads(void)
{
    bulk("checksum and segmentation offload", megabytes(16));
    loss_of_1000 = 10;
    bulk("offload, loss 1%", megabytes(2));
    loss_of_1000 = 0;
}

static void plain_options(void)
{
    sysctl("tcp_timestamps", "0");
    bulk("no timestamps", megabytes(2));
    loss_of_1000 = 10;
    bulk("no timestamps, loss 1%", megabytes(1));
    sysctl("tcp_sack", "0");
    bulk("no SACK, loss 1%", megabytes(1));
    loss_of_1000 = 0;
    sysctl("tcp_window_scaling", "0");
    bulk("no options", megabytes(2));
    sysctl("tcp_timestamps", "1");
    sysctl("tcp_sack", "1");
    sysctl("tcp_window_scaling", "1");
}

static void cookies(void)
{
    uint64_t before = net_stats(stack)->tcp_cookies_ok;
    check(crowd(100), "100 connections from cookies");
    check(up(megabytes(1)), "bulk over a cookie's connection");
    check(net_stats(stack)->tcp_cookies_ok - before >= 101,
          "they were made from cookies");
}

int main(void)
{
    srand(getenv("NET_SEED") != NULL ? (unsigned)atoi(getenv("NET_SEED")) : 1);
    for (uint32_t i = 0; i < sizeof pattern; i++) {
        uint32_t x = i % PERIOD;
        pattern[i] = (uint8_t)(x * 31 + (x >> 8) * 7);
    }
    services = calloc(CONNS, sizeof *services);
    wake_fd = eventfd(0, EFD_NONBLOCK);
    const char *why = tap_open();
    if (why != NULL) {
        skip_all(why);
    }
    with_stack(0, 256, all_of_it);
    with_stack(NET_CAP_CSUM | NET_CAP_TSO4, 256, offloads);
    with_stack(0, 256, plain_options);
    with_stack(0, 0, cookies);
    printf("1..%u\n", checks);
    return failures != 0;
}
