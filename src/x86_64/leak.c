/* SPDX-License-Identifier: MIT */
/*
 * Which leaks this processor has: see leak.h.
 */
#include "src/x86_64/leak.h"
#include "src/lib/log.h"
#include "src/x86_64/cpu.h"
#include "src/x86_64/insn.h"

/* cpuid 7: edx */
#define HAS_IBRS_IBPB (1u << 26)
#define HAS_ARCH_CAPABILITIES (1u << 29)
/* cpuid 0x80000008: ebx */
#define HAS_AMD_IBPB (1u << 12)
/* cpuid 0x80000021: eax */
#define HAS_AUTO_IBRS (1u << 8)
/* MSR_ARCH_CAPABILITIES */
#define RDCL_NO (1u << 0)
#define IBRS_ALL (1u << 1)
#define SPEC_CTRL_IBRS 1u
#define PRED_CMD_IBPB 1u

struct leak leak;

enum word { WORD_AUTO, WORD_ON, WORD_OFF };

/* Does `text` begin with all of `start`? Returns what follows, or NULL. */
static const char *after(const char *text, const char *start)
{
    while (*start != 0) {
        if (*text++ != *start++) {
            return 0;
        }
    }
    return text;
}

/* The value of the boot word `name`, which ends with "=". */
static enum word boot_word(const char *line, const char *name)
{
    for (bool begin = true; *line != 0; line++) {
        const char *v = begin ? after(line, name) : 0;
        if (v != 0) {
            return after(v, "on") != 0    ? WORD_ON
                   : after(v, "off") != 0 ? WORD_OFF
                                          : WORD_AUTO;
        }
        begin = *line == ' ';
    }
    return WORD_AUTO;
}

/* cpuid 0: ebx of "AuthenticAMD" and "HygonGenuine", which check in time. */
static bool checks_rights_first(void)
{
    uint32_t vendor = cpuid(0, 0).b;
    return vendor == 0x68747541 || vendor == 0x6f677948;
}

void leak_init(const char *cmdline)
{
    uint32_t max = cpuid(0, 0).a, far = cpuid(0x80000000, 0).a;
    uint32_t seven = max >= 7 ? cpuid(7, 0).d : 0;
    uint32_t amd = far >= 0x80000008 ? cpuid(0x80000008, 0).b : 0;
    uint64_t caps =
        (seven & HAS_ARCH_CAPABILITIES) != 0 ? rdmsr(MSR_ARCH_CAPABILITIES) : 0;
    enum word kpti = boot_word(cmdline, "kpti=");
    enum word ibpb = boot_word(cmdline, "ibpb=");
    bool melts =
        !cpu_has.emulated && !checks_rights_first() && (caps & RDCL_NO) == 0;
    bool can_forget = (seven & HAS_IBRS_IBPB) != 0 || (amd & HAS_AMD_IBPB) != 0;
    leak = (struct leak){
        .kpti = kpti == WORD_ON || (kpti == WORD_AUTO && melts),
        .ibpb = ibpb != WORD_OFF && can_forget,
        .ibrs = (caps & IBRS_ALL) != 0,
        .auto_ibrs =
            far >= 0x80000021 && (cpuid(0x80000021, 0).a & HAS_AUTO_IBRS) != 0,
    };
    log_line("speculation: kpti %s, ibpb %s, ibrs %s", leak.kpti ? "on" : "off",
             leak.ibpb ? "on" : "off",
             leak.ibrs || leak.auto_ibrs ? "on" : "off");
}

void leak_cpu_init(void)
{
    if (leak.ibrs) {
        wrmsr(MSR_SPEC_CTRL, SPEC_CTRL_IBRS);
    }
    if (leak.auto_ibrs) {
        wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_AIBRSE);
    }
}

void leak_barrier(void)
{
    wrmsr(MSR_PRED_CMD, PRED_CMD_IBPB);
}
