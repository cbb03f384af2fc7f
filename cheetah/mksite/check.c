/* SPDX-License-Identifier: MIT */
/*
 * Read an image back: --check verifies every byte against the chain
 * superblock -> index and manifest -> extents -> bodies and sums; --list
 * prints the manifest. All numbers come from the image and may lie: each is
 * compared with what holds it before it is used.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cheetah/mksite/mksite.h"
#include "cheetah/site/sha256.h"

#define CHUNK (1u << 20)
#define FAULTS_SHOWN 20

static const char *const ENCODING[SITE_ENCODINGS] = {"br", "gzip", "identity"};

/* A line of the manifest. */
struct line {
    bool alias;
    uint8_t body_sha256[32], meta_sha256[32];
    unsigned status;
    int encoding;
    uint32_t block, blocks;
    uint64_t len;
    char path[SITE_PATH_MAX + 1];
    char target[SITE_PATH_MAX + 1]; /* of an alias */
    size_t path_len;
};

struct checker {
    const char *name;
    int fd;
    struct site_super super;
    uint8_t *index;
    char *manifest;
    uint8_t *chunk;
    uint8_t *used; /* a bit for each block that an extent owns */
    uint32_t paths, extents;
    unsigned faults;
};

static void fault(struct checker *c, const char *path, const char *what)
{
    if (c->faults++ < FAULTS_SHOWN) {
        say_error(path != NULL ? path : c->name, "%s", what);
    }
}

static bool read_at(const struct checker *c, void *buf, size_t len, uint64_t at)
{
    for (char *p = buf; len != 0;) {
        ssize_t n = pread(c->fd, p, len, (off_t)at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        p += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return true;
}

/*
 * Open an image and read its superblock and manifest, which name the rest.
 * Nothing here has been compared with a digest yet.
 */
static bool open_image(struct checker *c, const char *path)
{
    c->name = path;
    c->fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (c->fd < 0 || fstat(c->fd, &st) != 0) {
        say_error(path, "%s", strerror(errno));
        return false;
    }
    off_t size = lseek(c->fd, 0, SEEK_END); /* of a device, too */
    uint8_t block[SITE_BLOCK];
    if (size < (off_t)SITE_BLOCK || !read_at(c, block, sizeof(block), 0)) {
        say_error(path, "too short for a site image");
        return false;
    }
    enum site_error e =
        site_super_read(block, (uint64_t)size / SITE_BLOCK, &c->super);
    if (e != SITE_OK) {
        say_error(path, "%s", site_error_text(e));
        return false;
    }
    /* The superblock is sound, so these sizes are below the file's. */
    c->manifest = must_alloc(NULL, (size_t)c->super.manifest_len + 1);
    if (!read_at(c, c->manifest, (size_t)c->super.manifest_len,
                 (uint64_t)c->super.manifest_block * SITE_BLOCK)) {
        say_error(path, "the manifest cannot be read");
        return false;
    }
    c->manifest[c->super.manifest_len] = 0;
    return true;
}

static bool parse_hex(const char *s, uint8_t out[32])
{
    for (int i = 0; i < 32; i++) {
        unsigned v;
        if (sscanf(s + 2 * (size_t)i, "%2x", &v) != 1) {
            return false;
        }
        out[i] = (uint8_t)v;
    }
    return true;
}

/*
 * A path of the manifest, decoded, as a string of C: a NUL in it would hide
 * what follows.
 */
static bool parse_path(const char *s, size_t len, char *out, size_t *out_len)
{
    /* Each byte of a path may be written as three. */
    if (len > 3 * SITE_PATH_MAX) {
        return false;
    }
    char raw[3 * SITE_PATH_MAX];
    if (!path_unescape(s, len, raw, out_len) || *out_len > SITE_PATH_MAX ||
        *out_len == 0 || memchr(raw, 0, *out_len) != NULL) {
        return false;
    }
    memcpy(out, raw, *out_len);
    out[*out_len] = 0;
    return true;
}

static bool parse_alias(const char *s, struct line *l)
{
    const char *to = s + 6, *gap = strchr(to, ' ');
    l->alias = true;
    size_t n;
    return gap != NULL && parse_path(to, (size_t)(gap - to), l->target, &n) &&
           parse_path(gap + 1, strlen(gap + 1), l->path, &l->path_len);
}

/*
 * A line of an extent: two digests, 64 digits and a blank each, then numbers
 * and the path. sscanf alone would take blanks and signs where none may be.
 */
static bool parse_line(const char *s, struct line *l)
{
    if (strncmp(s, "alias ", 6) == 0) {
        return parse_alias(s, l);
    }
    int at = 0;
    l->alias = false;
    char encoding[16];
    if (strlen(s) < 130 || s[64] != ' ' || s[129] != ' ' ||
        !parse_hex(s, l->body_sha256) || !parse_hex(s + 65, l->meta_sha256) ||
        sscanf(s + 130, "%u %15s %" SCNu32 " %" SCNu32 " %" SCNu64 " %n",
               &l->status, encoding, &l->block, &l->blocks, &l->len,
               &at) != 5 ||
        at == 0) {
        return false;
    }
    for (l->encoding = 0; l->encoding < SITE_ENCODINGS; l->encoding++) {
        if (strcmp(encoding, ENCODING[l->encoding]) == 0) {
            s += 130 + at;
            return parse_path(s, strlen(s), l->path, &l->path_len);
        }
    }
    return false;
}

/*
 * Look a path up as the server does, so that the extent which is checked is
 * the one that it will find.
 */
static const struct site_entry *entry_of(struct checker *c, const char *path,
                                         size_t len)
{
    uint64_t h[2];
    site_hash(path, len, c->super.seed, h);
    uint32_t b = site_index_block(&c->super, h[0]) - c->super.index_block;
    return site_find(c->index + (size_t)b * SITE_BLOCK, h);
}

/* Compare a body with its digest and its prefix sums. */
static void check_body(struct checker *c, const struct line *l,
                       const struct site_record *r, const uint8_t *meta)
{
    uint64_t start = (uint64_t)l->block * SITE_BLOCK + r->body_off;
    const uint16_t *want = (const uint16_t *)(const void *)(meta + r->sums_off);
    struct sums sums = {.prefix = must_alloc(NULL, r->body_off), .count = 1};
    sums.prefix[0] = 0;
    struct sha256 h;
    sha256_init(&h);
    for (uint64_t at = 0; at < r->body_len;) {
        size_t n =
            r->body_len - at < CHUNK ? (size_t)(r->body_len - at) : CHUNK;
        if (!read_at(c, c->chunk, n, start + at)) {
            fault(c, l->path, "its body cannot be read");
            free(sums.prefix);
            return;
        }
        sha256_add(&h, c->chunk, n);
        sums_add(&sums, c->chunk, n);
        at += n;
    }
    uint8_t have[32];
    sha256_finish(&h, have);
    if (memcmp(have, l->body_sha256, 32) != 0 ||
        memcmp(have, r->body_sha256, 32) != 0) {
        fault(c, l->path, "the SHA-256 of its body does not match");
    }
    if (memcmp(want, sums.prefix, 2 * sums.count) != 0) {
        fault(c, l->path, "its checksum table does not match its body");
    }
    free(sums.prefix);
}

/*
 * Each prepared head must be one, and its sum right: the server sends it
 * without looking.
 */
static void check_texts(struct checker *c, const struct line *l,
                        const struct site_record *r, const uint8_t *meta)
{
    const struct site_text *text[3] = {&r->full, &r->part, &r->same};
    for (int i = 0; i < 3; i++) {
        const uint8_t *t = meta + text[i]->off;
        uint16_t len = text[i]->len, lead = text[i]->lead;
        if (len < lead ||
            site_sum(t + lead, (size_t)len - lead, 0) != text[i]->sum) {
            fault(c, l->path, "the checksum of a response head is wrong");
        }
        if (len < 13 || memcmp(t, "HTTP/1.1 ", 9) != 0 ||
            memcmp(t + len - 4, "\r\n\r\n", 4) != 0) {
            fault(c, l->path, "a response head is not one");
        }
    }
}

/* The bytes between a body's end and its block's end are zero. */
static void check_tail(struct checker *c, const struct line *l,
                       const struct site_record *r)
{
    uint64_t end = r->body_off + r->body_len;
    size_t rest = (size_t)((uint64_t)r->blocks * SITE_BLOCK - end);
    if (rest >= SITE_BLOCK ||
        !read_at(c, c->chunk, rest, (uint64_t)l->block * SITE_BLOCK + end)) {
        fault(c, l->path, "its extent has the wrong length");
        return;
    }
    for (size_t i = 0; i < rest; i++) {
        if (c->chunk[i] != 0) {
            fault(c, l->path, "padding after its body is not zero");
            return;
        }
    }
}

/* No block belongs to two extents; check_cover sees that none belongs to no
   one. */
static void claim_blocks(struct checker *c, const struct line *l)
{
    for (uint32_t b = l->block; b < l->block + l->blocks; b++) {
        if ((c->used[b / 8] & 1u << b % 8) != 0) {
            fault(c, l->path, "its blocks belong to another extent, too");
            return;
        }
        c->used[b / 8] |= (uint8_t)(1u << b % 8);
    }
}

/*
 * An extent: its record against the manifest's line, its head and body against
 * their digests, its padding, and its entry in the index.
 */
static void check_extent(struct checker *c, const struct line *l)
{
    c->extents++;
    struct site_record r;
    if (!read_at(c, &r, sizeof(r), (uint64_t)l->block * SITE_BLOCK) ||
        !site_record_ok(&r, &c->super, l->block) || r.blocks != l->blocks ||
        r.body_len != l->len || r.encoding != l->encoding ||
        r.status != l->status) {
        fault(c, l->path, "its record is damaged");
        return;
    }
    claim_blocks(c, l);
    uint8_t *meta = must_alloc(NULL, r.body_off);
    uint8_t have[32];
    if (!read_at(c, meta, r.body_off, (uint64_t)l->block * SITE_BLOCK)) {
        fault(c, l->path, "its head cannot be read");
    } else {
        sha256_of(meta, r.body_off, have);
        if (memcmp(have, l->meta_sha256, 32) != 0) {
            fault(c, l->path, "the SHA-256 of its head does not match");
        }
        check_texts(c, l, &r, meta);
        check_body(c, l, &r, meta);
        check_tail(c, l, &r);
    }
    free(meta);
    /* An extent that is whole is no use if no request leads to it. */
    const struct site_entry *e = entry_of(c, l->path, l->path_len);
    if (e == NULL || e->block[l->encoding] != l->block) {
        fault(c, l->path, "the index does not lead to it");
    }
}

static void check_alias(struct checker *c, const struct line *l)
{
    const struct site_entry *e = entry_of(c, l->path, l->path_len);
    const struct site_entry *t = entry_of(c, l->target, strlen(l->target));
    if (e == NULL || t == NULL ||
        memcmp(e->block, t->block, sizeof(e->block)) != 0) {
        fault(c, l->path, "the index does not lead to what it stands for");
    }
}

/*
 * The manifest, line by line. A line that cannot be read ends it: no later one
 * would be where it should.
 */
static void check_lines(struct checker *c, const struct options *o)
{
    struct line *l = must_alloc(NULL, sizeof(*l));
    char last[SITE_PATH_MAX + 1] = "";
    for (char *s = c->manifest; *s != 0;) {
        char *end = strchr(s, '\n');
        if (end == NULL) {
            fault(c, NULL, "the manifest ends within a line");
            break;
        }
        *end = 0;
        if (!parse_line(s, l)) {
            fault(c, NULL, "a line of the manifest cannot be read");
            break;
        }
        /* Lines of one path, one for each encoding, follow each other. */
        c->paths += strcmp(l->path, last) != 0;
        strcpy(last, l->path);
        if (l->alias) {
            check_alias(c, l);
        } else {
            check_extent(c, l);
        }
        progress(o, "checking", (uint64_t)(end - c->manifest),
                 c->super.manifest_len);
        s = end + 1;
    }
    free(l);
    progress_end(o);
}

/*
 * The index against its digest and the superblock's number of paths. Entries
 * that no line of the manifest leads to are found by the number.
 */
static void check_index(struct checker *c)
{
    size_t len = (size_t)c->super.index_blocks * SITE_BLOCK;
    uint32_t used = 0;
    c->index = must_alloc(NULL, len);
    if (!read_at(c, c->index, len,
                 (uint64_t)c->super.index_block * SITE_BLOCK)) {
        fault(c, NULL, "the index cannot be read");
        /* Then no path is found, and the faults say so. */
        memset(c->index, 0, len);
    }
    uint8_t have[32];
    sha256_of(c->index, len, have);
    if (memcmp(have, c->super.index_sha256, 32) != 0) {
        fault(c, NULL, "the SHA-256 of the index does not match");
    }
    for (size_t i = 0; i < len / sizeof(struct site_entry); i++) {
        const struct site_entry *e = (const void *)(c->index + i * sizeof(*e));
        used += e->hash != 0;
    }
    if (used != c->super.paths) {
        fault(c, NULL, "the index holds another number of paths");
    }
}

/* Padding is zero everywhere, so that one tree has one image. */
static void check_manifest_tail(struct checker *c)
{
    uint64_t end =
        (uint64_t)c->super.manifest_block * SITE_BLOCK + c->super.manifest_len;
    uint64_t rest = (uint64_t)c->super.blocks * SITE_BLOCK - end;
    bool zero = rest < SITE_BLOCK && read_at(c, c->chunk, (size_t)rest, end);
    for (size_t i = 0; zero && i < rest; i++) {
        zero = c->chunk[i] == 0;
    }
    if (!zero) {
        fault(c, NULL, "padding after the manifest is not zero");
    }
}

/* Every block between index and manifest belongs to one extent. */
static void check_cover(struct checker *c)
{
    uint32_t b = c->super.index_block + c->super.index_blocks;
    for (; b < c->super.manifest_block; b++) {
        if ((c->used[b / 8] & 1u << b % 8) == 0) {
            fault(c, NULL, "some blocks belong to no extent");
            return;
        }
    }
}

static void close_image(struct checker *c)
{
    free(c->manifest);
    free(c->index);
    free(c->chunk);
    free(c->used);
    if (c->fd >= 0) {
        close(c->fd);
    }
}

int image_check(const char *path, const struct options *o)
{
    struct checker c = {.fd = -1};
    if (!open_image(&c, path)) {
        close_image(&c);
        return 1;
    }
    c.chunk = must_alloc(NULL, CHUNK);
    c.used = must_alloc(NULL, c.super.blocks / 8 + 1);
    memset(c.used, 0, c.super.blocks / 8 + 1);
    check_index(&c);
    uint8_t have[32];
    sha256_of(c.manifest, (size_t)c.super.manifest_len, have);
    /*
     * The lines are believed only if their digest is right; without it
     * hundreds of faults would follow from one.
     */
    if (memcmp(have, c.super.manifest_sha256, 32) != 0) {
        fault(&c, NULL, "the SHA-256 of the manifest does not match");
    } else {
        check_lines(&c, o);
        check_cover(&c);
        check_manifest_tail(&c);
    }
    if (c.faults == 0 &&
        (c.paths != c.super.paths || c.extents != c.super.extents)) {
        fault(&c, NULL, "the manifest lists another number of paths");
    }
    if (c.faults > FAULTS_SHOWN) {
        say_error(path, "%u more faults", c.faults - FAULTS_SHOWN);
    }
    if (c.faults == 0 && !o->quiet) {
        printf("%s: good; %u paths, %u extents, %u blocks\n", path, c.paths,
               c.extents, c.super.blocks);
    }
    close_image(&c);
    return c.faults != 0;
}

/*
 * The manifest as it stands, behind a head of comments; only the superblock is
 * checked, which leads to it.
 */
int image_list(const char *path)
{
    struct checker c = {.fd = -1};
    if (!open_image(&c, path)) {
        close_image(&c);
        return 1;
    }
    printf("# version %u, %u blocks, seed %" PRIu64 ", index %u+%u, "
           "manifest %u+%u\n"
           "# body-sha256 head-sha256 status encoding block blocks bytes "
           "path\n",
           c.super.version, c.super.blocks, c.super.seed, c.super.index_block,
           c.super.index_blocks, c.super.manifest_block,
           c.super.manifest_blocks);
    fputs(c.manifest, stdout);
    close_image(&c);
    return ferror(stdout) != 0 || fflush(stdout) != 0;
}
