/* SPDX-License-Identifier: MIT */
/*
 * The harness: picks a family, counts, stops the machine; or, as a child, does
 * the act it was told.
 */
#include "libos/libos/console.h"
#include "libos/libos/mem.h"
#include "libos/libos/text.h"
#include "libos/libos/time.h"
#include "tests/qemu/env/tap.h"

void trap_call(void (*fn)(void *), void *arg);
void trap_return(void);

static unsigned count, failed;
static int trap_vector;
struct frame trap_frame;

static void line(const char *fmt, va_list args, const char *head)
{
    char text[200], out[256];
    size_t n;

    text_vformat(text, sizeof(text), fmt, args);
    n = text_format(out, sizeof(out), "%s%s\n", head, text);
    console_write(out, n < sizeof(out) ? n : sizeof(out) - 1);
}

bool tap_ok(bool ok, const char *fmt, ...)
{
    char head[24];
    va_list args;

    text_format(head, sizeof(head), "%s %u - ", ok ? "ok" : "not ok", ++count);
    failed += !ok;
    va_start(args, fmt);
    line(fmt, args, head);
    va_end(args);
    return ok;
}

void tap_note(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    line(fmt, args, "# ");
    va_end(args);
}

bool tap_is(int64_t got, int64_t want, const char *what)
{
    if (got == want) {
        return tap_ok(true, "%s", what);
    }
    tap_ok(false, "%s", what);
    tap_note("got %ld (%s), want %ld", got, got < 0 ? env_strerror(got) : "",
             want);
    return false;
}

static bool on_fault(struct frame *f)
{
    trap_frame = *f;
    trap_vector = (int)f->vector;
    f->rip = (uint64_t)trap_return;
    return true;
}

int trap_run(void (*fn)(void *), void *arg)
{
    trap_vector = -1;
    env_on_fault(on_fault);
    trap_call(fn, arg);
    env_on_fault(NULL);
    return trap_vector;
}

/* A seed for the next child; the first is in the boot arguments or noted. */
static uint64_t child_seed(void)
{
    static uint64_t seed;

    if (seed == 0) {
        seed = text_option_number(env_sysinfo()->cmdline, "seed",
                                  time_tsc() % 1000000);
        tap_note("seed=%lu", seed);
    }
    return seed++ * 0x9e3779b97f4a7c15ull;
}

int child_start(struct child *c, const char *act, uint32_t slot,
                uint64_t frames)
{
    static const uint32_t shares[SHARE_KINDS] = {
        [SHARE_ENVS] = 20,        [SHARE_NAMES] = 500,
        [SHARE_SLICES] = 8,       [SHARE_NET_RINGS] = 5,
        [SHARE_NET_REGIONS] = 20, [SHARE_NET_BINDINGS] = 200,
        [SHARE_NET_FILTERS] = 50, [SHARE_DISK_RANGES] = 5,
        [SHARE_DISK_RINGS] = 5,   [SHARE_NET_STEPS] = 2048,
    };

    return child_start_with(c, act, slot, frames, shares);
}

int child_start_with(struct child *c, const char *act, uint32_t slot,
                     uint64_t frames, const uint32_t shares[SHARE_KINDS])
{
    static struct start_info start;
    const struct sysinfo_module *m = &env_sysinfo()->module[0];
    struct mem_run image;
    const char *why = "";
    int err;

    start = (struct start_info){.net_device = START_NO_RESOURCE,
                                .disk = START_NO_RESOURCE};
    text_format(start.args, sizeof(start.args), "act=%s seed=%lu", act,
                child_seed());
    err = child_create(c, act, slot, frames, shares);
    if (err) {
        return err;
    }
    err = mem_run_bind(&image, ROOT, m->frame,
                       (m->bytes + PAGE_SIZE - 1) / PAGE_SIZE, false);
    if (err == 0) {
        err = child_load(c, image.va, m->bytes, &start, &why);
        mem_run_unbind(&image);
    }
    if (err == 0) {
        err = child_run(c, 0, 1);
    }
    if (err < 0) {
        tap_note("child %s: %s %s", act, env_strerror(err), why);
        child_destroy(c);
        return err;
    }
    return 0;
}

bool child_wait(const struct child *c, uint64_t ms)
{
    uint64_t end = time_ns() + ms * TIME_MS;

    while (!child_ended(c) && time_ns() < end) {
        (void)env_wait(0, time_ns() + TIME_MS);
    }
    return child_ended(c);
}

static void run_family(const char *name)
{
    for (const struct family *f = families; f->name; f++) {
        if (strcmp(f->name, name) == 0) {
            f->run();
            return;
        }
    }
    tap_ok(false, "no family is called '%s'", name);
}

int env_main(const struct start_info *start)
{
    char word[48];

    if (text_option(start->args, "act", word, sizeof(word))) {
        return act_run(word, text_option_number(start->args, "seed", 1));
    }
    (void)sys_cap_mint(ROOT, SLOT_CONSOLE, (const uint8_t *)"console", 7,
                       CAP_WRITE | CAP_GRANT);
    if (!text_option(env_sysinfo()->cmdline, "test", word, sizeof(word))) {
        word[0] = '\0';
    }
    run_family(word);
    console_printf("1..%u\n", count);
    (void)sys_machine_halt(ROOT, failed ? 1 : 0);
    return 1;
}
