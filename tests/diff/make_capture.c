/* SPDX-License-Identifier: MIT */
/*
 * A capture of random packets, for machines without real ones.
 * usage: make_capture FILE COUNT SEED
 */
#include "tests/diff/packets.h"

#include <pcap/pcap.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc != 4) {
        return 2;
    }
    struct rng r = {strtoull(argv[3], NULL, 0) * 2 + 1};
    pcap_t *p = pcap_open_dead(DLT_EN10MB, 65535);
    pcap_dumper_t *d = pcap_dump_open(p, argv[1]);
    if (d == NULL) {
        return 2;
    }
    uint8_t packet[PACKET_MAX];
    for (long i = 0; i < atol(argv[2]); i++) {
        struct pcap_pkthdr h = {.ts = {.tv_sec = i}};
        h.caplen = h.len = (bpf_u_int32)random_packet(&r, packet);
        pcap_dump((u_char *)d, &h, packet);
    }
    pcap_dump_close(d);
    pcap_close(p);
    return 0;
}
