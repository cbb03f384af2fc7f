/* SPDX-License-Identifier: MIT */
/*
 * Names for native code: a line in perf's map of this process, and an object
 * in memory that is registered with GDB.
 *
 * Source: Linux tools/perf/Documentation/jit-interface.txt; GDB manual, "JIT
 * Compilation Interface", whose names and layout these are.
 */
#include "dpf/host.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct jit_code_entry {
    struct jit_code_entry *next_entry, *prev_entry;
    const char *symfile_addr;
    uint64_t symfile_size;
};

struct jit_descriptor {
    uint32_t version, action_flag;
    struct jit_code_entry *relevant_entry, *first_entry;
};

enum { JIT_NOACTION, JIT_REGISTER };

/* GDB puts a breakpoint here and reads the descriptor when it is hit. */
void __jit_debug_register_code(void);
__attribute__((noinline)) void __jit_debug_register_code(void)
{
    __asm__ volatile("" ::: "memory");
}

extern struct jit_descriptor __jit_debug_descriptor;
struct jit_descriptor __jit_debug_descriptor = {1, JIT_NOACTION, NULL, NULL};

/*
 * perf reads the map when it reports, so a line may come at any time; nothing
 * is ever removed, as perf has no way to say so.
 */
static int add_perf(const char *name, const void *code, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/tmp/perf-%ld.map", (long)getpid());
    FILE *f = fopen(path, "a");
    if (f == NULL) {
        return -DPF_E_INVAL;
    }
    fprintf(f, "%llx %zx dpf_%s\n", (unsigned long long)(uintptr_t)code, size,
            name);
    return fclose(f) == 0 ? 0 : -DPF_E_INVAL;
}

#define NAMES "\0.text\0.symtab\0.strtab\0"

/* An object with one function and no bytes: the code is already there. */
struct object {
    Elf64_Ehdr head;
    Elf64_Shdr sections[4];
    Elf64_Sym symbols[2];
    char strings[sizeof(NAMES) + 64];
};

static void symbols_fill(struct object *o, const char *name, const void *code,
                         size_t size)
{
    size_t at = sizeof(NAMES) - 1;
    memcpy(o->head.e_ident, ELFMAG, SELFMAG);
    o->head.e_ident[EI_CLASS] = ELFCLASS64;
    o->head.e_ident[EI_DATA] = ELFDATA2LSB;
    o->head.e_ident[EI_VERSION] = EV_CURRENT;
    o->head.e_type = ET_REL;
    o->head.e_machine = EM_X86_64;
    o->head.e_version = EV_CURRENT;
    o->head.e_shoff = offsetof(struct object, sections);
    o->head.e_ehsize = sizeof(Elf64_Ehdr);
    o->head.e_shentsize = sizeof(Elf64_Shdr);
    o->head.e_shnum = 4;
    o->head.e_shstrndx = 3;
    o->sections[1] = (Elf64_Shdr){.sh_name = 1,
                                  .sh_type = SHT_NOBITS,
                                  .sh_flags = SHF_ALLOC | SHF_EXECINSTR,
                                  .sh_addr = (uintptr_t)code,
                                  .sh_size = size,
                                  .sh_addralign = 1};
    o->sections[2] = (Elf64_Shdr){.sh_name = 7,
                                  .sh_type = SHT_SYMTAB,
                                  .sh_offset = offsetof(struct object, symbols),
                                  .sh_size = sizeof(o->symbols),
                                  .sh_link = 3,
                                  .sh_info = 1,
                                  .sh_addralign = 8,
                                  .sh_entsize = sizeof(Elf64_Sym)};
    o->sections[3] = (Elf64_Shdr){.sh_name = 15,
                                  .sh_type = SHT_STRTAB,
                                  .sh_offset = offsetof(struct object, strings),
                                  .sh_size = sizeof(o->strings),
                                  .sh_addralign = 1};
    memcpy(o->strings, NAMES, sizeof(NAMES));
    snprintf(o->strings + at, sizeof(o->strings) - at, "dpf_%s", name);
    o->symbols[1] =
        (Elf64_Sym){.st_name = (Elf64_Word)at,
                    .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
                    .st_shndx = 1,
                    .st_value = 0, /* of a relocatable object: in its section */
                    .st_size = size};
}

static int add_gdb(const char *name, const void *code, size_t size)
{
    struct jit_code_entry *entry = calloc(1, sizeof(*entry));
    struct object *object = calloc(1, sizeof(*object));
    if (entry == NULL || object == NULL) {
        free(entry);
        free(object);
        return -DPF_E_MEM;
    }
    symbols_fill(object, name, code, size);
    entry->symfile_addr = (const char *)object;
    entry->symfile_size = sizeof(*object);
    entry->next_entry = __jit_debug_descriptor.first_entry;
    if (entry->next_entry != NULL) {
        entry->next_entry->prev_entry = entry;
    }
    __jit_debug_descriptor.first_entry = entry;
    /*
     * GDB reads all of this when the function below is called; until then the
     * order does not matter.
     */
    __jit_debug_descriptor.relevant_entry = entry;
    __jit_debug_descriptor.action_flag = JIT_REGISTER;
    __jit_debug_register_code();
    return 0;
}

int dpf_symbols_add(unsigned to, const char *name, const void *code,
                    size_t size)
{
    int result = 0;
    if (to & DPF_SYMBOLS_PERF) {
        result = add_perf(name, code, size);
    }
    if (!result && to & DPF_SYMBOLS_GDB) {
        result = add_gdb(name, code, size);
    }
    return result;
}
