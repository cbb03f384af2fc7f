/* SPDX-License-Identifier: MIT */
/*
 * The server without its environment: everything between a TCP engine, a
 * cache of disk blocks and a clock. main.c drives it in Pavise; tests drive it
 * on the host.
 *
 *   conn.c      life of a connection: requests in, time limits, the end
 *   lookup.c    from a request to a response: index, record, preconditions
 *   response.c  what a response consists of, as spans of bytes in place
 *   gather.c    which bytes TCP is to send, where they are, what they sum to
 *   status.c    the pages below /.pavise/
 *   log.c       the access log, if there is one
 *
 * Nothing is sent from memory of the server but the few lines of a head that
 * depend on the request: a connection has no send buffer. What TCP wants, and
 * wants again, is looked up in the cache each time.
 */
#pragma once

#include "cheetah/http/http.h"
#include "cheetah/server/cache.h"
#include "cheetah/server/log.h"
#include "cheetah/site/date.h"
#include "cheetah/site/site.h"
#include "libos/libos/tcp.h"
#include "libos/libos/timer.h"

#define RESPONSES 4u   /* answered and not yet acknowledged, per connection */
#define LEAD_200 54u   /* bytes of status line and Date line of a 200 */
#define LEAD_MAX 256u  /* bytes of a head that depend on the request */
#define QUERY_MAX 256u /* bytes of a query that are kept beside the head */
#define PAGE_FRAMES 3u /* frames of a redirection: a Location and a target */
/* Bytes of requests that wait: a head, and more than a segment, since a sender
   may leave the last part of one in a window unused (RFC 9293 s3.8.6.2.1). */
#define CARRY_MAX (HTTP_HEAD_MAX + 2048u)

#define SERVER_STATS(X)                                                        \
    X(connections, "connections accepted")                                     \
    X(refused, "connections refused for want of memory")                       \
    X(recycled, "connections closed to make room")                             \
    X(requests, "requests answered")                                           \
    X(status_2xx, "answers 2xx")                                               \
    X(status_3xx, "answers 3xx")                                               \
    X(status_4xx, "answers 4xx")                                               \
    X(status_5xx, "answers 5xx")                                               \
    X(timeouts, "connections that took too long")                              \
    X(body_bytes_in_place, "bytes of body given to the device in place")       \
    X(body_bytes_copied, "bytes of body copied")                               \
    X(head_bytes_written, "bytes of response heads written")                   \
    X(request_bytes_kept, "bytes of requests kept for later")                  \
    X(damaged, "records of the site image that broke their promises")          \
    X(disk_errors, "answers spoiled by the disk")

struct server_stats {
#define SERVER_STAT_FIELD(name, text) uint64_t name;
    SERVER_STATS(SERVER_STAT_FIELD)
#undef SERVER_STAT_FIELD
};

/* What the owner alone knows: of the link below the stack, of the console
   behind the log, and of the machine. Filled by server.observe. */
#define LINK_STATS(X)                                                          \
    X(rx_dropped, "frames lost to a full receive ring")                        \
    X(tx_refused, "frames the kernel did not let out")                         \
    X(log_lost, "lines of the access log lost to a slow console")

struct link_stats {
#define LINK_STAT_FIELD(name, text) uint64_t name;
    LINK_STATS(LINK_STAT_FIELD)
#undef LINK_STAT_FIELD
};

#define MACHINE_STATS(X)                                                       \
    X(cpus, "processors")                                                      \
    X(tsc_khz, "ticks of the timestamp counter in a millisecond")              \
    X(up_ticks, "ticks since the kernel was entered")                          \
    X(idle_ticks, "ticks with nothing to run, of all processors")              \
    X(demux_ticks, "ticks spent to find whose packet it is")                   \
    X(slices, "slices given to environments")                                  \
    X(syscalls, "system calls")                                                \
    X(faults, "faults of environments")                                        \
    X(interrupts, "interrupts")                                                \
    X(frames_free, "page frames that are free")                                \
    X(rx_unowned, "packets that nobody wanted")                                \
    X(rx_overrun, "packets lost to full receive rings, anybody's")             \
    X(rx_starved, "times the card had no buffer left, and dropped")

struct machine_stats {
#define MACHINE_STAT_FIELD(name, text) uint64_t name;
    MACHINE_STATS(MACHINE_STAT_FIELD)
#undef MACHINE_STAT_FIELD
};

/* Time limits on what a client controls, nanoseconds. */
struct server_limits {
    uint64_t head_ns;   /* from a request's first byte to its last */
    uint64_t crowd_ns;  /* the same, when others need the carry */
    uint64_t idle_ns;   /* between requests */
    uint64_t send_ns;   /* without progress on an answer */
    uint64_t stall_ns;  /* the same, and from the handshake to a request, when
                           others need the connection */
    uint64_t linger_ns; /* after our last byte, until the peer closes */
};

/*
 * One response on its way. Its bytes are, in this order: the lead (written
 * here), the tail of a preformatted head (in the extent's first block), then
 * one range of the body, or parts, or a generated page.
 */
struct response {
    uint64_t start, end; /* offsets in the stream */
    uint64_t body_len;   /* of the representation */
    uint32_t extent;     /* first block; 0: nothing from disk */
    uint32_t body_off;   /* bytes from the extent's start */
    uint32_t sums_off;   /* the same */
    uint16_t tail_off;   /* the same */
    uint16_t tail_len, tail_sum;
    uint16_t lead_len;
    uint16_t text_len;         /* bytes of lead that are body already */
    uint16_t page_len;         /* bytes of generated pages */
    uint16_t page_head;        /* of them, those that belong to the head */
    uint8_t parts;             /* ranges of body; more than one: multipart */
    bool live;                 /* not all acknowledged */
    uint32_t flights;          /* frames that refer to lead or page */
    bool holds_head;           /* the extent's first block */
    uint32_t hold_lo, hold_hi; /* blocks of the extent held for the body */
    uint32_t ahead;            /* of the extent, read ahead up to here */
    uint16_t part_len[HTTP_RANGES_MAX + 1];
    struct http_range range[HTTP_RANGES_MAX];
    struct cache_block *page[PAGE_FRAMES]; /* part heads, or generated pages */
    char lead[LEAD_MAX];
};
#define PART_STRIDE 256u /* between part heads in page[0] */

enum phase {
    PHASE_READ,   /* waiting for a request */
    PHASE_INDEX,  /* for a block of the index */
    PHASE_RECORD, /* for an extent's first block */
};

/* What a connection's deadline is about. */
enum watch { WATCH_IDLE, WATCH_HEAD, WATCH_DISK, WATCH_SEND, WATCH_LINGER };

struct conn_link {
    struct conn_link *next, *prev;
};

/* Lies in memory the device can read, for the sake of the leads. */
struct conn {
    struct tcp_conn tcp; /* first */
    struct server *server;
    struct conn *free_next;
    uint64_t paddr;                          /* of this struct */
    struct conn_link holder, carrying, todo; /* in the server's lists */
    struct net_timer timer;
    uint64_t deadline_ns;
    uint8_t watch;  /* enum watch */
    uint8_t phase;  /* enum phase */
    bool closing;   /* nothing more is read */
    bool peer_done; /* the peer will send no more */
    bool dead;      /* the engine has let go; frames still refer to it */
    bool vary;      /* the answer depends on Accept-Encoding */
    bool stale;     /* what is carried is less than a request */
    /* What to do when its turn comes: */
    bool lookup_woken, body_woken, resume;
    int lookup_status, body_status;
    uint32_t flights;          /* frames that refer to this memory */
    uint32_t first, count;     /* live responses, modulo RESPONSES */
    uint64_t end;              /* of the stream so far */
    uint64_t skip;             /* bytes of a request body to read past */
    struct http_chunks chunks; /* the same, of a chunked one */
    uint8_t *carry;            /* CARRY_MAX bytes, or NULL */
    uint32_t carry_len;
    uint32_t head_len; /* of it, a head that is read until it is answered */
    struct cache_waiter lookup_wait, body_wait;
    uint32_t body_block; /* of the extent, that body_wait is about */
    uint64_t hash[2];
    uint32_t extent; /* chosen */
    struct http_request req;
    struct response response[RESPONSES];
    uint8_t query[QUERY_MAX]; /* req.query_len of it, without head_len */
    /* For the log: the request line, as much as is kept of it. */
    uint16_t line_len; /* of the whole line; 0: none could be read */
    char line[LOG_REQUEST_MAX];
};

/* Frames under way: keeps the blocks of one gather in place. */
struct flight {
    struct net_pin pin; /* first */
    struct flight *next;
    struct server *server;
    struct conn *conn; /* whose lead or page it refers to, or NULL */
    uint8_t slots;     /* bit i: refers to response[i] */
    uint8_t count;
    struct cache_block *block[NET_PIECES_MAX];
};

/* Memory for the server besides connections, taken at start. */
struct server_memory {
    struct flight *flights; /* zeroed; at least the transmit ring's slots */
    uint32_t flight_count;
    uint8_t *carries; /* carry_count times CARRY_MAX */
    uint32_t carry_count;
};

struct server {
    struct cache *cache;
    struct net_stack *stack;
    struct site_super site;
    struct server_limits limits;
    uint64_t now_ns;   /* set by the owner, once per turn */
    int64_t now_unix;  /* the same, seconds */
    int64_t date_unix; /* what `date` says */
    char date[DATE_LEN];
    char lead[LEAD_200]; /* of a 200 that keeps the connection, with date */
    struct tcp_listener listener;
    struct tcp_room room; /* its connections'; see server_listen */
    /* A block of the image breaks a promise of the format. Optional. */
    void (*damaged)(struct server *s, uint32_t block);
    /* server_add_conns more; false: no more. Optional. */
    bool (*more_conns)(struct server *s);
    struct conn *free_conns;
    struct flight *free_flights;
    struct flight *last_flight; /* given to the engine, maybe never used */
    uint8_t *free_carries;      /* linked through their first bytes */
    struct conn_link holders;   /* least recent progress first */
    struct conn_link carriers;  /* of a carry, longest first */
    struct conn_link todo;
    uint32_t live;          /* connections */
    bool device_waits;      /* somebody waits for frames to leave; set here,
                               cleared by the owner when it watches for that */
    struct access_log *log; /* or NULL */
    struct link_stats link;
    struct machine_stats machine;
    void (*observe)(struct server *s); /* fills both; NULL: nothing does */
    uint8_t path[SITE_PATH_MAX]; /* scratch: of the request being looked up */
    struct server_stats stats;
};

/*
 * Prepare a server; then cache->pressure is its. `site` was judged by
 * site_super_read. Call server_listen next.
 */
void server_init(struct server *s, struct cache *cache, struct net_stack *stack,
                 const struct site_super *site, const struct server_memory *m);

/* Give room for `count` connections: zeroed structs, contiguous at `paddr`. */
void server_add_conns(struct server *s, void *conns, uint64_t paddr,
                      uint32_t count);

/* Accept up to `conns` connections at a time on `port`: 0 or -NET_E_*. */
int server_listen(struct server *s, uint16_t port, uint32_t conns);

/* Do what became possible since the last turn. Before net_flush. */
void server_turn(struct server *s);

/* Whether server_turn has something to do. */
bool server_busy(const struct server *s);

/* --------------------------------------------- between the files of the server
 */

static inline struct conn *conn_of(struct tcp_conn *t)
{
    return (struct conn *)(void *)t;
}

/* A circular list whose head is a conn_link of its own. */
static inline void link_init(struct conn_link *l)
{
    l->next = l->prev = l;
}
static inline bool link_on(const struct conn_link *l)
{
    return l->next != l;
}
static inline void link_remove(struct conn_link *l)
{
    l->next->prev = l->prev;
    l->prev->next = l->next;
    link_init(l);
}
static inline void link_append(struct conn_link *head, struct conn_link *l)
{
    link_remove(l);
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}

/* conn.c */
void conn_todo(struct conn *c);
void conn_answered(struct conn *c, struct response *r, unsigned status);

/* lookup.c */
void lookup_start(struct conn *c); /* c->req is sound */
void lookup_resume(struct conn *c, int status);

/* response.c */
enum span_kind { SPAN_LEAD, SPAN_TAIL, SPAN_BODY, SPAN_PAGE };
struct span {
    enum span_kind kind;
    uint64_t from; /* in the body, or in the page */
    uint64_t len;
};
bool response_span(const struct response *r, unsigned k, struct span *out);
struct response *response_begin(struct conn *c, unsigned status);
void response_error(struct conn *c, unsigned status);
void response_page(struct conn *c, struct response *r, const char *type,
                   uint16_t len);
void response_site(struct conn *c, struct cache_block *head);
void response_hold(struct conn *c, struct response *r, uint32_t k,
                   struct cache_block *b);
void response_acked(struct conn *c, struct response *r, uint64_t upto);
void response_drop(struct conn *c, struct response *r);
void response_idle(struct conn *c, struct response *r);

/* gather.c */
uint32_t gather(struct tcp_conn *t, uint64_t offset, uint32_t len,
                struct tcp_gather *g);
void gather_woken(struct conn *c, int status);
void gather_give_back(struct server *s); /* a gather that made no frame */

/* status.c: true if the path is ours, and answered. */
bool status_page(struct conn *c, const uint8_t *path, size_t len);

/* Text that stops at its end instead of passing it. */
struct out {
    char *p, *end;
};
void put_text(struct out *o, const char *s);
void put_number(struct out *o, uint64_t n);
