/* SPDX-License-Identifier: MIT */
/*
 * Interrupt vectors of devices. Filled at boot and only read afterwards. A
 * vector number stands for one handler on every processor.
 */
#include "src/kern/irq.h"
#include "src/arch.h"
#include "src/kern/demand.h"

#define VECTORS (ARCH_VECTOR_MSI_LAST - ARCH_VECTOR_MSI_FIRST + 1)

static struct {
    irq_handler *handler;
    void *arg;
} line[VECTORS];

int irq_alloc(unsigned cpu, irq_handler *handler, void *arg, uint64_t *address,
              uint32_t *data)
{
    int vector = arch_msi_alloc(cpu, address, data);
    uint32_t i = (uint32_t)vector - ARCH_VECTOR_MSI_FIRST;
    REFUSE_IF(i >= VECTORS || line[i].handler != NULL, E_LIMIT);
    line[i].arg = arg;
    line[i].handler = handler;
    return vector;
}

void irq_dispatch(uint32_t vector)
{
    uint32_t i = vector - ARCH_VECTOR_MSI_FIRST;
    if (i < VECTORS && line[i].handler != NULL) {
        line[i].handler(line[i].arg);
    }
}
