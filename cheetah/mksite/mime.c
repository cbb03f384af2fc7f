/* SPDX-License-Identifier: MIT */
/*
 * Media types by file name. A small table of what web sites and Debian's
 * documentation hold; a name it does not know is judged by its bytes
 * (analyse.c). Facts from the IANA registry and Debian's media-types.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cheetah/mksite/mksite.h"

struct mime {
    const char *ext;
    const char *type;
};

/* Sorted by extension. */
static const struct mime TABLE[] = {
    {"7z", "application/x-7z-compressed"},
    {"aac", "audio/aac"},
    {"atom", "application/atom+xml"},
    {"avif", "image/avif"},
    {"bmp", "image/bmp"},
    {"br", "application/x-brotli"},
    {"bz2", "application/x-bzip2"},
    {"c", "text/plain"},
    {"cfg", "text/plain"},
    {"conf", "text/plain"},
    {"cpp", "text/plain"},
    {"css", "text/css"},
    {"csv", "text/csv"},
    {"deb", "application/vnd.debian.binary-package"},
    {"diff", "text/plain"},
    {"doc", "application/msword"},
    {"docx", "application/vnd.openxmlformats-officedocument."
             "wordprocessingml.document"},
    {"dvi", "application/x-dvi"},
    {"eot", "application/vnd.ms-fontobject"},
    {"eps", "application/postscript"},
    {"epub", "application/epub+zip"},
    {"flac", "audio/flac"},
    {"gif", "image/gif"},
    {"gz", "application/gzip"},
    {"h", "text/plain"},
    {"htm", "text/html"},
    {"html", "text/html"},
    {"ico", "image/vnd.microsoft.icon"},
    {"ics", "text/calendar"},
    {"ini", "text/plain"},
    {"iso", "application/x-iso9660-image"},
    {"jar", "application/java-archive"},
    {"jpeg", "image/jpeg"},
    {"jpg", "image/jpeg"},
    {"js", "text/javascript"},
    {"json", "application/json"},
    {"jxl", "image/jxl"},
    {"log", "text/plain"},
    {"m4a", "audio/mp4"},
    {"map", "application/json"},
    {"md", "text/markdown"},
    {"mjs", "text/javascript"},
    {"mkv", "video/x-matroska"},
    {"mp3", "audio/mpeg"},
    {"mp4", "video/mp4"},
    {"mpeg", "video/mpeg"},
    {"odp", "application/vnd.oasis.opendocument.presentation"},
    {"ods", "application/vnd.oasis.opendocument.spreadsheet"},
    {"odt", "application/vnd.oasis.opendocument.text"},
    {"oga", "audio/ogg"},
    {"ogg", "audio/ogg"},
    {"ogv", "video/ogg"},
    {"opus", "audio/ogg"},
    {"otf", "font/otf"},
    {"patch", "text/plain"},
    {"pdf", "application/pdf"},
    {"pl", "text/plain"},
    {"png", "image/png"},
    {"ps", "application/postscript"},
    {"py", "text/plain"},
    {"rss", "application/rss+xml"},
    {"rst", "text/plain"},
    {"rtf", "application/rtf"},
    {"sh", "text/plain"},
    {"svg", "image/svg+xml"},
    {"tar", "application/x-tar"},
    {"tex", "text/plain"},
    {"tgz", "application/gzip"},
    {"tif", "image/tiff"},
    {"tiff", "image/tiff"},
    {"ttf", "font/ttf"},
    {"txt", "text/plain"},
    {"wasm", "application/wasm"},
    {"wav", "audio/wav"},
    {"webm", "video/webm"},
    {"webmanifest", "application/manifest+json"},
    {"webp", "image/webp"},
    {"woff", "font/woff"},
    {"woff2", "font/woff2"},
    {"xhtml", "application/xhtml+xml"},
    {"xml", "application/xml"},
    {"xz", "application/x-xz"},
    {"yaml", "application/yaml"},
    {"yml", "application/yaml"},
    {"zip", "application/zip"},
    {"zst", "application/zstd"},
};

static int by_ext(const void *key, const void *item)
{
    return strcasecmp(key, ((const struct mime *)item)->ext);
}

const char *mime_by_name(const char *path)
{
    const char *base = strrchr(path, '/');
    const char *dot = strrchr(base != NULL ? base : path, '.');
    /* A leading dot hides a file; it does not begin an extension. */
    if (dot == NULL || dot == base + 1) {
        return NULL;
    }
    const struct mime *m =
        bsearch(dot + 1, TABLE, sizeof(TABLE) / sizeof(TABLE[0]),
                sizeof(TABLE[0]), by_ext);
    return m != NULL ? m->type : NULL;
}

bool mime_is_text(const char *type)
{
    return strncmp(type, "text/", 5) == 0;
}

bool mime_is_compressible(const char *type)
{
    /*
     * Formats that are compressed already are not in it. Bytes of no known
     * type are tried: the encoder drops a copy that is no smaller.
     */
    static const char *const also[] = {
        "application/json",
        "application/xml",
        "application/xhtml+xml",
        "application/rss+xml",
        "application/atom+xml",
        "application/manifest+json",
        "application/yaml",
        "application/wasm",
        "application/postscript",
        "application/rtf",
        "application/x-tar",
        "image/svg+xml",
        "image/bmp",
        "image/vnd.microsoft.icon",
        "font/ttf",
        "font/otf",
        "application/octet-stream",
    };
    if (mime_is_text(type)) {
        return true;
    }
    for (size_t i = 0; i < sizeof(also) / sizeof(also[0]); i++) {
        if (strcmp(type, also[i]) == 0) {
            return true;
        }
    }
    return false;
}
