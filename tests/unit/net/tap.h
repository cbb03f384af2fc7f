/* SPDX-License-Identifier: MIT */
/*
 * A TAP device in a namespace that the process makes for itself, so that it
 * needs no privilege: Linux is 10.9.0.1 on one end, 10.9.0.2 is for a stack of
 * ours on the other.
 */
#pragma once

#include <linux/virtio_net.h>
#include <sys/types.h>

#include "libos/libos/net.h"

#define TAP_HDR sizeof(struct virtio_net_hdr_v1)
#define TAP_FRAME_MAX 70000u /* with that header */

/* Enter a user and a network namespace and make the device. Returns NULL, or
   the step that the machine does not permit, with errno. */
const char *tap_open(void);

int tap_fd(void);

/* Write the text into a file of /proc or /sys; complains on failure. */
void tap_setting(const char *path, const char *text);

/* The frame as it goes into the device, TAP_FRAME_MAX bytes at most; its
   length. The pin is done with afterwards. */
size_t tap_flatten(const struct net_frame *f, uint8_t *out);
void tap_write(const uint8_t *bytes, size_t len);

/* One frame behind its TAP_HDR; its length with that, or less than TAP_HDR if
   there is none. */
ssize_t tap_read(uint8_t *bytes);
