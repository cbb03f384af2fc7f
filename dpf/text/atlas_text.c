/* SPDX-License-Identifier: MIT */
/*
 * Diagrams in words: which field, which values, and the way that one packet
 * takes, test by test.
 */
#include "dpf/text/atlas.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/*
 * Fields of Ethernet frames as people call them. They are guesses: a diagram
 * knows offsets and nothing of protocols. A computed base is mostly the length
 * of the IPv4 header, so that 14 bytes more, those of the Ethernet header,
 * lead behind it.
 */
static const struct {
    bool based; /* behind a computed base */
    uint32_t offset, width;
    const char *name;
} meanings[] = {
    {false, 0, 6, "Ethernet destination"},
    {false, 6, 6, "Ethernet source"},
    {false, 12, 2, "Ethernet type"},
    {false, 16, 2, "type behind the tag"},
    {false, 20, 1, "fragment, or IPv6 next"},
    {false, 20, 2, "fragment, or IPv6 next"},
    {false, 21, 1, "IPv4 fragment"},
    {false, 23, 1, "IPv4 protocol"},
    {false, 26, 4, "IPv4 source"},
    {false, 30, 4, "IPv4 destination"},
    {false, 54, 2, "IPv6 source port"},
    {false, 56, 2, "IPv6 destination port"},
    {true, 14, 2, "source port"},
    {true, 16, 2, "destination port"},
    {true, 27, 1, "TCP flags"},
};

const char *atlas_meaning(uint32_t var, uint32_t width)
{
    if (dd_var_is_len(var)) {
        return "";
    }
    uint32_t off = dd_var_off(var);
    for (size_t i = 0; i < sizeof(meanings) / sizeof(*meanings); i++) {
        /*
         * A part of a field has the field's name, a stretch over two fields
         * none.
         */
        if (meanings[i].based == (dd_var_base(var) != 0) &&
            off >= meanings[i].offset &&
            off + width <= meanings[i].offset + meanings[i].width) {
            return meanings[i].name;
        }
    }
    return "";
}

void atlas_place(uint32_t var, uint32_t width, char *out, size_t size)
{
    uint32_t base = dd_var_base(var);
    char from[16] = "";
    if (base != 0) {
        snprintf(from, sizeof(from), "b%u", base);
    }
    if (dd_var_is_len(var)) {
        snprintf(out, size, "length%s%s", base ? " behind " : "", from);
    } else {
        snprintf(out, size, "[%s%s%u:%u]", from, base ? "+" : "",
                 dd_var_off(var), width);
    }
}

void atlas_base(const struct dpf_atlas *a, uint32_t b, char *out, size_t size)
{
    /* A sum of terms: some bits of a byte, perhaps inverted, moved. */
    const struct dd_base *base = &a->dd.bases[b];
    size_t used = (size_t)snprintf(out, size, "b%u =", b);
    char place[32];
    for (uint32_t i = 0; i < base->count && used < size; i++) {
        const struct dd_bits *t = &base->terms[i];
        int shift = (int)t->dst - (int)t->src;
        atlas_place(t->var, 1, place, sizeof(place));
        used += (size_t)snprintf(
            out + used, size - used, "%s (%s%s & 0x%02x) %s %d", i ? " +" : "",
            t->inverted ? "~" : "", place, ((1u << t->len) - 1) << t->src,
            shift < 0 ? ">>" : "<<", shift < 0 ? -shift : shift);
    }
}

void atlas_value(uint32_t var, uint32_t width, uint64_t v, char *out,
                 size_t size)
{
    const char *name = atlas_meaning(var, width);
    if (width == 4 && strncmp(name, "IPv4 ", 5) == 0) {
        snprintf(out, size, "%u.%u.%u.%u", (unsigned)(v >> 24),
                 (unsigned)(v >> 16 & 255), (unsigned)(v >> 8 & 255),
                 (unsigned)(v & 255));
    } else if (dd_var_is_len(var) ||
               (strstr(name, "port") != NULL && width == 2) ||
               strstr(name, "protocol") != NULL) {
        snprintf(out, size, "%" PRIu64, v);
    } else {
        snprintf(out, size, "0x%0*" PRIx64, (int)width * 2, v);
    }
}

/* ---------------------------------------------------------------- stretches */

/* If node `f` has one child beside NO, on one interval: which. */
static bool single(const struct dpf_atlas *a, uint32_t f, uint32_t *child,
                   uint32_t *lo, uint32_t *hi)
{
    const struct dd_node *n = &a->dd.nodes[f];
    const struct dd_edge *e = a->dd.edges + n->edges;
    uint32_t from = 0, found = 0;
    for (uint32_t i = 0; i < n->count; i++) {
        if (e[i].child != DD_NO) {
            *child = e[i].child;
            *lo = from;
            *hi = e[i].hi;
            found++;
        }
        from = e[i].hi + 1;
    }
    return found == 1;
}

static void atlas_text_condition(uint32_t var, uint32_t width, uint64_t lo,
                                 uint64_t hi, char *out, size_t size)
{
    const char *name = atlas_meaning(var, width);
    char place[32];
    atlas_place(var, width, place, sizeof(place));
    char low[32];
    atlas_value(var, width, lo, low, sizeof(low));
    char high[32];
    atlas_value(var, width, hi, high, sizeof(high));
    if (lo == hi) {
        snprintf(out, size, "%s %s%s= %s", place, name, *name ? " " : "", low);
    } else if (dd_var_is_len(var) && hi == DD_LEN_MAX) {
        snprintf(out, size, "%s >= %s", place, low);
    } else {
        snprintf(out, size, "%s %s%sin %s - %s", place, name, *name ? " " : "",
                 low, high);
    }
}

uint32_t atlas_stretch(const struct dpf_atlas *a, uint32_t f,
                       bool (*stop)(void *ctx, uint32_t f), void *ctx,
                       char *out, size_t size)
{
    size_t used = 0;
    bool first = true;
    char text[160];
    uint32_t child, lo, hi;
    while (!dd_is_term(f) && (first || !stop(ctx, f)) &&
           single(a, f, &child, &lo, &hi)) {
        uint32_t var = a->dd.nodes[f].var, width = 1;
        uint64_t from = lo, to = hi;
        first = false;
        /* bytes that follow and are fixed as well make one field */
        uint32_t next;
        while (!dd_var_is_len(var) && from == to && width < 4 &&
               !dd_is_term(child) && a->dd.nodes[child].var == var + width &&
               !stop(ctx, child) && single(a, child, &next, &lo, &hi)) {
            /* Not beyond the end of a field that has a name. */
            if (strcmp(atlas_meaning(var, width + 1),
                       atlas_meaning(var, width)) != 0) {
                break;
            }
            to = from << 8 | hi;
            from = from << 8 | lo;
            child = next;
            width++;
        }
        atlas_text_condition(var, width, from, to, text, sizeof(text));
        if (used < size) {
            used += (size_t)snprintf(out + used, size - used, "%s\\l", text);
        }
        f = child;
    }
    return f;
}

/* ----------------------------------------------------------------- explain */

/* The values that let the packet pass the test at node `f`, as text, at most
   eight of them. */
static void atlas_text_wanted(const struct dpf_atlas *a, uint32_t f, char *out,
                              size_t size)
{
    const struct dd_node *n = &a->dd.nodes[f];
    const struct dd_edge *e = a->dd.edges + n->edges;
    uint32_t from = 0, shown = 0;
    size_t used = 0;
    *out = '\0';
    for (uint32_t i = 0; i < n->count && used < size; i++) {
        if (e[i].child != DD_NO && shown++ < 8) {
            const char *form = dd_var_is_len(n->var) ? "%s%u" : "%s0x%02x";
            used += (size_t)snprintf(out + used, size - used, form,
                                     shown > 1 ? ", " : "", from);
            if (e[i].hi == dd_var_max(n->var) && used < size) {
                used += (size_t)snprintf(out + used, size - used, " and more");
            } else if (e[i].hi != from && used < size) {
                used += (size_t)snprintf(
                    out + used, size - used,
                    dd_var_is_len(n->var) ? " - %u" : " - 0x%02x", e[i].hi);
            }
        }
        from = e[i].hi + 1;
    }
    if (shown > 8 && used < size) {
        snprintf(out + used, size - used, " and %u more", shown - 8);
    }
}

static size_t base_at(const struct dpf_atlas *a, uint32_t var,
                      const uint8_t *packet, size_t len)
{
    uint32_t base = dd_var_base(var);
    return base ? dd_base_at(a->dd.bases, base, packet, len) : 0;
}

/*
 * One test on the way, and the node behind it: up to four bytes that are tested
 * in a row and belong to one field are shown as one. The first byte that leads
 * to NO ends the field, so that the message can name it.
 */
static uint32_t explain_step(const struct dpf_atlas *a, FILE *out, uint32_t f,
                             const uint8_t *packet, size_t len)
{
    uint32_t var = a->dd.nodes[f].var, width = 0, at = f;
    uint64_t v = 0;
    size_t base = base_at(a, var, packet, len);
    /* A base may lie outside the packet, or nowhere (SIZE_MAX). */
    size_t left = base <= len ? len - base : 0;
    if (dd_var_is_len(var)) {
        f = dd_child(&a->dd, f, (uint32_t)left);
        v = left;
        width = 1;
    }
    while (!dd_var_is_len(var) && !dd_is_term(f) && width < 4 &&
           a->dd.nodes[f].var == var + width &&
           dd_var_off(var) + width < left &&
           (width == 0 || !strcmp(atlas_meaning(var, width),
                                  atlas_meaning(var, width + 1)))) {
        at = f;
        v = v << 8 | packet[base + dd_var_off(var) + width];
        f = dd_child(&a->dd, f, packet[base + dd_var_off(var) + width]);
        width++;
    }
    if (width == 0) {
        f = DD_NO; /* the packet ends before the field */
    }
    char place[32];
    atlas_place(var, width ? width : 1, place, sizeof(place));
    char value[48];
    atlas_value(var, width, v, value, sizeof(value));
    fprintf(out, "    %-14s %-24s %-18s", place,
            atlas_meaning(var, width ? width : 1), width ? value : "(absent)");
    char text[200];
    if (f == DD_NO) {
        atlas_text_wanted(a, at, text, sizeof(text));
        atlas_place(a->dd.nodes[at].var, 1, place, sizeof(place));
        fprintf(out, " no: %s must be %s\n", place, text);
    } else {
        fprintf(out, " yes\n");
    }
    return f;
}

static void explain_bases(const struct dpf_atlas *a, FILE *out, uint64_t bases,
                          const uint8_t *packet, size_t len)
{
    char text[256];
    for (uint32_t b = 1; b < DD_BASES_MAX; b++) {
        if (bases >> b & 1) {
            size_t at = dd_base_at(a->dd.bases, b, packet, len);
            atlas_base(a, b, text, sizeof(text));
            if (at == SIZE_MAX) {
                fprintf(out, "    %s, which lies outside this packet\n", text);
            } else {
                fprintf(out, "    %s = %zu\n", text, at);
            }
        }
    }
}

bool dpf_atlas_explain(struct dpf_atlas *a, FILE *out, size_t i,
                       const void *packet, size_t len)
{
    const struct atlas_filter *filter = &a->filters[i];
    uint32_t f = filter->root;
    explain_bases(a, out, filter->bases, packet, len);
    while (!dd_is_term(f)) {
        f = explain_step(a, out, f, packet, len);
    }
    /*
     * The explanation follows the diagram, but the answer is the program's: if
     * the two ever differed, the reader would see it here.
     */
    bool accepts = dpf_filter_run(filter->program, packet, len) != 0;
    if (f == DD_MAYBE) {
        fprintf(out, "    the rest cannot be read as tests; the program "
                     "was run\n");
    }
    fprintf(out, "    %s\n", accepts ? "accepted" : "rejected");
    return accepts;
}

/* -------------------------------------------------------------------- text */

struct printer {
    struct dpf_atlas *a;
    uint8_t *seen; /* per node: it is below the root */
    FILE *out;
};

static void print_goal(struct printer *p, uint32_t f)
{
    if (f == DD_NO || f == DD_YES || f == DD_MAYBE) {
        fprintf(p->out, "%s\n",
                f == DD_NO    ? "reject"
                : f == DD_YES ? "accept"
                              : "run the program");
    } else {
        fprintf(p->out, "n%u\n", f);
    }
}

/*
 * A node with every one of its intervals, those that reject as well: this form
 * is for a person who doubts the others.
 */
static void print_node(struct printer *p, uint32_t f)
{
    const struct dd_node *n = &p->a->dd.nodes[f];
    const struct dd_edge *e = p->a->dd.edges + n->edges;
    uint32_t from = 0;
    char place[32];
    atlas_place(n->var, 1, place, sizeof(place));
    fprintf(p->out, "n%u: %s %s\n", f, place, atlas_meaning(n->var, 1));
    for (uint32_t i = 0; i < n->count; i++) {
        if (dd_var_is_len(n->var) && e[i].hi == DD_LEN_MAX) {
            fprintf(p->out, "    %u and more: ", from);
        } else if (from == e[i].hi) {
            fprintf(p->out,
                    dd_var_is_len(n->var) ? "    %u: " : "    0x%02x: ", from);
        } else {
            fprintf(p->out,
                    dd_var_is_len(n->var) ? "    %u - %u: "
                                          : "    0x%02x - 0x%02x: ",
                    from, e[i].hi);
        }
        print_goal(p, e[i].child);
        from = e[i].hi + 1;
    }
}

int dpf_atlas_print(struct dpf_atlas *a, FILE *out, size_t i)
{
    uint32_t root = a->filters[i].root;
    struct printer p = {a, NULL, out};
    char text[256];
    for (uint32_t b = 1; b < DD_BASES_MAX; b++) {
        if (a->filters[i].bases >> b & 1) {
            atlas_base(a, b, text, sizeof(text));
            fprintf(out, "%s\n", text);
        }
    }
    if (dd_is_term(root)) {
        print_goal(&p, root);
        return 0;
    }
    p.seen = calloc(root + 1, 1);
    if (p.seen == NULL) {
        return -DPF_E_MEM;
    }
    dd_mark_node(p.seen, root);
    /* A node has a higher number than all nodes below it. */
    dd_close(a->dd.nodes, a->dd.edges, p.seen, root + 1);
    for (uint32_t f = root + 1; f-- > 0;) { /* parents before children */
        if (p.seen[f]) {
            print_node(&p, f);
        }
    }
    free(p.seen);
    return 0;
}
