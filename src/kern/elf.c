/* SPDX-License-Identifier: MIT */
/*
 * The first environment from a static ELF64 image. Later ones are made by
 * their creators with ordinary calls.
 *
 * Nothing in the image is believed: every offset is compared with the size
 * before use, segments must be in ascending order on pages of their own, and
 * none is both writable and executable.
 * Source: System V ABI, gABI chapters 4 and 5, and its AMD64 supplement.
 */
#include "src/kern/elf.h"
#include "src/kern/aspace.h"
#include "src/kern/demand.h"
#include "src/kern/page.h"
#include "src/kern/quantum.h"
#include "src/lib/log.h"

struct header {
    uint8_t ident[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, phoff, shoff;
    uint32_t flags;
    uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
_Static_assert(sizeof(struct header) == 64, "gABI");

struct segment {
    uint32_t type, flags;
    uint64_t offset, vaddr, paddr, filesz, memsz, align;
};
_Static_assert(sizeof(struct segment) == 56, "gABI");

#define TYPE_EXEC 2u
#define MACHINE_X86_64 62u
#define SEGMENT_LOAD 1u
#define FLAG_X 1u
#define FLAG_W 2u
#define SEGMENTS_MAX 16u

static bool header_ok(const struct header *h, size_t size)
{
    static const uint8_t ident[7] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
    return __builtin_memcmp(h->ident, ident, sizeof(ident)) == 0 &&
           h->type == TYPE_EXEC && h->machine == MACHINE_X86_64 &&
           h->phentsize == sizeof(struct segment) && h->phnum > 0 &&
           h->phnum <= SEGMENTS_MAX && h->phoff <= size &&
           (size - h->phoff) / sizeof(struct segment) >= h->phnum;
}

/* `above`: first address that no segment before it uses. */
static bool segment_ok(const struct segment *s, size_t size, uint64_t above)
{
    return s->filesz <= s->memsz && s->offset <= size &&
           s->filesz <= size - s->offset && s->vaddr >= above &&
           s->vaddr < UADDR_TOP && s->memsz <= UADDR_TOP - s->vaddr &&
           (s->flags & (FLAG_W | FLAG_X)) != (FLAG_W | FLAG_X) &&
           s->memsz <= (uint64_t)(PAGE_RUN_MAX - 1) * PAGE_SIZE;
}

static int load_segment(struct env *e, const struct segment *s,
                        const uint8_t *image) REQUIRES(bind_lock)
{
    uint64_t in_page = s->vaddr % PAGE_SIZE;
    uint32_t count = (uint32_t)page_frames(in_page + s->memsz);
    TRY(env_charge(e, count));
    int64_t f = page_take(PAGE_ANY, count, GUARD_ROOT, e->index);
    if (f < 0) {
        env_refund(e->index, count);
        return (int)f;
    }
    uint8_t *to = arch_frame_ptr((uint64_t)f);
    __builtin_memcpy(to + in_page, image + s->offset, s->filesz);
    struct page_binding b = {.va = s->vaddr - in_page,
                             .frame = (uint64_t)f,
                             .count = count,
                             .prot = PAGE_R |
                                     ((s->flags & FLAG_W) ? PAGE_W : 0) |
                                     ((s->flags & FLAG_X) ? PAGE_X : 0)};
    struct turn t = turn_begin(0); /* at boot nobody waits */
    int r = aspace_bind(e, &b, &t);
    if (r < 0) {
        page_disown((uint64_t)f, count);
    }
    return r;
}

int elf_load(struct env *e, const void *image, size_t size)
{
    struct header h;
    REFUSE_IF(size < sizeof(h), E_INVAL);
    __builtin_memcpy(&h, image, sizeof(h));
    REFUSE_IF(!header_ok(&h, size), E_INVAL);
    uint64_t above = UADDR_BOTTOM;
    for (uint32_t i = 0; i < h.phnum; i++) {
        struct segment s;
        __builtin_memcpy(&s, (const uint8_t *)image + h.phoff + i * sizeof(s),
                         sizeof(s));
        if (s.type != SEGMENT_LOAD || s.memsz == 0) {
            continue;
        }
        REFUSE_IF(!segment_ok(&s, size, above), E_INVAL);
        TRY(load_segment(e, &s, image));
        above = page_up(s.vaddr + s.memsz);
    }
    e->uarea->entry[ENV_PROLOGUE] = h.entry;
    return above == UADDR_BOTTOM ? -E_INVAL : 0;
}

static uint64_t module_frames(const struct boot_module *m)
{
    return page_frames(m->at.end - m->at.start);
}

/*
 * Frames that no quota can take: the most that code memory ever needs for
 * tables (arch_code_map). No environment is charged for a table, since it stays
 * for all; without this hold, one that used all of its quota would leave none.
 */
static uint64_t held_back(void)
{
    return 2 * (page_count() / ARCH_TABLE_FRAMES + 1) + arch_cpu_count() +
           ARCH_TABLES_MORE;
}

int elf_first(const struct boot_info *info)
{
    REFUSE_IF(info->modules == 0, E_NONE);
    uint64_t frames = 0;
    for (uint32_t i = 0; i < info->modules; i++) {
        frames += module_frames(&info->module[i]);
    }
    struct env *e = NULL;
    uint64_t left = page_free_count(), hold = held_back();
    REFUSE_IF(left <= hold, E_MEM);
    TRY(env_make(NULL, GUARD_ROOT, left - hold + frames, NULL, &e));
    int r = env_charge(e, frames);
    assert(r == 0);
    for (uint32_t i = 0; i < info->modules; i++) {
        const struct boot_module *m = &info->module[i];
        page_adopt(m->at.start / PAGE_SIZE, module_frames(m), e->index);
    }
    e->cap[0] = (struct cap){.rights = CAP_ALL};
    const struct boot_module *m = &info->module[0];
    r = elf_load(e, arch_frame_ptr(m->at.start / PAGE_SIZE),
                 m->at.end - m->at.start);
    if (r < 0) {
        log_line("module %s is not a program for us: static ELF64, x86-64, "
                 "pages of segments apart, none writable and executable",
                 m->name);
        return r;
    }
    return quantum_give(0, 0, e);
}
