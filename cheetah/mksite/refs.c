/* SPDX-License-Identifier: MIT */
/*
 * The files that an HTML page embeds: the src of img, script, iframe, embed,
 * source, audio and video, the href of link. A naive scan of tags and
 * attributes: it decides only where extents lie on disk, so a wrong answer
 * costs a seek and nothing else.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cheetah/mksite/mksite.h"

#define REFS_MAX 256

struct html {
    const char *p, *end;
};

static bool refs_is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The attribute that embeds for this tag name, or NULL. */
static const char *embedding(const char *tag, size_t len)
{
    static const char *const with_src[] = {"img",   "script", "iframe",
                                           "embed", "source", "audio",
                                           "video", "input"};
    if (len == 4 && strncasecmp(tag, "link", 4) == 0) {
        return "href";
    }
    for (size_t i = 0; i < sizeof(with_src) / sizeof(with_src[0]); i++) {
        if (strlen(with_src[i]) == len &&
            strncasecmp(tag, with_src[i], len) == 0) {
            return "src";
        }
    }
    return NULL;
}

/*
 * Resolve a reference against the page's path: same site only, query and
 * fragment dropped, dot segments removed.
 */
static char *refs_resolve(const char *base, const char *ref, size_t len)
{
    size_t cut = 0;
    while (cut < len && ref[cut] != '?' && ref[cut] != '#') {
        if (ref[cut] == ':') {
            return NULL; /* another scheme, or data: */
        }
        cut++;
    }
    if (cut == 0 || cut > SITE_PATH_MAX ||
        (cut >= 2 && ref[0] == '/' && ref[1] == '/')) {
        return NULL;
    }
    size_t dir = ref[0] == '/' ? 0 : (size_t)(strrchr(base, '/') - base) + 1;
    char *raw = must_alloc(NULL, dir + cut + 1);
    memcpy(raw, base, dir);
    size_t n = 0;
    if (!path_unescape(ref, cut, raw + dir, &n) ||
        memchr(raw + dir, 0, n) != NULL) {
        free(raw);
        return NULL;
    }
    raw[dir + n] = 0;
    char *out = must_alloc(NULL, dir + n + 2), *w = out;
    for (char *s = raw; *s != 0;) {
        s += strspn(s, "/");
        size_t seg = strcspn(s, "/");
        if (seg == 2 && s[0] == '.' && s[1] == '.') {
            /* Back over the last segment; above the root there is nothing. */
            while (w > out && *--w != '/') {
            }
        } else if (seg != 0 && !(seg == 1 && s[0] == '.')) {
            *w++ = '/';
            memcpy(w, s, seg);
            w += seg;
        }
        s += seg;
    }
    /* A reference to a directory keeps its slash: that is its page's path. */
    if (raw[dir + n - 1] == '/' || w == out) {
        *w++ = '/';
    }
    *w = 0;
    free(raw);
    return out;
}

static void add_ref(struct doc *d, const char *value, size_t len)
{
    /*
     * A limit on the work of a page with endless references; further
     * references lie elsewhere on the disk.
     */
    if (d->refs_count == REFS_MAX) {
        return;
    }
    char *path = refs_resolve(d->path, value, len);
    if (path == NULL) {
        return;
    }
    d->refs = must_alloc(d->refs, (d->refs_count + 1) * sizeof(*d->refs));
    d->refs[d->refs_count++] = path;
}

/* Read one attribute; its value, unquoted, in *value. False at the tag's end.
 */
static bool attribute(struct html *h, const char **name, size_t *name_len,
                      const char **value, size_t *value_len)
{
    while (h->p < h->end && (refs_is_space(*h->p) || *h->p == '/')) {
        h->p++;
    }
    *name = h->p;
    while (h->p < h->end && !refs_is_space(*h->p) && *h->p != '=' &&
           *h->p != '>') {
        h->p++;
    }
    *name_len = (size_t)(h->p - *name);
    *value = h->p;
    *value_len = 0;
    while (h->p < h->end && refs_is_space(*h->p)) {
        h->p++;
    }
    if (h->p == h->end || *h->p != '=') {
        return *name_len != 0;
    }
    do {
        h->p++;
    } while (h->p < h->end && refs_is_space(*h->p));
    bool quoted = h->p < h->end && (*h->p == '"' || *h->p == '\'');
    char quote = '\0';
    if (quoted) {
        quote = *h->p++;
    }
    *value = h->p;
    while (h->p < h->end &&
           (quoted ? *h->p != quote : !refs_is_space(*h->p) && *h->p != '>')) {
        h->p++;
    }
    *value_len = (size_t)(h->p - *value);
    /* Past the closing quote, if there is one. */
    h->p += quoted && h->p < h->end;
    return true;
}

/*
 * A tag's name and, if it embeds, its attributes. Of other tags the attributes
 * are read as text, which holds no '<' that could matter.
 */
static void tag(struct doc *d, struct html *h)
{
    const char *start = h->p;
    while (h->p < h->end && is_letter(*h->p)) {
        h->p++;
    }
    const char *want = embedding(start, (size_t)(h->p - start));
    if (want == NULL) {
        return;
    }
    size_t name_len, value_len;
    const char *name, *value;
    while (attribute(h, &name, &name_len, &value, &value_len)) {
        if (name_len == strlen(want) &&
            strncasecmp(name, want, name_len) == 0) {
            add_ref(d, value, value_len);
        }
    }
}

void refs_find(struct doc *d, const char *html, size_t len)
{
    struct html h = {html, html + len};
    while (h.p < h.end) {
        const char *lt = memchr(h.p, '<', (size_t)(h.end - h.p));
        if (lt == NULL) {
            return;
        }
        h.p = lt + 1;
        /* A comment may hold tags that embed nothing. */
        if (h.end - h.p >= 3 && memcmp(h.p, "!--", 3) == 0) {
            const char *close = memmem(h.p, (size_t)(h.end - h.p), "-->", 3);
            h.p = close != NULL ? close + 3 : h.end;
        } else {
            tag(d, &h);
        }
    }
}
