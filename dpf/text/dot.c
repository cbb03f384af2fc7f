/* SPDX-License-Identifier: MIT */
/*
 * Diagrams as pictures. Readable for hundreds of filters: bytes of one field
 * become one test, tests in a row one box, rejected values have no arrow, and
 * a long list of alternatives is cut to a box that counts the missing ones.
 */
#include "dpf/text/atlas.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WAYS_SHOWN 8u  /* alternatives drawn when there are too many */
#define WAYS_MAX 12u   /* ... that is, more than this */
#define BOXES_MAX 400u /* in one picture */
#define NAMES_SHOWN 4u
#define ENTRIES_MAX 4096u

/* Values of a field that lead to one child. */
struct entry {
    uint64_t lo, hi;
    uint32_t child, width;
};

struct picture {
    struct dpf_atlas *a;
    FILE *out;
    uint32_t *parents; /* per node */
    uint8_t *drawn;
    uint8_t *reached; /* per group */
    uint32_t *todo;
    size_t todo_count;
    uint32_t boxes, notes;
    struct entry *entries;
    size_t entry_count;
};

/* A name inside a string of DOT; names are the user's and may hold anything. */
static void quote(FILE *f, const char *s)
{
    for (; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\') {
            fputc('\\', f);
        }
        fputc((unsigned char)*s < ' ' ? ' ' : *s, f);
    }
}

/* Whether several arrows lead to the node: it must be a box of its own, or
   the others would point into the middle of one. */
static bool joins(void *ctx, uint32_t f)
{
    return ((struct picture *)ctx)->parents[f] > 1;
}

/* "name, name, +3 more" of a group. Its members are linked from the last to the
   first; the first few are shown. */
static void names(const struct picture *p, size_t group)
{
    const struct atlas_group *g = &p->a->groups[group];
    uint32_t count = g->count, shown[NAMES_SHOWN] = {0};
    for (; g->count > 0; g = &p->a->groups[g->before]) {
        if (g->count <= NAMES_SHOWN) {
            shown[g->count - 1] = g->member;
        }
    }
    for (uint32_t i = 0; i < count && i < NAMES_SHOWN; i++) {
        fputs(i ? "\\n" : "", p->out);
        quote(p->out, p->a->filters[shown[i] >> 1].name);
        fputs(shown[i] & 1 ? " (if its program says so)" : "", p->out);
    }
    if (count > NAMES_SHOWN) {
        fprintf(p->out, "\\n+%u more", count - NAMES_SHOWN);
    }
}

/* The name of a box that an arrow leads to, which is drawn later if it was not
   yet. */
static void goal(struct picture *p, uint32_t f)
{
    if (f >= ATLAS_GROUP) {
        p->reached[f - ATLAS_GROUP] = 1;
        fprintf(p->out, "t%u", f - ATLAS_GROUP);
    } else {
        fprintf(p->out, "n%u", f);
        if (!p->drawn[f]) {
            p->drawn[f] = 1;
            p->todo[p->todo_count++] = f;
        }
    }
}

/*
 * All ways out of the field that begins at `f`, bytes of one field taken
 * together: a single value goes deeper if only this way leads to the next byte
 * and the next byte belongs to the same field. `prefix` has the bytes before.
 */
static void dot_collect(struct picture *p, uint32_t f, uint32_t var,
                        uint32_t depth, uint64_t prefix)
{
    const struct dd_node *n = &p->a->dd.nodes[f];
    uint32_t from = 0;
    for (uint32_t i = 0; i < n->count; i++) {
        struct dd_edge e = p->a->dd.edges[n->edges + i];
        uint32_t lo = from;
        from = e.hi + 1;
        if (e.child == DD_NO || p->entry_count == ENTRIES_MAX) {
            continue;
        }
        bool deeper =
            lo == e.hi && !dd_var_is_len(var) && depth < 3 &&
            !dd_is_term(e.child) && p->parents[e.child] == 1 &&
            p->a->dd.nodes[e.child].var == var + depth + 1 &&
            *atlas_meaning(var, 1) != '\0' &&
            !strcmp(atlas_meaning(var, depth + 2), atlas_meaning(var, 1));
        if (deeper) {
            dot_collect(p, e.child, var, depth + 1, prefix << 8 | lo);
        } else {
            p->entries[p->entry_count++] = (struct entry){
                prefix << 8 | lo, prefix << 8 | e.hi, e.child, depth + 1};
        }
    }
}

static int by_child(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;
    if (a->child != b->child) {
        return a->child < b->child ? -1 : 1;
    }
    return a->lo < b->lo ? -1 : a->lo > b->lo;
}

/*
 * Bring all entries to the width of the widest, whose number of bytes is
 * returned: an entry that stopped early holds for every value of the bytes
 * behind it. Then ranges of one field can be sorted and joined.
 */
static uint32_t widen(struct picture *p)
{
    uint32_t width = 1;
    for (size_t i = 0; i < p->entry_count; i++) {
        width = p->entries[i].width > width ? p->entries[i].width : width;
    }
    for (size_t i = 0; i < p->entry_count; i++) {
        struct entry *e = &p->entries[i];
        uint32_t shift = 8 * (width - e->width);
        e->lo <<= shift;
        e->hi = e->hi << shift | ((UINT64_C(1) << shift) - 1);
    }
    return width;
}

/* Ranges that touch and lead to the same child are one. They are sorted by
   child, then by value. */
static void join_ranges(struct picture *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->entry_count; i++) {
        struct entry *last = n ? &p->entries[n - 1] : NULL;
        if (last != NULL && last->child == p->entries[i].child &&
            last->hi + 1 == p->entries[i].lo) {
            last->hi = p->entries[i].hi;
        } else {
            p->entries[n++] = p->entries[i];
        }
    }
    p->entry_count = n;
}

/* An arrow for entries [from, to), which have one child. */
static void arrow(struct picture *p, uint32_t f, uint32_t var, uint32_t width,
                  size_t from, size_t to)
{
    fprintf(p->out, "    n%u -> ", f);
    goal(p, p->entries[from].child);
    fputs(" [label=\"", p->out);
    char low[32], high[32];
    for (size_t i = from; i < to && i < from + 4; i++) {
        const struct entry *e = &p->entries[i];
        atlas_value(var, width, e->lo, low, sizeof(low));
        atlas_value(var, width, e->hi, high, sizeof(high));
        fprintf(p->out, "%s%s", i > from ? "\\n" : "", low);
        if (dd_var_is_len(var) && e->hi == DD_LEN_MAX) {
            fputs(" and more", p->out);
        } else if (e->hi != e->lo) {
            fprintf(p->out, " - %s", high);
        }
    }
    if (to - from > 4) {
        fprintf(p->out, "\\n+%zu more", to - from - 4);
    }
    fputs("\"];\n", p->out);
}

/*
 * A node with several ways on: an ellipse with the field, and an arrow for
 * each child with the values that lead there.
 */
static void dot_branch(struct picture *p, uint32_t f)
{
    uint32_t var = p->a->dd.nodes[f].var, ways = 0, shown = 0;
    p->entry_count = 0;
    dot_collect(p, f, var, 0, 0);
    uint32_t width = widen(p);
    qsort(p->entries, p->entry_count, sizeof(*p->entries), by_child);
    join_ranges(p);
    for (size_t i = 0; i < p->entry_count; i++) {
        ways += i == 0 || p->entries[i].child != p->entries[i - 1].child;
    }
    char place[32];
    atlas_place(var, width, place, sizeof(place));
    fprintf(p->out, "    n%u [shape=ellipse, label=\"%s\\n%s\"];\n", f, place,
            atlas_meaning(var, width));
    for (size_t i = 0, k; i < p->entry_count; i = k) {
        for (k = i; k < p->entry_count &&
                    p->entries[k].child == p->entries[i].child;) {
            k++;
        }
        /*
         * A dispatch over hundreds of ports would make the picture useless.
         * Twelve are drawn; of more, eight and their number.
         */
        if (ways > WAYS_MAX && shown == WAYS_SHOWN) {
            break;
        }
        arrow(p, f, var, width, i, k);
        shown++;
    }
    if (shown < ways) {
        fprintf(p->out,
                "    m%u [shape=note, label=\"%u more values or ranges,\\neach "
                "with its own way on\"];\n    n%u -> m%u [style=dashed];\n",
                p->notes, ways - shown, f, p->notes);
        p->notes++;
    }
}

/* A box: tests in a row, or else a branch. */
static void draw(struct picture *p, uint32_t f)
{
    char text[4096] = "";
    uint32_t end = atlas_stretch(p->a, f, joins, p, text, sizeof(text));
    if (*text == '\0') {
        dot_branch(p, f);
        return;
    }
    fprintf(p->out, "    n%u [label=\"", f);
    fputs(text, p->out); /* no character here needs a backslash but \l */
    fprintf(p->out, "\"];\n    n%u -> ", f);
    goal(p, end);
    fputs(";\n", p->out);
}

/*
 * Count the nodes below the roots that lead to each node. A root counts as one
 * more, since an arrow from outside leads to it.
 */
static void count_parents(struct picture *p, const uint32_t *roots,
                          size_t count, uint32_t top)
{
    uint8_t *seen = p->drawn; /* borrowed; cleared afterwards */
    for (size_t i = 0; i < count; i++) {
        if (!dd_is_term(roots[i])) {
            dd_mark_node(seen, roots[i]);
            p->parents[roots[i]]++;
        }
    }
    dd_close(p->a->dd.nodes, p->a->dd.edges, seen, top + 1);
    for (uint32_t f = 0; f <= top; f++) {
        const struct dd_node *n = &p->a->dd.nodes[f];
        /*
         * Edges to one child lie side by side if their values do; such a run
         * is one parent.
         */
        uint32_t last = DD_NO;
        for (uint32_t i = 0; seen[f] && i < n->count; i++) {
            uint32_t child = p->a->dd.edges[n->edges + i].child;
            if (!dd_is_term(child) && child != last) {
                p->parents[child]++;
            }
            last = child;
        }
    }
    memset(seen, 0, top + 1);
}

/*
 * The starts, boxes in the order in which arrows found them, a note for each
 * box that was left out, then the groups of filters and how bases are
 * computed.
 */
static void draw_all(struct picture *p, const uint32_t *roots, size_t count)
{
    fputs("digraph filters {\n    rankdir=LR;\n"
          "    node [shape=box, fontname=\"monospace\", fontsize=10];\n"
          "    edge [fontname=\"monospace\", fontsize=9];\n",
          p->out);
    for (size_t i = 0; i < count; i++) {
        fprintf(p->out, "    start%zu [shape=point];\n    start%zu -> ", i, i);
        goal(p, roots[i]);
        fputs(";\n", p->out);
    }
    /*
     * Breadth first, so that a picture that is cut shows the first tests of
     * all filters and not all tests of the first.
     */
    for (size_t i = 0; i < p->todo_count && p->boxes < BOXES_MAX; i++) {
        draw(p, p->todo[i]);
        p->todo[i] = DD_NO;
        p->boxes++;
    }
    for (size_t i = 0; i < p->todo_count; i++) {
        if (p->todo[i] != DD_NO) {
            fprintf(p->out, "    n%u [shape=note, label=\"...\"];\n",
                    p->todo[i]);
        }
    }
    for (size_t g = 0; g < p->a->group_count; g++) {
        if (!p->reached[g]) {
            continue;
        }
        fprintf(p->out,
                "    t%zu [shape=box, style=\"rounded,filled\", "
                "fillcolor=\"#dde8dd\", label=\"",
                g);
        names(p, g);
        fputs("\"];\n", p->out);
    }
    uint64_t bases = 0;
    for (size_t i = 0; i < p->a->count; i++) {
        bases |= p->a->filters[i].bases;
    }
    char text[256];
    for (uint32_t b = 1; b < DD_BASES_MAX; b++) {
        if (bases >> b & 1) {
            atlas_base(p->a, b, text, sizeof(text));
            fprintf(p->out, "    base%u [shape=plaintext, label=\"%s\"];\n", b,
                    text);
        }
    }
    fputs("    label=\"what has no arrow is rejected\";\n}\n", p->out);
}

int dpf_atlas_dot(struct dpf_atlas *a, FILE *out)
{
    struct picture p = {.a = a, .out = out};
    uint32_t *roots = calloc(a->count + 1, sizeof(*roots)), top = 0;
    size_t count = 0;
    int result = roots != NULL ? atlas_merge(a, roots, &count) : -DPF_E_MEM;
    a->dd.err = 0;
    for (size_t i = 0; i < count; i++) {
        top = !dd_is_term(roots[i]) && roots[i] > top ? roots[i] : top;
    }
    p.parents = calloc(top + 1, sizeof(*p.parents));
    p.drawn = calloc(top + 1, 1);
    p.reached = calloc(a->group_count + 1, 1);
    p.todo = calloc(top + 1, sizeof(*p.todo));
    p.entries = calloc(ENTRIES_MAX, sizeof(*p.entries));
    if (p.parents == NULL || p.drawn == NULL || p.reached == NULL ||
        p.todo == NULL || p.entries == NULL) {
        result = -DPF_E_MEM;
    }
    if (result == 0) {
        count_parents(&p, roots, count, top);
        draw_all(&p, roots, count);
    }
    free(roots);
    free(p.parents);
    free(p.drawn);
    free(p.reached);
    free(p.todo);
    free(p.entries);
    return result;
}
