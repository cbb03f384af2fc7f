/* SPDX-License-Identifier: MIT */
/*
 * Physical frames (page.h has the word's layout and the rule of life).
 *
 * Invariants: counters in `chunk_free` equal the zero words of each chunk of
 * 512 frames, unless it is reserved; a frame that leaves 0 was zeroed or is the
 * kernel's own; quota of the owner is given back exactly when the word returns
 * to 0. A frame that is not the kernel's is in its owner's list, so that the
 * end of an environment visits what it owns and not the whole memory.
 *
 * A long run is reserved at once, since it must be contiguous, and cleared and
 * given in turns; until then its frames are the kernel's, and `env.run` of the
 * environment names them. Whole chunks of it are reserved by their counters,
 * which say that nothing is free: their words are marked chunk by chunk, each
 * before its first frame is given. An environment has one such run at most: the
 * next page_alloc, or its end, frees what is left of it.
 * Source: Engler95 s3.2; Xok's ppage.
 */
#include "src/kern/page.h"
#include "src/kern/demand.h"
#include "src/kern/env.h"
#include "src/kern/sysproto.h"
#include "src/kern/turn.h"

#define OWNER_SHIFT 20u
#define BINDS_SHIFT 30u
#define PINS_SHIFT 46u
#define GUARD_MASK ((1ull << OWNER_SHIFT) - 1)
#define OWNER_MASK (0x3ffull << OWNER_SHIFT)
#define BIND_ONE (1ull << BINDS_SHIFT)
#define BINDS_MASK (0xffffull << BINDS_SHIFT)
#define PIN_ONE (1ull << PINS_SHIFT)
#define PINS_MASK (0x3fffull << PINS_SHIFT)
#define IN_USE (PAGE_OWNED | PAGE_KERNEL | BINDS_MASK | PINS_MASK)
_Static_assert(GUARD_MAX - 1 <= GUARD_MASK, "guards fit");
_Static_assert(ENVS_MAX <= 1u << 10, "owners fit");

#define CHUNK 512u     /* frames; 2 MiB */
#define PIECE 64u      /* frames that a turn takes at once */
#define SEARCH 16384u  /* words and counters that a search looks at */
#define MARK_UNITS 32u /* of a turn, to mark the words of a chunk */
#define CLEAR_PIECE (TURN_WORK / TURN_CLEAR)
#define LOOK_UNITS 8u /* of a turn, to look at a piece */

struct lock page_lock;
static _Atomic uint64_t *word; /* one for each frame */
static uint64_t words;
static uint16_t *chunk_free GUARDED_BY(page_lock);
static uint64_t *free_frames GUARDED_BY(page_lock); /* exposed */
static uint64_t free_early;                         /* until page_expose */
static uint64_t hint GUARDED_BY(page_lock);         /* chunk to look at first */

/* Lists of what environments own, by frame number; 0 ends them. */
struct link {
    uint32_t next, prev;
};
static struct link *links GUARDED_BY(page_lock);
static uint32_t owned[ENVS_MAX] GUARDED_BY(page_lock); /* heads */

uint64_t page_count(void)
{
    return words;
}

uint64_t page_free_count(void)
{
    lock_acquire(&page_lock);
    uint64_t n = *free_frames;
    lock_release(&page_lock);
    return n;
}

void page_expose(uint64_t *counter)
{
    lock_acquire(&page_lock);
    *counter = *free_frames;
    free_frames = counter;
    lock_release(&page_lock);
}

static uint64_t load(uint64_t f)
{
    return atomic_load_explicit(&word[f], memory_order_relaxed);
}

static bool swap(uint64_t f, uint64_t *was, uint64_t is)
{
    return atomic_compare_exchange_weak(&word[f], was, is);
}

static void link_add(uint64_t f, uint32_t owner) REQUIRES(page_lock)
{
    if (owner != 0) {
        uint32_t head = owned[owner];
        links[f] = (struct link){.next = head};
        links[head].prev = (uint32_t)f; /* of frame 0: nobody looks */
        owned[owner] = (uint32_t)f;
    }
}

static void link_remove(uint64_t f, uint32_t owner) REQUIRES(page_lock)
{
    if (owner != 0) {
        struct link l = links[f];
        links[l.next].prev = l.prev;
        *(l.prev != 0 ? &links[l.prev].next : &owned[owner]) = l.next;
    }
}

static uint32_t owner_of(uint64_t w)
{
    return (uint32_t)((w & OWNER_MASK) >> OWNER_SHIFT);
}

static void count_free(uint64_t f, bool is_free) REQUIRES(page_lock)
{
    uint32_t n = chunk_free[f / CHUNK];
    chunk_free[f / CHUNK] = (uint16_t)(is_free ? n + 1 : n - 1);
    *free_frames += is_free ? 1 : (uint64_t)-1;
}

/* Room for the tables themselves, off the start of the first range it fits. */
static uint64_t carve(const struct boot_range *ram, uint32_t rams,
                      uint64_t frames)
{
    for (uint32_t i = 0; i < rams; i++) {
        uint64_t start = page_frames(ram[i].start);
        uint64_t end = ram[i].end / PAGE_SIZE;
        if (start < end && end - start >= frames) {
            return start;
        }
    }
    panic("no range of memory holds %lu frames for the frame table",
          (unsigned long)frames);
}

void page_init(const struct boot_range *ram, uint32_t rams, uint64_t top)
{
    words = top / PAGE_SIZE;
    uint64_t chunks = (words + CHUNK - 1) / CHUNK;
    uint64_t bytes = words * (sizeof(*word) + sizeof(struct link)) +
                     chunks * sizeof(*chunk_free);
    uint64_t own = page_frames(bytes);
    uint64_t at = carve(ram, rams, own);

    lock_acquire(&page_lock);
    word = arch_frame_ptr(at);
    links = (struct link *)(word + words);
    chunk_free = (uint16_t *)(links + words);
    free_early = 0;
    free_frames = &free_early;
    hint = 0;
    __builtin_memset(arch_frame_ptr(at), 0, own * PAGE_SIZE);
    for (uint64_t f = 0; f < words; f++) {
        atomic_store_explicit(&word[f], PAGE_KERNEL, memory_order_relaxed);
    }
    for (uint32_t i = 0; i < rams; i++) {
        uint64_t f = page_frames(ram[i].start);
        for (; f < ram[i].end / PAGE_SIZE && f < words; f++) {
            if (f != 0 && (f < at || f >= at + own)) {
                atomic_store_explicit(&word[f], 0, memory_order_relaxed);
                count_free(f, true);
            }
        }
    }
    lock_release(&page_lock);
}

/* Is the run free? Whole chunks are judged by their counters. */
static bool run_free(uint64_t f, uint64_t count) REQUIRES(page_lock)
{
    for (uint64_t end = f + count; f < end;) {
        if (f % CHUNK == 0 && end - f >= CHUNK) {
            if (chunk_free[f / CHUNK] != CHUNK) {
                return false;
            }
            f += CHUNK;
        } else if (chunk_free[f / CHUNK] == 0 || load(f++) != 0) {
            return false;
        }
    }
    return true;
}

/* One free frame: the first chunk from the hint on that has any. */
static uint64_t find_one(void) REQUIRES(page_lock)
{
    uint64_t chunks = (words + CHUNK - 1) / CHUNK;
    for (uint64_t n = 0; n < chunks; n++, hint = (hint + 1) % chunks) {
        if (chunk_free[hint] == 0) {
            continue;
        }
        uint64_t f = hint * CHUNK;
        while (load(f) != 0) {
            f++;
        }
        return f;
    }
    return FRAME_NONE;
}

/*
 * The searches for a run look at SEARCH words and counters at most, from chunk
 * `*from` on. If they find nothing, `*from` is where to go on; behind the last
 * chunk there is nothing left.
 */
static uint64_t from_now(uint64_t f, uint64_t count)
{
    return f + count <= words ? f / CHUNK : words / CHUNK + 1;
}

/* A run of whole chunks and what follows, which begins on a chunk. */
static uint64_t find_large(uint64_t count, uint64_t *from) REQUIRES(page_lock)
{
    uint64_t f = *from * CHUNK;
    for (uint64_t looked = 0; f + count <= words && looked < SEARCH;) {
        uint64_t whole = 0;
        while (count - whole >= CHUNK &&
               chunk_free[(f + whole) / CHUNK] == CHUNK) {
            whole += CHUNK;
        }
        uint64_t rest = count - whole;
        looked += whole / CHUNK + 1 + (rest < CHUNK ? rest : 0);
        if (rest < CHUNK && run_free(f + whole, rest)) {
            return f;
        }
        f += whole + CHUNK; /* the next begins behind what was in the way */
    }
    *from = from_now(f, count);
    return FRAME_NONE;
}

/*
 * A run of less than a chunk, anywhere. Each place is looked at from its end,
 * so that the search goes on behind the last frame that is in the way; what
 * was seen to be free is not looked at again.
 */
static uint64_t find_small(uint64_t count, uint64_t *from) REQUIRES(page_lock)
{
    uint64_t f = *from * CHUNK, known = f; /* [f, known) is free */
    for (uint64_t looked = 0; f + count <= words && looked < SEARCH;) {
        uint64_t end = f + count, at = end;
        if (chunk_free[(end - 1) / CHUNK] == 0) {
            looked++;
            f = known = ((end - 1) / CHUNK + 1) * CHUNK;
            continue;
        }
        while (at > known && load(at - 1) == 0) {
            at--;
        }
        looked += end - at + 1;
        if (at == known) {
            return f;
        }
        f = at;
        known = end;
    }
    *from = from_now(f, count);
    return FRAME_NONE;
}

static uint64_t find(uint64_t count, uint64_t *from) REQUIRES(page_lock)
{
    return count == 1       ? find_one()
           : count >= CHUNK ? find_large(count, from)
                            : find_small(count, from);
}

/* Where the kernel's own search for a run began when it last found none. */
static uint64_t kernel_from GUARDED_BY(page_lock);

static uint64_t find_run(uint64_t count) REQUIRES(page_lock)
{
    uint64_t from = kernel_from, f = find(count, &from);
    if (f == FRAME_NONE) {
        kernel_from = from * CHUNK < words ? from : 0;
        from = 0;
        f = find(count, &from);
    }
    return f;
}

/* Make the words of a free run `value`. */
static void take(uint64_t f, uint64_t count, uint64_t value) REQUIRES(page_lock)
{
    *free_frames -= count;
    for (uint64_t end = f + count, next; f < end; f = next) {
        next = f / CHUNK * CHUNK + CHUNK;
        next = next < end ? next : end;
        chunk_free[f / CHUNK] = (uint16_t)(chunk_free[f / CHUNK] - (next - f));
        for (; f + 4 <= next; f += 4) { /* long runs are taken at once */
            atomic_store_explicit(&word[f], value, memory_order_relaxed);
            atomic_store_explicit(&word[f + 1], value, memory_order_relaxed);
            atomic_store_explicit(&word[f + 2], value, memory_order_relaxed);
            atomic_store_explicit(&word[f + 3], value, memory_order_relaxed);
        }
        for (; f < next; f++) {
            atomic_store_explicit(&word[f], value, memory_order_relaxed);
        }
    }
}

static void clear(uint64_t f, uint64_t count)
{
    __builtin_memset(arch_frame_ptr(f), 0, count * PAGE_SIZE);
}

/*
 * A run for the kernel, zeroed: the one at `f` or, with PAGE_ANY, any. What is
 * meant for an environment becomes so (give) only after that: until then no pin
 * from elsewhere can see the old contents. FRAME_NONE if it is not free.
 */
static uint64_t take_run(uint64_t f, uint64_t count, uint64_t value)
    EXCLUDES(page_lock)
{
    lock_acquire(&page_lock);
    if (f == PAGE_ANY) {
        f = count <= *free_frames && count > 0 ? find_run(count) : FRAME_NONE;
    } else if (!run_free(f, count)) {
        f = FRAME_NONE;
    }
    if (f != FRAME_NONE) {
        take(f, count, value);
    }
    lock_release(&page_lock);
    if (f != FRAME_NONE) {
        clear(f, count);
    }
    return f;
}

static void give(uint64_t f, uint64_t count, uint64_t value) EXCLUDES(page_lock)
{
    lock_acquire(&page_lock);
    for (uint64_t i = 0; i < count; i++) {
        assert(load(f + i) == PAGE_KERNEL);
        atomic_store(&word[f + i], value);
        link_add(f + i, owner_of(value));
    }
    lock_release(&page_lock);
}

uint64_t page_kalloc(uint64_t count)
{
    return take_run(PAGE_ANY, count, PAGE_KERNEL);
}

void *page_kalloc_bytes(uint64_t bytes)
{
    uint64_t f = page_kalloc(page_frames(bytes));
    return f == FRAME_NONE ? NULL : arch_frame_ptr(f);
}

/* Take from the word a count or a flag; free the frame after its last use. */
static void lower(uint64_t f, uint64_t less, uint64_t without)
    EXCLUDES(page_lock)
{
    uint64_t was = load(f);
    for (;;) {
        uint64_t is = (was - less) & ~without;
        if ((is & IN_USE) == 0) {
            break;
        }
        if (swap(f, &was, is)) {
            return;
        }
    }
    /* The last use: nobody can begin another, but others may end theirs. */
    uint64_t is;
    lock_acquire(&page_lock);
    was = load(f);
    do {
        is = (was - less) & ~without;
        is = (is & IN_USE) == 0 ? 0 : is;
    } while (!swap(f, &was, is));
    if (is == 0) {
        count_free(f, true);
        if ((was & PAGE_KERNEL) == 0) {
            link_remove(f, owner_of(was));
        }
        env_refund(owner_of(was), 1);
    }
    lock_release(&page_lock);
    if (is == 0) {
        guard_drop((uint32_t)(was & GUARD_MASK));
    }
}

void page_kfree(uint64_t frame, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        assert(load(frame + i) == PAGE_KERNEL);
        lower(frame + i, 0, PAGE_KERNEL);
    }
}

int64_t page_take(uint64_t frame, uint32_t count, uint32_t guard,
                  uint32_t owner)
{
    bool any = frame == PAGE_ANY;
    REFUSE_IF(!any && (frame >= words || count > words - frame), E_RANGE);
    uint64_t f = take_run(frame, count, PAGE_KERNEL);
    REFUSE_IF(f == FRAME_NONE, any ? E_MEM : E_BUSY);
    guard_hold(guard, count);
    give(f, count, PAGE_OWNED | guard | (uint64_t)owner << OWNER_SHIFT);
    return (int64_t)f;
}

void page_adopt(uint64_t frame, uint64_t count, uint32_t owner)
{
    give(frame, count, PAGE_OWNED | (uint64_t)owner << OWNER_SHIFT);
}

uint64_t page_table_take(uint32_t owner)
{
    return take_run(PAGE_ANY, 1, PAGE_KERNEL | (uint64_t)owner << OWNER_SHIFT);
}

void page_table_free(uint64_t frame)
{
    lower(frame, 0, PAGE_KERNEL);
}

int page_demand(const struct cap *k, uint32_t rights, uint64_t frame,
                uint64_t count)
{
    REFUSE_IF(frame >= words || count > words - frame, E_RANGE);
    uint64_t good = UINT64_MAX; /* the last guard found dominated */
    for (uint64_t i = 0; i < count; i++) {
        uint64_t w = load(frame + i);
        REFUSE_IF((w & PAGE_OWNED) == 0, E_NONE);
        if ((w & GUARD_MASK) == good) {
            continue;
        }
        good = w & GUARD_MASK;
        REFUSE_IF(!cap_dominates(k, (uint32_t)good, rights), E_CAP);
    }
    return 0;
}

void page_disown(uint64_t frame, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        lower(frame + i, 0, PAGE_OWNED);
    }
}

/* A frame of `owner` is still in use elsewhere: `heir` pays from now on. */
static void inherit(uint64_t f, uint32_t owner, uint32_t heir)
    REQUIRES(bind_lock)
{
    lock_acquire(&page_lock);
    uint64_t w = load(f);
    while (owner_of(w) == owner && (w & IN_USE) != 0) {
        uint64_t is = (w & ~OWNER_MASK) | (uint64_t)heir << OWNER_SHIFT;
        if (swap(f, &w, is)) {
            link_remove(f, owner);
            link_add(f, heir);
            env_inherit(owner, heir);
            break;
        }
    }
    lock_release(&page_lock);
}

bool page_disown_all(uint32_t owner, uint32_t heir, struct turn *t)
{
    for (;;) {
        lock_acquire(&page_lock);
        uint64_t f = owned[owner];
        lock_release(&page_lock);
        if (f == 0) {
            return true;
        }
        if (!turn_take(t, 1)) {
            return false;
        }
        if ((load(f) & PAGE_OWNED) != 0 && owner_of(load(f)) == owner) {
            lower(f, 0, PAGE_OWNED);
        }
        inherit(f, owner, heir);
    }
}

int page_bound(uint64_t frame, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t was = load(frame + i);
        do {
            if ((was & BINDS_MASK) == BINDS_MASK) {
                page_unbound(frame, i);
                return -E_LIMIT;
            }
        } while (!swap(frame + i, &was, was + BIND_ONE));
    }
    return 0;
}

void page_unbound(uint64_t frame, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        lower(frame + i, BIND_ONE, 0);
    }
}

void page_pass_init(struct page_pass *p, const struct cap *k, uint32_t rights)
{
    *p = (struct page_pass){.cap = *k, .rights = rights};
}

void page_pass_finish(struct page_pass *p)
{
    if (p->cached) {
        guard_drop(p->guard);
    }
    *p = (struct page_pass){0};
}

/*
 * The frame's guard is not the cached one. Under page_lock the frame cannot be
 * freed, so its guard is held by it and the name stands still.
 */
static int pin_checked(struct page_pass *p, uint64_t f) EXCLUDES(page_lock)
{
    int r = 0;
    lock_acquire(&page_lock);
    uint64_t w = load(f);
    do {
        if ((w & PAGE_OWNED) == 0) {
            r = -E_NONE;
        } else if (!cap_dominates(&p->cap, (uint32_t)(w & GUARD_MASK),
                                  p->rights)) {
            r = -E_CAP;
        } else if ((w & PINS_MASK) == PINS_MASK) {
            r = -E_LIMIT;
        }
    } while (r == 0 && !swap(f, &w, w + PIN_ONE));
    lock_release(&page_lock);
    if (r == 0) {
        guard_hold((uint32_t)(w & GUARD_MASK), 1); /* the pin keeps it alive */
        guard_drop(p->cached ? p->guard : GUARD_ROOT);
        p->guard = (uint32_t)(w & GUARD_MASK);
        p->cached = true;
    }
    return r;
}

static int pin_one(struct page_pass *p, uint64_t f)
{
    uint64_t w = load(f);
    while (p->cached && (w & PAGE_OWNED) != 0 && (w & GUARD_MASK) == p->guard &&
           (w & PINS_MASK) != PINS_MASK) {
        if (swap(f, &w, w + PIN_ONE)) {
            return 0;
        }
    }
    return pin_checked(p, f);
}

int page_pin(struct page_pass *p, uint64_t frame, uint64_t count)
{
    REFUSE_IF(frame >= words || count > words - frame, E_RANGE);
    for (uint64_t i = 0; i < count; i++) {
        int r = pin_one(p, frame + i);
        if (r < 0) {
            page_unpin(frame, i);
            return r;
        }
    }
    return 0;
}

int page_pin_once(const struct cap *k, uint64_t frame, uint64_t count)
{
    struct page_pass pass;
    page_pass_init(&pass, k, CAP_WRITE);
    int r = page_pin(&pass, frame, count);
    page_pass_finish(&pass);
    return r;
}

void page_unpin(uint64_t frame, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        lower(frame + i, PIN_ONE, 0);
    }
}

static uint64_t piece_frames(const struct page_piece *p)
{
    return page_frames(p->paddr % PAGE_SIZE + p->len);
}

int page_pin_pieces(struct page_pass *p, const struct page_piece *piece,
                    uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        int r =
            page_pin(p, piece[i].paddr / PAGE_SIZE, piece_frames(&piece[i]));
        if (r < 0) {
            page_unpin_pieces(piece, i);
            return r;
        }
    }
    return 0;
}

void page_unpin_pieces(const struct page_piece *piece, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        page_unpin(piece[i].paddr / PAGE_SIZE, piece_frames(&piece[i]));
    }
}

/* Take a free run whose frames are given later. */
static void reserve(struct page_run *run) REQUIRES(page_lock)
{
    uint64_t end = run->first + run->count;
    uint64_t from = (run->first + CHUNK - 1) / CHUNK * CHUNK;
    uint64_t to = end / CHUNK * CHUNK;
    if (from >= to) { /* no whole chunk */
        take(run->first, run->count, PAGE_KERNEL);
        run->marked = run->count;
        return;
    }
    take(run->first, from - run->first, PAGE_KERNEL);
    take(to, end - to, PAGE_KERNEL);
    for (uint64_t f = from; f < to; f += CHUNK) {
        chunk_free[f / CHUNK] = 0;
    }
    *free_frames -= to - from;
    run->marked = (uint32_t)(from - run->first);
}

/* Mark the words of the next chunk; of what follows the last, they are. */
static void mark_more(struct page_run *run) EXCLUDES(page_lock)
{
    uint64_t f = run->first + run->marked;
    if (run->count - run->marked < CHUNK) {
        run->marked = run->count;
        return;
    }
    lock_acquire(&page_lock);
    for (uint64_t end = f + CHUNK; f < end; f++) {
        assert(load(f) == 0);
        atomic_store_explicit(&word[f], PAGE_KERNEL, memory_order_relaxed);
    }
    lock_release(&page_lock);
    run->marked += CHUNK;
}

/* The last frames of a run that are not given yet are free again: a chunk that
   is only reserved, or one frame. How many. */
static uint32_t run_shorten(struct page_run *run) EXCLUDES(page_lock)
{
    uint64_t end = run->first + run->count;
    if (end % CHUNK != 0 || run->count < run->marked + CHUNK) {
        run->count--;
        lower(end - 1, 0, PAGE_KERNEL);
        return 1;
    }
    run->count -= CHUNK;
    lock_acquire(&page_lock);
    chunk_free[end / CHUNK - 1] = CHUNK;
    *free_frames += CHUNK;
    lock_release(&page_lock);
    return CHUNK;
}

bool page_run_drop(struct env *e, struct turn *t)
{
    struct page_run *run = &e->run;
    while (run->given < run->count) {
        if (!turn_take(t, 1)) {
            return false;
        }
        env_refund(e->index, run_shorten(run));
    }
    if (run->count != 0) {
        guard_drop(run->guard);
    }
    *run = (struct page_run){0};
    return true;
}

/* What `done` says: the phase in its lower bits, and where a search goes on. */
enum { ALLOC_GIVE = 1, ALLOC_DROP = 2, ALLOC_SEARCH = 3, ALLOC_PHASES = 4 };

/* Find the run and reserve it. Its count was charged. 0, or what the call
   returns. */
static int64_t run_take(struct page_run *run, struct turn *t)
    EXCLUDES(page_lock)
{
    uint64_t f = run->first, from = t->done / ALLOC_PHASES;
    bool any = f == PAGE_ANY;
    lock_acquire(&page_lock);
    if (!any) {
        f = run_free(f, run->count) ? f : FRAME_NONE;
    } else if (run->count > *free_frames) {
        f = FRAME_NONE;
        from = words;
    } else {
        f = find(run->count, &from);
    }
    if (f != FRAME_NONE) {
        run->first = f;
        reserve(run);
    }
    lock_release(&page_lock);
    if (f != FRAME_NONE) {
        return 0;
    }
    if (any && run->count > 1 && from <= words / CHUNK) {
        return turn_again(t, (uint32_t)from * ALLOC_PHASES + ALLOC_SEARCH);
    }
    return any ? -E_MEM : -E_BUSY;
}

/* Clear and give what is left of the reserved run. */
static int64_t run_give(struct env *e, struct turn *t) REQUIRES(bind_lock)
{
    struct page_run *run = &e->run;
    uint64_t value =
        PAGE_OWNED | run->guard | (uint64_t)e->index << OWNER_SHIFT;
    while (run->given < run->count) {
        if (run->given == run->marked) {
            if (!turn_take(t, MARK_UNITS)) {
                return turn_again(t, ALLOC_GIVE);
            }
            mark_more(run);
        }
        uint32_t n = run->marked - run->given;
        n = n < CLEAR_PIECE ? n : CLEAR_PIECE;
        if (!turn_take(t, n * TURN_CLEAR)) {
            return turn_again(t, ALLOC_GIVE);
        }
        clear(run->first + run->given, n);
        guard_hold(run->guard, n);
        give(run->first + run->given, n, value);
        run->given += n;
    }
    guard_drop(run->guard);
    int64_t first = (int64_t)run->first;
    *run = (struct page_run){0};
    return first;
}

static int64_t run_reserve(struct env *e, uint32_t guard, uint64_t frame,
                           uint32_t count, struct turn *t) REQUIRES(bind_lock)
{
    REFUSE_IF(frame != PAGE_ANY && (frame >= words || count > words - frame),
              E_RANGE);
    int g = cap_guard(e, guard, 0);
    TRY(g);
    struct page_run run = {
        .first = frame, .count = count, .guard = (uint32_t)g};
    int64_t r = env_charge(e, count);
    if (r == 0) {
        r = run_take(&run, t);
        if (r < 0) {
            env_refund(e->index, count);
        }
    }
    if (r < 0) {
        guard_drop((uint32_t)g);
        return r;
    }
    e->run = run;
    return 0;
}

int64_t sys_page_alloc(struct env *e, uint32_t guard, uint64_t frame,
                       uint32_t count, struct turn *t)
{
    REFUSE_IF(count == 0 || count > PAGE_RUN_MAX, E_INVAL);
    if (t->done % ALLOC_PHASES != ALLOC_GIVE || e->run.count == 0) {
        if (!page_run_drop(e, t)) { /* an earlier call was given up */
            return turn_again(t, ALLOC_DROP);
        }
        int64_t r = run_reserve(e, guard, frame, count, t);
        if (r != 0) {
            return r;
        }
    }
    return run_give(e, t);
}

/*
 * Every frame is looked at before the first is given up, so that a refused
 * call frees none. `done` counts the frames looked at, and from `count` on
 * those given up too. A frame that another call took away between two turns
 * ends this one.
 */
int64_t sys_page_free(struct env *e, const struct cap *k, uint64_t frame,
                      uint32_t count, struct turn *t)
{
    (void)e;
    REFUSE_IF(frame >= words || count > words - frame || count > PAGE_RUN_MAX,
              E_RANGE);
    uint32_t at = t->done;
    for (uint32_t n; at < count; at += n) {
        n = count - at < PIECE ? count - at : PIECE;
        if (!turn_take(t, LOOK_UNITS)) {
            return turn_again(t, at);
        }
        TRY(page_demand(k, CAP_CTL, frame + at, n));
    }
    for (uint32_t n; at - count < count; at += n) {
        n = 2 * count - at < PIECE ? 2 * count - at : PIECE;
        if (!turn_take(t, n)) {
            return turn_again(t, at);
        }
        TRY(page_demand(k, CAP_CTL, frame + at - count, n));
        page_disown(frame + at - count, n);
    }
    return 0;
}
