/* SPDX-License-Identifier: MIT */
/*
 * Shared by the assembler's two files: the text being read and the program
 * being made. The first mistake sticks; readers may be called after it.
 */
#pragma once

#include "dpf/front/code.h"

struct name {
    const char *text; /* in the source */
    size_t len;
    uint32_t label;
    size_t used_at; /* first mention, for the message */
};

struct scan {
    const char *text, *p, *end;
    struct code code;
    struct name *names; /* hash table, open addressing */
    size_t name_count, name_room;
    struct dpf_error *err;
    int result;
};

/* Note a mistake at `at`, unless there was one before. */
void asm_fail(struct scan *s, const char *at, const char *why);

bool asm_is_name(char c);
/* Pass over blanks of this line. */
void asm_blanks(struct scan *s);
/* Does nothing but blanks and a comment follow on this line? */
bool asm_at_end(struct scan *s);
/* Take `word` if it stands next; a word is not the beginning of a longer. */
bool asm_eat(struct scan *s, const char *word);
/* The same; else a mistake. */
void asm_expect(struct scan *s, const char *word);
/* An unsigned number of at most 64 bits; false and nothing taken if none. */
bool asm_unsigned_number(struct scan *s, uint64_t *out);
/* A signed number in lo .. hi; `what` names it in the message. */
int64_t asm_number(struct scan *s, int64_t lo, int64_t hi, const char *what);
/* Take rN or wN: *wide tells which. */
bool asm_reg(struct scan *s, int *number_out, bool *wide);
/* The same of the given width; else a mistake. */
int asm_need_reg(struct scan *s, bool wide);
/* The label of that name, new or not; a mistake when memory ends. */
uint32_t asm_label_named(struct scan *s, const char *text, size_t len);
