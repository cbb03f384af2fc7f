/* SPDX-License-Identifier: MIT */
/*
 * What a stack counts. One list makes the struct and the names, so a status
 * page shows every counter there is. All are numbers of events since
 * net_init, unless the text says bytes.
 */
#pragma once

#include <stdint.h>

#define NET_STATS(X)                                                           \
    X(rx_frames, "frames received")                                            \
    X(rx_short, "frames cut short or with an impossible length")               \
    X(rx_not_ours, "frames for another station, protocol or address")          \
    X(rx_away, "packets for a port of another stack, left unanswered")         \
    X(rx_bad_sum, "packets with a wrong checksum")                             \
    X(rx_bad_source, "packets from an address that cannot be a source")        \
    X(rx_fragments, "IPv4 fragments, which are dropped")                       \
    X(tx_frames, "frames given to the link")                                   \
    X(tx_busy, "frames the link had no room for")                              \
    X(tx_no_route, "packets without a next hop")                               \
    X(arp_requests, "ARP requests sent")                                       \
    X(arp_replies, "ARP replies sent")                                         \
    X(arp_dropped, "packets dropped while their next hop was unknown")         \
    X(arp_conflicts, "other stations seen using our address")                  \
    X(icmp_echoes, "echo requests answered")                                   \
    X(icmp_errors_sent, "ICMP errors sent")                                    \
    X(icmp_limited, "ICMP errors not sent, by the rate limit")                 \
    X(icmp_ignored, "ICMP messages that named nothing of ours")                \
    X(udp_received, "UDP datagrams delivered")                                 \
    X(udp_sent, "UDP datagrams sent")                                          \
    X(buf_empty, "packet buffers wanted when the pool was empty")              \
    X(tcp_segs_in, "TCP segments received")                                    \
    X(tcp_segs_out, "TCP segments sent, one per frame")                        \
    X(tcp_fast_path, "TCP segments taken by header prediction")                \
    X(tcp_bytes_in, "bytes delivered in order")                                \
    X(tcp_bytes_out, "bytes of stream sent for the first time")                \
    X(tcp_bytes_rexmit, "bytes of stream sent again")                          \
    X(tcp_bytes_summed, "bytes of stream summed in software")                  \
    X(tcp_accepted, "connections accepted")                                    \
    X(tcp_connected, "connections opened by us")                               \
    X(tcp_refused, "handshakes the user had no memory for")                    \
    X(tcp_crowded, "connections ended because a newcomer needed the place")    \
    X(tcp_syn_full, "SYNs dropped because nobody would give way")              \
    X(tcp_idle, "connections ended because nothing moved on them")             \
    X(tcp_syn_limited, "SYNs dropped, by the limit on unanswered SYN-ACKs")    \
    X(tcp_cookies_sent, "SYN cookies sent")                                    \
    X(tcp_cookies_ok, "connections made from a SYN cookie")                    \
    X(tcp_cookies_bad, "ACKs that carried no valid cookie")                    \
    X(tcp_half_expired, "half-open connections given up")                      \
    X(tcp_rtt_samples, "round trips measured")                                 \
    X(tcp_rtt_us, "their sum, microseconds")                                   \
    X(tcp_rto, "retransmission timeouts")                                      \
    X(tcp_fast_rexmit, "losses found by duplicate or selective ACKs")          \
    X(tcp_probes, "zero-window probes sent")                                   \
    X(tcp_keepalives, "keep-alive probes sent")                                \
    X(tcp_out_of_order, "segments held until a gap was filled")                \
    X(tcp_ooo_dropped, "segments beyond a gap dropped for want of room")       \
    X(tcp_dup, "segments with nothing new")                                    \
    X(tcp_paws, "segments refused by their timestamp")                         \
    X(tcp_challenges, "challenge ACKs sent")                                   \
    X(tcp_limited, "challenge ACKs not sent, by the rate limit")               \
    X(tcp_resets_sent, "resets sent")                                          \
    X(tcp_resets_in, "connections ended by the peer's reset")                  \
    X(tcp_timeouts, "connections ended for want of an answer")                 \
    X(tcp_time_wait, "TIME_WAIT records made")                                 \
    X(tcp_tw_recycled, "TIME_WAIT records dropped early for want of room")     \
    X(tcp_tw_reused, "connections begun over a TIME_WAIT record")              \
    X(tcp_pmtu, "path MTU reductions taken")

struct net_stats {
#define NET_STAT_FIELD(name, text) uint64_t name;
    NET_STATS(NET_STAT_FIELD)
#undef NET_STAT_FIELD
};
