/* SPDX-License-Identifier: MIT */
/*
 * The one list of errors. A system call returns zero or a count, or the
 * negated value. The enum, the strings and the manual come from this list.
 */
#pragma once

#define ERRORS(X)                                                              \
    X(E_INVAL, 1, "an argument is malformed or a reserved field is not zero")  \
    X(E_CAP, 2, "the slot is empty or its capability does not dominate")       \
    X(E_RANGE, 3, "a name or address lies outside its range")                  \
    X(E_MEM, 4, "the kernel has no memory for it")                             \
    X(E_QUOTA, 5, "a quota or share of the environment is used up")            \
    X(E_FAULT, 6, "an address is not mapped as the call needs it")             \
    X(E_NONE, 7, "nothing has this name")                                      \
    X(E_BUSY, 8, "the resource is bound or in use")                            \
    X(E_AGAIN, 9, "not now; the same call can succeed later")                  \
    X(E_NOSYS, 10, "no system call has this number")                           \
    X(E_VERIFY, 11, "the downloaded program breaks a rule of the verifier")    \
    X(E_REGION, 12, "the filter accepts packets outside its region")           \
    X(E_CONFLICT, 13, "the filter accepts packets of another binding")         \
    X(E_IO, 14, "the device reported an error")                                \
    X(E_LIMIT, 15, "a stated limit of the kernel is reached")                  \
    X(E_FUEL, 16, "not decided within the work that one call may do")

enum err {
#define X(name, value, text) name = value,
    ERRORS(X)
#undef X
};
