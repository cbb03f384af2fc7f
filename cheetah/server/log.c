/* SPDX-License-Identifier: MIT */
/*
 * The access log; see log.h. Invariant: with head >= tail the lines lie in
 * [tail, head); else in [tail, wrap) and then [0, head). head == tail only if
 * there is none. What a client wrote is escaped as Apache does, so that a
 * line is one line and its quotes are ours.
 */
#include "cheetah/server/log.h"

#include "cheetah/site/date.h"
#include "libos/libos/text.h"

void log_init(struct access_log *l, char *text, uint32_t room,
              void (*write)(const char *line, size_t len))
{
    *l = (struct access_log){
        .text = text, .room = room, .write = write, .date_unix = -1};
}

/* "Wed, 25 Nov 2026 04:17:45 GMT" as "25/Nov/2026:04:17:45 +0000". */
static void new_second(struct access_log *l, int64_t unix)
{
    char d[DATE_LEN + 1] = {0}, out[LOG_DATE_LEN + 1];
    date_format(unix, d);
    text_format(out, sizeof(out), "%.2s/%.3s/%.4s:%.8s +0000", d + 5, d + 8,
                d + 12, d + 17);
    __builtin_memcpy(l->date, out, LOG_DATE_LEN);
    l->date_unix = unix;
}

/* At most 45 bytes. */
static size_t put_peer(char *p, const struct net_addr *a)
{
    const uint8_t *b = a->byte;
    if (a->half[0] == 0 && b[10] == 0xff && b[11] == 0xff) {
        return text_format(p, 16, "%u.%u.%u.%u", b[12], b[13], b[14], b[15]);
    }
    size_t n = 0;
    for (int i = 0; i < 16; i += 2) {
        n += text_format(p + n, 7, "%s%x", i != 0 ? ":" : "",
                         (unsigned)(b[i] << 8 | b[i + 1]));
    }
    return n;
}

/* At most 4 * len bytes. */
static size_t put_escaped(char *p, const char *s, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    char *start = p;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)s[i];
        if (c == '"' || c == '\\') {
            *p++ = '\\';
            *p++ = (char)c;
        } else if (c >= ' ' && c < 0x7f) {
            *p++ = (char)c;
        } else {
            *p++ = '\\';
            *p++ = 'x';
            *p++ = hex[c >> 4];
            *p++ = hex[c & 15];
        }
    }
    return (size_t)(p - start);
}

static size_t line_of(struct access_log *l, const struct log_entry *e,
                      char line[LOG_LINE_MAX])
{
    size_t len = e->len < LOG_REQUEST_MAX ? e->len : LOG_REQUEST_MAX;
    if (l->date_unix != e->unix) {
        new_second(l, e->unix);
    }
    size_t n = put_peer(line, &e->peer);
    n += text_format(line + n, LOG_LINE_MAX - n, " - - [%.*s] \"",
                     (int)LOG_DATE_LEN, l->date);
    n += put_escaped(line + n, len != 0 ? e->request : "-", len + (len == 0));
    n += text_format(line + n, LOG_LINE_MAX - n, "%s\" %u %llu\n",
                     e->len > len ? "..." : "", e->status,
                     (unsigned long long)e->bytes);
    return n;
}

/* Where `n` bytes fit, or UINT32_MAX. One byte stays free. */
static uint32_t place(struct access_log *l, uint32_t n)
{
    if (l->head < l->tail) {
        return n < l->tail - l->head ? l->head : UINT32_MAX;
    }
    if (n < l->room - l->head) {
        return l->head;
    }
    if (n < l->tail) {
        l->wrap = l->head;
        return 0;
    }
    return UINT32_MAX;
}

void log_add(struct access_log *l, const struct log_entry *e)
{
    char line[LOG_LINE_MAX];
    uint32_t n = (uint32_t)line_of(l, e, line), at = place(l, n);
    if (at == UINT32_MAX) {
        l->lost++;
        return;
    }
    __builtin_memcpy(l->text + at, line, n);
    l->head = at + n;
}

static void tell_lost(struct access_log *l)
{
    char line[96];
    size_t n = text_format(line, sizeof(line),
                           "cheetah: %llu lines of the access log are lost, "
                           "the console is too slow\n",
                           (unsigned long long)(l->lost - l->told));
    l->told = l->lost;
    l->write(line, n);
}

bool log_turn(struct access_log *l, uint64_t now_ns, bool idle)
{
    if (!idle && now_ns < l->busy_ns) {
        return l->head != l->tail;
    }
    l->busy_ns = now_ns + LOG_BUSY_NS;
    if (l->head == l->tail) {
        if (l->told != l->lost) {
            tell_lost(l);
        }
        return false;
    }
    if (l->tail > l->head && l->tail == l->wrap) {
        l->tail = 0;
    }
    uint32_t end = l->tail;
    while (l->text[end++] != '\n') {
    }
    l->write(l->text + l->tail, end - l->tail);
    l->tail = end;
    return l->head != l->tail || l->told != l->lost;
}
