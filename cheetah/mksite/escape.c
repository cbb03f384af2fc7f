/* SPDX-License-Identifier: MIT */
/* Percent-encoding of site paths, for links, Location and the manifest. */
#include <string.h>

#include "cheetah/mksite/mksite.h"

/* The unreserved characters of RFC 3986 s2.3, and the slash. */
static bool is_plain(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || (c != 0 && strchr("-._~/", c) != NULL);
}

char *path_escape(const char *path)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = must_alloc(NULL, 3 * strlen(path) + 1), *p = out;
    for (; *path != 0; path++) {
        unsigned char c = (unsigned char)*path;
        if (is_plain(c)) {
            *p++ = (char)c;
        } else {
            *p++ = '%';
            *p++ = hex[c >> 4];
            *p++ = hex[c & 15];
        }
    }
    *p = 0;
    return out;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* False at a percent sign without two digits. A NUL may come out: the caller
   looks for it. `out` has room for `len` bytes. */
bool path_unescape(const char *s, size_t len, char *out, size_t *out_len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (s[i] != '%') {
            out[n++] = s[i];
            continue;
        }
        if (len - i < 3 || hex_value(s[i + 1]) < 0 || hex_value(s[i + 2]) < 0) {
            return false;
        }
        out[n++] = (char)(hex_value(s[i + 1]) << 4 | hex_value(s[i + 2]));
        i += 2;
    }
    *out_len = n;
    return true;
}
