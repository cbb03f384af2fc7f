/* SPDX-License-Identifier: MIT */
/*
 * The exposed state (abi/sysinfo.h): one run of frames, read-only in every
 * addressing context. Nothing secret may ever stand here.
 */
#include "src/kern/sysinfo.h"
#include "src/abi/share.h"
#include "src/kern/aspace.h"
#include "src/kern/demand.h"
#include "src/kern/env.h"
#include "src/kern/page.h"
#include "src/kern/quantum.h"
#include "src/lib/string.h"

static struct sysinfo *exposed;

struct sysinfo *sysinfo(void)
{
    return exposed;
}

static void *at(uint32_t offset)
{
    return (uint8_t *)exposed + offset;
}

struct sysinfo_env *sysinfo_env(uint32_t index)
{
    return (struct sysinfo_env *)at(exposed->env_offset) + index;
}

struct sysinfo_cpu *sysinfo_cpu(unsigned cpu)
{
    return (struct sysinfo_cpu *)at(exposed->cpu_offset) + cpu;
}

struct share_count *sysinfo_shares(uint32_t index)
{
    struct sysinfo_shares *s = at(exposed->share_offset);
    return (struct share_count *)(s + 1) + (size_t)index * SHARE_KINDS;
}

uint32_t *sysinfo_vector(unsigned cpu)
{
    return (uint32_t *)at(exposed->quantum_offset) +
           (size_t)cpu * QUANTUM_SLOTS;
}

struct sysinfo_span *sysinfo_span(unsigned cpu)
{
    return (struct sysinfo_span *)at(exposed->span_offset) +
           (size_t)cpu * SYSINFO_SPANS;
}

static void describe_modules(const struct boot_info *info)
{
    exposed->modules = info->modules;
    for (uint32_t i = 0; i < info->modules; i++) {
        const struct boot_module *m = &info->module[i];
        struct sysinfo_module *to = &exposed->module[i];
        to->frame = m->at.start / PAGE_SIZE;
        to->bytes = m->at.end - m->at.start;
        str_copy(to->name, sizeof(to->name), m->name);
    }
}

int sysinfo_init(const struct boot_info *info)
{
    const uint32_t cpus = arch_cpu_count();
    const uint32_t line = 64; /* tables start on cache lines */
    uint32_t env = (uint32_t)(sizeof(struct sysinfo) + line - 1) & ~(line - 1);
    uint32_t cpu = env + ENVS_MAX * (uint32_t)sizeof(struct sysinfo_env);
    uint32_t quantum = cpu + cpus * (uint32_t)sizeof(struct sysinfo_cpu);
    uint32_t shares =
        quantum + cpus * QUANTUM_SLOTS * (uint32_t)sizeof(uint32_t);
    uint32_t spans = shares + (uint32_t)(sizeof(struct sysinfo_shares) +
                                         ENVS_MAX * SHARE_KINDS *
                                             sizeof(struct share_count));
    uint32_t bytes =
        spans + cpus * SYSINFO_SPANS * (uint32_t)sizeof(struct sysinfo_span);
    uint64_t frames = page_frames(bytes);
    uint64_t f = page_kalloc(frames);
    REFUSE_IF(f == FRAME_NONE, E_MEM);
    exposed = arch_frame_ptr(f);
    *exposed = (struct sysinfo){.magic = SYSINFO_MAGIC,
                                .version = SYSINFO_VERSION,
                                .bytes = bytes,
                                .tsc_khz = arch_tsc_khz(),
                                .boot_tsc = arch_boot_tsc(),
                                .boot_unix = arch_boot_unix(),
                                .frames = page_count(),
                                .cpus = cpus,
                                .envs_max = ENVS_MAX,
                                .quantum_slots = QUANTUM_SLOTS,
                                .env_offset = env,
                                .cpu_offset = cpu,
                                .quantum_offset = quantum,
                                .share_offset = shares,
                                .span_offset = spans};
    *(struct sysinfo_shares *)at(shares) =
        (struct sysinfo_shares){.kinds = SHARE_KINDS};
    describe_modules(info);
    str_copy(exposed->cmdline, sizeof(exposed->cmdline), info->cmdline);
    page_expose(&exposed->frames_free);
    for (unsigned i = 0; i < cpus; i++) {
        sysinfo_cpu(i)->apic_id = arch_cpu_id(i);
        cpu_at(i)->info = sysinfo_cpu(i);
    }
    return aspace_expose(f, frames);
}
