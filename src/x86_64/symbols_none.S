/* SPDX-License-Identifier: MIT */
/* No symbols yet: stands in for the table in the first of two links. */
    .section .symbols, "a"
    .balign 8
    .global symbol_table, symbol_count, symbol_names
symbol_table:
symbol_names:
symbol_count:
    .long 0
