/* SPDX-License-Identifier: MIT */
/*
 * Values of the fields that choose a representation or a part of it. A value
 * that does not follow its grammar is treated as if the field were absent, as
 * RFC 9110 allows for each of them; nothing here can fail.
 */
#include "cheetah/http/http.h"
#include "cheetah/site/date.h"

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t';
}

bool http_list_next(const uint8_t **p, const uint8_t *end, const uint8_t **item,
                    size_t *len)
{
    while (*p < end && (is_space(**p) || **p == ',')) {
        (*p)++;
    }
    if (*p == end) {
        return false;
    }
    *item = *p;
    while (*p < end && **p != ',') {
        (*p)++;
    }
    const uint8_t *stop = *p;
    while (is_space(stop[-1])) {
        stop--;
    }
    *len = (size_t)(stop - *item);
    return true;
}

/* ------------------------------------------------------------- entity tags */

/* Our own tags only: 16 lower-case hexadecimal digits in quotes. */
static bool read_tag(const uint8_t *v, size_t len, uint64_t *out)
{
    uint64_t n = 0;
    if (len != 18 || v[0] != '"' || v[17] != '"') {
        return false;
    }
    for (int i = 1; i <= 16; i++) {
        bool digit = http_digit(v[i]);
        if (!digit && (v[i] < 'a' || v[i] > 'f')) {
            return false;
        }
        n = n << 4 | (uint64_t)(digit ? v[i] - '0' : v[i] - 'a' + 10);
    }
    *out = n;
    return true;
}

/*
 * The next tag of a list that could be ours. A comma inside another server's
 * quoted tag splits it in two; neither half is one of ours, unless the tag was
 * made to look so, which harms its maker.
 */
static bool next_tag(const uint8_t **p, const uint8_t *end, uint64_t *tag,
                     bool *weak, bool *any)
{
    size_t len;
    const uint8_t *item;
    while (http_list_next(p, end, &item, &len)) {
        *weak = len >= 2 && item[0] == 'W' && item[1] == '/';
        *any = *any || (len == 1 && item[0] == '*');
        if (read_tag(item + 2 * *weak, len - 2 * *weak, tag)) {
            return true;
        }
    }
    return false;
}

void http_read_tags(struct http_tags *t, const uint8_t *v, size_t len)
{
    t->present = true;
    bool weak;
    uint64_t tag;
    for (const uint8_t *p = v; next_tag(&p, v + len, &tag, &weak, &t->any);) {
        if (t->count < HTTP_TAGS_MAX) {
            t->weak |= (uint8_t)(weak << t->count);
            t->tag[t->count++] = tag;
        } else {
            t->more = true;
        }
    }
}

bool http_head_lists(const struct http_request *r, const char *name,
                     uint64_t etag, bool strong)
{
    const uint8_t *p = r->fields, *end = p + r->fields_len;
    size_t n = __builtin_strlen(name);
    while (p < end) {
        const uint8_t *line = p;
        while (*p != '\r') { /* http_parse took no other CR */
            p++;
        }
        const uint8_t *v = line + n + 1;
        bool weak, any = false,
                   ours = v <= p && line[n] == ':' && http_same(line, n, name);
        uint64_t tag;
        while (ours && next_tag(&v, p, &tag, &weak, &any)) {
            if (tag == etag && !(strong && weak)) {
                return true;
            }
        }
        p += 2;
    }
    return false;
}

int64_t http_read_date(const uint8_t *v, size_t len, int64_t now)
{
    int64_t t;
    return date_parse((const char *)v, len, now, &t) ? t : HTTP_NO_DATE;
}

void http_read_if_range(struct http_request *r, const uint8_t *v, size_t len,
                        int64_t now)
{
    bool only = !r->if_range; /* of two, neither holds */
    r->if_range = true;
    r->if_range_is_tag = only && read_tag(v, len, &r->if_range_tag);
    r->if_range_date = only ? http_read_date(v, len, now) : HTTP_NO_DATE;
}

/* ------------------------------------------------------------------ ranges */

/* Digits at *p; false if there are none or the number is beyond any file. */
static bool number(const uint8_t **p, const uint8_t *end, uint64_t *out)
{
    const uint8_t *start = *p;
    uint64_t n = 0;
    for (; *p < end && http_digit(**p); (*p)++) {
        /* Saturates: such a position lies beyond every body. */
        n = n > UINT64_MAX / 20 ? UINT64_MAX / 2
                                : n * 10 + (uint64_t)(**p - '0');
    }
    *out = n;
    return *p != start;
}

static bool read_one_range(const uint8_t *p, size_t len, struct http_range *out)
{
    const uint8_t *end = p + len;
    if (p < end && *p == '-') {
        p++;
        out->first = HTTP_SUFFIX;
        return number(&p, end, &out->last) && p == end;
    }
    if (!number(&p, end, &out->first) || p == end || *p++ != '-') {
        return false;
    }
    if (p == end) {
        out->last = HTTP_TO_END;
        return true;
    }
    return number(&p, end, &out->last) && p == end && out->first <= out->last;
}

void http_read_range(struct http_request *r, const uint8_t *v, size_t len)
{
    const uint8_t *end = v + len;
    r->ranges = 0;
    if (len < 6 || !http_same(v, 6, "bytes=")) {
        return;
    }
    v += 6;
    uint8_t n = 0;
    const uint8_t *item;
    while (http_list_next(&v, end, &item, &len)) {
        if (n == HTTP_RANGES_MAX || !read_one_range(item, len, &r->range[n])) {
            return;
        }
        n++;
    }
    r->ranges = n;
}

/* --------------------------------------------------------------- encodings */

/* qvalue in thousandths: "0.5", "1", "1.000"; -1 if it is not one. */
static int read_quality(const uint8_t *p, size_t len)
{
    if (len == 0 || len > 5 || (p[0] != '0' && p[0] != '1') ||
        (len > 1 && p[1] != '.')) {
        return -1;
    }
    int q = (p[0] - '0') * 1000, unit = 100;
    for (size_t i = 2; i < len; i++, unit /= 10) {
        if (!http_digit(p[i])) {
            return -1;
        }
        q += (p[i] - '0') * unit;
    }
    return q <= 1000 ? q : -1;
}

/* Split "coding;q=0.5"; the quality, or -1 to skip this element. */
static int read_weight(const uint8_t *item, size_t *len)
{
    size_t cut = 0;
    while (cut < *len && item[cut] != ';') {
        cut++;
    }
    const uint8_t *p = item + cut, *end = item + *len;
    *len = cut;
    while (*len > 0 && is_space(item[*len - 1])) {
        (*len)--;
    }
    if (p == end) {
        return 1000;
    }
    do {
        p++;
    } while (p < end && is_space(*p));
    if (end - p < 2 || (*p | 32) != 'q' || p[1] != '=') {
        return -1;
    }
    return read_quality(p + 2, (size_t)(end - p) - 2);
}

#define UNSAID UINT16_MAX /* in quality[]: this coding was not named */

void http_read_encodings(struct http_request *r, const uint8_t *v, size_t len)
{
    const uint8_t *end = v + len;
    int others = -1;
    if (!r->negotiate) {
        r->negotiate = true;
        for (int e = 0; e < SITE_ENCODINGS; e++) {
            r->quality[e] = UNSAID;
        }
    }
    const uint8_t *item;
    while (http_list_next(&v, end, &item, &len)) {
        int q = read_weight(item, &len);
        if (q < 0) {
            continue;
        }
        if (http_same(item, len, "br")) {
            r->quality[SITE_BR] = (uint16_t)q;
        } else if (http_same(item, len, "gzip") ||
                   http_same(item, len, "x-gzip")) {
            r->quality[SITE_GZIP] = (uint16_t)q;
        } else if (http_same(item, len, "identity")) {
            r->quality[SITE_IDENTITY] = (uint16_t)q;
        } else if (len == 1 && item[0] == '*') {
            others = q;
        }
    }
    for (int e = 0; e < SITE_ENCODINGS && others >= 0; e++) {
        if (r->quality[e] == UNSAID) {
            r->quality[e] = (uint16_t)others;
        }
    }
}

int http_choose(const struct http_request *r,
                const uint32_t block[SITE_ENCODINGS])
{
    int best = -406, best_q = 0;
    if (!r->negotiate) {
        return SITE_IDENTITY;
    }
    for (int e = 0; e < SITE_ENCODINGS; e++) {
        int q = r->quality[e];
        if (q == UNSAID) {
            /* Only identity goes without saying, after all that was said. */
            q = e == SITE_IDENTITY ? 1 : 0;
        }
        if (block[e] != 0 && q > best_q) {
            best = e;
            best_q = q;
        }
    }
    return best;
}
