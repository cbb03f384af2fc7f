/* SPDX-License-Identifier: MIT */
/*
 * Words "key=value" of a command line, and numbers with units.
 */
#include "libos/libos/text.h"

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n';
}

/* The value in a word that has this key; NULL if it has another. */
static const char *word_value(const char *word, const char *key, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (word[i] != key[i]) {
            return NULL; /* also where the word ends early */
        }
    }
    if (word[len] == '=') {
        return word + len + 1;
    }
    return word[len] == '\0' || is_space(word[len]) ? word + len : NULL;
}

bool text_option(const char *line, const char *key, char *value, size_t size)
{
    const char *found = NULL;
    size_t key_len = strlen(key), len = 0;
    while (*line) {
        while (is_space(*line)) {
            line++;
        }
        const char *at = word_value(line, key, key_len);
        found = at != NULL && *line ? at : found;
        while (*line && !is_space(*line)) {
            line++;
        }
    }
    if (found == NULL) {
        return false;
    }
    while (found[len] && !is_space(found[len])) {
        len++;
    }
    if (len >= size) {
        return false;
    }
    memcpy(value, found, len);
    value[len] = '\0';
    return true;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

static unsigned unit_shift(char c)
{
    switch (c | 0x20) {
    case 'k':
        return 10;
    case 'm':
        return 20;
    case 'g':
        return 30;
    default:
        return 0;
    }
}

bool text_number(const char *s, uint64_t *value, const char **end)
{
    int base = 10;
    uint64_t v = 0;
    if (s[0] == '0' && (s[1] | 0x20) == 'x') {
        base = 16;
        s += 2;
    }
    if (digit(*s) >= base) {
        return false;
    }
    for (; digit(*s) < base; s++) {
        if (__builtin_mul_overflow(v, (uint64_t)base, &v) ||
            __builtin_add_overflow(v, (uint64_t)digit(*s), &v)) {
            return false;
        }
    }
    unsigned shift = unit_shift(*s);
    if (shift) {
        if (v >> (64 - shift)) {
            return false;
        }
        v <<= shift;
        s++;
    }
    if (end == NULL && *s) {
        return false;
    }
    if (end != NULL) {
        *end = s;
    }
    *value = v;
    return true;
}

uint64_t text_option_number(const char *line, const char *key,
                            uint64_t fallback)
{
    uint64_t v;
    char word[32];
    if (!text_option(line, key, word, sizeof(word)) ||
        !text_number(word, &v, NULL)) {
        return fallback;
    }
    return v;
}
