/* SPDX-License-Identifier: MIT */
/*
 * The order in which the kernel comes to life, on the boot processor: memory,
 * the exposed tables, devices, the first environment, the other processors.
 * The only file that knows every room of src/.
 */
#include "src/abi/err.h"
#include "src/dev/dev.h"
#include "src/kern/console.h"
#include "src/kern/elf.h"
#include "src/kern/entropy.h"
#include "src/kern/page.h"
#include "src/kern/secret.h"
#include "src/kern/sysinfo.h"
#include "src/lib/log.h"
#include "src/x86_64/smp.h"

static void tables_init(const struct boot_info *info)
{
    lock_acquire(&bind_lock);
    if (sysinfo_init(info) < 0) {
        panic("no memory for the kernel's own tables: give the machine more");
    }
    lock_release(&bind_lock);
}

/* Names come after the key under which they are hashed. */
static void names_init(void)
{
    secret_init();
    lock_acquire(&bind_lock);
    if (console_init() < 0) {
        panic("no memory for names: give the machine more");
    }
    lock_release(&bind_lock);
}

/* Advice to the person who started the machine. */
static const char *remedy(int error)
{
    switch (-error) {
    case E_NONE:
        return "there is no boot module; give an archive of them with "
               "-initrd, or by module2 in the loader's menu";
    case E_INVAL:
    case E_RANGE:
        return "it is not a static ELF64 program for this kernel; was the "
               "archive made by scripts/modules?";
    default:
        return "there is not enough memory; give the machine more";
    }
}

static void first_environment(const struct boot_info *info)
{
    lock_acquire(&bind_lock);
    int r = elf_first(info);
    lock_release(&bind_lock);
    if (r < 0) {
        log_line("first environment '%s': %s", info->module[0].name, remedy(r));
        arch_halt(1);
    }
}

/*
 * Memory first, since everything takes some; devices before entropy, which may
 * come from one; the log goes to the boot console until an environment exists
 * that could write beside it.
 */
void kern_main(const struct boot_info *info)
{
    page_init(info->ram, info->rams, info->top);
    tables_init(info);
    dev_probe();
    entropy_start();
    names_init();
    first_environment(info);
    log_to(console_write);
    smp_release();
    kern_start(0);
}
