/* SPDX-License-Identifier: MIT */
/*
 * Text from values. Understands of printf: %c %s %d %i %u %x %p %%, the sizes
 * l, ll and z, the flags - and 0, width, and precision of %s; width and
 * precision may be *. Anything else is copied as it stands.
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
