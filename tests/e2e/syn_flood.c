/* SPDX-License-Identifier: MIT */
/*
 * SYNs from senders that do not exist, at a steady rate, out of one interface:
 *
 *     syn_flood IFACE MAC ADDRESS PORT RATE SECONDS [SOURCES]
 *
 * Prints how many were sent. Sources are 172.16.0.0 to 172.31.255.255, or as
 * many of them as asked. For a namespace of the test's own.
 */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define BATCH 64
#define LEN 58 /* Ethernet 14, IPv4 20, TCP 20, MSS 4 */

static uint64_t state = 88172645463325252u;

static uint32_t rnd(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static uint32_t add(const uint8_t *p, int len)
{
    uint32_t sum = 0;
    for (int i = 0; i < len; i += 2) {
        sum += (uint32_t)p[i] << 8 | p[i + 1];
    }
    return sum;
}

static void fold(uint8_t *at, uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    put16(at, ~(sum + (sum >> 16)) & 0xffff);
}

static void refresh(uint8_t *f, uint32_t sources)
{
    uint32_t src = 0xac100000u | (rnd() & 0xfffff) % sources, seq = rnd();
    uint8_t *ip = f + 14, *tcp = f + 34;
    put16(ip + 12, src >> 16);
    put16(ip + 14, src);
    put16(ip + 10, 0);
    fold(ip + 10, add(ip, 20));
    put16(tcp, 1024 + rnd() % 60000);
    put16(tcp + 4, seq >> 16);
    put16(tcp + 6, seq);
    put16(tcp + 16, 0);
    fold(tcp + 16, add(ip + 12, 8) + 6 + 24 + add(tcp, 24));
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void prepare(uint8_t *f, char **arg)
{
    static const uint8_t head[LEN] = {
        [6] = 2,  [12] = 8,    [14] = 0x45, [17] = LEN - 14, [22] = 64,
        [23] = 6, [46] = 0x60, [47] = 2,    [48] = 0xff,     [49] = 0xff,
        [54] = 2, [55] = 4,    [56] = 5,    [57] = 0xb4,
    };
    memcpy(f, head, LEN);
    sscanf(arg[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", f, f + 1, f + 2, f + 3,
           f + 4, f + 5);
    inet_pton(AF_INET, arg[3], f + 30);
    put16(f + 36, (uint32_t)atoi(arg[4]));
}

int main(int argc, char **argv)
{
    static uint8_t frame[BATCH][LEN];
    struct mmsghdr msg[BATCH] = {0};
    struct sockaddr_ll to = {.sll_family = AF_PACKET};
    uint64_t sent = 0;
    int s = socket(AF_PACKET, SOCK_RAW, 0);
    if (argc < 7 || s < 0) {
        perror("syn_flood");
        return 1;
    }
    to.sll_ifindex = (int)if_nametoindex(argv[1]);
    uint64_t rate = (uint64_t)atoll(argv[5]);
    uint32_t sources = argc > 7 ? (uint32_t)atoi(argv[7]) : 0x100000;
    struct iovec iov[BATCH];
    for (int i = 0; i < BATCH; i++) {
        prepare(frame[i], argv);
        iov[i] = (struct iovec){frame[i], LEN};
        msg[i].msg_hdr = (struct msghdr){.msg_name = &to,
                                         .msg_namelen = sizeof to,
                                         .msg_iov = &iov[i],
                                         .msg_iovlen = 1};
    }
    uint64_t began = now_ns();
    uint64_t end = began + (uint64_t)(atof(argv[6]) * 1e9);
    for (uint64_t now = began; now < end; now = now_ns()) {
        if (sent > (now - began) / 1000 * rate / 1000000) {
            nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
            continue;
        }
        for (int i = 0; i < BATCH; i++) {
            refresh(frame[i], sources);
        }
        int n = sendmmsg(s, msg, BATCH, 0);
        sent += n > 0 ? (uint64_t)n : 0;
    }
    printf("%llu\n", (unsigned long long)sent);
    return 0;
}
