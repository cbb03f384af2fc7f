/* SPDX-License-Identifier: MIT */
/*
 * DPF: a dynamic packet filter compiler.
 *
 * One source, built for the kernel and for the host. A program in the
 * bytecode of RFC 9669 is verified, then interpreted or compiled to native
 * code (struct dpf_program). Many filters are merged into one decision and
 * compiled together (struct dpf_set), so that finding a packet's owner takes
 * time that does not grow with their number.
 *
 * Errors. int results are 0 (or a count) on success, -DPF_E_* on failure;
 * a failed call changes nothing. A human-readable reason goes into the
 * caller's struct dpf_error, which may be NULL.
 *
 * Ownership. Every object is made from, and returns to, one struct dpf_mem
 * that outlives it. Instructions passed in are copied. destroy functions
 * accept NULL.
 *
 * Concurrency. A struct dpf_program does not change after it is made: any
 * number of processors may run it. A struct dpf_set takes one writer at a
 * time (the embedder's lock) and any number of lookups at any time; what
 * lookups may still be reading is freed by dpf_set_reclaim only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ------------------------------------------------------------------ memory */

/*
 * The functions that the embedder provides. Code is written through one
 * mapping and run through another, and no page is ever both.
 *
 * alloc      `size` bytes, 16-byte aligned, contents undefined; NULL if none
 * free       gives back exactly what alloc returned, with the same size
 * code_alloc `size` bytes (a multiple of 4096) of address space to run code
 *            from, filled with trapping bytes (0xcc); not writable; NULL if
 *            none
 * code_free  gives it back
 * code_open  a writable view of `size` bytes at `rx`, which lies inside one
 *            code_alloc and need not be aligned; NULL if none. Its contents
 *            are undefined and all of it is written before code_seal. One
 *            view at a time is open. Programs that lie beside it, even in
 *            the same page, may run on other processors meanwhile.
 * code_seal  ends that view; afterwards `rx` runs the code that was written
 * engine     how programs run: one of the two below
 * random     64 bits that no author of a program can guess, to hide constants
 *            in native code; NULL: the time-stamp counter
 * heap       set by dpf_mem_start; else NULL
 * breathe    called now and then while a call works for long, so that a kernel
 *            can let interrupts in, or other processors make and destroy other
 *            objects of the same memory, one at a time. Nothing calls dpf for
 *            the object of the call, but for lookups. NULL: not called
 *
 * The four code members may all be NULL: then dpf_engine_full compiles nothing
 * and interprets every run. Calls that make or destroy objects of one dpf_mem
 * must not overlap, but that one may run while another breathes, if there is no
 * code heap.
 */
struct dpf_mem {
    void *(*alloc)(void *ctx, size_t size);
    void (*free)(void *ctx, void *p, size_t size);
    void *(*code_alloc)(void *ctx, size_t size);
    void (*code_free)(void *ctx, void *rx, size_t size);
    void *(*code_open)(void *ctx, void *rx, size_t size);
    void (*code_seal)(void *ctx, void *rx, void *rw, size_t size);
    void *ctx;
    uint64_t (*random)(void *ctx);
    const struct dpf_engine *engine;
    struct dpf_code_heap *heap;
    void (*breathe)(void *ctx);
};

/*
 * Engines give the same answers; only the one that is named is linked.
 *
 * dpf_engine_full    filters become graphs of decisions, programs of other
 *                    types native code instruction by instruction; what has
 *                    no native code is interpreted
 * dpf_engine_native  all programs become native code instruction by
 *                    instruction, whether DPF_COMPILE asks for it or not;
 *                    needs the four code members. 20 KiB less of text, and
 *                    filters take about twice as long.
 */
extern const struct dpf_engine dpf_engine_full, dpf_engine_native;

/*
 * Let the native code of all objects made from `mem` share pages. Optional:
 * without it each object gets whole pages, which costs caches and memory.
 * Call once, after filling the other members; finish when no object is left.
 *
 * Returns 0 or -DPF_E_MEM.
 */
int dpf_mem_start(struct dpf_mem *mem);
void dpf_mem_finish(struct dpf_mem *mem);

/* ------------------------------------------------------------------ errors */

#define DPF_ERRORS(X)                                                          \
    X(DPF_E_MEM, 1, "out of memory")                                           \
    X(DPF_E_INVAL, 2, "an argument is outside what the call accepts")          \
    X(DPF_E_VERIFY, 3, "the program breaks a rule of the verifier")            \
    X(DPF_E_TOO_BIG, 4, "larger than a stated limit")                          \
    X(DPF_E_REGION, 5, "the filter accepts packets outside its region")        \
    X(DPF_E_CONFLICT, 6, "the filter accepts packets of another binding")      \
    X(DPF_E_NOT_FOUND, 7, "no binding has this id")                            \
    X(DPF_E_EXISTS, 8, "the id is in use")                                     \
    X(DPF_E_SYNTAX, 9, "the text or object cannot be read")                    \
    X(DPF_E_BUSY, 10, "other bindings depend on this one")                     \
    X(DPF_E_FUEL, 11, "not decided within the work that one call may do")      \
    X(DPF_E_STEPS, 12, "the program is longer than a packet may cost")

enum dpf_errno {
#define X(name, value, text) name = value,
    DPF_ERRORS(X)
#undef X
};

/* The sentence for -DPF_E_*; a static string, never NULL. */
const char *dpf_strerror(int err);

#define DPF_WITNESS_MAX 256u /* bytes of packet kept as a witness */

/* Why a call failed, in words a person can act on. */
struct dpf_error {
    int code;             /* -DPF_E_*, or 0 */
    uint32_t insn;        /* verifier: index of the instruction in the input */
    uint32_t position;    /* front ends: byte offset in the input, from 0 */
    uint32_t other;       /* conflict: id of the binding collided with */
    uint32_t witness_len; /* bytes of witness; 0 = no witness */
    char rule[32];        /* the rule's name, as in dpf.7 */
    char text[256];       /* one line, no newline */
    uint8_t witness[DPF_WITNESS_MAX]; /* a packet that shows the conflict */
};

/* ---------------------------------------------------------------- programs */

/* One instruction as it lies in memory (RFC 9669 s3), little endian. */
struct dpf_insn {
    uint8_t opcode;
    uint8_t regs; /* destination in bits 0-3, source in bits 4-7 */
    int16_t off;
    int32_t imm;
};
_Static_assert(sizeof(struct dpf_insn) == 8, "RFC 9669 section 3");

#define DPF_INSN_DST(i) ((i)->regs & 0x0f)
#define DPF_INSN_SRC(i) ((i)->regs >> 4)

enum dpf_type {
    DPF_FILTER,    /* r1 packet, r2 length; r0 0 = not mine */
    DPF_PREDICATE, /* r1 table of region pointers; r0 0 = sleep on, else tag */
    DPF_UDF,       /* r1 metadata block, r2 length, r3 argument */
    DPF_HANDLER,   /* r1 packet, r2 length, r3 state region; r0 verdict */
    DPF_RAW,       /* host only: r1 writable memory, r2 length */
};

#define DPF_INSNS_MAX 65536u       /* instructions in one program */
#define DPF_KERNEL_INSNS_MAX 4096u /* the same where the kernel loads it */
#define DPF_REGIONS_MAX 8u         /* regions of a predicate */
#define DPF_FUEL_DEFAULT 65536u    /* back edges taken before a run stops */

/* A stretch of memory that a program may touch. */
struct dpf_region {
    void *base;
    uint32_t len; /* bytes */
};

/*
 * The memory that one run may touch, and its helpers. Regions by program type:
 *   filter     regions[0] packet, read-only
 *   predicate  regions[i] the i-th named region, read-only
 *   udf        regions[0] metadata block, read-only
 *   handler    regions[0] packet, read-only; regions[1] state, writable
 *   raw        regions[0] memory, writable
 */
struct dpf_run {
    struct dpf_region regions[DPF_REGIONS_MAX];
    uint32_t region_count;
    uint32_t fuel; /* back edges; 0 = DPF_FUEL_DEFAULT */
    uint64_t arg;  /* r3 of a udf */
    /*
     * The helpers, by number as in dpf.7; a program that calls one that its
     * type does not have is refused by the verifier, so that the embedder
     * fills only those of its type. Arguments that are pointers arrive as
     * checked host pointers.
     */
    uint64_t (*helper)(struct dpf_run *run, uint32_t number,
                       const uint64_t args[5]);
    void *helper_ctx;
};

enum dpf_helper {
    DPF_HELPER_EMIT = 1,    /* udf: emit(block, count, type) */
    DPF_HELPER_REPLY = 2,   /* handler: reply(pointer, length) */
    DPF_HELPER_DELIVER = 3, /* handler: deliver() */
    DPF_HELPER_WAKE = 4,    /* handler: wake(tag) */
};

/* How a run ended. All but DPF_END_EXIT are the type's defined "stop". */
enum dpf_end {
    DPF_END_EXIT,   /* an exit instruction; the result is r0 */
    DPF_END_BOUNDS, /* an access not wholly inside its region */
    DPF_END_FUEL,   /* fuel ran out */
};

struct dpf_result {
    uint64_t r0; /* 0 unless end == DPF_END_EXIT */
    enum dpf_end end;
};

struct dpf_program; /* verified; immutable */

#define DPF_COMPILE (1u << 8) /* also make native code */

/*
 * Verify `count` instructions, and keep a copy without unreachable code.
 *
 * type   enum dpf_type, perhaps | DPF_COMPILE
 * insns  array of count instructions; read once (it may be changing)
 * out    the program; untouched on error
 * err    reason, or NULL
 *
 * Returns 0, -DPF_E_VERIFY, -DPF_E_TOO_BIG, -DPF_E_MEM, -DPF_E_INVAL.
 */
int dpf_program_create(const struct dpf_mem *mem, uint32_t type,
                       const struct dpf_insn *insns, size_t count,
                       struct dpf_program **out, struct dpf_error *err);
void dpf_program_destroy(struct dpf_program *p);

enum dpf_type dpf_program_type(const struct dpf_program *p);
/* Whether some jump goes backwards: fuel, not length, then bounds a run. */
bool dpf_program_loops(const struct dpf_program *p);
/* The kept instructions; *count receives their number. */
const struct dpf_insn *dpf_program_insns(const struct dpf_program *p,
                                         size_t *count);
/*
 * Native code and its size in bytes; NULL if it was not compiled. That of a
 * filter may be called as dpf_filter_code where every nanosecond counts: with a
 * length below 2^32 and the fuel, it returns what dpf_filter_run returns.
 */
typedef uint64_t dpf_filter_code(const void *packet, uint64_t len,
                                 uint64_t fuel);
const void *dpf_program_code(const struct dpf_program *p, size_t *size);

/* The plain reading of the standard: the oracle for all else. */
struct dpf_result dpf_program_interp(const struct dpf_program *p,
                                     struct dpf_run *run);
/*
 * The same answer from native code, or from the interpreter if there is none.
 * Of a filter, stopping and answering 0 are one answer: a native run that
 * ends with r0 = 0 may report DPF_END_EXIT where the interpreter tells the
 * cause.
 */
struct dpf_result dpf_program_run(const struct dpf_program *p,
                                  struct dpf_run *run);
/* A filter on one packet: r0, or 0 when the run stopped. */
uint64_t dpf_filter_run(const struct dpf_program *p, const void *packet,
                        size_t len);

/* -------------------------------------------------------- sets of filters */

/*
 * A set holds regions and bindings over one packet space (one device).
 *
 * A region is a filter with a name (id) that lies inside a parent region;
 * region 0 is every packet. A binding is a filter inside a region. A packet
 * has at most one owner among exclusive bindings; every shared binding and
 * every tap that accepts it gets a copy.
 *
 * Which bindings exist decides who gets a packet; the order in which they
 * were made does not.
 */
struct dpf_set;

enum {
    DPF_SHARED = 1u << 0, /* region: each binder gets a copy */
    DPF_REFINE = 1u << 1, /* binding: others may bind strictly inside */
    DPF_TAP = 1u << 2,    /* binding: copies of other bindings' packets */
};

#define DPF_NO_OWNER UINT32_MAX
#define DPF_ID_MAX (UINT32_MAX - 2u) /* the largest id of a binding */

/*
 * A limit on the work of one call, in units of about 60 instructions. Ordinary
 * filters take 100 to 3,000 units.
 */
#define DPF_WORK_DEFAULT 32768u

int dpf_set_create(const struct dpf_mem *mem, struct dpf_set **out);
/*
 * Let each call that binds, or makes a region, do `units` of work; 0: without
 * limit. Reading a filter takes a quarter at most; packets that are not
 * decided by then count as "may accept". If half of it does not suffice to
 * decide whether the filter is in another's way, it is refused. Removal has no
 * limit.
 *
 * A refusal that rests on a limit, of work or of any other kind, is
 * -DPF_E_FUEL: whether the filter leaves its region or meets another was not
 * found out. -DPF_E_REGION and -DPF_E_CONFLICT are answers.
 */
void dpf_set_work(struct dpf_set *s, uint64_t units);
/* Frees everything, retired versions included; no lookup may be running. */
void dpf_set_destroy(struct dpf_set *s);

/*
 * Make region `id` inside `parent` from `filter` (borrowed during the call).
 *
 * flags  0 or DPF_SHARED (a region inside a shared region is shared)
 *
 * Two regions may overlap: regions bound authority, bindings own packets.
 * Returns 0, -DPF_E_REGION (with a witness outside the parent),
 * -DPF_E_EXISTS, -DPF_E_NOT_FOUND (parent), -DPF_E_FUEL, -DPF_E_MEM,
 * -DPF_E_INVAL.
 */
int dpf_set_region_insert(struct dpf_set *s, uint32_t id, uint32_t parent,
                          const struct dpf_program *filter, uint32_t flags,
                          struct dpf_error *err);
/* Returns 0, -DPF_E_NOT_FOUND, -DPF_E_BUSY (bindings or regions inside). */
int dpf_set_region_remove(struct dpf_set *s, uint32_t id);

/*
 * Bind `filter` inside region `region` under `id`, which a lookup returns.
 *
 * The filter must imply the region. Unless the region is shared or the
 * binding is a tap, it must be disjoint from every exclusive binding, or
 * strictly inside one that has DPF_REFINE (the smaller then owns).
 * `filter` is copied as far as needed; the caller keeps it.
 *
 * Around bindings that exist it may be made if it has DPF_REFINE itself, so
 * that the order of binding does not matter. A filter that cannot be read
 * whole is judged by all packets that it might accept.
 *
 * Returns 0, -DPF_E_REGION or -DPF_E_CONFLICT (err->other, err->witness),
 * -DPF_E_FUEL (err->other: the binding that it could not be told from),
 * -DPF_E_EXISTS, -DPF_E_NOT_FOUND, -DPF_E_MEM, -DPF_E_TOO_BIG, -DPF_E_STEPS,
 * -DPF_E_INVAL.
 */
int dpf_set_insert(struct dpf_set *s, uint32_t id, uint32_t region,
                   const struct dpf_program *filter, uint32_t flags,
                   struct dpf_error *err);

/*
 * One equality test of a binding: the bytes at `offset` from `base`, read as
 * a big-endian number, have `value` under `mask`. A run of neighbouring bytes
 * is cut into fields of at most four.
 */
struct dpf_field {
    uint32_t base;   /* 0: the packet's start; else a number of a header end */
    uint32_t offset; /* bytes */
    uint32_t width;  /* bytes, 1 to 4 */
    uint32_t mask, value;
};

/*
 * List the fields of binding `id`, in ascending order of base and offset.
 *
 * out, max  receives the first `max`; out may be NULL if max is 0
 *
 * Returns their number, -DPF_E_NOT_FOUND, or -DPF_E_INVAL if the binding's
 * filter is not a single conjunction of equality tests.
 */
int dpf_set_fields(struct dpf_set *s, uint32_t id, struct dpf_field *out,
                   size_t max);

/*
 * A limit on the cost of a packet's lookup. A filter that tests of constants
 * alone do not decide keeps its program, which lookups run for each packet
 * that may be its.
 *
 * dpf_set_steps_max  from now on dpf_set_insert refuses a filter whose program
 *                    must be kept and has more than `steps` instructions
 *                    (-DPF_E_STEPS). A new set has no such limit.
 * dpf_set_steps      the instructions of the program that binding `id` keeps;
 *                    0: none. Or -DPF_E_NOT_FOUND
 */
void dpf_set_steps_max(struct dpf_set *s, uint32_t steps);
int dpf_set_steps(struct dpf_set *s, uint32_t id);

/* One constant of an installed filter to be changed. */
struct dpf_const {
    uint32_t index; /* which field, as dpf_set_fields lists them */
    uint64_t value; /* the new constant; no bit outside the field's mask */
};

/*
 * Bind the filter of binding `like` with other constants, under `id`, in the
 * same region with the same flags. No verification, no lifting.
 * Returns as dpf_set_insert, and -DPF_E_INVAL for an index out of range, a
 * constant outside its mask, or a filter that dpf_set_fields refuses.
 */
int dpf_set_insert_like(struct dpf_set *s, uint32_t id, uint32_t like,
                        const struct dpf_const *consts, size_t count,
                        struct dpf_error *err);
/*
 * Remove binding `id`: no lookup that begins after the call returns it. Needs
 * no memory and cannot fail for a binding that exists.
 *
 * dpf_set_drop    that alone: what served the binding stays allocated, and
 *                 lookups pass it over, until dpf_set_tidy
 * dpf_set_tidy    publish one version without all that was dropped, however
 *                 many. Returns 0 or -DPF_E_MEM; then call it again when there
 *                 is memory
 * dpf_set_remove  both, for one binding
 *
 * drop and remove return 0 or -DPF_E_NOT_FOUND.
 */
int dpf_set_drop(struct dpf_set *s, uint32_t id);
int dpf_set_tidy(struct dpf_set *s);
int dpf_set_remove(struct dpf_set *s, uint32_t id);

/*
 * Find the owner of a packet. Any processor, no lock; the caller tells its
 * quiescent points to the embedder's own scheme (dpf_set_reclaim).
 *
 * copy  called with `ctx` and the id of every shared binding and tap that
 *       accepts the packet, once each, in no stated order; NULL: no copies
 *
 * Returns the owner's id, or DPF_NO_OWNER.
 */
typedef void dpf_copy(void *ctx, uint32_t id);
uint32_t dpf_set_match(const struct dpf_set *s, const void *packet, size_t len,
                       dpf_copy *copy, void *ctx);

/*
 * Versions. Every change publishes a new version with one store.
 * dpf_set_version is the number of the newest; once every processor has
 * passed a quiescent point after seeing it, dpf_set_reclaim(s, version)
 * frees what only older versions used.
 */
uint64_t dpf_set_version(const struct dpf_set *s);
void dpf_set_reclaim(struct dpf_set *s, uint64_t version);

struct dpf_set_stats {
    uint32_t regions, bindings, taps;
    uint32_t shapes;     /* distinct key layouts */
    uint32_t diagrams;   /* bindings that are no keys, but diagrams */
    uint32_t tree_nodes; /* of class trees */
    uint32_t alike;  /* bindings that no byte tells from 64 others: see docs */
    uint32_t opaque; /* bindings with an unliftable remainder */
    uint64_t nodes;  /* diagram nodes */
    uint64_t bytes;  /* data, retired versions included */
    uint64_t code_bytes;    /* native code */
    uint64_t compiles;      /* times code was generated */
    uint64_t table_inserts; /* times a table insert was enough */
    uint64_t work;          /* units that the last call took */
    uint64_t misread;       /* filters that run otherwise than they were read */
    uint64_t doubted;       /* proofs that a packet has refuted */
};
void dpf_set_stats(const struct dpf_set *s, struct dpf_set_stats *out);
/*
 * The newest version's native code, to be shown or named, and its size in
 * bytes; NULL if it has none. Valid until the next change of the set.
 */
const void *dpf_set_code(const struct dpf_set *s, size_t *size);

/*
 * A packet in words, on one line: lengths, addresses, options, ports. Cut at
 * `size`, zero-terminated if that is not 0. Returns the bytes that all of it
 * needs, without the zero.
 */
size_t dpf_packet_text(char *out, size_t size, const uint8_t *packet,
                       size_t len);
