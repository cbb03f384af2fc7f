/* SPDX-License-Identifier: MIT */
/*
 * Shared by the parts of mksite: the documents of a site on their way from a
 * directory to an image.
 *
 *   tree.c      walk a directory into documents      listing.c  index pages
 *   analyse.c   read each: type, digest, encodings   mime.c encode.c refs.c
 *   layout.c    order, texts, blocks, index          group.c texts.c
 *   image.c     write                                check.c  read and verify
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cheetah/site/site.h"

/* One representation: where its body comes from and where it goes. */
struct rep {
    bool present;
    uint64_t len; /* bytes of body */
    off_t spill;  /* of an encoded body, in the spill file */
    uint8_t sha256[32];
    uint32_t block, blocks;  /* the extent */
    uint32_t group;          /* site_record.group */
    uint8_t meta_sha256[32]; /* of the extent before its body */
};

/* A path inside the site, decoded, with its leading '/'. */
struct doc {
    char *path;
    char *source;     /* file to read; NULL: `text` is the body */
    char *text;       /* a generated body */
    uint64_t len;     /* bytes of the unencoded body */
    int64_t mtime;    /* seconds since 1970 */
    int64_t mtime_ns; /* the source's, to notice a change while we work */
    uint16_t status;
    const char *type;  /* media type */
    bool utf8;         /* the whole body is UTF-8 text */
    char *location;    /* of a redirection */
    struct doc *alias; /* same responses as this document's */
    char **refs;       /* site paths that an HTML page embeds */
    size_t refs_count;
    bool placed;
    struct rep rep[SITE_ENCODINGS];
};

struct site {
    struct doc *docs; /* sorted by path once the tree is complete */
    size_t count, room;
    int spill;         /* file of encoded bodies */
    off_t spill_end;   /* guarded by the analysis' lock */
    uint64_t skipped;  /* unreadable files and directories */
    uint64_t oddities; /* devices, dangling or looping links: never served */
    uint64_t hidden;   /* left out by hide.c */
};

enum compress {
    COMPRESS_NONE,
    COMPRESS_FAST,
    COMPRESS_BEST,
};

struct options {
    enum compress compress;
    bool skip_unreadable;
    bool all; /* also what hide.c would leave out */
    bool quiet;
    unsigned jobs;
};

/* say.c: messages. `path` is printed with odd bytes escaped. */
void say_error(const char *path, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void say_warning(const char *path, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* One line on `count` things that are left out; `list` names some of them. */
void say_hidden(const char *what, uint64_t count, const char *list, bool more);
_Noreturn void die(const char *path, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void *must_alloc(void *p, size_t n); /* realloc that dies */
char *must_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void progress(const struct options *o, const char *what, uint64_t done,
              uint64_t all);
void progress_end(const struct options *o);

/* tree.c: fill `s` from `root`. Returns false if something was unreadable. */
bool tree_walk(struct site *s, const char *root, const struct options *o);
struct doc *site_add(struct site *s, char *path);
const struct doc *site_lookup(const struct site *s, const char *path);

/* hide.c: files that are not published unless --all is given. */
enum hide_kind { HIDE_DOT, HIDE_KEY, HIDE_LINK, HIDE_KINDS };
/* folder: its site path; name: of an entry there */
bool hide_is_dot(const char *folder, const char *name);
/* A private key, by its name or by what the file of `len` bytes holds? */
bool hide_is_key(const char *name, const char *source, uint64_t len);
/* `source` is left out. */
void hide_note(enum hide_kind kind, const char *source);
/* Say what was; names are shown relative to `root`. Returns how many. */
uint64_t hide_report(const char *root);

/* listing.c: a directory's index page. */
struct listing;
struct listing *listing_start(const char *path);
void listing_add(struct listing *l, const char *name, bool dir, uint64_t len,
                 int64_t mtime);
char *listing_finish(struct listing *l);

/* mime.c */
const char *mime_by_name(const char *path);
bool mime_is_text(const char *type); /* may carry a charset */
bool mime_is_compressible(const char *type);

/* encode.c: a malloc'ed encoded copy, or NULL if it is not worth its place. */
uint8_t *encode(enum site_encoding e, enum compress how, const uint8_t *data,
                size_t len, size_t *out_len);

/* refs.c: what an HTML page embeds. */
void refs_find(struct doc *d, const char *html, size_t len);

/* analyse.c */
void analyse(struct site *s, const struct options *o);
int source_open(const struct doc *d); /* dies when it changed */
void source_read(const struct doc *d, int fd, void *buf, size_t len);

/* group.c: the order of extents on disk. */
struct place {
    struct doc *doc;
    enum site_encoding encoding;
};
struct place *group_order(struct site *s, size_t *count);

/* texts.c: record and texts of one representation, an extent's first block
   but for prefix sums and body. */
void texts_write(const struct doc *d, enum site_encoding e, uint8_t *out);

/* layout.c: give every extent its blocks and build the index. */
struct layout {
    struct site_super super;
    struct site_entry *index; /* super.index_blocks * SITE_SLOTS */
};
void layout(struct site *s, struct place *order, size_t count,
            struct layout *l);

/* image.c */
void image_write(struct site *s, const struct place *order, size_t count,
                 struct layout *l, const char *out, const struct options *o);

/* check.c: exit status 0 if the image is whole. */
int image_check(const char *path, const struct options *o);
int image_list(const char *path);

/* escape.c: percent-encoding of paths, and its inverse. */
char *path_escape(const char *path);
bool path_unescape(const char *s, size_t len, char *out, size_t *out_len);

/* The prefix sums of a body (cheetah/site/site.c), over a stream of granules.
 */
struct sums {
    uint16_t *prefix;
    uint64_t count; /* filled so far */
};
void sums_add(struct sums *s, const uint8_t *data, size_t len);
