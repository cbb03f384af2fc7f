/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "tests/unit/net/tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int fd;

int tap_fd(void)
{
    return fd;
}

void tap_setting(const char *path, const char *text)
{
    int file = open(path, O_WRONLY);
    if (file < 0 || write(file, text, strlen(text)) < 0) {
        fprintf(stderr, "# %s: %s\n", path, strerror(errno));
    }
    if (file >= 0) {
        close(file);
    }
}

static bool enter_namespace(void)
{
    uid_t uid = getuid();
    gid_t gid = getgid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
        return false;
    }
    tap_setting("/proc/self/setgroups", "deny");
    char map[64];
    snprintf(map, sizeof map, "0 %u 1", uid);
    tap_setting("/proc/self/uid_map", map);
    snprintf(map, sizeof map, "0 %u 1", gid);
    tap_setting("/proc/self/gid_map", map);
    return true;
}

static bool set_up(int s, const char *name, const char *addr)
{
    struct ifreq r = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)&r.ifr_addr;
    strncpy(r.ifr_name, name, IFNAMSIZ - 1);
    if (addr != NULL) {
        in->sin_family = AF_INET;
        inet_pton(AF_INET, addr, &in->sin_addr);
        ioctl(s, SIOCSIFADDR, &r);
        inet_pton(AF_INET, "255.255.255.0", &in->sin_addr);
        ioctl(s, SIOCSIFNETMASK, &r);
    }
    ioctl(s, SIOCGIFFLAGS, &r);
    r.ifr_flags |= IFF_UP;
    return ioctl(s, SIOCSIFFLAGS, &r) == 0;
}

const char *tap_open(void)
{
    struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int size = TAP_HDR;
    if (!enter_namespace()) {
        return "no user namespace";
    }
    fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return "/dev/net/tun";
    }
    strcpy(r.ifr_name, "pv0");
    if (ioctl(fd, TUNSETIFF, &r)) {
        return "no TAP device";
    }
    ioctl(fd, TUNSETVNETHDRSZ, &size);
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    if (!set_up(s, "lo", NULL) || !set_up(s, "pv0", "10.9.0.1")) {
        return "cannot bring up an interface";
    }
    close(s);
    return NULL;
}

size_t tap_flatten(const struct net_frame *f, uint8_t *out)
{
    struct virtio_net_hdr_v1 h = {0};
    size_t len = TAP_HDR;
    if (f->csum_start) {
        h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
        h.csum_start = f->csum_start;
        h.csum_offset = f->csum_offset;
    }
    if (f->gso) {
        h.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
        h.gso_size = f->gso_size;
        h.hdr_len = f->hdr_len;
    }
    memcpy(out, &h, TAP_HDR);
    memcpy(out + len, f->hdr, f->hdr_len);
    len += f->hdr_len;
    for (int i = 0; i < f->count; i++) {
        memcpy(out + len, f->piece[i].va, f->piece[i].len);
        len += f->piece[i].len;
    }
    net_pin_done(f->pin);
    return len;
}

void tap_write(const uint8_t *bytes, size_t len)
{
    if (write(fd, bytes, len) < 0 && errno != EAGAIN) {
        fprintf(stderr, "# tap: %s\n", strerror(errno));
    }
}

ssize_t tap_read(uint8_t *bytes)
{
    return read(fd, bytes, TAP_FRAME_MAX);
}
