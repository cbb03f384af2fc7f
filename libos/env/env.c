/* SPDX-License-Identifier: MIT */
/*
 * The environment as a whole: its end, its turn, and chance.
 */
#include "libos/libos/env.h"
#include "libos/sys/sys.h"

/*
 * 0 names the caller. The id in the u-area may be overwritten by then, and
 * whoever ends on a wrong one is refused for ever.
 */
_Noreturn void env_exit(uint32_t status)
{
    for (;;) {
        (void)sys_env_destroy(SLOT_SELF, 0, status);
    }
}

uint32_t env_share_left(enum share kind)
{
    const struct sysinfo *s = env_sysinfo();
    const uint8_t *base = (const uint8_t *)s;
    const struct sysinfo_env *e =
        (const struct sysinfo_env *)(base + s->env_offset);
    const struct sysinfo_shares *shares =
        (const struct sysinfo_shares *)(base + s->share_offset);
    const struct share_count *line = (const struct share_count *)(shares + 1);

    for (uint32_t i = 0; i < s->envs_max; i++, line += shares->kinds) {
        if (e[i].id == env_uarea()->env && (uint32_t)kind < shares->kinds) {
            return line[kind].limit - line[kind].used;
        }
    }
    return 0;
}

void env_yield(uint32_t env)
{
    (void)sys_quantum_yield(env);
}

int env_entropy(void *bytes, size_t len)
{
    uint8_t *to = bytes;
    while (len > 0) {
        uint32_t part = len < 256 ? (uint32_t)len : 256;
        int64_t n = sys_entropy_read(to, part);
        if (n <= 0) {
            return n == 0 ? -E_AGAIN : (int)n;
        }
        to += n;
        len -= (size_t)n;
    }
    return 0;
}

const char *env_strerror(int64_t err)
{
    switch (err < 0 ? -err : err) {
#define X(name, value, text)                                                   \
    case value:                                                                \
        return text;
        ERRORS(X)
#undef X
    default:
        return err == 0 ? "no error" : "an unknown error";
    }
}
