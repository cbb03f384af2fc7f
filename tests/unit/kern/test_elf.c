/* SPDX-License-Identifier: MIT */
/* The first environment's image: a good one, and every way it can lie. */
#include "src/abi/err.h"
#include "src/kern/aspace.h"
#include "src/kern/elf.h"
#include "src/kern/page.h"
#include "src/kern/quantum.h"
#include "tests/unit/kern/fake_arch.h"
#include "tests/unit/kern/main.h"
#include <elf.h>

static uint8_t *image;
static Elf64_Ehdr *head;
static Elf64_Phdr *seg;
static struct env *e;

static void boot(void)
{
    fake_boot(1);
    e = fake_first();
    static uint8_t bytes[3 * 4096];
    image = bytes;
    head = (Elf64_Ehdr *)image;
    seg = (Elf64_Phdr *)(image + sizeof(*head));
    memcpy(head->e_ident,
           "\x7f"
           "ELF\2\1\1",
           7);
    head->e_type = ET_EXEC;
    head->e_machine = EM_X86_64;
    head->e_entry = 0x401010;
    head->e_phoff = sizeof(*head);
    head->e_phentsize = sizeof(*seg);
    head->e_phnum = 2;
    seg[0] = (Elf64_Phdr){.p_type = PT_LOAD,
                          .p_flags = PF_R | PF_X,
                          .p_offset = 0x1010,
                          .p_vaddr = 0x401010,
                          .p_filesz = 16,
                          .p_memsz = 16};
    seg[1] = (Elf64_Phdr){.p_type = PT_LOAD,
                          .p_flags = PF_R | PF_W,
                          .p_offset = 0x2000,
                          .p_vaddr = 0x402000,
                          .p_filesz = 4096,
                          .p_memsz = 0x3000};
    memset(image + 0x1010, 0x90, 16);
    memset(image + 0x2000, 0x42, 4096);
}

static int load(size_t size)
{
    lock_acquire(&bind_lock);
    int r = elf_load(e, image, size);
    lock_release(&bind_lock);
    return r;
}

static int read_user(uint64_t va, void *to, size_t len)
{
    uaddr from = {va};
    lock_acquire(&bind_lock);
    int r = copy_in(e, to, from, len);
    lock_release(&bind_lock);
    return r;
}

START_TEST(a_good_image)
{
    boot();
    ck_assert_int_eq(load(0x3000), 0);
    ck_assert_uint_eq(e->uarea->entry[ENV_PROLOGUE], 0x401010);
    uint8_t b[16];
    ck_assert_int_eq(read_user(0x401010, b, 16), 0);
    ck_assert_uint_eq(b[15], 0x90);
    ck_assert_int_eq(read_user(0x402ff0, b, 16), 0);
    ck_assert_uint_eq(b[0], 0x42);
    ck_assert_int_eq(read_user(0x404ff0, b, 16), 0);
    ck_assert_uint_eq(b[0], 0);
    ck_assert_int_eq(read_user(0x405000, b, 1), -E_FAULT);
    ck_assert_int_eq(read_user(0x400fff, b, 1), -E_FAULT);
    uaddr text = {0x401010};
    lock_acquire(&bind_lock);
    ck_assert_int_eq(copy_out(e, text, b, 1), -E_FAULT);
    lock_release(&bind_lock);
}
END_TEST

#define LIES(change)                                                           \
    do {                                                                       \
        Elf64_Ehdr h_ = *head;                                                 \
        Elf64_Phdr s_[2] = {seg[0], seg[1]};                                   \
        change;                                                                \
        ck_assert_int_eq(load(0x3000), -E_INVAL);                              \
        *head = h_;                                                            \
        seg[0] = s_[0];                                                        \
        seg[1] = s_[1];                                                        \
    } while (0)

START_TEST(lies)
{
    boot();
    LIES(head->e_ident[0] = 0);
    LIES(head->e_ident[EI_CLASS] = 1);
    LIES(head->e_ident[EI_DATA] = 2);
    LIES(head->e_type = ET_DYN);
    LIES(head->e_machine = EM_386);
    LIES(head->e_phentsize = 55);
    LIES(head->e_phnum = 0);
    LIES(head->e_phnum = 17);
    LIES(head->e_phoff = 0x3000);
    LIES(head->e_phoff = UINT64_MAX - 10);
    LIES(head->e_phoff = 0x3000 - sizeof(*seg));
    LIES(seg[0].p_type = PT_NOTE; seg[1].p_type = PT_NOTE);
    LIES(seg[0].p_flags = PF_W | PF_X);
    LIES(seg[0].p_filesz = 17);
    LIES(seg[0].p_offset = 0x2ff1);
    LIES(seg[0].p_offset = UINT64_MAX);
    LIES(seg[0].p_filesz = seg[0].p_memsz = UINT64_MAX);
    LIES(seg[0].p_memsz = UINT64_MAX);
    LIES(seg[0].p_memsz = 1ull << 40);
    LIES(seg[0].p_vaddr = 0x10);
    LIES(seg[0].p_vaddr = UADDR_TOP);
    LIES(seg[0].p_vaddr = UADDR_TOP - 8);
    LIES(seg[0].p_vaddr = ARCH_DIRECT_MAP);
    LIES(seg[1].p_vaddr = 0x401800); /* shares a page */
    LIES(seg[1].p_vaddr = 0x300000); /* not ascending */
    ck_assert_int_eq(load(63), -E_INVAL);
    ck_assert_int_eq(load(0), -E_INVAL);
}
END_TEST

START_TEST(bytes_at_random)
{
    boot();
    uint32_t seed = 7;
    for (unsigned i = 0; i < 3000; i++) {
        uint8_t saved[176];
        memcpy(saved, image, sizeof(saved));
        for (unsigned n = 0; n < 3; n++) {
            seed = seed * 1664525 + 1013904223;
            image[(seed >> 8) % 176] ^= (uint8_t)(1u << (seed >> 28) % 8);
        }
        int r = load(0x3000);
        ck_assert(r == 0 || r == -E_INVAL || r == -E_MEM || r == -E_QUOTA);
        memcpy(image, saved, sizeof(saved));
    }
}
END_TEST

START_TEST(modules_are_the_first_environments)
{
    boot();
    static struct boot_info info = {.modules = 1};
    lock_acquire(&bind_lock);
    info.modules = 0;
    ck_assert_int_eq(elf_first(&info), -E_NONE);
    lock_release(&bind_lock);
}
END_TEST

TESTS("elf", a_good_image, lies, bytes_at_random,
      modules_are_the_first_environments)
