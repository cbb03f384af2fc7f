/* SPDX-License-Identifier: MIT */
#include "dpf/front/split.h"

#include "dpf/host.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define PART_TERMS 16u /* of one part; libpcap takes about 1 ms for them */
#define LIST_TERMS 48u /* a list that is shorter is not cut */
#define WORD_MAX 64u   /* bytes; an IPv6 network has at most 43 */
#define QUALIFIERS_MAX 64u

/* Where the reader stands, and the qualifiers of the last term. */
struct reader {
    const char *at;
    char qualifiers[QUALIFIERS_MAX]; /* "tcp dst port " */
};

/* The next word, or "" at the end; false if it is too long. */
static bool next_word(struct reader *r, char word[WORD_MAX])
{
    r->at += strspn(r->at, " \t\r\n");
    size_t n = strcspn(r->at, " \t\r\n");
    if (n >= WORD_MAX) {
        return false;
    }
    memcpy(word, r->at, n);
    word[n] = '\0';
    r->at += n;
    return true;
}

static bool among(const char *word, const char *const *list)
{
    while (*list != NULL && strcmp(word, *list) != 0) {
        list++;
    }
    return *list != NULL;
}

/* A number, a range, an address or a network; names and operators are not. */
static bool is_value(const char *word)
{
    return isxdigit((unsigned char)*word) &&
           strspn(word, "0123456789abcdefABCDEF.:/-") == strlen(word) &&
           strpbrk(word, "0123456789:") != NULL;
}

/*
 * One term with its qualifiers spelled out, and the word behind it, which is
 * "or", "||" or "". False: this is no simple term.
 */
static bool next_term(struct reader *r, char *out, size_t size,
                      char word[WORD_MAX])
{
    /* "src or dst port" is one qualifier: there no value stands before `or`,
       and so it is no simple term. */
    static const char *const qualifiers[] = {"src", "dst",  "ip",        "ip6",
                                             "tcp", "udp",  "arp",       "host",
                                             "net", "port", "portrange", NULL};
    static const char *const protocols[] = {"ip",   "ip6",  "arp",   "tcp",
                                            "udp",  "icmp", "icmp6", "rarp",
                                            "sctp", NULL};
    char given[QUALIFIERS_MAX] = "", last[WORD_MAX] = "";
    unsigned words = 0;
    if (!next_word(r, word)) {
        return false;
    }
    /*
     * All words up to the value are its qualifiers, as far as they are known.
     * An unknown word ends the list, and libpcap judges the whole.
     */
    while (among(word, qualifiers) || among(word, protocols)) {
        if (strlen(given) + strlen(word) + 2 > sizeof(given)) {
            return false;
        }
        strcat(strcat(given, word), " ");
        strcpy(last, word);
        words++;
        if (!next_word(r, word)) {
            return false;
        }
    }
    if (is_value(word)) {
        /*
         * A value without qualifiers has those of the last one: "port 80 or
         * 443".
         */
        if (words > 0) {
            strcpy(r->qualifiers, given);
        }
        snprintf(out, size, "%s%s", r->qualifiers, word);
        /* a number after a lone protocol is libpcap's to judge */
        return *r->qualifiers != '\0' && next_word(r, word);
    }
    r->qualifiers[0] = '\0';
    snprintf(out, size, "%s", given);
    /*
     * No value: a lone protocol is a term of its own, and leaves no qualifiers
     * to the next.
     */
    return words == 1 && among(last, protocols);
}

/* The terms, each with a NUL behind it; their number, 0 if it is no list. */
static size_t read_terms(const char *expr, char *terms, size_t room)
{
    struct reader r = {.at = expr};
    size_t count = 0, used = 0;
    char term[WORD_MAX + QUALIFIERS_MAX], word[WORD_MAX];
    do {
        if (!next_term(&r, term, sizeof(term), word) ||
            used + strlen(term) + 1 > room) {
            return 0;
        }
        memcpy(terms + used, term, strlen(term) + 1);
        used += strlen(term) + 1;
        count++;
    } while (strcmp(word, "or") == 0 || strcmp(word, "||") == 0);
    return *word == '\0' ? count : 0;
}

/* One part from `count` terms; *terms moves behind them. NULL: no memory. */
static char *split_join(const char **terms, size_t count)
{
    size_t room = 1;
    const char *at = *terms;
    for (size_t i = 0; i < count; i++, at += strlen(at) + 1) {
        room += strlen(at) + 4;
    }
    char *part = calloc(room, 1), *end = part;
    for (size_t i = 0; part != NULL && i < count; i++) {
        end += sprintf(end, "%s%s", i ? " or " : "", *terms);
        *terms += strlen(*terms) + 1;
    }
    return part;
}

int split_alternatives(const char *expr, struct split *out)
{
    /* Each term takes at least two bytes, and a qualified one may be long. */
    size_t room = (strlen(expr) / 2 + 1) * 24;
    char *terms = malloc(room);
    int result = terms != NULL ? 0 : -DPF_E_MEM;
    size_t left = terms != NULL ? read_terms(expr, terms, room) : 0;
    const char *at = terms;
    *out = (struct split){0};
    /*
     * A short list is left alone, since libpcap's optimiser sees more in the
     * whole.
     */
    if (left >= LIST_TERMS) {
        out->parts = calloc(left / PART_TERMS + 1, sizeof(*out->parts));
        result = out->parts != NULL ? 0 : -DPF_E_MEM;
    }
    while (out->parts != NULL && left > 0 && result == 0) {
        size_t n = left < PART_TERMS ? left : PART_TERMS;
        char *part = split_join(&at, n);
        if (part != NULL) {
            out->parts[out->count++] = part;
        }
        result = part != NULL ? 0 : -DPF_E_MEM;
        left -= n;
    }
    free(terms);
    if (result != 0) {
        split_finish(out);
    }
    return result;
}

void split_finish(struct split *s)
{
    for (size_t i = 0; i < s->count; i++) {
        free(s->parts[i]);
    }
    free(s->parts);
    *s = (struct split){0};
}
