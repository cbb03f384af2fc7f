/* SPDX-License-Identifier: MIT */
/*
 * The kernel's text is small (tests/text). The compiler puts a function that is
 * called once into its caller, where its variables may crowd out others; those
 * that take fewer bytes by themselves are marked.
 */
#pragma once

#define OUT_OF_LINE __attribute__((noinline))
