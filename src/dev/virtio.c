/* SPDX-License-Identifier: MIT */
/*
 * Virtio over PCI: capabilities, feature bits, queues.
 * Source: virtio 1.1 s2.1, s2.2, s4.1.4, s4.1.5.
 */
#include "src/dev/virtio.h"
#include "src/arch.h"
#include "src/lib/format.h"
#include "src/lib/log.h"

#define CAP_VENDOR 9
#define WINDOWS_MAX 16u /* a list of capabilities may go round */
#define RESET_TURNS_MAX 1000000u

enum { CAP_COMMON = 1, CAP_NOTIFY = 2, CAP_DEVICE = 4 };

/* struct virtio_pci_common_cfg; 64-bit fields are written in halves. */
struct virtio_common {
    uint32_t feature_select, feature;
    uint32_t driver_select, driver_feature;
    uint16_t config_vector, queues;
    uint8_t status, generation;
    uint16_t queue_select, queue_size, queue_vector, queue_enable, queue_notify;
    struct half {
        uint32_t low, high;
    } desc, avail, used;
};
_Static_assert(sizeof(struct virtio_common) == 56, "s4.1.4.3");

enum {
    STATUS_SEEN = 1,
    STATUS_DRIVER = 2,
    STATUS_RUN = 4,
    STATUS_FEATURES = 8,
};

static void set64(volatile struct half *to, uint64_t v)
{
    to->low = (uint32_t)v;
    to->high = (uint32_t)(v >> 32);
}

/* One vendor capability: map its window, if it is inside its BAR; else NULL,
   and *len is 0. */
static volatile void *map_window(struct virtio *v, uint8_t cap, uint32_t *len)
{
    uint32_t offset = pci_read32(&v->pci, cap + 8u);
    *len = pci_read32(&v->pci, cap + 12u);
    void *window = NULL;
    uint64_t paddr, size;
    if (pci_bar(&v->pci, pci_read8(&v->pci, cap + 4u), &paddr, &size) &&
        /*
         * Both numbers are the device's: compare without adding them, which
         * could wrap.
         */
        offset <= size && *len <= size - offset && *len != 0) {
        window = arch_device_map(paddr + offset, *len);
    }
    *len = window == NULL ? 0 : *len;
    return window;
}

static void map_windows(struct virtio *v)
{
    uint32_t common_len = 0;
    uint8_t cap = 0;
    for (unsigned i = 0; i < WINDOWS_MAX; i++) {
        cap = pci_capability(&v->pci, CAP_VENDOR, cap);
        if (cap == 0) {
            return;
        }
        switch (pci_read8(&v->pci, cap + 3u)) {
        case CAP_COMMON:
            v->common = map_window(v, cap, &common_len);
            if (common_len < sizeof(*v->common)) {
                v->common = NULL;
            }
            break;
        case CAP_NOTIFY:
            v->notify = map_window(v, cap, &v->notify_len);
            v->notify_step = pci_read32(&v->pci, cap + 16u);
            break;
        case CAP_DEVICE:
            v->config = map_window(v, cap, &v->config_len);
            break;
        default:
            break;
        }
    }
}

static bool virtio_reset(struct virtio *v)
{
    v->common->status = 0;
    /*
     * The device is reset when the status reads 0 again (s4.1.4.3.2); until
     * then it may still write into the memory of its queues.
     */
    for (unsigned i = 0; i < RESET_TURNS_MAX && v->common->status != 0; i++) {
        arch_pause();
    }
    return v->common->status == 0;
}

static uint64_t read_offered(struct virtio *v)
{
    v->common->feature_select = 0;
    uint64_t low = v->common->feature;
    v->common->feature_select = 1;
    return low | (uint64_t)v->common->feature << 32;
}

bool virtio_open(struct virtio *v, const struct pci_device *pci,
                 const char *kind)
{
    *v = (struct virtio){.pci = *pci};
    pci_name(&v->pci, kind);
    map_windows(v);
    if (v->common == NULL || v->notify == NULL) {
        log_line("%s: not a virtio 1 device; start QEMU with "
                 "disable-legacy=on,disable-modern=off",
                 v->pci.name);
        return false;
    }
    /*
     * The device may reach memory from here on. The reset right below makes it
     * forget the queues of an earlier system, as a boot loader's.
     */
    pci_enable(&v->pci);
    if (!virtio_reset(v)) {
        log_line("%s: does not answer a reset", v->pci.name);
        return false;
    }
    if (!pci_msix_init(&v->pci)) {
        return false;
    }
    v->common->status = STATUS_SEEN | STATUS_DRIVER;
    v->common->config_vector = VIRTIO_NO_VECTOR;
    v->offered = read_offered(v);
    return true;
}

bool virtio_negotiate(struct virtio *v, const struct virtio_feature *known,
                      uint64_t needed)
{
    if ((v->offered & VIRTIO_VERSION_1) == 0) {
        log_line("%s: lacks VIRTIO_F_VERSION_1; start QEMU with "
                 "disable-legacy=on",
                 v->pci.name);
        return false;
    }
    char names[160] = "";
    size_t n = 0;
    for (const struct virtio_feature *f = known; f->bit != 0; f++) {
        if ((f->bit & needed & ~v->offered) != 0) {
            log_line("%s: the device does not offer %s; it is not used",
                     v->pci.name, f->name);
            return false;
        }
        /*
         * A feature without those it rests on is left alone, as s2.2.1 wants
         * of drivers.
         */
        if ((f->bit & v->offered) != 0 && (f->requires & ~v->offered) == 0) {
            v->features |= f->bit;
            if (n < sizeof(names)) {
                n += format(names + n, sizeof(names) - n, " %s", f->name);
            }
        }
    }
    v->common->driver_select = 0;
    v->common->driver_feature = (uint32_t)v->features;
    v->common->driver_select = 1;
    v->common->driver_feature = (uint32_t)(v->features >> 32);
    v->common->status = STATUS_SEEN | STATUS_DRIVER | STATUS_FEATURES;
    /*
     * The device clears the bit again if it cannot do with this choice
     * (s3.1.1).
     */
    if ((v->common->status & STATUS_FEATURES) == 0) {
        log_line("%s: refuses the features it offered", v->pci.name);
        return false;
    }
    log_line("%s: features%s", v->pci.name, names);
    return true;
}

/* Memory of a queue; false if there is none. */
static bool queue_memory(const struct virtio *v, struct virtq *q, uint16_t size,
                         bool indirect)
{
    struct virtq_desc *tables = NULL;
    void *memory = page_kalloc_bytes(virtq_bytes(size));
    if (indirect && (v->features & VIRTIO_INDIRECT) != 0) {
        tables = page_kalloc_bytes(size * VIRTQ_TABLE * sizeof(*tables));
    }
    if (memory == NULL) {
        return false;
    }
    virtq_init(q, memory, size, tables,
               tables == NULL ? 0 : arch_ptr_paddr(tables));
    return true;
}

/* Where queue `index`, which is selected, is notified; NULL: nowhere. */
static volatile uint16_t *notify_word(struct virtio *v)
{
    uint64_t at = (uint64_t)v->common->queue_notify * v->notify_step;
    /*
     * The device chooses both factors. A word outside the window would let it
     * make the kernel write to another device's registers.
     */
    if (v->notify_len < 2 || at > v->notify_len - 2 || at % 2 != 0) {
        return NULL;
    }
    return (volatile uint16_t *)(volatile void *)(v->notify + at);
}

bool virtio_queue(struct virtio *v, struct virtq *q, uint16_t index,
                  uint16_t size_max, uint16_t chain, uint16_t msix)
{
    volatile struct virtio_common *c = v->common;
    c->queue_select = index;
    uint16_t size = c->queue_size;
    if (index >= c->queues || size == 0 || (size & (size - 1)) != 0 ||
        c->queue_enable != 0) {
        log_line("%s: queue %u is missing or of an impossible size (%u)",
                 v->pci.name, index, size);
        return false;
    }
    volatile uint16_t *notify = notify_word(v);
    if (notify == NULL) {
        log_line("%s: queue %u is notified outside the device", v->pci.name,
                 index);
        return false;
    }
    size = size > size_max ? size_max : size;
    if (size < chain) { /* s2.6.5.3.1: no chain is longer than its queue */
        log_line("%s: queue %u has %u entries, and %u are needed", v->pci.name,
                 index, size, chain);
        return false;
    }
    if (!queue_memory(v, q, size, chain > VIRTQ_DIRECT_MAX)) {
        log_line("%s: no memory for queue %u", v->pci.name, index);
        return false;
    }
    q->index = index;
    q->event_idx = (v->features & VIRTIO_EVENT_IDX) != 0;
    q->notify = notify;
    c->queue_size = size;
    set64(&c->desc, arch_ptr_paddr(q->desc));
    set64(&c->avail, arch_ptr_paddr(q->avail));
    set64(&c->used, arch_ptr_paddr(q->used));
    /*
     * The device answers VIRTIO_NO_VECTOR if it has no room for the vector
     * (s4.1.5.1.2).
     */
    c->queue_vector = msix;
    if (c->queue_vector != msix) {
        log_line("%s: no interrupt vector for queue %u", v->pci.name, index);
        return false;
    }
    c->queue_enable = 1;
    return true;
}

void virtio_run(struct virtio *v)
{
    v->common->status =
        STATUS_SEEN | STATUS_DRIVER | STATUS_FEATURES | STATUS_RUN;
}

void virtio_kick(struct virtq *q)
{
    if (virtq_publish(q)) {
        *q->notify = q->index;
    }
}

void virtio_fail(struct virtio *v, const char *why)
{
    if (v->dead) {
        return;
    }
    v->dead = true;
    log_line("%s: %s; the device is switched off", v->pci.name, why);
    (void)virtio_reset(v);
    pci_disable(&v->pci); /* it can reach no memory, reset or not */
}

#define CONFIG_FIELD(bits)                                                     \
    uint##bits##_t virtio_config##bits(const struct virtio *v, uint32_t at)    \
    {                                                                          \
        if (at + (bits) / 8 > v->config_len) {                                 \
            return 0;                                                          \
        }                                                                      \
        return *(volatile uint##bits##_t *)(volatile void *)(v->config + at);  \
    }
CONFIG_FIELD(8)
CONFIG_FIELD(16)
CONFIG_FIELD(32)

uint64_t virtio_config64(const struct virtio *v, uint32_t offset)
{
    return virtio_config32(v, offset) | (uint64_t)virtio_config32(v, offset + 4)
                                            << 32;
}
