/* SPDX-License-Identifier: MIT */
/*
 * From the path of a request, as sent, to the name under which the index has
 * it: percent escapes decoded, empty and dot segments removed (RFC 3986
 * sections 2.1, 5.2.4, 6.2.2). Decoded once, before dots are looked for, so no
 * escape hides one; what is never decoded is a slash.
 */
#include "cheetah/http/http.h"

/* The decoded byte at *p, past which *p moves; negative: a refusal. */
static int decoded(const uint8_t **p, const uint8_t *end)
{
    uint8_t c = *(*p)++;
    if (c != '%') {
        return c;
    }
    if (end - *p < 2 || http_hex((*p)[0]) < 0 || http_hex((*p)[1]) < 0) {
        return -400;
    }
    int v = http_hex((*p)[0]) << 4 | http_hex((*p)[1]);
    *p += 2;
    /* Neither can be part of a file's name. */
    return v == '/' || v == 0 ? -404 : v;
}

/* Remove the dot segment that ends at out[n]; the new length. */
static size_t drop_dots(const uint8_t *out, size_t n)
{
    size_t seg = n;
    while (out[seg - 1] != '/') {
        seg--;
    }
    if (n - seg == 1 && out[seg] == '.') {
        return seg;
    }
    if (n - seg == 2 && out[seg] == '.' && out[seg + 1] == '.') {
        seg -= seg > 1;
        while (out[seg - 1] != '/') {
            seg--;
        }
        return seg;
    }
    return n;
}

int http_path(const uint8_t *path, size_t len, uint8_t *out)
{
    const uint8_t *end = path + len;
    size_t n = 1;
    if (len == 0 || path[0] != '/') {
        return -400;
    }
    out[0] = '/';
    for (path++; path < end;) {
        bool slash = *path == '/';
        int c = decoded(&path, end);
        if (c < 0) {
            return c;
        }
        if (slash) {
            n = drop_dots(out, n);
            if (out[n - 1] == '/') {
                continue;
            }
        }
        if (n == SITE_PATH_MAX) {
            return -404;
        }
        out[n++] = (uint8_t)c;
    }
    return (int)drop_dots(out, n);
}
