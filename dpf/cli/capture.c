/* SPDX-License-Identifier: MIT */
/*
 * Captures in, through libpcap (pcap and pcapng), one packet at a time: an
 * endless pipe needs no more memory than its longest packet.
 */
#include "dpf/cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_SECONDS 1.0

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* libpcap's words, or ours if it was we who gave it no more. */
static const char *reason(const struct capture *c, const char *why)
{
    static char text[128];
    const char *packed = reader_packed(c->reader);
    *text = '\0';
    if (c->reader->refused) {
        snprintf(text, sizeof(text),
                 "more than %u interfaces; this is no sound pcapng file",
                 READER_INTERFACES_MAX);
    } else if (packed != NULL) {
        snprintf(text, sizeof(text),
                 "it is compressed; pass what '%s -dc' makes of it", packed);
    }
    return *text != '\0' ? text : why;
}

bool capture_open(struct capture *c, const char *path, bool quiet)
{
    char why[PCAP_ERRBUF_SIZE] = "";
    bool standard = strcmp(path, "-") == 0;
    *c = (struct capture){
        .path = path, .terminal = isatty(STDERR_FILENO), .quiet = quiet};
    /* Else a user who forgot -r would see a tool that does nothing. */
    if (standard && isatty(STDIN_FILENO)) {
        cli_say("a terminal holds no packets; give captures by -r, or pipe "
                "one in");
        return false;
    }
    /*
     * A copy, since closing the capture closes it: standard input may be named
     * again.
     */
    int fd = standard ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        cli_say("%s: %s", path, strerror(errno));
        return false;
    }
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        c->size = (uint64_t)st.st_size;
    }
    c->reader = malloc(sizeof(*c->reader));
    FILE *file = c->reader != NULL ? reader_open(c->reader, fd) : NULL;
    if (file == NULL) {
        cli_say("%s: out of memory", path);
        close(fd);
        free(c->reader);
        return false;
    }
    /*
     * libpcap converts times to the precision asked for. Asking for the file's
     * own keeps a copy of it exact.
     */
    c->nanoseconds = reader_nanoseconds(c->reader);
    c->pcap = pcap_fopen_offline_with_tstamp_precision(
        file,
        c->nanoseconds ? PCAP_TSTAMP_PRECISION_NANO
                       : PCAP_TSTAMP_PRECISION_MICRO,
        why);
    if (c->pcap == NULL) {
        quiet ? (void)0
              : cli_say("%s: not a capture that can be read: %s", path,
                        reason(c, why));
        fclose(file);
        free(c->reader);
        return false;
    }
    c->dlt = pcap_datalink(c->pcap);
    c->swapped = pcap_is_swapped(c->pcap) == 1;
    c->said = now();
    return true;
}

static void capture_progress(struct capture *c)
{
    double t = now();
    if (t - c->said < PROGRESS_SECONDS) {
        return;
    }
    c->said = t;
    if (c->size > 0) {
        fprintf(stderr, "\r%s: %llu packets, %.0f%% ", c->path,
                (unsigned long long)c->packets,
                100.0 * (double)c->reader->passed / (double)c->size);
    } else {
        fprintf(stderr, "\r%s: %llu packets ", c->path,
                (unsigned long long)c->packets);
    }
}

int capture_next(struct capture *c, struct pcap_pkthdr **header,
                 const uint8_t **data)
{
    int result = pcap_next_ex(c->pcap, header, data);
    if (result == 1) {
        c->packets++;
        /*
         * A look at the clock for each packet would cost more than the filter.
         */
        if (c->terminal && c->packets % 4096 == 0) {
            capture_progress(c);
        }
        return 1;
    }
    if (result == PCAP_ERROR_BREAK) {
        return 0;
    }
    if (!c->quiet) {
        cli_say("%s: after %llu packets: %s", c->path,
                (unsigned long long)c->packets,
                reason(c, pcap_geterr(c->pcap)));
    }
    return -1;
}

void capture_close(struct capture *c)
{
    if (c->pcap != NULL) {
        pcap_close(c->pcap); /* closes the file as well */
        free(c->reader);
    }
    c->pcap = NULL;
}

/*
 * Files by their names, and whatever may be a folder: some file systems do not
 * say what an entry is.
 */
static int is_capture(const struct dirent *e)
{
    const char *dot = strrchr(e->d_name, '.');
    return e->d_name[0] != '.' &&
           (e->d_type == DT_DIR || e->d_type == DT_UNKNOWN ||
            (dot != NULL && (!strcmp(dot, ".pcap") || !strcmp(dot, ".pcapng") ||
                             !strcmp(dot, ".cap"))));
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* A path is kept as a copy: those of a folder are made on the way. */
static int capture_add_file(struct paths *p, const char *path)
{
    char **bigger = realloc(p->all, (p->count + 1) * sizeof(*bigger));
    char *copy = strdup(path);
    if (bigger != NULL) {
        p->all = bigger;
    }
    if (bigger == NULL || copy == NULL) {
        free(copy);
        return cli_usage("out of memory");
    }
    p->all[p->count++] = copy;
    return CLI_OK;
}

/* Links to folders are not followed here: they may lead back. */
static int add_folder(struct paths *p, const char *path)
{
    struct dirent **entries;
    int status = CLI_OK, n = scandir(path, &entries, is_capture, alphasort);
    if (n < 0) {
        return cli_usage("%s: %s", path, strerror(errno));
    }
    struct stat st;
    for (int i = 0; i < n; i++) {
        char *name = NULL;
        if (status == CLI_OK &&
            asprintf(&name, "%s/%s", path, entries[i]->d_name) < 0) {
            name = NULL;
            status = cli_usage("out of memory");
        }
        if (name != NULL && !is_folder(name)) {
            status = capture_add_file(p, name);
        } else if (name != NULL && lstat(name, &st) == 0 &&
                   S_ISDIR(st.st_mode)) {
            status = add_folder(p, name);
        }
        free(name);
        free(entries[i]);
    }
    free(entries);
    return status;
}

int paths_add(struct paths *p, const char *path)
{
    size_t before = p->count;
    if (!is_folder(path)) {
        return capture_add_file(p, path);
    }
    int status = add_folder(p, path);
    return status == CLI_OK && p->count == before
               ? cli_usage("%s: no captures in this folder (.pcap, .pcapng, "
                           ".cap)",
                           path)
               : status;
}

void paths_finish(struct paths *p)
{
    for (size_t i = 0; i < p->count; i++) {
        free(p->all[i]);
    }
    free(p->all);
    *p = (struct paths){0};
}

/*
 * One page more than needed, without rights: no engine can read the first byte
 * behind a packet without a fault.
 */
bool guard_open(struct guard *g, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = (size + page) / page * page;
    *g = (struct guard){.size = size, .mapped = room + page};
    g->base = mmap(NULL, g->mapped, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g->base == MAP_FAILED ||
        mprotect((uint8_t *)g->base + room, page, PROT_NONE) != 0) {
        cli_say("no memory for a guarded buffer: %s", strerror(errno));
        return false;
    }
    g->end = (uint8_t *)g->base + room;
    return true;
}

void guard_close(struct guard *g)
{
    if (g->base != NULL) {
        munmap(g->base, g->mapped);
    }
    g->base = NULL;
}

const uint8_t *guard_place(struct guard *g, const void *data, size_t len)
{
    len = len < g->size ? len : g->size;
    return memcpy(g->end - len, data, len);
}
