/* SPDX-License-Identifier: MIT */
/*
 * Start-up in C: a stack with a guard page below it, the upcall entries, and
 * what the maker of the environment had to say. The scratch area is copied
 * out before anything else may write there.
 */
#include "libos/env/upcall.h"
#include "libos/libos/console.h"
#include "libos/libos/env.h"
#include "libos/libos/mem.h"
#include "libos/libos/text.h"
#include "libos/start/start_impl.h"

#define STACK_BYTES (128u * 1024)

static struct start_info info;

_Static_assert(__builtin_offsetof(struct uarea, entry) == 8, "crt0.S");
_Static_assert(UAREA_VA == 0x7f0000000000ull, "crt0.S");

/* Nobody told us anything: the first environment, or a bare test. */
static void defaults(struct start_info *s)
{
    *s = (struct start_info){
        .magic = START_MAGIC,
        .version = START_VERSION,
        .name = "first",
        .net_device = START_NO_RESOURCE,
        .disk = START_NO_RESOURCE,
    };
}

uint64_t start_prepare(void)
{
    const struct start_info *told =
        (const struct start_info *)env_uarea()->scratch;

    if (told->magic == START_MAGIC && told->version == START_VERSION) {
        info = *told;
        info.name[START_NAME_MAX - 1] = '\0';
        info.args[START_ARGS_MAX - 1] = '\0';
    } else {
        defaults(&info);
    }
    upcall_init();
    struct mem_run stack;
    if (mem_run_alloc(&stack, STACK_BYTES, 0) != 0) {
        console_printf("%s: no memory for a stack\n", info.name);
        env_exit(1);
    }
    return (uint64_t)stack.va + stack.bytes;
}

_Noreturn void start_main(void)
{
    env_exit((uint32_t)env_main(&info));
}

const struct start_info *start_told(void)
{
    return &info;
}
