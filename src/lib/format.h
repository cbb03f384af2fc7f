/* SPDX-License-Identifier: MIT */
/*
 * Text from values, as much as the kernel says. Understands of printf: %s %d
 * %u %x %%, the sizes l, ll and z, width, and the flag 0 for %u and %x.
 * Anything else is copied as it stands.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

/*
 * size   bytes of `to`; when not 0 the text is cut to fit and zero-terminated
 *
 * Returns the length of the whole text, which is >= size if it was cut.
 */
size_t format(char *to, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
size_t format_list(char *to, size_t size, const char *fmt, va_list args)
    __attribute__((format(printf, 3, 0)));
