/* SPDX-License-Identifier: MIT */
/* Precompressed bodies: gzip through zlib, br through libbrotli. */
#include <brotli/encode.h>
#include <stdlib.h>
#include <zlib.h>

#include "cheetah/mksite/mksite.h"

static size_t encode_gzip(enum compress how, const uint8_t *data, size_t len,
                          uint8_t *out, size_t room)
{
    /* 15 + 16 window bits ask for a gzip wrapper; its time stays zero. */
    z_stream z = {0};
    int level = how == COMPRESS_BEST ? 9 : 6;
    if (deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) !=
        Z_OK) {
        die(NULL, "zlib: cannot start: out of memory?");
    }
    /* zlib changes nothing that it reads; its type does not say so. */
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)len;
    z.next_out = out;
    z.avail_out = (uInt)room;
    int r = deflate(&z, Z_FINISH);
    size_t n = room - z.avail_out;
    deflateEnd(&z);
    return r == Z_STREAM_END ? n : 0;
}

/* Bytes written, or 0 if they do not fit `room`. */
static size_t encode_br(enum compress how, const uint8_t *data, size_t len,
                        uint8_t *out, size_t room)
{
    size_t n = room;
    int quality = how == COMPRESS_BEST ? BROTLI_MAX_QUALITY : 5;
    if (BrotliEncoderCompress(quality, BROTLI_DEFAULT_WINDOW,
                              BROTLI_MODE_GENERIC, len, data, &n,
                              out) != BROTLI_TRUE) {
        return 0;
    }
    return n;
}

uint8_t *encode(enum site_encoding e, enum compress how, const uint8_t *data,
                size_t len, size_t *out_len)
{
    /*
     * Worth its place when a twentieth smaller: an encoder that runs out of
     * this room has answered the question.
     */
    size_t room = len - len / 20;
    uint8_t *out = must_alloc(NULL, room);
    size_t n = e == SITE_BR ? encode_br(how, data, len, out, room)
                            : encode_gzip(how, data, len, out, room);
    if (n == 0) {
        free(out);
        return NULL;
    }
    *out_len = n;
    return out;
}
