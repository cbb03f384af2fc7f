/* SPDX-License-Identifier: MIT */
#include "tests/qemu/env/families.h"

const struct family families[] = {
    {"bounds", family_bounds}, {"caps", family_caps},
    {"frames", family_frames}, {"bindings", family_bindings},
    {"faults", family_faults}, {"quanta", family_quanta},
    {"events", family_events}, {"disk", family_disk},
    {"net", family_net},       {"hostile", family_hostile},
    {"revoke", family_revoke}, {"shares", family_shares},
    {"span", family_span},     {"time", family_time},
    {"trace", family_trace},   {0},
};
