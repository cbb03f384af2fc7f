/* SPDX-License-Identifier: MIT */
/*
 * BPF objects of clang -target bpf. Protects: every offset and size in the
 * file is checked against the bytes that are there before it is followed; a
 * hostile object costs time in proportion to its size.
 *
 * A filter stands alone, and its section holds one function: a second one
 * behind it would not run, and one in front of it would run instead. A
 * relocation means data, a map or a function elsewhere. Both are refused with
 * the names.
 *
 * Source: ELF-64 object file format 1.5; include/uapi/linux/btf.h and
 * Documentation/bpf/btf.rst (sections .BTF and .BTF.ext).
 */
#include "dpf/front/code.h"

#include <stdlib.h>
#include <string.h>

#define EM_BPF 247u
#define SHT_PROGBITS 1u
#define SHT_SYMTAB 2u
#define SHT_RELA 4u
#define SHT_REL 9u
#define SHF_EXECINSTR 4u
#define ELF_HEADER 64u
#define ELF_SECTION 64u
#define ELF_SYMBOL 24u
#define STT_FUNC 2u
#define BTF_MAGIC 0xeb9fu
#define STRING_MAX 4096u /* bytes of a name that is taken for one */

struct bytes {
    const uint8_t *p;
    uint64_t len;
};

struct section {
    uint32_t name, type, link, info;
    uint64_t flags;
    struct bytes data; /* empty if it lies outside the file */
};

struct elf {
    struct bytes file;
    uint64_t table; /* offset of the section table */
    uint32_t count;
    struct section names;
    struct dpf_error *err;
};

/* Little-endian loads; 0 outside the bytes. */
static uint64_t elf_get(struct bytes b, uint64_t at, unsigned width)
{
    uint64_t v = 0;
    if (at > b.len || b.len - at < width) {
        return 0;
    }
    for (unsigned i = 0; i < width; i++) {
        v |= (uint64_t)b.p[at + i] << 8 * i;
    }
    return v;
}

static uint32_t elf_get32(struct bytes b, uint64_t at)
{
    return (uint32_t)elf_get(b, at, 4);
}

/* `len` bytes at `at`, or none if they do not lie inside. */
static struct bytes slice(struct bytes b, uint64_t at, uint64_t len)
{
    if (at > b.len || len > b.len - at) {
        return (struct bytes){b.p, 0};
    }
    return (struct bytes){b.p + at, len};
}

/*
 * The string at `at`, or "" if it does not end inside the bytes or is longer
 * than any name: else each of many sections could make us read the whole file.
 */
static const char *string(struct bytes b, uint64_t at)
{
    uint64_t left = at < b.len ? b.len - at : 0;
    left = left < STRING_MAX ? left : STRING_MAX;
    if (left == 0 || memchr(b.p + at, 0, left) == NULL) {
        return "";
    }
    return (const char *)b.p + at;
}

static struct section section(const struct elf *e, uint32_t i)
{
    struct bytes h =
        slice(e->file, e->table + (uint64_t)i * ELF_SECTION, ELF_SECTION);
    struct section s = {
        elf_get32(h, 0),  elf_get32(h, 4),
        elf_get32(h, 40), elf_get32(h, 44),
        elf_get(h, 8, 8), slice(e->file, elf_get(h, 24, 8), elf_get(h, 32, 8))};
    return s;
}

static const char *name_of(const struct elf *e, const struct section *s)
{
    return string(e->names.data, s->name);
}

static int open_elf(struct elf *e)
{
    static const uint8_t magic[] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
    if (e->file.len < ELF_HEADER || memcmp(e->file.p, magic, 5) != 0) {
        return front_fail(e->err, -DPF_E_SYNTAX, 0,
                          "not a 64-bit ELF object; make one by clang -O2 -g "
                          "-target bpf -c");
    }
    if (memcmp(e->file.p, magic, sizeof(magic)) != 0) {
        return front_fail(e->err, -DPF_E_SYNTAX, 5,
                          "a big-endian object; compile for -target bpfel");
    }
    if (elf_get(e->file, 18, 2) != EM_BPF) {
        return front_fail(e->err, -DPF_E_SYNTAX, 18,
                          "an object for machine %u, not for BPF; compile "
                          "with clang -target bpf",
                          (unsigned)elf_get(e->file, 18, 2));
    }
    /*
     * Offsets in the header: 18 machine, 40 section table, 58 size of an
     * entry, 60 their number, 62 the section of names.
     */
    e->table = elf_get(e->file, 40, 8);
    e->count = (uint32_t)elf_get(e->file, 60, 2);
    uint32_t names = (uint32_t)elf_get(e->file, 62, 2);
    if (elf_get(e->file, 58, 2) != ELF_SECTION || e->count == 0 ||
        names >= e->count || e->table > e->file.len ||
        (e->file.len - e->table) / ELF_SECTION < e->count) {
        return front_fail(e->err, -DPF_E_SYNTAX, 40,
                          "the section table does not lie in the file; the "
                          "object is cut or damaged");
    }
    e->names = section(e, names);
    return 0;
}

/* The section with the program. */
static int find_program(const struct elf *e, const char *wanted, uint32_t *out)
{
    uint32_t found = 0;
    char seen[128] = "";
    unsigned programs = 0;
    for (uint32_t i = 1; i < e->count; i++) {
        struct section s = section(e, i);
        const char *name = name_of(e, &s);
        if (s.type != SHT_PROGBITS || !(s.flags & SHF_EXECINSTR) ||
            s.data.len == 0) {
            continue;
        }
        size_t used = strlen(seen);
        programs++;
        /*
         * All names are collected, for whichever message is needed at the end.
         */
        snprintf(seen + used, sizeof(seen) - used, " %.40s", name);
        if (wanted == NULL || strcmp(name, wanted) == 0) {
            found = i;
        }
    }
    if (wanted == NULL && programs > 1) {
        return front_fail(e->err, -DPF_E_SYNTAX, 0,
                          "several sections have code; choose one:%s", seen);
    }
    if (found == 0) {
        return front_fail(
            e->err, -DPF_E_SYNTAX, 0,
            wanted != NULL ? "no section '%.60s' with code; there are:%s"
                           : "no section with code%s%s",
            wanted != NULL ? wanted : "", wanted != NULL ? seen : "");
    }
    *out = found;
    return 0;
}

/* The name of what relocation `r` of section `s` refers to. */
static const char *relocation_name(const struct elf *e, const struct section *s,
                                   uint64_t r)
{
    struct section symbols = section(e, s->link < e->count ? s->link : 0);
    uint64_t at = (elf_get(s->data, r + 8, 8) >> 32) * ELF_SYMBOL;
    struct section strings =
        section(e, symbols.link < e->count ? symbols.link : 0);
    const char *name = string(strings.data, elf_get32(symbols.data, at));
    uint32_t where = (uint32_t)elf_get(symbols.data, at + 6, 2);
    if (*name == '\0' && where < e->count) { /* a section's symbol */
        struct section target = section(e, where);
        name = name_of(e, &target);
    }
    return *name ? name : "(nameless)";
}

/* A section with several functions: which one is the filter? */
static int refuse_functions(const struct elf *e, uint32_t program)
{
    char seen[128] = "";
    unsigned functions = 0;
    for (uint32_t i = 1; i < e->count; i++) {
        struct section s = section(e, i);
        if (s.type != SHT_SYMTAB || functions > 0) { /* there is one table */
            continue;
        }
        struct section strings = section(e, s.link < e->count ? s.link : 0);
        for (uint64_t at = 0; at + ELF_SYMBOL <= s.data.len; at += ELF_SYMBOL) {
            size_t used = strlen(seen);
            if ((elf_get(s.data, at + 4, 1) & 15) != STT_FUNC ||
                elf_get(s.data, at + 6, 2) != program) {
                continue;
            }
            functions++;
            snprintf(seen + used, sizeof(seen) - used, " %.40s",
                     string(strings.data, elf_get32(s.data, at)));
        }
    }
    if (functions <= 1) {
        return 0;
    }
    return front_fail(e->err, -DPF_E_SYNTAX, 0,
                      "a filter is one function, and here are %u:%s; write "
                      "static inline before those that it calls, or "
                      "__attribute__((section(\"name\"))) before each filter",
                      functions, seen);
}

/*
 * A relocation of the program means that the compiler left something to a
 * loader: data, a map, a function. The message names it and, with -g, its
 * line.
 */
static int refuse_relocations(const struct elf *e, uint32_t program,
                              const struct dpf_code *code)
{
    for (uint32_t i = 1; i < e->count; i++) {
        struct section s = section(e, i);
        if ((s.type != SHT_REL && s.type != SHT_RELA) || s.info != program ||
            s.data.len == 0) {
            continue;
        }
        uint64_t insn = elf_get(s.data, 0, 8) / 8;
        char where[80] = "";
        if (code->lines != NULL && insn < code->count &&
            code->lines[insn].file != NULL) {
            snprintf(where, sizeof(where), " (%.60s:%u)",
                     code->lines[insn].file, code->lines[insn].line);
        }
        int result = front_fail(
            e->err, -DPF_E_SYNTAX, (size_t)(s.data.p - e->file.p),
            "instruction %llu%s needs '%.60s', which lies outside the "
            "program; keep constants in the code and functions inline",
            (unsigned long long)insn, where, relocation_name(e, &s, 0));
        if (e->err != NULL) {
            e->err->insn = (uint32_t)insn;
        }
        return result;
    }
    return 0;
}

/* ------------------------------------------------------- line information */

static struct bytes find_named(const struct elf *e, const char *name)
{
    for (uint32_t i = 1; i < e->count; i++) {
        struct section s = section(e, i);
        if (strcmp(name_of(e, &s), name) == 0) {
            return s.data;
        }
    }
    return (struct bytes){e->file.p, 0};
}

static struct bytes btf_strings(struct bytes btf)
{
    if (elf_get(btf, 0, 2) != BTF_MAGIC) {
        return slice(btf, 0, 0);
    }
    return slice(btf, (uint64_t)elf_get32(btf, 4) + elf_get32(btf, 16),
                 elf_get32(btf, 20));
}

/* One record: what follows its instruction has its place, until the next. */
static void record(struct bytes r, struct bytes strings, struct dpf_code *code)
{
    uint64_t first = elf_get32(r, 0) / 8;
    uint64_t file = elf_get32(r, 4);
    struct dpf_line at = {.file = *string(strings, file) ? code->names + file
                                                         : NULL,
                          .line = elf_get32(r, 12) >> 10,
                          .column = elf_get32(r, 12) & 0x3ff};
    if (first < code->count) {
        code->lines[first] = at;
    }
}

/* Give every instruction the place of the nearest record before it. */
static void elf_spread(struct dpf_code *code)
{
    for (size_t i = 1; i < code->count; i++) {
        if (code->lines[i].line == 0) {
            code->lines[i] = code->lines[i - 1];
        }
    }
}

static void read_lines(const struct elf *e, const char *program,
                       struct dpf_code *code)
{
    struct bytes strings = btf_strings(find_named(e, ".BTF"));
    struct bytes ext = find_named(e, ".BTF.ext");
    if (elf_get(ext, 0, 2) != BTF_MAGIC || strings.len == 0) {
        return;
    }
    struct bytes info =
        slice(ext, (uint64_t)elf_get32(ext, 4) + elf_get32(ext, 16),
              elf_get32(ext, 20));
    uint32_t size = elf_get32(info, 0);
    code->lines = calloc(code->count, sizeof(*code->lines));
    code->names = malloc(strings.len);
    /*
     * Without line information the program is as good; only messages are
     * poorer.
     */
    if (size < 16 || code->lines == NULL || code->names == NULL) {
        free(code->lines);
        free(code->names);
        code->lines = NULL;
        code->names = NULL;
        return;
    }
    memcpy(code->names, strings.p, strings.len);
    for (uint64_t at = 4; at < info.len;) {
        /*
         * Records are grouped by section; those of other programs are passed
         * over.
         */
        bool ours = strcmp(string(strings, elf_get32(info, at)), program) == 0;
        uint64_t count = elf_get32(info, at + 4);
        at += 8;
        /* Records of `size` bytes, at least 16: the division cannot wrap where
           the product could. */
        if (at > info.len || count > (info.len - at) / size) {
            break;
        }
        for (uint64_t i = 0; ours && i < count; i++) {
            record(slice(info, at + i * size, 16), strings, code);
        }
        at += count * size;
    }
    elf_spread(code);
}

int dpf_from_object(const void *bytes, size_t len, const char *section_name,
                    struct dpf_code *out, struct dpf_error *err)
{
    struct elf e = {.file = {bytes, len}, .err = err};
    struct dpf_code code = {0};
    uint32_t program = 0;
    int result = open_elf(&e);
    result = result ? result : find_program(&e, section_name, &program);
    result = result ? result : refuse_functions(&e, program);
    if (result) {
        return result;
    }
    struct section s = section(&e, program);
    result = dpf_from_raw(s.data.p, s.data.len, &code, err);
    if (!result) {
        read_lines(&e, name_of(&e, &s), &code);
        result = refuse_relocations(&e, program, &code);
    }
    if (result) {
        dpf_code_finish(&code);
        return result;
    }
    *out = code;
    return 0;
}
