/* SPDX-License-Identifier: MIT */
/*
 * Making and watching other environments. Images are loaded by copying into
 * fresh frames that the child's own name guards; our bindings of them last
 * only while we write.
 * Source: ELF-64 object file format, version 1.5, sections 4 and 8.
 */
#include "libos/libos/child.h"
#include "libos/libos/env.h"
#include "libos/libos/mem.h"
#include "libos/libos/text.h"
#include "libos/sys/sys.h"
#include "src/abi/page.h"
#include "src/abi/quantum.h"

#define SEGMENT_MAX (64ull << 20)

struct elf_head {
    uint8_t ident[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, phoff, shoff;
    uint32_t flags;
    uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
_Static_assert(sizeof(struct elf_head) == 64, "ELF-64 figure 2");

struct elf_segment {
    uint32_t type, flags;
    uint64_t offset, vaddr, paddr, filesz, memsz, align;
};
_Static_assert(sizeof(struct elf_segment) == 56, "ELF-64 figure 6");

enum { SEGMENT_LOAD = 1, SEGMENT_X = 1, SEGMENT_W = 2 };

struct image {
    const uint8_t *bytes;
    size_t len;
    struct elf_head head;
    const char *why;
};

static int refuse(struct image *im, const char *why)
{
    im->why = why;
    return -E_INVAL;
}

static int image_open(struct image *im)
{
    static const uint8_t magic[7] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
    struct elf_head *h = &im->head;
    if (im->len < sizeof(*h)) {
        return refuse(im, "shorter than an ELF header");
    }
    memcpy(h, im->bytes, sizeof(*h));
    if (memcmp(h->ident, magic, sizeof(magic)) != 0) {
        return refuse(im, "not a 64-bit little-endian ELF image");
    }
    if (h->type != 2 || h->machine != 62) {
        return refuse(im, "not a static x86-64 executable");
    }
    if (h->phentsize != sizeof(struct elf_segment) || h->phoff > im->len ||
        h->phnum > (im->len - h->phoff) / sizeof(struct elf_segment)) {
        return refuse(im, "its program headers lie outside the image");
    }
    return 0;
}

static int segment_get(struct image *im, unsigned i, struct elf_segment *s)
{
    memcpy(s, im->bytes + im->head.phoff + i * sizeof(*s), sizeof(*s));
    if (s->type != SEGMENT_LOAD || s->memsz == 0) {
        return 0;
    }
    if (s->offset > im->len || s->filesz > im->len - s->offset ||
        s->filesz > s->memsz) {
        return refuse(im, "a segment lies outside the image");
    }
    if (s->memsz > SEGMENT_MAX || s->vaddr >= UADDR_TOP - SEGMENT_MAX) {
        return refuse(im, "a segment lies outside the addresses it may use");
    }
    if ((s->flags & SEGMENT_W) && (s->flags & SEGMENT_X)) {
        return refuse(im, "a segment is both writable and executable");
    }
    return 1;
}

static uint32_t segment_prot(const struct elf_segment *s)
{
    return PAGE_R | (s->flags & SEGMENT_W ? PAGE_W : 0) |
           (s->flags & SEGMENT_X ? PAGE_X : 0);
}

static int segment_load(const struct child *c, const struct image *im,
                        const struct elf_segment *s)
{
    uint64_t skip = s->vaddr % PAGE_SIZE;
    uint64_t frames = (skip + s->memsz + PAGE_SIZE - 1) / PAGE_SIZE;
    int64_t frame = sys_page_alloc(c->slot, PAGE_ANY, (uint32_t)frames);
    struct page_binding b = {.va = s->vaddr - skip,
                             .count = (uint32_t)frames,
                             .prot = segment_prot(s)};
    if (frame < 0) {
        return (int)frame;
    }
    b.frame = (uint64_t)frame;
    struct mem_run run;
    int64_t err = mem_run_bind(&run, c->slot, b.frame, frames, true);
    if (err == 0) {
        memcpy((uint8_t *)run.va + skip, im->bytes + s->offset, s->filesz);
        mem_run_unbind(&run);
        err = mem_bind(c->slot, c->env, c->slot, &b);
    }
    /* The child's binding keeps the frames; without one they go. */
    (void)sys_page_free(c->slot, b.frame, (uint32_t)frames);
    return (int)err;
}

static int uarea_fill(const struct child *c, uint64_t entry,
                      struct start_info *start)
{
    const struct sysinfo_env *info = child_info(c);
    if (info == NULL) {
        return -E_NONE;
    }
    struct mem_run run;
    int err = mem_run_bind(&run, c->slot, info->uarea_frame, 1, true);
    if (err) {
        return err;
    }
    start->magic = START_MAGIC;
    start->version = START_VERSION;
    memcpy(start->name, c->name, sizeof(start->name));
    struct uarea *u = run.va;
    u->entry[ENV_PROLOGUE] = entry;
    memcpy(u->scratch, start, sizeof(*start));
    mem_run_unbind(&run);
    return 0;
}

int child_create(struct child *c, const char *name, uint32_t slot,
                 uint64_t quota, const uint32_t shares[SHARE_KINDS])
{
    int64_t id = sys_env_create(slot, quota, shares, SHARE_KINDS);
    *c = (struct child){.slot = slot};
    text_format(c->name, sizeof(c->name), "%s", name);
    if (id < 0) {
        return (int)id;
    }
    c->env = (uint32_t)id;
    int err = child_grant(c, slot, SLOT_SELF);
    if (err) {
        child_destroy(c);
    }
    /* The kernel may have put it there itself. */
    return err == -E_BUSY ? 0 : err;
}

int child_load(struct child *c, const void *bytes, size_t len,
               struct start_info *start, const char **why)
{
    struct image im = {.bytes = bytes, .len = len, .why = ""};
    int err = image_open(&im);
    for (unsigned i = 0; err == 0 && i < im.head.phnum; i++) {
        struct elf_segment s;
        err = segment_get(&im, i, &s);
        if (err == 1) {
            err = segment_load(c, &im, &s);
        }
    }
    *why = im.why;
    return err ? err : uarea_fill(c, im.head.entry, start);
}

int child_grant(const struct child *c, uint32_t from, uint32_t to)
{
    return (int)sys_cap_grant(c->slot, c->env, from, to);
}

int child_run(const struct child *c, uint32_t cpu, uint32_t slices)
{
    int got = 0;
    for (uint32_t i = 0; i < slices; i++) {
        int64_t slot = sys_quantum_alloc(SLOT_SELF, cpu, QUANTUM_ANY, c->env);
        if (slot < 0) {
            return got ? got : (int)slot;
        }
        got++;
    }
    return got;
}

const struct sysinfo_env *child_info(const struct child *c)
{
    const struct sysinfo *s = env_sysinfo();
    const struct sysinfo_env *e =
        (const struct sysinfo_env *)((const uint8_t *)s + s->env_offset);

    for (uint32_t i = 0; i < s->envs_max; i++) {
        if (e[i].id == c->env) {
            return &e[i];
        }
    }
    return NULL;
}

bool child_ended(const struct child *c)
{
    const struct sysinfo_env *e = child_info(c);
    return e == NULL ||
           __atomic_load_n(&e->state, __ATOMIC_ACQUIRE) == ENV_FREE;
}

void child_end_text(const struct child *c, char *text, size_t size)
{
    const struct sysinfo_env *e = child_info(c);
    switch (e != NULL ? e->end : ENV_END_NONE) {
    case ENV_END_DESTROYED:
        if (e->end_detail >= ENV_FAULT_STATUS && e->end_detail < 256) {
            text_format(text, size,
                        "ended with status %u: exception %u had no handler",
                        e->end_detail, e->end_detail - ENV_FAULT_STATUS);
        } else {
            text_format(text, size, "ended with status %u", e->end_detail);
        }
        break;
    case ENV_END_KILLED:
        text_format(text, size, "was killed by a holder of its name");
        break;
    case ENV_END_FAULT:
        text_format(text, size,
                    "killed by exception %u at 0x%lx (address 0x%lx)",
                    e->end_detail, e->end_rip, e->end_address);
        break;
    case ENV_END_OVERRUN:
        text_format(text, size, "killed: it kept the processor too long");
        break;
    default:
        text_format(text, size, "is gone");
    }
}

void child_destroy(struct child *c)
{
    /* The child may have revoked the name that it shares with us. What we
       minted it from is ours alone. */
    if (c->env && sys_env_destroy(c->slot, c->env, 0) == -E_CAP) {
        (void)sys_env_destroy(SLOT_SELF, c->env, 0);
    }
}
