/* SPDX-License-Identifier: MIT */
/*
 * Calls whose resources are not built yet. Ends when net.c and disk.c are in.
 */
#include "src/abi/err.h"
#include "src/kern/net.h"
#include "src/kern/sysproto.h"
#define L(n, ...)                                                              \
    int64_t n(struct env *e, ##__VA_ARGS__)                                    \
    {                                                                          \
        (void)e;                                                               \
        return -E_NOSYS;                                                       \
    }
#pragma clang diagnostic ignored "-Wunused-parameter"
void net_poll(struct cpu *c)
{
    c->net_polling = 0;
}
L(sys_net_region, uint32_t k, uaddr a)
L(sys_net_region_free, uint32_t k, uint32_t a, uint32_t b, uint32_t d)
L(sys_net_rx_ring, uint32_t k, uaddr a)
L(sys_net_tx_ring, uint32_t k, uaddr a)
L(sys_net_ring_free, uint32_t k, uint32_t a)
L(sys_net_bind, uint32_t k, uaddr a)
L(sys_net_bind_like, uint32_t k, uaddr a)
L(sys_net_unbind, uint32_t k, uint32_t a)
L(sys_net_send, uint32_t k, uint32_t a)
L(sys_disk_range, uint32_t k, uaddr a)
L(sys_disk_range_free, uint32_t k, uint32_t a, uint32_t b)
L(sys_disk_ring, uint32_t k, uaddr a)
L(sys_disk_ring_free, uint32_t k, uint32_t a)
L(sys_disk_submit, uint32_t k, uint32_t a)
