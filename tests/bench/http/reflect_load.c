/* SPDX-License-Identifier: MIT */
/*
 * Load for the reflecting guest: keeps a window of frames in flight to it
 * and counts those that come back, which is the most requests per second
 * that this QEMU, tap and processor can carry with no work in the guest.
 *
 * usage: reflect_load IFNAME WINDOW SECONDS
 * The frames carry the local experimental EtherType (IEEE 802), so that no
 * host stack looks at them. Prints one line: frames per second.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define ETHERTYPE_EXPERIMENTAL 0x88b5
#define FRAME_LEN 128u /* a short GET with its headers */
#define WINDOW_MAX 1024u
#define STALL_MS 200

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int fail(const char *what)
{
    fprintf(stderr, "reflect_load: %s: %s\n", what, strerror(errno));
    return -1;
}

static int link_open(const char *name)
{
    struct sockaddr_ll at = {.sll_family = AF_PACKET,
                             .sll_protocol = htons(ETHERTYPE_EXPERIMENTAL)};
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETHERTYPE_EXPERIMENTAL));
    if (fd < 0) {
        return fail("cannot open a packet socket (run in the namespace)");
    }
    at.sll_ifindex = (int)if_nametoindex(name);
    if (at.sll_ifindex == 0 ||
        bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0) {
        return fail(name);
    }
    return fd;
}

static uint8_t frame[FRAME_LEN];
static uint8_t in[WINDOW_MAX][2048];
static struct iovec out_vec, in_vec[WINDOW_MAX];
static struct mmsghdr out_msg[WINDOW_MAX], in_msg[WINDOW_MAX];

static void prepare(void)
{
    static const uint8_t head[14] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,
                                     0,    0,    0,    0,    1,    0x88, 0xb5};
    memcpy(frame, head, sizeof(head));
    out_vec = (struct iovec){frame, FRAME_LEN};
    for (unsigned i = 0; i < WINDOW_MAX; i++) {
        in_vec[i] = (struct iovec){in[i], sizeof(in[i])};
        out_msg[i].msg_hdr.msg_iov = &out_vec;
        out_msg[i].msg_hdr.msg_iovlen = 1;
        in_msg[i].msg_hdr.msg_iov = &in_vec[i];
        in_msg[i].msg_hdr.msg_iovlen = 1;
    }
}

static int send_frames(int fd, unsigned n)
{
    while (n > 0) {
        int k = sendmmsg(fd, out_msg, n, 0);
        if (k < 0 && errno != ENOBUFS) {
            return fail("send");
        }
        n -= k > 0 ? (unsigned)k : 0;
    }
    return 0;
}

int main(int argc, char **argv)
{
    unsigned window = argc == 4 ? (unsigned)atoi(argv[2]) : 0;
    double seconds = argc == 4 ? atof(argv[3]) : 0;
    uint64_t count = 0, lost = 0;
    if (window == 0 || window > WINDOW_MAX || seconds <= 0 || seconds > 600) {
        fprintf(stderr, "usage: reflect_load IFNAME WINDOW(1-%u) SECONDS\n",
                WINDOW_MAX);
        return 2;
    }
    prepare();
    int fd = link_open(argv[1]);
    if (fd < 0 || send_frames(fd, window) != 0) {
        return 1;
    }
    double start = now_s(), end = start + seconds;
    while (now_s() < end) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        unsigned again = window;
        if (poll(&p, 1, STALL_MS) > 0) {
            int k = recvmmsg(fd, in_msg, window, MSG_DONTWAIT, NULL);
            again = k > 0 ? (unsigned)k : 0;
            count += again;
        } else {
            lost += window; /* the window got lost: start it again */
        }
        if (send_frames(fd, again) != 0) {
            return 1;
        }
    }
    printf("%.0f frames/s, %llu lost\n", (double)count / (now_s() - start),
           (unsigned long long)lost);
    return count == 0;
}
