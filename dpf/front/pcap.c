/* SPDX-License-Identifier: MIT */
/*
 * pcap-filter expressions, through libpcap's own compiler.
 *
 * libpcap reports "syntax error" without a place. The place is found by
 * asking it again: what stands before word i is viable if some short ending
 * makes it a filter; viability only ever changes from yes to no as words are
 * added, so the first word that breaks it is found by bisection.
 *
 * libpcap's optimiser takes time that grows much faster than the program
 * (51 s for 1,000 hosts); beyond OPTIMISE_MAX instructions its plain code is
 * used, since the diagram of a merged set finds the same redundancy.
 *
 * A long list of alternatives is compiled in parts, which stand one after the
 * other: where a part rejects, the next one begins. That is the order in which
 * libpcap's own code tests them, so that a load outside the packet ends the
 * whole in both.
 *
 * libpcap compiles one expression differently for a live link and for a
 * capture file. For a file it takes all numbers that systems have for IPv6 on
 * a loopback link, in the byte order of the file, and refuses metadata that
 * only a live system has. Our packets are a file's, so it is given an empty
 * file.
 *
 * Source: libpcap's pcap-filter(7), pcap_compile(3PCAP), pcap-savefile(5).
 */
#include "dpf/front/code.h"
#include "dpf/front/split.h"

#include <ctype.h>
#include <pcap/pcap.h>
#include <stdlib.h>
#include <string.h>

#define OPTIMISE_MAX 1024u
#define SNAPLEN 262144
#define FILE_HEADER 24u     /* bytes before the first packet of a capture */
#define EXPR_MAX (1u << 20) /* bytes of expression accepted */
/*
 * Words of an expression. libpcap's plain compiler takes time that grows with
 * the square of them and more: 5 s for 2,000 words, 80 s for 5,000; few of
 * those fit DPF_INSNS_MAX anyway.
 */
#define WORDS_MAX 2500u
#define WORDS_EXPLAIN 500u /* words in which the wrong one is searched */

_Static_assert(sizeof(struct dpf_cbpf) == sizeof(struct bpf_insn),
               "the layout of libpcap's instruction");

/* Compile once; on failure `why` has libpcap's words. */
static bool pcap_compile_text(pcap_t *p, const char *expr, int optimise,
                              struct bpf_program *out, char *why, size_t size)
{
    if (pcap_compile(p, out, expr, optimise, PCAP_NETMASK_UNKNOWN) == 0) {
        return true;
    }
    snprintf(why, size, "%s", pcap_geterr(p));
    return false;
}

/*
 * Could the text be the beginning of a filter? It could if one of these
 * endings makes libpcap accept it. Between them they end the constructs of the
 * language that we know; open brackets are closed as well, up to eight.
 * Without memory the answer is yes, so that the place of the mistake is late,
 * not wrong.
 */
static bool viable(pcap_t *p, const char *prefix, size_t len)
{
    static const char *const endings[] = {
        "",
        " 1",
        " ip",
        " host 10.0.0.1",
        " 10.0.0.1",
        " 10.0.0.0/8",
        " 02:00:00:00:00:01",
        " port 1",
        " 1-2",
        " = 1",
        "] = 1",
        "0] = 1",
        " 1] = 1",
        ":1] = 1",
        " 255.0.0.0",
        " tcp",
        " mask 255.0.0.0",
        " 1 = 1",
        " ::1",
        " beacon",
        " reject",
        "and ip",
        " net 10",
        " proto 1",
        "[0] = 1",
        " len",
        " data",
    };
    char *text = malloc(len + 64);
    bool found = false;
    int open = 0;
    if (text == NULL) {
        return true;
    }
    for (size_t i = 0; i < len; i++) {
        open += prefix[i] == '(' ? 1 : prefix[i] == ')' && open > 0 ? -1 : 0;
    }
    for (size_t e = 0; e < sizeof(endings) / sizeof(*endings) && !found; e++) {
        for (int close = 0; close < 2 && !found; close++) {
            int n = open > 8 ? 8 : open;
            memcpy(text, prefix, len);
            snprintf(text + len, 64, "%s%.*s%s", endings[e], close ? n : 0,
                     "))))))))", "");
            struct bpf_program prog;
            if (pcap_compile(p, &prog, text, 0, PCAP_NETMASK_UNKNOWN) == 0) {
                pcap_freecode(&prog);
                found = true;
            }
        }
    }
    free(text);
    return found;
}

/* The words of an expression; brackets and operators are words. */
struct words {
    size_t count;
    size_t start[WORDS_MAX + 1], end[WORDS_MAX + 1];
};

/* At most WORDS_MAX + 1 words are found. */
static void pcap_split(const char *s, struct words *w)
{
    size_t n = 0;
    for (size_t i = 0; s[i] != '\0' && n <= WORDS_MAX;) {
        if (isspace((unsigned char)s[i])) {
            i++;
            continue;
        }
        w->start[n] = i;
        if (isalnum((unsigned char)s[i]) || strchr("_.:-/\\", s[i]) != NULL) {
            while (s[i] != '\0' && (isalnum((unsigned char)s[i]) ||
                                    strchr("_.:-/\\", s[i]) != NULL)) {
                i++;
            }
        } else {
            i++;
            while (s[i] != '\0' && strchr("=&|<>", s[i]) != NULL &&
                   strchr("=!&|<>", s[i - 1]) != NULL) {
                i++;
            }
        }
        w->end[n++] = i;
    }
    w->count = n;
}

/* Byte offset of the first word that cannot stand where it stands. */
static size_t find_error(pcap_t *p, const char *expr, const struct words *w)
{
    size_t n = w->count;
    size_t good = 0, bad = n + 1; /* words: good are viable, bad are not */
    while (bad - good > 1) {
        size_t middle = good + (bad - good) / 2;
        if (middle <= n && viable(p, expr, w->end[middle - 1])) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    return bad <= n ? w->start[bad - 1] : strlen(expr);
}

/* Advice for mistakes that people make. */
static const char *hint(const char *expr, const char *at, const char *why)
{
    if (strstr(why, "unknown host") != NULL) {
        return "; write the address in numbers";
    }
    if (strstr(why, "netmask") != NULL) {
        return "; write the broadcast address as 'dst host A.B.C.D'";
    }
    if (strncmp(at, "==", 2) == 0 || *at == '=') {
        return "; capture filters compare without '=': 'port 80', "
               "'host 10.0.0.1', 'tcp[13] = 2'";
    }
    if (strstr(expr, ".addr") != NULL || strstr(expr, ".port") != NULL) {
        return "; this looks like a display filter: capture filters say "
               "'host A' and 'port N'";
    }
    if (strstr(why, "syntax error") != NULL && strspn(at, "0123456789.") > 0) {
        return "; say what the number is: 'host', 'net' or 'port' before it";
    }
    return "; see pcap-filter(7)";
}

static int pcap_explain(pcap_t *p, const char *expr, const struct words *w,
                        const char *why, struct dpf_error *err)
{
    bool syntax = strstr(why, "syntax error") != NULL ||
                  strstr(why, "illegal token") != NULL ||
                  strstr(why, "illegal char") != NULL;
    size_t at = 0;
    const char *quote = strchr(why, '\'');
    /* Each step of the search compiles the text some fifty times. */
    if (syntax && w->count > WORDS_EXPLAIN) {
        return front_fail(err, -DPF_E_SYNTAX, 0,
                          "%s somewhere in these %zu words; pass a part of "
                          "them to learn where",
                          why, w->count);
    }
    if (syntax) {
        at = find_error(p, expr, w);
    } else if (quote != NULL && strchr(quote + 1, '\'') != NULL) {
        /* libpcap quotes the word it stumbled over */
        char word[128];
        snprintf(word, sizeof(word), "%.*s",
                 (int)(strchr(quote + 1, '\'') - quote - 1), quote + 1);
        const char *found = word[0] ? strstr(expr, word) : NULL;
        at = found != NULL ? (size_t)(found - expr) : 0;
    }
    size_t word = strcspn(expr + at, " \t\r\n");
    if (syntax && word > 0) {
        return front_fail(err, -DPF_E_SYNTAX, at, "'%.*s' cannot stand here%s",
                          (int)(word > 40 ? 40 : word), expr + at,
                          hint(expr, expr + at, why));
    }
    if (syntax) {
        return front_fail(err, -DPF_E_SYNTAX, at,
                          "the expression ends too early; something must "
                          "follow '%.40s'",
                          at > 40 ? expr + at - 40 : expr);
    }
    return front_fail(err, -DPF_E_SYNTAX, at, "%s%s", why,
                      hint(expr, expr + at, why));
}

/* Is it short enough for libpcap to compile in bearable time? */
static int pcap_measure(const char *expr, struct words *w,
                        struct dpf_error *err)
{
    static const char hint_atoms[] =
        "a list of addresses or ports fits atoms text better";
    size_t len = strlen(expr);
    if (len > EXPR_MAX) {
        return front_fail(err, -DPF_E_TOO_BIG, EXPR_MAX,
                          "an expression has at most %u bytes; %s", EXPR_MAX,
                          hint_atoms);
    }
    pcap_split(expr, w);
    if (w->count > WORDS_MAX) {
        return front_fail(err, -DPF_E_TOO_BIG, w->start[WORDS_MAX],
                          "an expression has at most %u words; %s", WORDS_MAX,
                          hint_atoms);
    }
    return 0;
}

static int compile_best(pcap_t *p, const char *expr, unsigned flags,
                        const struct words *w, struct bpf_program *prog,
                        struct dpf_error *err)
{
    char why[PCAP_ERRBUF_SIZE] = "";
    if (!pcap_compile_text(p, expr, 0, prog, why, sizeof(why))) {
        return pcap_explain(p, expr, w, why, err);
    }
    if ((flags & DPF_EXPR_PLAIN) || prog->bf_len > OPTIMISE_MAX) {
        return 0;
    }
    /* Only the optimiser finds that a filter rejects everything. Whatever else
       it stumbles over, the plain code is right. */
    struct bpf_program better;
    if (pcap_compile_text(p, expr, 1, &better, why, sizeof(why))) {
        pcap_freecode(prog);
        *prog = better;
    } else if (strstr(why, "rejects all") != NULL) {
        pcap_freecode(prog);
        return front_fail(err, -DPF_E_SYNTAX, 0, "%s; no packet can match it",
                          why);
    }
    return 0;
}

/* Append libpcap's program to `all`. */
static int pcap_append(struct bpf_program *all, struct bpf_program *made,
                       struct dpf_error *err)
{
    size_t count = (size_t)all->bf_len + made->bf_len;
    struct bpf_insn *bigger =
        realloc(all->bf_insns, (count + 1) * sizeof(*bigger));
    if (bigger == NULL) {
        pcap_freecode(made);
        return front_fail(err, -DPF_E_MEM, 0, "out of memory");
    }
    memcpy(bigger + all->bf_len, made->bf_insns,
           made->bf_len * sizeof(*bigger));
    *all = (struct bpf_program){(unsigned)count, bigger};
    pcap_freecode(made);
    return 0;
}

/* From instruction `from` on, go on behind the end instead of rejecting. */
static void fall_through(struct bpf_program *p, unsigned from)
{
    for (unsigned i = from; i < p->bf_len; i++) {
        if (p->bf_insns[i].code == (BPF_RET | BPF_K) && p->bf_insns[i].k == 0) {
            p->bf_insns[i].code = BPF_JMP | BPF_JA;
            p->bf_insns[i].k = p->bf_len - i - 1;
        }
    }
}

/*
 * The parts of a list, joined. false, with nothing in `prog`: libpcap has to
 * judge the whole, even if only for its message.
 */
static bool translate_parts(pcap_t *p, const struct split *list, unsigned flags,
                            struct bpf_program *prog)
{
    bool good = list->count > 0;
    char why[PCAP_ERRBUF_SIZE];
    for (size_t i = 0; i < list->count && good; i++) {
        unsigned from = prog->bf_len;
        /* A part is short, so it can always be optimised. */
        struct bpf_program made;
        good = pcap_compile_text(p, list->parts[i], !(flags & DPF_EXPR_PLAIN),
                                 &made, why, sizeof(why)) &&
               pcap_append(prog, &made, NULL) == 0;
        if (good && i + 1 < list->count) {
            fall_through(prog, from);
        }
    }
    if (!good) {
        free(prog->bf_insns);
        *prog = (struct bpf_program){0};
    }
    return good;
}

/* Compile, and copy what libpcap made. */
static int pcap_translate(pcap_t *p, const char *expr, unsigned flags,
                          const struct words *w, struct bpf_program *prog,
                          struct dpf_error *err)
{
    struct bpf_program made = {0};
    struct split list;
    if (split_alternatives(expr, &list) != 0) {
        return front_fail(err, -DPF_E_MEM, 0, "out of memory");
    }
    bool done = translate_parts(p, &list, flags, prog);
    split_finish(&list);
    if (done) {
        return 0;
    }
    int result = compile_best(p, expr, flags, w, &made, err);
    return result ? result : pcap_append(prog, &made, err);
}

/*
 * The header of a capture file with the link type of `p`; false: it has none.
 * libpcap writes it itself, since files have other numbers for some link types
 * than systems have.
 */
static bool file_header(pcap_t *p, uint8_t out[FILE_HEADER])
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    pcap_dumper_t *d = f != NULL ? pcap_dump_fopen(p, f) : NULL;
    if (d != NULL) {
        pcap_dump_close(d); /* and f with it */
    } else if (f != NULL) {
        fclose(f);
    }
    bool good = d != NULL && text != NULL && size == FILE_HEADER;
    if (good) {
        memcpy(out, text, FILE_HEADER);
    }
    free(text);
    return good;
}

/* In the other byte order. */
static void swap_header(uint8_t h[FILE_HEADER])
{
    static const uint8_t widths[] = {4, 2, 2, 4, 4, 4, 4};
    for (size_t i = 0; i < sizeof(widths); h += widths[i++]) {
        for (unsigned k = 0; k < widths[i] / 2u; k++) {
            uint8_t byte = h[k];
            h[k] = h[widths[i] - 1 - k];
            h[widths[i] - 1 - k] = byte;
        }
    }
}

/*
 * Open an empty capture file of link type `dlt`, for which libpcap then
 * compiles.
 */
static pcap_t *open_link(int dlt, unsigned flags)
{
    pcap_t *dead = pcap_open_dead(dlt, SNAPLEN), *p = NULL;
    uint8_t header[FILE_HEADER];
    if (dead == NULL || !file_header(dead, header)) {
        return dead; /* libpcap will reject the type in its own words */
    }
    if (flags & DPF_EXPR_SWAPPED) {
        swap_header(header);
    }
    FILE *f = fmemopen(header, sizeof(header), "rb");
    char why[PCAP_ERRBUF_SIZE];
    p = f != NULL ? pcap_fopen_offline(f, why) : NULL;
    if (p == NULL) {
        if (f != NULL) {
            fclose(f);
        }
        return dead;
    }
    pcap_close(dead);
    return p;
}

int dpf_expr_cbpf(const char *expr, int dlt, unsigned flags,
                  struct dpf_cbpf **out, size_t *count, struct dpf_error *err)
{
    struct bpf_program prog = {0};
    struct words *w = malloc(sizeof(*w));
    if (w == NULL) {
        return front_fail(err, -DPF_E_MEM, 0, "out of memory");
    }
    int result = pcap_measure(expr, w, err);
    pcap_t *p = result == 0 ? open_link(dlt, flags) : NULL;
    if (p != NULL) {
        result = pcap_translate(p, expr, flags, w, &prog, err);
        pcap_close(p);
    } else if (result == 0) {
        result = front_fail(err, -DPF_E_MEM, 0, "out of memory");
    }
    free(w);
    if (result == 0) {
        *out = (struct dpf_cbpf *)(void *)prog.bf_insns; /* same layout */
        *count = prog.bf_len;
    }
    return result;
}

int dpf_from_expr(const char *expr, int dlt, unsigned flags,
                  struct dpf_code *out, struct dpf_error *err)
{
    struct dpf_cbpf *prog = NULL;
    size_t count = 0;
    int result = dpf_expr_cbpf(expr, dlt, flags, &prog, &count, err);
    if (!result) {
        result = dpf_from_cbpf(prog, count, out, err);
        free(prog);
    }
    return result;
}
