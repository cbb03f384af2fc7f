/* SPDX-License-Identifier: MIT */
/*
 * Kernel page tables. They are built once at boot; afterwards only device
 * windows and code memory change, under kernel_tables_lock. Upper-half entries
 * of the top table are all present from the start, so that addressing
 * contexts, which copy them, never grow stale.
 * Source: SDM 3A s4.5, s4.10.4.
 */
#include "src/x86_64/mmu.h"
#include "src/abi/pte.h"
#include "src/lib/string.h"
#include "src/x86_64/insn.h"
#include "src/x86_64/leak.h"
#include "src/x86_64/spin.h"

#define LARGE_2M (1ull << 21)
#define LARGE_1G (1ull << 30)
#define SLOT(va, level) (((va) >> (12 + 9 * (level))) & 511)

extern const char kernel_image[], kernel_text[], kernel_text_end[],
    kernel_rodata[], kernel_rodata_end[], kernel_end[], entry_text[],
    entry_text_end[], entry_data[], entry_data_end[];

extern uint64_t kernel_top_table[512]; /* also for trampoline.S */
uint64_t kernel_top_table[512] __attribute__((aligned(4096)));
/* The upper half of contexts: without leak.kpti the kernel's. */
static uint64_t user_top_table[512] __attribute__((aligned(4096)));
static uint64_t (*table_alloc)(uint64_t count);
static struct spin kernel_tables_lock;
static uint64_t device_next = DEVICE_BASE;

static uint64_t *table_ptr(uint64_t entry)
{
    return (uint64_t *)(ARCH_DIRECT_MAP + (entry & PTE_FRAME));
}

static const uint64_t prot_bits[] = {
    [MAP_R] = PTE_P | PTE_NX | PTE_G,
    [MAP_RW] = PTE_P | PTE_W | PTE_NX | PTE_G,
    [MAP_RX] = PTE_P | PTE_G,
    [MAP_DEVICE] = PTE_P | PTE_W | PTE_NX | PTE_G | PTE_PCD | PTE_PWT,
};

void mmu_frames_from(uint64_t (*alloc)(uint64_t count))
{
    table_alloc = alloc;
}

uint64_t mmu_root(void)
{
    return (uint64_t)kernel_top_table - KERNEL_BASE;
}

/* A large page becomes a table of smaller ones that say the same. */
static bool split(uint64_t *entry, unsigned level)
{
    uint64_t frame = table_alloc(1);
    uint64_t step = level == 2 ? LARGE_2M : PAGE_SIZE;
    uint64_t flags = *entry & ~PTE_FRAME;
    if (frame == FRAME_NONE) {
        return false;
    }
    if (level == 1) {
        flags &= ~PTE_PS;
    }
    uint64_t *t = table_ptr(frame << PAGE_SHIFT);
    for (unsigned i = 0; i < 512; i++) {
        t[i] = ((*entry & PTE_FRAME) + i * step) | flags;
    }
    *entry = frame << PAGE_SHIFT | PTE_P | PTE_W;
    return true;
}

/*
 * The entry of va at `level` (0: 4 KiB, 1: 2 MiB, 2: 1 GiB) below `top`, with
 * the tables above it made as needed. NULL if no frame is left.
 */
static uint64_t *walk_from(uint64_t *top, uint64_t va, unsigned level)
{
    uint64_t *t = top;
    for (unsigned l = 3; l > level; l--) {
        uint64_t *e = &t[SLOT(va, l)];
        if ((*e & PTE_P) == 0) {
            uint64_t frame = table_alloc(1);
            if (frame == FRAME_NONE) {
                return NULL;
            }
            *e = frame << PAGE_SHIFT | PTE_P | PTE_W;
        } else if ((*e & PTE_PS) != 0 && !split(e, l)) {
            return NULL;
        }
        t = table_ptr(*e);
    }
    return &t[SLOT(va, level)];
}

static uint64_t *walk_make(uint64_t va, unsigned level)
{
    return walk_from(kernel_top_table, va, level);
}

static uint64_t entry_below(const uint64_t *t, uint64_t va)
{
    for (unsigned l = 3;; l--) {
        uint64_t e = t[SLOT(va, l)];
        if (l == 0 || (e & PTE_P) == 0 || (e & PTE_PS) != 0) {
            return (e & PTE_P) != 0 ? e : 0;
        }
        t = table_ptr(e);
    }
}

uint64_t mmu_entry(uint64_t va)
{
    return entry_below(kernel_top_table, va);
}

uint64_t mmu_context_entry(uint64_t va)
{
    return entry_below(user_top_table, va);
}

bool mmu_map(uint64_t va, uint64_t paddr, enum map_prot prot)
{
    uint64_t *e = walk_make(va, 0);
    if (e == NULL) {
        return false;
    }
    *e = paddr | prot_bits[prot];
    invlpg(va);
    return true;
}

void mmu_unmap(uint64_t va)
{
    uint64_t *e = walk_make(va, 0);
    if (e != NULL) {
        *e = 0;
        invlpg(va);
    }
}

bool mmu_direct_prot(uint64_t paddr, enum map_prot prot)
{
    return mmu_map(ARCH_DIRECT_MAP + paddr, paddr, prot);
}

static void map_or_die(bool mapped)
{
    if (!mapped) {
        panic("no memory for the kernel's page tables");
    }
}

/* Direct map of one range, in the largest pages that fit into it. */
static void map_ram(uint64_t start, uint64_t end)
{
    for (uint64_t at = start & ~(LARGE_2M - 1), size; at < end; at += size) {
        bool giant = cpu_has.page_1g && at % LARGE_1G == 0 && at >= start &&
                     end - at >= LARGE_1G;
        uint64_t *e = walk_make(ARCH_DIRECT_MAP + at, giant ? 2 : 1);
        map_or_die(e != NULL);
        if ((*e & PTE_P) == 0) {
            *e = at | prot_bits[MAP_RW] | PTE_PS;
        }
        size = giant ? LARGE_1G : LARGE_2M;
    }
}

static void map_image(const char *start, const char *end, enum map_prot prot)
{
    for (uint64_t va = (uint64_t)start; va < (uint64_t)end; va += PAGE_SIZE) {
        map_or_die(mmu_map(va, va - KERNEL_BASE, prot));
        if (prot != MAP_RW) {
            map_or_die(mmu_direct_prot(va - KERNEL_BASE, MAP_R));
        }
    }
}

/* Let ring 3's tables have a page that the kernel's have. */
static bool show(uint64_t va, uint64_t paddr, enum map_prot prot)
{
    uint64_t *e = walk_from(user_top_table, va, 0);
    if (e != NULL) {
        *e = paddr | (prot_bits[prot] & ~PTE_G);
    }
    return e != NULL;
}

static void show_image(const char *start, const char *end, enum map_prot prot)
{
    for (uint64_t va = (uint64_t)start; va < (uint64_t)end; va += PAGE_SIZE) {
        map_or_die(show(va, va - KERNEL_BASE, prot));
    }
}

void mmu_init(const struct boot_range *ram, unsigned rams)
{
    for (unsigned i = 0; i < rams; i++) {
        map_ram(ram[i].start, ram[i].end);
    }
    map_image(kernel_text, kernel_text_end, MAP_RX);
    map_image(kernel_rodata, kernel_rodata_end, MAP_R);
    map_image(kernel_rodata_end, kernel_end, MAP_RW);
    /* Every upper entry exists from now on: see the head of this file. */
    map_or_die(walk_make(DEVICE_BASE, 2) != NULL);
    map_or_die(walk_make(CODE_BASE, 0) != NULL);
    if (leak.kpti) {
        show_image(entry_text, entry_text_end, MAP_RX);
        show_image(entry_data, entry_data_end, MAP_RW);
        /* Entries of stacks that are yet to come exist, too. */
        map_or_die(walk_from(user_top_table, STACK_BASE, 0) != NULL);
    } else {
        memcpy(user_top_table, kernel_top_table, sizeof(user_top_table));
    }
    write_cr3(mmu_root());
}

/* Each stack lies above an unmapped page. */
bool mmu_stacks(struct core *cpu)
{
    uint64_t at = STACK_BASE + (uint64_t)cpu->index * STACK_AREA;
    uint64_t top[STACKS];
    for (unsigned s = 0; s < STACKS; s++) {
        unsigned pages = s == STACK_KERNEL ? STACK_PAGES : IST_PAGES;
        uint64_t frame = table_alloc(pages);
        if (frame == FRAME_NONE) {
            return false;
        }
        at += PAGE_SIZE;
        for (unsigned i = 0; i < pages; i++, at += PAGE_SIZE) {
            uint64_t paddr = (frame + i) << PAGE_SHIFT;
            if (!mmu_map(at, paddr, MAP_RW) ||
                (leak.kpti && s != STACK_KERNEL && !show(at, paddr, MAP_RW))) {
                return false;
            }
        }
        top[s] = at;
    }
    cpu_stacks(cpu, top);
    /* The write window's table too, so that opening code takes no lock. */
    return walk_make(mmu_write_window(cpu->index), 0) != NULL;
}

bool mmu_is_guard(uint64_t va)
{
    return va >= STACK_BASE &&
           va < STACK_BASE + (uint64_t)ARCH_CPUS_MAX * STACK_AREA &&
           mmu_entry(va) == 0;
}

void *arch_frame_ptr(uint64_t frame)
{
    return (void *)(ARCH_DIRECT_MAP + (frame << PAGE_SHIFT));
}

uint64_t arch_ptr_paddr(const void *direct)
{
    return (uint64_t)direct - ARCH_DIRECT_MAP;
}

void arch_aspace_init(uint64_t root)
{
    uint64_t *t = arch_frame_ptr(root);
    memcpy(t + 256, user_top_table + 256, 256 * sizeof(*t));
    t[UPT_SLOT] = root << PAGE_SHIFT | PTE_P | PTE_U | PTE_NX;
    mmu_context_is_new(root << PAGE_SHIFT);
}

void *arch_device_map(uint64_t paddr, size_t size)
{
    uint64_t offset = paddr % PAGE_SIZE;
    uint64_t pages = page_frames(offset + size);
    spin_lock(&kernel_tables_lock);
    uint64_t va = device_next;
    if (pages > (DEVICE_BASE + DEVICE_SIZE - va) / PAGE_SIZE) {
        pages = 0;
    }
    bool ok = pages > 0;
    for (uint64_t at = 0; ok && at < pages * PAGE_SIZE; at += PAGE_SIZE) {
        ok = mmu_map(va + at, paddr - offset + at, MAP_DEVICE);
    }
    device_next += ok ? pages * PAGE_SIZE : 0;
    spin_unlock(&kernel_tables_lock);
    return ok ? (void *)(va + offset) : NULL;
}
