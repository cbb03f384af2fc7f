/* SPDX-License-Identifier: MIT */
/*
 * The command line, word by word. Pure text: tested on the host.
 */
#include "programs/init/config.h"
#include "libos/libos/text.h"

#define MS_NS 1000000ull
#define PAGE 4096u
#define MIB (1ull << 20)
#define DEFAULT_MEM (16 * MIB)

/* What an environment gets when the command line does not say. */
static const struct defaults {
    const char *name, *tcp, *udp, *disk;
    unsigned share; /* of what memory remains, in eighths; 0: DEFAULT_MEM */
    unsigned slices;
} known[] = {
    {"cheetah", "80", "", "0", 6, 4},
    {"netsvc", "7,9,19", "7,9,19", "", 0, 2},
};

static const struct defaults other = {"", "", "", "", 0, 1};

static bool complain(char *why, size_t size, const char *key, const char *want)
{
    text_format(why, size, "%s: want %s", key, want);
    return false;
}

static bool parse_addr(const char *s, uint8_t addr[4], const char **end)
{
    for (unsigned i = 0; i < 4; i++) {
        uint64_t v;
        if (!text_number(s, &v, &s) || v > 255 || (i < 3 && *s++ != '.')) {
            return false;
        }
        addr[i] = (uint8_t)v;
    }
    *end = s;
    return true;
}

static bool read_address(const char *line, struct config *c, char *why,
                         size_t size)
{
    char word[32];
    if (!text_option(line, "ip", word, sizeof(word))) {
        return true;
    }
    if (strcmp(word, "dhcp") == 0) {
        c->dhcp = true;
        return true;
    }
    uint64_t prefix;
    const char *end;
    if (!parse_addr(word, c->addr, &end) || *end != '/' ||
        !text_number(end + 1, &prefix, NULL) || prefix < 1 || prefix > 32) {
        return complain(why, size, "ip",
                        "dhcp, or an address like "
                        "10.0.0.2/24");
    }
    c->prefix = (uint32_t)prefix;
    if (text_option(line, "gw", word, sizeof(word)) &&
        (!parse_addr(word, c->gateway, &end) || *end)) {
        return complain(why, size, "gw", "an address like 10.0.0.1");
    }
    return true;
}

static bool read_kill(const char *line, struct config *c, char *why,
                      size_t size)
{
    size_t n = 0;
    char word[48];
    if (!text_option(line, "kill", word, sizeof(word))) {
        return true;
    }
    while (word[n] && word[n] != '@') {
        n++;
    }
    uint64_t ms;
    if (n == 0 || n >= sizeof(c->kill) || word[n] != '@' ||
        !text_number(word + n + 1, &ms, NULL)) {
        return complain(why, size, "kill", "NAME@MILLISECONDS");
    }
    memcpy(c->kill, word, n);
    c->kill[n] = '\0';
    c->kill_ns = ms * MS_NS;
    return true;
}

bool config_read(const char *line, struct config *c, char *why, size_t size)
{
    uint64_t halt = text_option_number(line, "halt", UINT64_MAX);
    *c = (struct config){.kill_ns = UINT64_MAX};
    c->halt_ns = halt == UINT64_MAX ? halt : halt * MS_NS;
    return read_address(line, c, why, size) && read_kill(line, c, why, size);
}

/* The value of "NAME.key", or `fallback`. */
static const char *program_option(const char *line, const char *name,
                                  const char *key, const char *fallback,
                                  char value[64])
{
    char word[48];
    text_format(word, sizeof(word), "%s.%s", name, key);
    return text_option(line, word, value, 64) ? value : fallback;
}

static bool parse_ports(const char *s, uint16_t ports[CONFIG_PORTS_MAX])
{
    for (unsigned i = 0; *s; i++) {
        uint64_t v;
        if (i + 1 >= CONFIG_PORTS_MAX || !text_number(s, &v, &s) || v == 0 ||
            v > 65535 || (*s && *s != ',')) {
            return false;
        }
        ports[i] = (uint16_t)v;
        s += *s == ',';
    }
    return true;
}

/* Words "NAME.key=value" become "key=value" of the program's own line. */
static void program_args(const char *line, const char *name, char *args,
                         size_t size)
{
    size_t len = strlen(name), at = 0;
    while (*line) {
        size_t n = 0;
        while (line[n] && line[n] != ' ') {
            n++;
        }
        if (n > len && memcmp(line, name, len) == 0 && line[len] == '.' &&
            at + n - len + 1 < size) {
            at += text_format(args + at, size - at, "%s%.*s", at ? " " : "",
                              (int)(n - len - 1), line + len + 1);
        }
        line += n + (line[n] == ' ');
    }
    args[at] = '\0';
}

bool config_program(const char *line, const char *name, uint64_t frames,
                    struct program *p, char *why, size_t size)
{
    const struct defaults *d = &other;
    for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        d = strcmp(known[i].name, name) == 0 ? &known[i] : d;
    }
    *p = (struct program){.slices = d->slices};
    /* A name cut short could be another program's, and with it its rights. */
    if (text_format(p->name, sizeof(p->name), "%s", name) >= sizeof(p->name)) {
        return complain(why, size, name, "a name of at most 15 bytes");
    }
    char word[64];
    if (!parse_ports(program_option(line, name, "tcp", d->tcp, word), p->tcp) ||
        !parse_ports(program_option(line, name, "udp", d->udp, word), p->udp)) {
        return complain(why, size, name, "ports like tcp=80,8080; at most 7");
    }
    const char *disk = program_option(line, name, "disk", d->disk, word);
    uint64_t n;
    if (*disk) {
        if (!text_number(disk, &n, NULL)) {
            return complain(why, size, name, "disk=NUMBER");
        }
        p->has_disk = true;
        p->disk = (uint32_t)n;
    }
    uint64_t mem = d->share ? frames * PAGE / 8 * d->share : DEFAULT_MEM;
    if (!text_number(program_option(line, name, "mem", "", word), &n, NULL)) {
        n = mem;
    }
    p->frames = n / PAGE;
    if (text_number(program_option(line, name, "cpu", "", word), &n, NULL)) {
        p->cpu = (uint32_t)n;
    }
    if (text_number(program_option(line, name, "slices", "", word), &n, NULL)) {
        p->slices = (uint32_t)n;
    }
    program_args(line, name, p->args, sizeof(p->args));
    return true;
}

bool config_runs(const char *line, const char *name)
{
    char list[256];
    const char *at = list;
    size_t len = strlen(name);
    if (!text_option(line, "run", list, sizeof(list))) {
        return true;
    }
    while (*at) {
        size_t n = 0;
        while (at[n] && at[n] != ',') {
            n++;
        }
        if (n == len && memcmp(at, name, n) == 0) {
            return true;
        }
        at += n + (at[n] == ',');
    }
    return false;
}
