/* SPDX-License-Identifier: MIT */
/*
 * Long lists of alternatives, cut before libpcap sees them: its compiler takes
 * time that grows with the square of an expression's length, and more.
 *
 * Only lists whose meaning is beyond doubt are cut: simple terms with `or`
 * between them, without brackets, `and`, `not` or arithmetic. A number that
 * stands alone gets the qualifiers of the term before it, as libpcap gives
 * them to it. All else is left to libpcap whole.
 *
 * Source: libpcap's pcap-filter(7), "most recent keyword is assumed".
 */
#pragma once

#include <stddef.h>

struct split {
    char **parts; /* expressions; together they are the list */
    size_t count;
};

/* 0, with no parts if the expression is short or not such a list;
   or -DPF_E_MEM. */
int split_alternatives(const char *expr, struct split *out);
void split_finish(struct split *s);
