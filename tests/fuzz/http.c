/* SPDX-License-Identifier: MIT */
/*
 * Requests of any bytes. Besides memory safety: the answer for a prefix is
 * 'more' or the final one; the path lies in the head; ranges lie in the body.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cheetah/http/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* From memory that ends where the bytes end. */
static int parse(const uint8_t *data, size_t size, struct http_request *r,
                 uint8_t **copy)
{
    *copy = malloc(size != 0 ? size : 1);
    memcpy(*copy, data, size);
    return http_parse(*copy, size, 1700000000, r);
}

static void check_path(const struct http_request *r, const uint8_t *buf, int n)
{
    uint8_t out[SITE_PATH_MAX];
    if (r->star || r->refuse != 0) {
        return;
    }
    if (!(r->path_len == 1 && *r->path == '/')) {
        assert(r->path >= buf && r->path + r->path_len <= buf + n);
    }
    int len = http_path(r->path, r->path_len, out);
    assert(len == -400 || len == -404 || (len > 0 && out[0] == '/'));
    if (http_path_plain(r->path, r->path_len)) {
        assert(len == r->path_len && memcmp(out, r->path, (size_t)len) == 0);
    }
    for (int i = 0; i + 1 < len; i++) {
        assert(out[i] != 0 && !(out[i] == '/' && out[i + 1] == '/'));
        assert(!(out[i] == '/' && out[i + 1] == '.' &&
                 (i + 2 == len || out[i + 2] == '/')));
    }
}

static void check_answer(const struct http_request *r, uint64_t len)
{
    static const uint32_t block[SITE_ENCODINGS] = {1, 0, 3};
    struct http_answer a = http_evaluate(r, 7, 1000, len);
    int e = http_choose(r, block);
    assert(e == SITE_BR || e == SITE_IDENTITY || e == -406);
    assert(http_reason(a.status) != NULL);
    assert((a.status == 206) == (a.ranges != 0));
    for (unsigned i = 0; i < a.ranges; i++) {
        assert(a.range[i].first <= a.range[i].last && a.range[i].last < len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_request r;
    uint8_t *copy;
    int n = parse(data, size, &r, &copy);
    assert(n >= -599 && n <= (int)HTTP_HEAD_MAX && n <= (int)size);
    size_t step = size / 16 + 1;
    uint8_t *again;
    struct http_request part;
    for (size_t cut = 0; cut < size; cut += step) {
        int k = parse(data, cut, &part, &again);
        assert(k == 0 || k == n);
        free(again);
    }
    if (n > 0) {
        check_path(&r, copy, n);
        check_answer(&r, 0);
        check_answer(&r, 1);
        check_answer(&r, 100000);
        assert(r.refuse == 0 || http_reason(r.refuse) != NULL);
    } else if (n < 0) {
        assert(http_reason((unsigned)-n) != NULL);
    }
    free(copy);
    return 0;
}
