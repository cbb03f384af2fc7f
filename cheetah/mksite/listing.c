/* SPDX-License-Identifier: MIT */
/* The index page of a directory that has no index.html of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cheetah/mksite/mksite.h"

struct listing {
    FILE *out;
    char *text;
    size_t len;
};

/* A file's name may hold anything, markup too. */
static void put_html(FILE *f, const char *s)
{
    for (; *s != 0; s++) {
        switch (*s) {
        case '&':
            fputs("&amp;", f);
            break;
        case '<':
            fputs("&lt;", f);
            break;
        case '>':
            fputs("&gt;", f);
            break;
        case '"':
            fputs("&quot;", f);
            break;
        default:
            fputc(*s, f);
        }
    }
}

struct listing *listing_start(const char *path)
{
    struct listing *l = must_alloc(NULL, sizeof(*l));
    l->text = NULL;
    l->out = open_memstream(&l->text, &l->len);
    if (l->out == NULL) {
        die(NULL, "out of memory");
    }
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
          "<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width\">\n"
          "<title>Index of ",
          l->out);
    put_html(l->out, path);
    fputs("</title>\n<style>\n"
          "body { font-family: sans-serif; margin: 2em; }\n"
          "td { padding: 0 2em 0 0; }\n"
          "td + td { text-align: right; white-space: nowrap; }\n"
          "</style>\n</head>\n<body>\n<h1>Index of ",
          l->out);
    put_html(l->out, path);
    fputs("</h1>\n<table>\n", l->out);
    if (strcmp(path, "/") != 0) {
        fputs("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n",
              l->out);
    }
    return l;
}

void listing_add(struct listing *l, const char *name, bool dir, uint64_t len,
                 int64_t mtime)
{
    char *link = path_escape(name);
    const char *slash = dir ? "/" : "";
    /* "./" keeps a name with a colon from being read as a scheme. */
    fprintf(l->out, "<tr><td><a href=\"./%s%s\">", link, slash);
    put_html(l->out, name);
    fprintf(l->out, "%s</a></td><td>", slash);
    if (!dir) {
        fprintf(l->out, "%llu", (unsigned long long)len);
    }
    time_t t = (time_t)mtime;
    char when[32] = "";
    struct tm tm;
    if (gmtime_r(&t, &tm) != NULL) {
        strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm);
    }
    fprintf(l->out, "</td><td>%s</td></tr>\n", when);
    free(link);
}

char *listing_finish(struct listing *l)
{
    fputs("</table>\n</body>\n</html>\n", l->out);
    if (fclose(l->out) != 0) {
        die(NULL, "out of memory");
    }
    char *text = l->text;
    free(l);
    return text;
}
