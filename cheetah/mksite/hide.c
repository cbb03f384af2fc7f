/* SPDX-License-Identifier: MIT */
/*
 * Files that the owner of a tree hardly means to publish: names that begin
 * with a dot (.env, .git), private keys, and links to files outside. mksite
 * leaves them out and prints a line for each kind, unless --all is given.
 * /.well-known is there to be published (RFC 8615).
 *
 * A key is known by the name that programs give it, or by its first bytes: so
 * under any name, but not inside a page that speaks of keys.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cheetah/mksite/mksite.h"

#define EXAMPLES 3u
#define KEY_FILE_MAX 65536 /* bytes; one that is longer is not read */

struct hidden {
    const char *what; /* plural */
    uint64_t count;
    char *example[EXAMPLES];
};

static struct hidden kinds[HIDE_KINDS] = {
    [HIDE_DOT] = {.what = "names that begin with a dot"},
    [HIDE_KEY] = {.what = "private keys"},
    [HIDE_LINK] = {.what = "links to files outside the tree"},
};

bool hide_is_dot(const char *folder, const char *name)
{
    bool well_known =
        strcmp(folder, "/") == 0 && strcmp(name, ".well-known") == 0;
    return name[0] == '.' && !well_known;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n > m && strcmp(s + n - m, end) == 0;
}

static bool named_like_a_key(const char *name)
{
    static const char *const whole[] = {"id_rsa",      "id_dsa",
                                        "id_ecdsa",    "id_ed25519",
                                        "id_ecdsa_sk", "id_ed25519_sk"};
    static const char *const end[] = {".key", ".p12",      ".pfx", ".ppk",
                                      ".jks", ".keystore", ".kdbx"};
    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
        if (strcmp(name, whole[i]) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof(end) / sizeof(end[0]); i++) {
        if (ends_with(name, end[i])) {
            return true;
        }
    }
    return false;
}

/* Does the text begin with a PEM block, and is one of its blocks a key? A chain
   of certificates may have the key behind it. */
static bool holds_a_key(const char *text)
{
    if (strncmp(text, "PuTTY-User-Key-File-", 20) == 0) {
        return true;
    }
    if (strncmp(text, "-----BEGIN ", 11) != 0) {
        return false;
    }
    for (const char *p = text; (p = strstr(p, "-----BEGIN ")) != NULL; p++) {
        size_t line = strcspn(p, "\r\n");
        const char *key = strstr(p, "PRIVATE KEY");
        if (key != NULL && key < p + line) {
            return true;
        }
    }
    return false;
}

bool hide_is_key(const char *name, const char *source, uint64_t len)
{
    static char text[KEY_FILE_MAX + 1];
    if (named_like_a_key(name)) {
        return true;
    }
    /* A key has some thousand bytes; a chain of certificates with one, more. */
    int fd = len <= KEY_FILE_MAX ? open(source, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
        return false; /* unreadable is another's to say */
    }
    /* Most files are none by their first bytes. */
    ssize_t n = read(fd, text, 32);
    if (n > 0 && (text[0] == '-' || text[0] == 'P')) {
        ssize_t more = read(fd, text + n, KEY_FILE_MAX - (size_t)n);
        n += more > 0 ? more : 0;
    }
    close(fd);
    text[n > 0 ? n : 0] = 0;
    return holds_a_key(text);
}

void hide_note(enum hide_kind kind, const char *source)
{
    struct hidden *h = &kinds[kind];
    if (h->count < EXAMPLES) {
        h->example[h->count] = strdup(source);
    }
    h->count++;
}

uint64_t hide_report(const char *root)
{
    uint64_t all = 0;
    size_t skip = strlen(root) + 1;
    for (unsigned i = 0; i < HIDE_KINDS; i++) {
        struct hidden *h = &kinds[i];
        char *list = must_printf("%s", "");
        for (unsigned k = 0; k < EXAMPLES && k < h->count; k++) {
            char *longer =
                must_printf("%s%s%s", list, k > 0 ? ", " : "",
                            strlen(h->example[k]) > skip ? h->example[k] + skip
                                                         : h->example[k]);
            free(list);
            list = longer;
            free(h->example[k]);
        }
        if (h->count > 0) {
            say_hidden(h->what, h->count, list, h->count > EXAMPLES);
        }
        free(list);
        all += h->count;
    }
    return all;
}
