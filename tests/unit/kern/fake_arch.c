/* SPDX-License-Identifier: MIT */
#include "tests/unit/kern/fake_arch.h"
#include "src/abi/syserr.h"
#include "src/kern/aspace.h"
#include "src/kern/console.h"
#include "src/kern/page.h"
#include "src/kern/quantum.h"
#include "src/kern/sysinfo.h"
#include "src/lib/log.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

_Thread_local unsigned fake_cpu;
unsigned fake_cpus = 1;
_Atomic uint64_t fake_tsc = 1000000;
uint64_t fake_flushes;
_Atomic uint64_t fake_kicks[ARCH_CPUS_MAX];
uint64_t fake_timer[ARCH_CPUS_MAX];
uint64_t fake_entropy = UINT64_MAX;
uint64_t (*fake_jitter)(void);
char fake_console[4096];
size_t fake_console_len;
size_t fake_console_room = SIZE_MAX;
uint32_t fake_halt_status;
uint64_t fake_root[ARCH_CPUS_MAX];
void (*fake_idle_hook)(void);
void (*fake_breathe_hook)(void);
void (*fake_pause_hook)(void);
void (*fake_turn_hook)(void);
_Thread_local uint64_t fake_turns;
_Thread_local struct frame fake_frame;

static uint8_t *memory; /* physical memory, and its direct map */
static int memory_fd;
static _Thread_local jmp_buf back;
static _Thread_local size_t put_at;

unsigned arch_cpu(void)
{
    return fake_cpu;
}
unsigned arch_cpu_count(void)
{
    return fake_cpus;
}
unsigned arch_cpu_id(unsigned cpu)
{
    return cpu * 2;
}
void arch_cpu_kick(unsigned cpu)
{
    fake_kicks[cpu]++;
}
void arch_idle(void)
{
    if (fake_idle_hook != NULL) {
        fake_idle_hook();
        return;
    }
    longjmp(back, FAKE_IDLE);
}
void arch_breathe(void)
{
    if (fake_breathe_hook != NULL) {
        fake_breathe_hook();
    }
}
void arch_pause(void)
{
    if (fake_pause_hook != NULL) {
        fake_pause_hook();
    }
    usleep(0);
}
void arch_resume(const struct frame *f)
{
    (void)f;
    abort();
}
uint64_t arch_tsc(void)
{
    return fake_tsc;
}
uint64_t arch_tsc_khz(void)
{
    return 1000000; /* a tick is a nanosecond */
}
uint64_t arch_boot_tsc(void)
{
    return 1;
}
uint64_t arch_boot_unix(void)
{
    return 2;
}
void arch_timer_arm(uint64_t tsc)
{
    fake_timer[fake_cpu] = tsc;
}
void *arch_frame_ptr(uint64_t frame)
{
    if (frame >= FAKE_FRAMES) {
        panic("frame %lx does not exist", frame);
    }
    return memory + frame * PAGE_SIZE;
}
uint64_t arch_ptr_paddr(const void *direct)
{
    return (uint64_t)((const uint8_t *)direct - memory);
}
void arch_aspace_init(uint64_t root)
{
    uint64_t *t = arch_frame_ptr(root);
    t[UPT_SLOT] = root << PAGE_SHIFT | PTE_P | PTE_U | PTE_NX;
    t[511] = PTE_P; /* the kernel's half */
}
void arch_aspace_load(uint64_t root)
{
    __atomic_store_n(&fake_root[fake_cpu], root, __ATOMIC_SEQ_CST);
}
void arch_tlb_flush(uint64_t root, uint64_t va, uint64_t pages)
{
    (void)root;
    (void)va;
    (void)pages;
    __atomic_fetch_add(&fake_flushes, 1, __ATOMIC_RELAXED);
}
void *arch_code_map(uint64_t frame, uint64_t frames)
{
    void *p = mmap(NULL, frames * PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED,
                   memory_fd, (off_t)(frame * PAGE_SIZE));
    return p == MAP_FAILED ? NULL : p;
}
/* Find the frame behind an execution address by asking the kernel's maps. */
void *arch_code_open(void *rx, size_t size)
{
    FILE *f = fopen("/proc/self/maps", "r");
    void *rw = NULL;
    char line[256];
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        unsigned long from, to, offset;
        if (sscanf(line, "%lx-%lx %*s %lx", &from, &to, &offset) == 3 &&
            (uintptr_t)rx >= from && (uintptr_t)rx + size <= to) {
            rw = memory + offset + ((uintptr_t)rx - from);
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return rw;
}
uint64_t arch_code_unmap(void *rx, uint64_t frames)
{
    uint8_t *rw = arch_code_open(rx, 1);
    munmap(rx, frames * PAGE_SIZE);
    return (uint64_t)(rw - memory) / PAGE_SIZE;
}
void arch_code_seal(void *rx, void *rw, size_t size)
{
    (void)rx;
    (void)rw;
    (void)size;
}
void arch_fpu_init(void *area)
{
    memset(area, 0, ARCH_FPU_SIZE);
}
/* The FPU is one number a processor, so that tests see who owns it. */
static uint64_t fpu[ARCH_CPUS_MAX];
void arch_fpu_save(void *area)
{
    memcpy(area, &fpu[fake_cpu], sizeof(fpu[0]));
}
void arch_fpu_load(const void *area)
{
    memcpy(&fpu[fake_cpu], area, sizeof(fpu[0]));
}
void arch_frame_init(struct frame *f, uint64_t rip, uint64_t rsp)
{
    *f = (struct frame){
        .rip = rip, .rsp = rsp, .cs = 0x2b, .ss = 0x23, .rflags = 0x202};
}
bool arch_frame_sanitize(struct frame *f)
{
    return (int64_t)(f->rip << 16) >> 16 == (int64_t)f->rip;
}
int arch_msi_alloc(unsigned cpu, uint64_t *address, uint32_t *data)
{
    static int next = ARCH_VECTOR_MSI_FIRST;
    *address = cpu;
    *data = (uint32_t)next;
    return next++;
}
void arch_console_write(const char *text, size_t len)
{
    size_t room = sizeof(fake_console) - fake_console_len;
    len = len < room ? len : room;
    memcpy(fake_console + fake_console_len, text, len);
    fake_console_len += len;
}
size_t arch_console_put(const char *text, size_t len)
{
    len = len < fake_console_room ? len : fake_console_room;
    fake_console_room -= len;
    arch_console_write(text, len);
    return len;
}
void arch_halt(uint32_t status)
{
    kern_console_end();
    log_to(console_write);
    fake_halt_status = status;
    atomic_store(&bind_lock.served, atomic_load(&bind_lock.next));
    longjmp(back, FAKE_HALTED);
}
bool arch_entropy(uint64_t *out)
{
    *out = 0x0123456789abcdefull;
    if (fake_entropy == 0) {
        return false;
    }
    fake_entropy--;
    return true;
}
uint64_t arch_jitter(void)
{
    return fake_jitter != NULL ? fake_jitter() : 0;
}
void arch_backtrace(void)
{
}
void panic(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    abort();
}

void fake_stop(void)
{
    longjmp(back, FAKE_IDLE);
}

void fake_boot(unsigned cpus)
{
    fake_cpus = cpus;
    memory_fd = memfd_create("fake memory", 0);
    if (ftruncate(memory_fd, FAKE_FRAMES * PAGE_SIZE) != 0) {
        abort();
    }
    memory = mmap(NULL, FAKE_FRAMES * PAGE_SIZE, PROT_READ | PROT_WRITE,
                  MAP_SHARED, memory_fd, 0);
    struct boot_info info = {
        .ram = {{FAKE_FIRST * PAGE_SIZE, FAKE_FRAMES * PAGE_SIZE}},
        .rams = 1,
        .top = FAKE_FRAMES * PAGE_SIZE,
        .cmdline = "fake"};
    log_to(console_write);
    page_init(info.ram, info.rams, info.top);
    lock_acquire(&bind_lock);
    if (sysinfo_init(&info) != 0 || console_init() != 0) {
        abort();
    }
    lock_release(&bind_lock);
}

enum fake_end fake_run(void)
{
    int end = setjmp(back);
    if (end == 0) {
        fake_frame = *quantum_resume(cpu_this(), NULL);
    }
    return (enum fake_end)end;
}

enum fake_end fake_trap(uint32_t vector)
{
    static _Thread_local struct frame stack;
    int end = setjmp(back);
    if (end == 0) {
        stack = fake_frame;
        put_at = 0;
        fake_frame = *kern_trap(vector, &stack);
    }
    return (enum fake_end)end;
}

struct env *fake_current(void)
{
    return cpu_this()->current;
}

struct env *fake_first(void)
{
    struct env *e = NULL;
    lock_acquire(&bind_lock);
    if (env_make(NULL, GUARD_ROOT, page_free_count(), NULL, &e) != 0) {
        abort();
    }
    e->cap[0] = (struct cap){.rights = CAP_ALL};
    quantum_give(0, 0, e);
    lock_release(&bind_lock);
    if (fake_run() != FAKE_RESUMED) {
        abort();
    }
    return e;
}

/* An error that the call does not have in the table is a defect of either. */
static void check_error(uint64_t number, int64_t result)
{
    static const struct {
        uint64_t number;
        uint32_t errors; /* a mask */
    } call[] = {
#define X(number, errors) {number, errors},
        SYS_ERRORS(X)
#undef X
    };
    for (size_t i = 0; i < sizeof(call) / sizeof(call[0]) && result < 0; i++) {
        if (call[i].number == number &&
            (result < -31 || (call[i].errors >> -result & 1) == 0)) {
            panic("call %lx returned %ld", number, result);
        }
    }
}

int64_t fake_call(uint64_t number, const uint64_t args[6])
{
    uint64_t slices = cpu_this()->info->slices;
    fake_frame.rax = number;
    fake_frame.rdi = args[0];
    fake_frame.rsi = args[1];
    fake_frame.rdx = args[2];
    fake_frame.r10 = args[3];
    fake_frame.r8 = args[4];
    fake_frame.r9 = args[5];
    uint64_t rip = fake_frame.rip;
    fake_trap(ARCH_VECTOR_SYSCALL);
    /* Ring 3 stands on the instruction again: the call goes on. */
    while (fake_current() != NULL && cpu_this()->info->slices == slices &&
           fake_frame.rip == rip - SYSCALL_BYTES) {
        fake_frame.rip = rip;
        fake_turns++;
        if (fake_turn_hook != NULL) {
            fake_turn_hook();
        }
        fake_trap(ARCH_VECTOR_SYSCALL);
    }
    if (fake_current() != NULL && cpu_this()->info->slices == slices) {
        check_error(number, (int64_t)fake_frame.rax);
    }
    return (int64_t)fake_frame.rax;
}

uint64_t fake_put(const void *data, size_t len)
{
    struct uarea *u = fake_current()->uarea;
    if (put_at + len > sizeof(u->scratch)) {
        abort();
    }
    memcpy(u->scratch + put_at, data, len);
    uint64_t va = UAREA_VA + offsetof(struct uarea, scratch) + put_at;
    put_at += (len + 15) & ~(size_t)15;
    return va;
}

uint64_t fake_shares(void)
{
    static const uint32_t most[SHARE_KINDS] = {
        [SHARE_ENVS] = 8,         [SHARE_NAMES] = 64,
        [SHARE_SLICES] = 8,       [SHARE_NET_RINGS] = 8,
        [SHARE_NET_REGIONS] = 8,  [SHARE_NET_BINDINGS] = 64,
        [SHARE_NET_FILTERS] = 64, [SHARE_DISK_RANGES] = 8,
        [SHARE_DISK_RINGS] = 8,   [SHARE_NET_STEPS] = 8192,
    };
    const struct share_count *mine = sysinfo_shares(fake_current()->index);
    uint32_t shares[SHARE_KINDS];
    for (unsigned i = 0; i < SHARE_KINDS; i++) {
        uint32_t half = (mine[i].limit - mine[i].used) / 2;
        shares[i] = half < most[i] ? half : most[i];
    }
    return fake_put(shares, sizeof(shares));
}

static uint64_t mix(uint64_t h, const void *data, size_t len)
{
    const uint8_t *p = data;
    for (; len >= 8; len -= 8, p += 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        h = (h ^ w) * 0x9e3779b97f4a7c15ull;
        h ^= h >> 29;
    }
    for (; len > 0; len--, p++) {
        h = (h ^ *p) * 0x100000001b3ull;
    }
    return h;
}

uint64_t fake_digest(bool whole)
{
    const uint64_t *word = arch_frame_ptr(FAKE_FIRST);
    uint64_t h = 1;
    for (uint64_t f = 0; f < FAKE_FRAMES; f++) {
        if (word[f] != 0 && (whole || word[f] != PAGE_KERNEL)) {
            h = mix(h, &(uint64_t[2]){f, word[f]}, 16);
        }
        if ((word[f] & PAGE_KERNEL) != 0 && (word[f] & 0x3ff00000) != 0) {
            h = mix(h, arch_frame_ptr(f), PAGE_SIZE);
        }
    }
    for (uint32_t i = 1; i < ENVS_MAX; i++) {
        const struct env *e = env_at(i);
        if (e != NULL) {
            h = mix(h, e->cap, sizeof(e->cap));
            h = mix(h, &e->info->frames_used, 16);
            h = mix(h, &e->info->state, 2);
            h = mix(h, (const void *)e->predicate, sizeof(e->predicate));
            h = mix(h, sysinfo_shares(i),
                    SHARE_KINDS * sizeof(struct share_count));
        }
    }
    for (unsigned c = 0; c < fake_cpus; c++) {
        h = mix(h, sysinfo_vector(c), QUANTUM_SLOTS * sizeof(uint32_t));
    }
    return h;
}

void fake_cap(struct env *e, unsigned slot, const char *name,
              uint32_t rights) UNCHECKED
{
    e->cap[slot] =
        (struct cap){.rights = (uint16_t)rights, .len = (uint8_t)strlen(name)};
    memcpy(e->cap[slot].name, name, strlen(name));
}
