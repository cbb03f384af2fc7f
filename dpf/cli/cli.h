/* SPDX-License-Identifier: MIT */
/*
 * Shared by the verbs of the dpf tool: messages, options that name filters,
 * and captures. Every argument of the command line is checked here, once.
 */
#pragma once

#include "dpf/cli/reader.h"
#include "dpf/host.h"

#include <pcap/pcap.h>

/* Exit status: yes; no, refused or different; usage or unreadable input; yes
   here, but refused by the kernel. */
enum { CLI_OK = 0, CLI_NO = 1, CLI_USAGE = 2, CLI_HOST_ONLY = 3 };

struct verb {
    const char *name;
    const char *summary;   /* one line */
    const char *arguments; /* after "dpf NAME" */
    const char *help;      /* the rest of --help */
    int (*run)(int argc, char **argv);
};
extern const struct verb verb_compile, verb_verify, verb_dump, verb_run,
    verb_diff, verb_plugin, verb_bench, verb_explain, verb_graph,
    verb_conflicts;

/* "dpf: " and the message on standard error. */
void cli_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, then CLI_USAGE. */
int cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* --help of a verb on standard output; CLI_OK. */
int cli_help(const struct verb *v);
/* A number in lo .. hi, or a message and false. */
bool cli_number(const char *what, const char *text, uint64_t lo, uint64_t hi,
                uint64_t *out);
/* Flush standard output; CLI_USAGE with a message if it cannot be written. */
int cli_flush(int status);

/* ------------------------------------------------------------------ files */

#define CLI_FILE_MAX (64u << 20) /* bytes of a text or object */
#define CLI_FILTERS_MAX 100000u  /* filters of one command */

/* A whole file ("-" is standard input), NUL-terminated; false said why. */
bool cli_read(const char *path, char **out, size_t *len);

/* ---------------------------------------------------------------- filters */

/* How the words that name filters are to be read. */
struct filter_options {
    const char *from;    /* --from: kind of every file, or NULL */
    const char *section; /* --section of an object */
    const char *list;    /* --list: a file of expressions */
    int dlt;             /* --dlt; -1 = not given */
    bool plain;          /* --plain: libpcap's unoptimised code */
    bool swapped;        /* capture.swapped of the packets to judge */
    enum dpf_type type;  /* --type */
    int status;          /* CLI_OK, or what a bad option left */
};

#define FILTER_OPTIONS_INIT                                                    \
    (struct filter_options)                                                    \
    {                                                                          \
        .dlt = -1, .type = DPF_FILTER                                          \
    }

/* Rows for getopt_long, and the letters that they return. */
enum {
    OPT_FROM = 256,
    OPT_SECTION,
    OPT_LIST,
    OPT_DLT,
    OPT_PLAIN,
    OPT_TYPE,
    OPT_HELP,
    OPT_VERB, /* verbs number their own from here */
};
#define FILTER_LONG_OPTIONS                                                    \
    {"from", required_argument, NULL, OPT_FROM},                               \
        {"section", required_argument, NULL, OPT_SECTION},                     \
        {"list", required_argument, NULL, OPT_LIST},                           \
        {"dlt", required_argument, NULL, OPT_DLT},                             \
        {"plain", no_argument, NULL, OPT_PLAIN},                               \
        {"type", required_argument, NULL, OPT_TYPE},                           \
    {                                                                          \
        "help", no_argument, NULL, OPT_HELP                                    \
    }

/* The paragraph about them in --help. */
extern const char filter_help[];

/* Take one option; false if it is not one of these. */
bool filter_option(struct filter_options *o, int option, const char *arg);
/* How dpf_from_expr is to read expressions. */
unsigned filter_expr_flags(const struct filter_options *o);

struct filter {
    char *name; /* as given, or its number */
    char *text; /* the expression, or the file's path */
    bool expr;  /* text is an expression */
    struct dpf_code code;
    struct dpf_program *program; /* NULL until filters_verify */
};

struct filters {
    struct filter *all;
    size_t count;
};

/*
 * Read what `argc` words (and --list) name: an expression, or @FILE. Link type
 * `dlt` is used unless --dlt was given. A message names a mistake; returns a
 * status.
 */
int filters_read(struct filters *f, const struct filter_options *o, int dlt,
                 int argc, char **argv);
/* Verify all; DPF_COMPILE in `flags` also compiles. Says which was refused. */
int filters_verify(struct filters *f, const struct filter_options *o,
                   uint32_t flags);
/* Can programs of --type judge a packet by itself? False said that not. */
bool filters_judge(const struct filter_options *o);
void filters_finish(struct filters *f);
/*
 * filters_read, but an expression that libpcap refuses for this link type is
 * left out and counted in *skipped.
 */
int filters_read_some(struct filters *f, const struct filter_options *o,
                      int dlt, int argc, char **argv, size_t *skipped);

/* Is `path`, to be written, none of the files that name filters? False said
   which it is. */
bool filters_apart(const struct filter_options *o, int argc, char **argv,
                   const char *path);

/* Filters as one decision, or as few as the bounds of a set allow. */
struct merged {
    struct dpf_set **sets;
    size_t set_count;
    uint8_t *hit; /* per filter: it accepts the packet */
    size_t count;
};
/* Would the kernel take the programs, which are verified? CLI_OK, or a message
   on each that it refuses and CLI_HOST_ONLY. */
int filters_kernel(const struct filters *f, const struct filter_options *o);
/* CLI_OK, or a message and CLI_NO when they cannot be merged. */
int merged_make(struct merged *m, const struct filters *f);
/* m->hit, filled for one packet. */
const uint8_t *merged_run(struct merged *m, const void *packet, size_t len);
void merged_finish(struct merged *m);
#define FILTER_GROUPS 4u
/*
 * Sort filters into groups 1 to FILTER_GROUPS, in each of which certainly no
 * two accept the same packet; 0 is the group of the rest, of which nothing is
 * known. The time does not grow with the number of pairs. 0 or -DPF_E_MEM.
 */
int filters_group(const struct filters *f, uint8_t *group);

/* The host's memory, for every object of dpf. */
const struct dpf_mem *cli_mem(void);

/* --------------------------------------------------------------- captures */

struct capture {
    const char *path;
    pcap_t *pcap;
    struct reader *reader; /* what libpcap reads from */
    uint64_t size;         /* of a regular file, else 0 */
    uint64_t packets;      /* read so far */
    int dlt;
    bool swapped;     /* of the other byte order */
    bool nanoseconds; /* and not microseconds in headers' ts.tv_usec */
    double said;      /* when progress was last shown, in seconds */
    bool terminal;    /* standard error is one */
    bool quiet;       /* say nothing about a damaged file */
};

/*
 * Open a pcap or pcapng file ("-" is standard input); false said why, unless
 * `quiet`.
 */
bool capture_open(struct capture *c, const char *path, bool quiet);
/* 1 and a packet; 0 at the end; -1 said why. */
int capture_next(struct capture *c, struct pcap_pkthdr **header,
                 const uint8_t **data);
void capture_close(struct capture *c);

/* Paths of captures; a folder stands for all captures in it, sorted. One
   without any is an error. */
struct paths {
    char **all;
    size_t count;
};
int paths_add(struct paths *p, const char *path);
void paths_finish(struct paths *p);

/* A buffer whose end is an unmapped page, so that an overrun is seen. */
struct guard {
    uint8_t *end; /* the first byte that is not there */
    size_t size, mapped;
    void *base;
};
bool guard_open(struct guard *g, size_t size);
void guard_close(struct guard *g);
/* `len` bytes placed so that they end where the page does. */
const uint8_t *guard_place(struct guard *g, const void *data, size_t len);
