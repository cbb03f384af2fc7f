/* SPDX-License-Identifier: MIT */
/*
 * The life of a connection: bytes in, requests one after the other, time
 * limits, the end.
 *
 * Requests are parsed where the segment lies. Only what cannot be taken at
 * once (half a request, or one more than RESPONSES allows) is kept, in a carry
 * of bounded size, and the receive window never promises more than it holds.
 *
 * When all carries are taken, a request that comes in pieces is not read: TCP
 * delivers its bytes again, and whoever has been holding a carry for the rest
 * of a head for longer than crowd_ns loses it.
 *
 * What the disk or the device wakes only marks the connection and puts it on
 * the todo list: server_turn does the work, outside of everybody's callbacks.
 */
#include "cheetah/server/server.h"

#define CONN_OF(p, member)                                                     \
    ((struct conn *)(void *)((char *)(p) -                                     \
                             __builtin_offsetof(struct conn, member)))
#define TIMER_GRAIN_NS 1000000u /* a timer may fire this much late */

static const struct tcp_ops OPS;

void conn_todo(struct conn *c)
{
    if (!link_on(&c->todo)) {
        link_append(&c->server->todo, &c->todo);
    }
}

/* ----------------------------------------------------------------- deadlines
 */

static bool in_body(const struct conn *c)
{
    return c->skip != 0 || c->chunks.place != 0;
}

static enum watch watch_of(const struct conn *c)
{
    return c->count != 0                ? WATCH_SEND
           : c->phase != PHASE_READ     ? WATCH_DISK
           : c->closing                 ? WATCH_LINGER
           : c->carry_len || in_body(c) ? WATCH_HEAD
                                        : WATCH_IDLE;
}

static uint64_t limit_of(const struct server *s, enum watch w)
{
    const struct server_limits *l = &s->limits;
    return w == WATCH_IDLE     ? l->idle_ns
           : w == WATCH_HEAD   ? l->head_ns
           : w == WATCH_LINGER ? l->linger_ns
                               : l->send_ns;
}

/* Begin a new wait: `again` also when it is for the same thing. */
static void watch(struct conn *c, bool again)
{
    struct server *s = c->server;
    enum watch w = watch_of(c);
    if (w == c->watch && !again) {
        return;
    }
    c->watch = (uint8_t)w;
    c->deadline_ns = s->now_ns + limit_of(s, w);
    tcp_hold(&c->tcp, w == WATCH_DISK);
    /* A timer that fires early is cheaper than one that moves each time. */
    if (c->timer.at_ns == 0 || c->deadline_ns < c->timer.at_ns) {
        net_timer_start(s->stack, &c->timer, c->deadline_ns);
    }
}

static void finish(struct conn *c)
{
    c->closing = true;
    tcp_finish(&c->tcp);
}

static bool slot_free(const struct conn *c)
{
    const struct response *r = &c->response[(c->first + c->count) % RESPONSES];
    return c->count < RESPONSES && r->flights == 0 && r->page[0] == NULL;
}

/* Answer what could not be read; nothing after it is looked at. */
static void refuse(struct conn *c, unsigned status)
{
    c->req.keep_alive = false;
    c->vary = false;
    response_error(c, status);
}

static void expired(struct conn *c)
{
    if (c->watch == WATCH_IDLE) {
        finish(c);
        watch(c, true);
        return;
    }
    c->server->stats.timeouts++;
    if (c->watch == WATCH_HEAD && in_body(c)) {
        /* Its request has been answered: a 408 would be taken for the answer
           to the next. */
        finish(c);
        watch(c, true);
    } else if (c->watch == WATCH_HEAD && slot_free(c)) {
        c->req.method = HTTP_GET; /* it may not even have come */
        refuse(c, 408);
        watch(c, true);
    } else {
        tcp_abort(&c->tcp);
    }
}

static void timer_fired(struct net_timer *t, struct net_stack *stack)
{
    struct conn *c = CONN_OF(t, timer);
    if (c->server->now_ns + TIMER_GRAIN_NS < c->deadline_ns) {
        net_timer_start(stack, t, c->deadline_ns);
    } else {
        expired(c);
    }
}

/* ------------------------------------------------------------------ requests
 */

/* The request line that begins `head`, for when it has been answered. */
static void log_request(struct conn *c, const uint8_t *head, uint32_t len)
{
    while (len >= 2 && head[0] == '\r') { /* empty lines before it */
        head += 2;
        len -= 2;
    }
    uint32_t n = 0;
    while (n < len && head[n] != '\r') {
        n++;
    }
    c->line_len = (uint16_t)n;
    n = n < LOG_REQUEST_MAX ? n : LOG_REQUEST_MAX;
    __builtin_memcpy(c->line, head, n);
}

static void log_answer(struct conn *c, const struct response *r,
                       unsigned status)
{
    struct log_entry e = {.peer = c->tcp.remote,
                          .unix = c->server->now_unix,
                          .request = c->line,
                          .len = c->line_len,
                          .status = status,
                          .bytes = r->text_len};
    struct span span;
    for (unsigned k = 2; response_span(r, k, &span); k++) {
        e.bytes += span.len;
    }
    e.bytes -= r->page_head;
    log_add(c->server->log, &e);
    c->line_len = 0;
}

void conn_answered(struct conn *c, struct response *r, unsigned status)
{
    struct server_stats *st = &c->server->stats;
    r->start = c->end;
    struct span span;
    for (unsigned k = 0; response_span(r, k, &span); k++) {
        c->end += span.len;
    }
    r->end = c->end;
    c->count++;
    c->phase = PHASE_READ;
    st->requests++;
    st->status_2xx += status / 100 == 2;
    st->status_3xx += status / 100 == 3;
    st->status_4xx += status / 100 == 4;
    st->status_5xx += status / 100 == 5;
    if (c->server->log != NULL) {
        log_answer(c, r, status);
    }
    tcp_send_limit(&c->tcp, c->end);
    if (!c->req.keep_alive) {
        finish(c);
    }
}

static bool can_read(const struct conn *c)
{
    return c->phase == PHASE_READ && !c->closing && slot_free(c);
}

/* Read past the body of the request before; how many bytes of it. */
static uint32_t skip_body(struct conn *c, const uint8_t *p, uint32_t len)
{
    if (c->skip != 0) {
        uint32_t n = c->skip < len ? (uint32_t)c->skip : len;
        c->skip -= n;
        return n;
    }
    int n = http_chunks_skip(&c->chunks, p, len);
    if (n < 0) {
        /* Its request has been answered: where the next begins is unknown. */
        finish(c);
        return len;
    }
    return (uint32_t)n;
}

/* What the answer depends on may outlast the bytes of the segment, and is more
   than is kept of a request: the head must stay until it is answered. */
static bool head_must_stay(const struct http_request *r)
{
    return r->query_len > QUERY_MAX || http_tags_more(r);
}

/* Read requests from [p, p + len); how much of it is done with. */
static uint32_t consume(struct conn *c, const uint8_t *p, uint32_t len)
{
    uint32_t used = 0;
    while (used < len && can_read(c)) {
        if (in_body(c)) {
            used += skip_body(c, p + used, len - used);
            continue;
        }
        int n = http_parse(p + used, len - used, c->server->now_unix, &c->req);
        if (n == 0) {
            c->stale = true;
            break;
        }
        if (n < 0) {
            refuse(c, (unsigned)-n);
            break;
        }
        if (head_must_stay(&c->req)) {
            if (p + used != c->carry) {
                break;
            }
            c->head_len = (uint32_t)n;
        }
        if (c->server->log != NULL) {
            log_request(c, p + used, (uint32_t)n);
        }
        c->skip = c->req.body_len;
        if (c->req.chunked) {
            http_chunks_begin(&c->chunks);
        }
        lookup_start(c);
        if (c->head_len != 0) {
            break;
        }
        used += (uint32_t)n;
    }
    return c->closing ? len : used;
}

static void carry_free(struct conn *c)
{
    struct server *s = c->server;
    if (c->carry != NULL) {
        __builtin_memcpy(c->carry, &s->free_carries, sizeof(void *));
        s->free_carries = c->carry;
        c->carry = NULL;
        link_remove(&c->carrying);
    }
    c->carry_len = c->head_len = 0;
    c->stale = false;
}

static bool has_newline(const uint8_t *p, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        if (p[i] == '\n') {
            return true;
        }
    }
    return false;
}

/* All are taken: end the request that has been coming for longest, if that is
   a while. */
static void carry_recall(struct server *s)
{
    const struct conn_link *l = s->carriers.next;
    for (; l != &s->carriers; l = l->next) {
        struct conn *c = CONN_OF(l, carrying);
        uint64_t since_ns = c->deadline_ns - s->limits.head_ns;
        if (c->watch == WATCH_HEAD &&
            s->now_ns - since_ns > s->limits.crowd_ns) {
            expired(c);
            carry_free(c);
            return;
        }
    }
}

static void carry_take(struct conn *c)
{
    struct server *s = c->server;
    if (s->free_carries == NULL) {
        carry_recall(s);
    }
    c->carry = s->free_carries;
    if (c->carry != NULL) {
        __builtin_memcpy(&s->free_carries, c->carry, sizeof(void *));
        link_append(&s->carriers, &c->carrying);
    }
}

/* Keep bytes for later; how many. */
static uint32_t carry_add(struct conn *c, const uint8_t *p, uint32_t len)
{
    struct server *s = c->server;
    if (c->carry == NULL) {
        carry_take(c);
    }
    uint32_t room = c->carry != NULL ? CARRY_MAX - c->carry_len : 0;
    len = len < room ? len : room;
    if (len != 0) {
        __builtin_memcpy(c->carry + c->carry_len, p, len);
        c->carry_len += len;
        s->stats.request_bytes_kept += len;
        /* Less than a line more cannot complete a head. */
        if (c->carry_len >= HTTP_HEAD_MAX || in_body(c) ||
            has_newline(p, len)) {
            c->stale = false;
        }
    }
    return len;
}

static void carry_drop(struct conn *c, uint32_t len)
{
    c->carry_len -= len;
    if (len != 0 && c->carry_len == 0) {
        carry_free(c);
    } else if (len != 0) {
        __builtin_memmove(c->carry, c->carry + len, c->carry_len);
    }
}

/* Read what was kept, as far as that is possible now. */
static void carry_read(struct conn *c)
{
    uint32_t used;
    do {
        used = 0;
        if (c->head_len == 0 && c->carry_len != 0 && !c->stale) {
            used = consume(c, c->carry, c->carry_len);
        }
        if (c->head_len != 0 && c->phase == PHASE_READ) {
            used = c->head_len;
            c->head_len = 0;
        }
        carry_drop(c, used);
    } while (used != 0);
}

/* After anything happened: close what is over, promise what there is room
   for, set the clock. */
static void settle(struct conn *c, bool progress)
{
    if (c->peer_done && !c->closing && c->phase == PHASE_READ &&
        (c->carry_len == 0 || c->stale)) {
        finish(c);
    }
    if (c->closing) {
        carry_free(c);
    }
    if (c->count < RESPONSES && !slot_free(c)) {
        c->server->device_waits = true;
    }
    tcp_receive_window(&c->tcp, CARRY_MAX - c->carry_len);
    watch(c, progress);
}

static uint32_t received(struct tcp_conn *t, const void *data, uint32_t len)
{
    struct conn *c = conn_of(t);
    const uint8_t *p = data;
    uint32_t used = 0;
    if (c->closing) {
        return len;
    }
    if (c->carry_len == 0) {
        used = consume(c, p, len);
    }
    if (used < len && !c->closing) {
        used += carry_add(c, p + used, len - used);
        carry_read(c);
    }
    settle(c, false);
    return c->closing ? len : used;
}

/* ------------------------------------------------------------------- the rest
 */

static void acked(struct tcp_conn *t, uint64_t upto)
{
    struct conn *c = conn_of(t);
    for (;;) {
        if (c->count == 0) {
            link_remove(&c->holder);
            break;
        }
        struct response *r = &c->response[c->first];
        response_acked(c, r, upto);
        if (r->live) {
            /* Most recent progress: the last to be asked for its holds. */
            link_append(&c->server->holders, &c->holder);
            break;
        }
        c->first = (c->first + 1) % RESPONSES;
        c->count--;
    }
    carry_read(c);
    settle(c, true);
}

static void finished(struct tcp_conn *t)
{
    struct conn *c = conn_of(t);
    c->peer_done = true;
    /* No line will complete it any more: it is looked at a last time. */
    c->stale = false;
    carry_read(c);
    settle(c, false);
}

static void lookup_wake(struct cache_waiter *w, int status)
{
    struct conn *c = CONN_OF(w, lookup_wait);
    c->lookup_woken = true;
    c->lookup_status = status;
    conn_todo(c);
}

static void body_wake(struct cache_waiter *w, int status)
{
    struct conn *c = CONN_OF(w, body_wait);
    c->body_woken = true;
    c->body_status = status;
    conn_todo(c);
}

static void conn_free(struct conn *c)
{
    struct server *s = c->server;
    link_remove(&c->todo);
    c->free_next = s->free_conns;
    s->free_conns = c;
    s->live--;
}

/* Give one connection's holds back: the one that waits longest for an ACK. */
static bool pressure(void *ctx)
{
    struct server *s = ctx;
    if (!link_on(&s->holders)) {
        return false;
    }
    struct conn *c = CONN_OF(s->holders.next, holder);
    link_remove(&c->holder);
    for (uint32_t i = 0; i < c->count; i++) {
        response_drop(c, &c->response[(c->first + i) % RESPONSES]);
    }
    return true;
}

static struct tcp_conn *accepted(struct tcp_listener *l,
                                 const struct net_endpoint *peer)
{
    struct server *s =
        (struct server *)(void *)((char *)l -
                                  __builtin_offsetof(struct server, listener));
    (void)peer;
    if (s->free_conns == NULL && s->more_conns != NULL) {
        (void)s->more_conns(s);
    }
    struct conn *c = s->free_conns;
    if (c == NULL) {
        s->stats.refused++;
        return NULL;
    }
    s->free_conns = c->free_next;
    s->live++;
    s->stats.connections++;
    uint64_t paddr = c->paddr;
    __builtin_memset(c, 0, sizeof(*c));
    c->paddr = paddr;
    c->server = s;
    c->timer.fire = timer_fired;
    c->lookup_wait.wake = lookup_wake;
    c->body_wait.wake = body_wake;
    link_init(&c->holder);
    link_init(&c->carrying);
    link_init(&c->todo);
    return &c->tcp;
}

static void established(struct tcp_conn *t)
{
    watch(conn_of(t), true);
}

static void closed(struct tcp_conn *t, enum tcp_reason why)
{
    struct conn *c = conn_of(t);
    struct cache *cache = c->server->cache;
    c->server->stats.recycled += why == TCP_CROWDED;
    net_timer_stop(c->server->stack, &c->timer);
    cache_cancel(cache, &c->lookup_wait);
    cache_cancel(cache, &c->body_wait);
    carry_free(c);
    link_remove(&c->holder);
    for (unsigned i = 0; i < RESPONSES; i++) {
        struct response *r = &c->response[i];
        if (r->live) {
            response_drop(c, r);
            r->live = false;
        }
        response_idle(c, r);
    }
    c->dead = true;
    conn_todo(c);
}

static const struct tcp_ops OPS = {
    .accept = accepted,
    .established = established,
    .gather = gather,
    .received = received,
    .finished = finished,
    .acked = acked,
    .closed = closed,
};

static void conn_turn(struct conn *c)
{
    if (c->dead) {
        if (c->flights == 0) {
            conn_free(c);
        } else {
            c->server->device_waits = true;
        }
        return;
    }
    if (c->body_woken) {
        c->body_woken = false;
        gather_woken(c, c->body_status);
    } else if (c->resume) {
        c->resume = false;
        tcp_ready(&c->tcp);
    }
    if (c->lookup_woken) {
        c->lookup_woken = false;
        lookup_resume(c, c->lookup_status);
    }
    carry_read(c);
    settle(c, false);
}

void server_turn(struct server *s)
{
    gather_give_back(s);
    /* Those who come back in this turn wait for the next. */
    struct conn_link now = {&now, &now};
    while (link_on(&s->todo)) {
        struct conn_link *l = s->todo.next;
        link_append(&now, l);
    }
    while (link_on(&now)) {
        struct conn_link *l = now.next;
        link_remove(l);
        conn_turn(CONN_OF(l, todo));
    }
}

bool server_busy(const struct server *s)
{
    return link_on(&s->todo);
}

void server_init(struct server *s, struct cache *cache, struct net_stack *stack,
                 const struct site_super *site, const struct server_memory *m)
{
    __builtin_memset(s, 0, sizeof(*s));
    s->cache = cache;
    s->stack = stack;
    s->site = *site;
    s->limits = (struct server_limits){.head_ns = 10000000000u,
                                       .crowd_ns = 1000000000u,
                                       .idle_ns = 15000000000u,
                                       .send_ns = 60000000000u,
                                       .stall_ns = 5000000000u,
                                       .linger_ns = 10000000000u};
    s->date_unix = -1;
    link_init(&s->holders);
    link_init(&s->carriers);
    link_init(&s->todo);
    for (uint32_t i = 0; i < m->flight_count; i++) {
        m->flights[i].server = s;
        m->flights[i].next = s->free_flights;
        s->free_flights = &m->flights[i];
    }
    for (uint32_t i = 0; i < m->carry_count; i++) {
        uint8_t *carry = m->carries + (size_t)i * CARRY_MAX;
        __builtin_memcpy(carry, &s->free_carries, sizeof(void *));
        s->free_carries = carry;
    }
    cache->pressure = pressure;
    cache->ctx = s;
}

void server_add_conns(struct server *s, void *conns, uint64_t paddr,
                      uint32_t count)
{
    for (uint32_t i = count; i-- > 0;) {
        struct conn *c = (struct conn *)conns + i;
        c->paddr = paddr + i * sizeof(struct conn);
        c->free_next = s->free_conns;
        s->free_conns = c;
    }
}

int server_listen(struct server *s, uint16_t port, uint32_t conns)
{
    /* Our own limits speak HTTP. Who was answered gives way at once, who was
       not only if it does nothing. */
    s->room = (struct tcp_room){.max = conns,
                                .fresh_ns = s->limits.stall_ns,
                                .stall_ns = s->limits.stall_ns};
    s->listener = (struct tcp_listener){
        .ops = &OPS, .port = port, .window = CARRY_MAX, .room = &s->room};
    return tcp_listen(s->stack, &s->listener);
}
