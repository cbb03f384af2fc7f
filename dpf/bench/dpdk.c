/* SPDX-License-Identifier: MIT */
#include "dpf/bench/dpdk.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODULE "dpf-dpdk.so"

/*
 * The module in `folder`, which is counted from the tool's own: in the build
 * it is the same, once installed it is lib/dpf.
 */
static void *open_beside(const char *folder)
{
    char self[2048];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash = NULL;
    if (n > 0) {
        self[n] = '\0';
        slash = strrchr(self, '/');
    }
    if (slash == NULL) {
        return NULL;
    }
    *slash = '\0';
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s/%s", self, folder, MODULE);
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

const struct dpdk *dpdk_open(const char **why)
{
    static const struct dpdk *module;
    static bool tried;
    if (!tried) {
        void *library = open_beside(".");
        tried = true;
        if (library == NULL) {
            library = open_beside("../lib/dpf");
        }
        const struct dpdk *(*entry)(void) = NULL;
        void *symbol = library != NULL ? dlsym(library, "dpdk_module") : NULL;
        memcpy(&entry, &symbol, sizeof(symbol));
        module = entry != NULL ? entry() : NULL;
    }
    *why = module != NULL
               ? NULL
               : "its module was not built (libdpdk-dev) or will not start";
    return module;
}
