/* SPDX-License-Identifier: MIT */
/*
 * IP-literals, which stand in brackets where a host is named (RFC 3986 section
 * 3.2.2): an IPv6 address, perhaps with a zone (RFC 6874), or whatever a later
 * version calls one.
 */
#include "cheetah/http/http.h"

/* Four numbers below 256 without leading zeros. */
static bool is_ipv4(const uint8_t *p, const uint8_t *end)
{
    for (unsigned i = 0; i < 4; i++) {
        if (i > 0 && (p == end || *p++ != '.')) {
            return false;
        }
        const uint8_t *start = p;
        unsigned n = 0;
        for (; p < end && p - start < 3 && http_digit(*p); p++) {
            n = n * 10 + (*p - '0');
        }
        if (p == start || n > 255 || (*start == '0' && p - start > 1)) {
            return false;
        }
    }
    return p == end;
}

/* Eight groups of digits, or fewer and one gap; IPv4 may be the last two. */
static bool is_ipv6(const uint8_t *p, const uint8_t *end)
{
    unsigned groups = 0;
    bool gap = end - p >= 2 && p[0] == ':' && p[1] == ':';
    p += gap ? 2 : 0;
    while (p < end) {
        const uint8_t *start = p;
        while (p < end && p - start < 4 && http_hex(*p) >= 0) {
            p++;
        }
        groups++;
        if (p < end && *p == '.') {
            groups++;
            p = end;
            if (!is_ipv4(start, end)) {
                return false;
            }
        }
        if (p == start || (p < end && (*p++ != ':' || p == end))) {
            return false;
        }
        if (p < end && *p == ':') {
            if (gap) {
                return false;
            }
            gap = true;
            p++;
        }
    }
    return gap ? groups < 8 : groups == 8;
}

/* "v" hexadecimal digits "." and something. */
static bool is_future(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *start = ++p;
    while (p < end && http_hex(*p) >= 0) {
        p++;
    }
    return p != start && end - p >= 2 && *p == '.';
}

bool http_ip_literal(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *zone = p;
    while (zone < end && *zone != '%') {
        zone++;
    }
    if (p < end && (*p | 32) == 'v') {
        return zone == end && is_future(p, end);
    }
    bool zone_ok =
        zone == end || (end - zone > 3 && zone[1] == '2' && zone[2] == '5');
    return zone_ok && is_ipv6(p, zone);
}
