/* SPDX-License-Identifier: MIT */
/*
 * Files that the tool writes. The tool writes a partial file beside the named
 * one and renames it when it is whole, so that a failure, or a signal that
 * ends the tool, leaves an old file as it was. A pipe or a device is written
 * directly.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

struct output {
    const char *path; /* as the user named it */
    char *target;     /* what `path` leads to, by any links; NULL: direct */
    char *partial;    /* NULL: direct */
    FILE *file;       /* the caller's to write and to close */
};

/*
 * Is `path` another file than `input`, by whatever names? "-" is standard
 * output and standard input. False said why not.
 */
bool output_apart(const char *path, const char *input);

/*
 * Open `path` for writing; NULL or "-" is standard output. One file at a time.
 * False said why.
 */
bool output_open(struct output *o, const char *path);

/*
 * After the caller closed o->file (not standard output), give the written file
 * its name if `status` is CLI_OK, else remove it. Returns `status`, or
 * CLI_USAGE with a message. May be called again, and on a zeroed object.
 */
int output_finish(struct output *o, int status);
