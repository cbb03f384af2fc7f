/* SPDX-License-Identifier: MIT */
/*
 * A whole server on the host: a site made by mksite on a disk that answers
 * late and in any order, two real TCP stacks on a fake wire, and clients whose
 * bytes a test can look at.
 */
#pragma once

#include "cheetah/server/server.h"
#include "tests/unit/net/fakenet.h"

struct file {
    const char *path; /* in the site */
    size_t len;
    bool text;
};

/* The files of the test site, and their contents. */
extern const struct file FILES[];
extern const size_t FILES_COUNT;
void file_fill(const struct file *f, uint8_t *out);

struct client {
    struct tcp_conn c; /* first */
    const char *request;
    size_t request_len;
    size_t chunk;    /* bytes of request announced at a time; 0: all */
    size_t said;     /* bytes announced */
    uint32_t window; /* it takes this much; 0: the default */
    bool finish;     /* half-close after the request */
    uint8_t *got;
    size_t len, room;
    bool open, peer_finished, closed;
    enum tcp_reason why;
};

struct fake_site {
    struct fake_net net;
    struct fake_host host[2]; /* 0 serves */
    struct server server;
    struct cache cache;
    struct cache_disk disk;
    struct {
        uint64_t at_ns, cookie;
        uint32_t block, count;
        uint64_t paddr[CACHE_READ_MAX];
    } pending[16];
    unsigned reads;
    unsigned fail_percent;
    uint8_t *image;
    size_t image_len;
    void *tables, *frames, *conns, *flights, *carries;
    uint32_t conn_count, flight_count;
};

struct fake_site_options {
    uint32_t caps;   /* NET_CAP_* of the server's link */
    uint32_t frames; /* of the cache */
    uint32_t conns;
    uint32_t loss; /* of 1000 */
    uint64_t seed;
};

/* Make the image once per process; dies if mksite fails. */
void fake_image_make(void);

void fake_site_init(struct fake_site *s, const struct fake_site_options *o);

/* Also checks that nothing is left claimed. All clients must be closed. */
void fake_site_finish(struct fake_site *s);

void client_start(struct fake_site *s, struct client *k, const char *request);
void client_free(struct client *k);

/* Run until `stop(ctx)`, for at most `ns`; false if time ran out. */
bool fake_site_run(struct fake_site *s, uint64_t ns, bool (*stop)(void *),
                   void *ctx);

/* Run until the server closed, or for `ns`. */
bool client_run(struct fake_site *s, struct client *k, uint64_t ns);

/* One answer in what a client got. */
struct answer {
    int status;
    const char *head;
    size_t head_len;
    const uint8_t *body;
    size_t body_len;
};

/* Read the answer at *at, which moves past it; false if it is not whole. */
bool answer_read(const struct client *k, size_t *at, bool head_only,
                 struct answer *out);

/* A field's value, in a static buffer; NULL if absent. */
const char *answer_field(const struct answer *a, const char *name);
