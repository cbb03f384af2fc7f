/* SPDX-License-Identifier: MIT */
/* Exceptions and foreign calls: delivered, resumed, and fatal when nested. */
#include "libos/libos/time.h"
#include "src/abi/page.h"
#include "tests/qemu/env/families.h"

static void divide(void *p)
{
    (void)p;
    __asm__ volatile("xorl %%ecx, %%ecx\n\tdivl %%ecx"
                     :
                     :
                     : "eax", "ecx", "edx");
}

static void undefined(void *p)
{
    (void)p;
    __asm__ volatile("ud2");
}

static void breakpoint(void *p)
{
    (void)p;
    __asm__ volatile("int3");
}

static void privileged(void *p)
{
    (void)p;
    __asm__ volatile("cli");
}

static void port(void *p)
{
    (void)p;
    __asm__ volatile("outb %%al, $0xf4" : : "a"(0));
}

static void non_canonical(void *p)
{
    (void)*(volatile uint8_t *)(0x8000000000000000ull | (uint64_t)p);
}

/* The first descriptor of a table that the selector says is ours. */
static void local_descriptor(void *p)
{
    (void)p;
    __asm__ volatile("mov %0, %%ds" : : "r"(7));
}

static void drop_selector(void *p)
{
    (void)p;
    __asm__ volatile("mov %0, %%ds" : : "r"(0));
}

/*
 * After a reset the processor's table of local descriptors lies at address 0.
 * Nothing can be bound there, and the table is empty besides.
 */
static void no_descriptors_of_ours(void)
{
    int64_t frame = sys_page_alloc(ROOT, PAGE_ANY, 1);
    struct page_binding b = {0, (uint64_t)frame, 1, PAGE_R | PAGE_W};
    IS(sys_page_bind(0, 0, ROOT, &b, 1), -E_RANGE);
    tap_ok(trap_run(local_descriptor, NULL) == 13,
           "a descriptor of our own cannot be loaded");
    OK(trap_run(drop_selector, NULL) == -1);
    IS(sys_page_free(ROOT, (uint64_t)frame, 1), 0);
}

/* What we leave in ds, es, fs and gs no other environment finds there. */
static void selectors(void)
{
    struct child c;
    IS(child_start(&c, "selectors", FREE_SLOT, 512), 0);
    __asm__ volatile("mov %%ss, %%eax\n\t"
                     "mov %%eax, %%ds\n\t"
                     "mov %%eax, %%es\n\t"
                     "mov %%eax, %%fs\n\t"
                     "mov %%eax, %%gs"
                     :
                     :
                     : "eax");
    OK(child_wait(&c, 5000));
    tap_ok(child_info(&c)->end == ENV_END_DESTROYED &&
               child_info(&c)->end_detail == 0,
           "selectors do not leak (%u found)", child_info(&c)->end_detail);
}

/* Emulate: the handler writes the result and skips the two-byte ud2. */
static bool skip(struct frame *f)
{
    f->rax += 1;
    f->rip += 2;
    return true;
}

static void resume(void)
{
    uint64_t count = 0;
    double x = 1.5;
    env_on_fault(skip);
    for (int i = 0; i < 1000; i++) {
        __asm__ volatile("ud2" : "+a"(count), "+x"(x));
    }
    env_on_fault(NULL);
    tap_ok(count == 1000, "a thousand faults are handled and resumed");
    tap_ok(x == 1.5, "floating-point registers survive");
}

static bool answer(struct frame *f)
{
    f->rax = f->rdi + f->rsi;
    return true;
}

static int64_t foreign_call(uint64_t number, uint64_t a, uint64_t b)
{
    int64_t r;
    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(number), "D"(a), "S"(b)
                     : "rcx", "r11", "memory");
    return r;
}

static void foreign(void)
{
    env_on_foreign(answer);
    tap_ok(foreign_call(39, 40, 2) == 42, "a foreign number reaches its entry");
    env_on_foreign(NULL);
    env_uarea()->entry[ENV_FOREIGN] = 0;
    IS(foreign_call(39, 40, 2), -E_NOSYS);
    IS(foreign_call(0x1fff, 0, 0), -E_NOSYS);
    IS(foreign_call(UINT64_MAX, 0, 0), -E_NOSYS);
    IS(foreign_call(0x100001000ull, 0, 0), -E_NOSYS);
}

static void ends(const char *act, enum env_end how, uint32_t detail)
{
    struct child c;
    IS(child_start(&c, act, FREE_SLOT, 512), 0);
    if (!tap_ok(child_wait(&c, 5000), "%s ends", act)) {
        child_destroy(&c);
        return;
    }
    char text[128];
    child_end_text(&c, text, sizeof(text));
    tap_ok(child_info(&c)->end == how && child_info(&c)->end_detail == detail,
           "%s: %s", act, text);
}

void family_faults(void)
{
    OK(trap_run(divide, NULL) == 0);
    OK(trap_run(undefined, NULL) == 6);
    OK(trap_run(breakpoint, NULL) == 3);
    OK(trap_run(privileged, NULL) == 13);
    OK(trap_run(port, NULL) == 13);
    OK(trap_run(non_canonical, NULL) == 13);
    resume();
    foreign();
    no_descriptors_of_ours();
    IS(sys_cap_mint(ROOT, FREE_SLOT, (const uint8_t *)"f/", 2, CAP_ALL), 0);
    selectors();
    ends("exit7", ENV_END_DESTROYED, 7);
    ends("unhandled", ENV_END_DESTROYED, 128 + 14);
    ends("no-entry", ENV_END_FAULT, 6);
    ends("nested", ENV_END_FAULT, 6);
}
