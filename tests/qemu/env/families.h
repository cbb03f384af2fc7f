/* SPDX-License-Identifier: MIT */
/* The families of tests, one file each. */
#pragma once

#include "tests/qemu/env/tap.h"

void family_bounds(void);
void family_caps(void);
void family_frames(void);
void family_bindings(void);
void family_faults(void);
void family_quanta(void);
void family_events(void);
void family_disk(void);
void family_net(void);
void family_hostile(void);
void family_shares(void);
void family_span(void);
void family_revoke(void);
void family_time(void);
void family_trace(void);
