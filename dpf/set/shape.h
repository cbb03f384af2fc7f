/* SPDX-License-Identifier: MIT */
/*
 * A shape: what all cubes with the same tests share, and the table of what
 * they differ in. Bytes that have one value in every cube are constants of
 * the shape; a run of neighbouring bytes that differ is fused into words of
 * the key. So ten thousand connections are one check of constants, one key
 * and one probe.
 */
#pragma once

#include "dpf/diagram/kept.h"
#include "dpf/set/table.h"
#include "dpf/tree/classtree.h"

#define SHAPE_BASES_MAX 8u /* that its cubes count from, base 0 included */
#define SHAPE_NOWHERE 0x80000000u /* no packet is as long */
#define SHAPE_NO_PLACE 0xffu      /* a byte that is not loaded with the key */

/*
 * One load of the key: `width` bytes at base + off, under `mask`. A key of
 * few bytes is always a word of eight and one of four, so that one piece of
 * code looks many shapes up; a word that it has no bytes for is 0, at
 * SHAPE_NOWHERE, its mask 0. What is loaded besides the bytes that vary is
 * compared too, so that it need not be checked.
 */
struct shape_word {
    uint32_t base, off;
    uint32_t width; /* 8 or 4; the 8s come first */
    uint64_t mask;
};

/* What hangs in a tree of owners: a shape, or a binding that is a diagram. */
struct set_item {
    struct ct_item item; /* first */
    bool is_shape;
};

/*
 * A residual shape holds filters that are more than a cube, by a cube that
 * contains them: its ids are numbers of bindings, whose diagrams decide.
 */
struct shape {
    struct set_item hung; /* first */
    struct retired retired;
    struct table *table; /* replaced with one store */
    uint32_t rank;       /* of its cubes; residual: lowest of its bindings */
    uint32_t rank_high;  /* the highest */
    bool residual;
    bool shown;           /* to lookups: in the image, or in the tree */
    uint64_t *code_table; /* where native code reads `table`, or NULL */
    uint32_t word_count, base_count;
    struct cube cube; /* its value matters where `varies` is 0 */
    struct shape_word words[TABLE_WORDS_MAX];
    struct dd_base bases[SHAPE_BASES_MAX]; /* that `cube` counts from */
};

/* Do two cubes ask for the same lengths and masks? */
bool shape_same(const struct cube *a, const struct cube *b);

/* Can every byte that a cube tests be loaded in words of a key? */
bool shape_fits(const struct cube *c);

/* Is its key a word of eight and one of four? */
bool shape_is_narrow(const struct shape *s);
/* Would it be, of a shape for cubes like `c`? */
bool shape_stays_narrow(const struct cube *c);

/*
 * A shape for cubes like `c` of these bases, without keys yet; bytes marked in
 * c->bytes[] vary. All cubes of a shape count from its bases, as cube_seen
 * makes them of others. Returns NULL and sets *err to -DPF_E_MEM, or to
 * -DPF_E_TOO_BIG if its words cannot be loaded from every packet that is long
 * enough.
 */
struct shape *shape_create(struct heap *h, const struct cube *c,
                           const struct dd_base *bases, uint32_t base_count,
                           int *err);
void shape_destroy(struct heap *h, struct shape *s);

/*
 * Where `c`, of this shape, differs from its constants: `out` is the shape's
 * cube with those bytes marked, or has no bytes if there are none.
 */
void shape_differs(const struct shape *s, const struct cube *c,
                   struct cube *out);

/* The key of cube `c` of this shape. */
void shape_key(const struct shape *s, const struct cube *c, uint8_t *key);

/*
 * What `c`, of any shape, asks of this shape's keys: `key` under `mask`.
 * Returns 0 if its constants exclude c; 1 if c asks for the whole key; 2 if
 * for a part.
 */
int shape_project(const struct shape *s, const struct cube *c, uint8_t *key,
                  uint8_t *mask);

/* The cube of a key, with no byte marked. */
void shape_cube(const struct shape *s, const uint8_t *key, struct cube *out);

/* Cube `c`, which counts as `d` does, as cubes of the shape count: itself, or
   in `room`. */
const struct cube *shape_view(const struct shape *s, struct dd *d,
                              const struct cube *c, struct cube *room);
/* The other way round. */
const struct cube *shape_unview(const struct shape *s, const struct dd *d,
                                const struct cube *c, struct cube *room);

/* The id of the cube that the packet is in, or DPF_NO_OWNER. Any processor. */
uint32_t shape_match(const struct shape *s, const uint8_t *packet, size_t len);
