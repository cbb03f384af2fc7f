/* SPDX-License-Identifier: MIT */
/*
 * Native lookup in the shapes of an image. An image without code is looked
 * up by the plain matcher, which gives the same answers.
 */
#include "dpf/filter/set.h"

int demux_compile(struct dpf_set *s, struct image *im)
{
    (void)s;
    im->code = NULL;
    return 0;
}

void demux_free(const struct dpf_mem *mem, struct image *im)
{
    (void)mem;
    im->code = NULL;
}
