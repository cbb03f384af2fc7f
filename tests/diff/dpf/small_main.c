/* SPDX-License-Identifier: MIT */
/*
 * Sets of filters in a small world, where every packet there is goes through
 * every engine, or in a wide one, where packets are made for the filters. The
 * oracle knows nothing of diagrams: it is the interpreter's answer of each
 * filter to each packet, and the rules of dpf.h. Of each set:
 *
 *   owner    accepts the packet, and lies in its region
 *   lost     a packet that an exclusive binding accepts has an owner
 *   theft    of two that accept one packet, the owner lies inside the other,
 *            which allows that (DPF_REFINE); nowhere is it the other way round
 *   region   what is bound in a region takes no packet that the region has not
 *   copies   exactly the shared bindings and taps that accept
 *   order    other orders of binding are refused where this one is, and give
 *            the same owners
 *   witness  is accepted by whom the refusal names
 *   engines  the plain lookup, merged native code of both engines, and single
 *            programs of both give one answer; packets end at an unmapped page
 *
 * usage: small_sets SCENARIOS [SEED [WHICH]]
 *
 * 0 scenarios: until it is stopped. WHICH "keep" goes on after a failure and
 * counts them by kind; "wide" takes longer packets, which are made for the
 * filters; "harmless" is for a lift that errs in the filters of odd
 * ids only (dpf_mutant is 1 while they are bound): these may lose their own
 * packets and be refused, but take nothing that others were to have.
 */
#include "tests/diff/dpf/small_sets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    const char *how = argc > 3 ? argv[3] : "";

    keep = strstr(how, "keep") != NULL;
    small_wide = strstr(how, "wide") != NULL;
    harmless = strstr(how, "harmless") != NULL;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("TAP version 13\n1..1\n# seed %llu\n", (unsigned long long)seed);
    world_start();
    small_packets_make();
    world_guard();
    for (uint64_t i = 0; count == 0 || i < count; i++) {
        struct rng r = {(seed + i) * 0x9e3779b97f4a7c15u | 1};

        scenario = seed + i;
        world_time();
        run_scenario(&r);
    }
    show_failures();
    printf("# %lu programs, %lu packets through the sets\n", tally.programs,
           tally.packets);
    printf("# %lu bound, %lu of them like others; %lu refused, %lu without a "
           "common packet here; %lu not decided\n",
           tally.binds, tally.likes, tally.refusals, tally.empty, tally.large);
    printf("%s 1 - sets in a %s world\n", tally.failures ? "not ok" : "ok",
           small_wide ? "wide" : "small");
    return tally.failures != 0;
}
