/* SPDX-License-Identifier: MIT */
/*
 * Virtio disk. One queue; the kernel holds the disk's lock around submit,
 * kick and poll. A request is a header, the caller's pieces in place, and a
 * status byte that the device writes.
 * Source: virtio 1.1 s5.2.
 */
#include "src/abi/disk.h"
#include "src/abi/err.h"
#include "src/abi/sysinfo.h"
#include "src/arch.h"
#include "src/dev/dev.h"
#include "src/dev/virtio.h"
#include "src/kern/blkdev.h"
#include "src/lib/log.h"

#define DISKS_MAX SYSINFO_DISKS_MAX
#define QUEUE_SIZE 128u

enum {
    BLK_SIZE_MAX = 1 << 1,
    BLK_SEG_MAX = 1 << 2,
    BLK_RO = 1 << 5,
    BLK_FLUSH = 1 << 9,
};

static const struct virtio_feature known[] = {
    {BLK_SIZE_MAX, "SIZE_MAX", 0},
    {BLK_SEG_MAX, "SEG_MAX", 0},
    {BLK_RO, "RO", 0},
    {BLK_FLUSH, "FLUSH", 0},
    VIRTIO_FEATURES,
    {0, NULL, 0},
};

enum { CONFIG_SECTORS = 0, CONFIG_SIZE_MAX = 8, CONFIG_SEG_MAX = 12 };
enum { TYPE_READ = 0, TYPE_WRITE = 1, TYPE_FLUSH = 4 };
enum { STATUS_OK = 0, STATUS_NONE = 0xff };

/*
 * The header that the device reads before the caller's pieces, and the status
 * that it writes behind them.
 */
struct request {
    uint32_t type, reserved;
    uint64_t sector;
    uint8_t status;
    uint8_t pad[15];
};
#define REQUEST_HEADER 16u
#define CHAIN_MAX (BLKDEV_PIECES_MAX + 2u) /* header, pieces, status */

struct virtio_blk {
    struct virtio v;
    struct blkdev dev;
    struct virtq q;
    struct request *request; /* for each head */
    uint32_t token[VIRTQ_SIZE_MAX];
};

static struct virtio_blk disks[DISKS_MAX];
static unsigned disks_used;

static int submit(struct blkdev *dev, const struct blkdev_req *req)
{
    static const uint32_t type[] = {
        [DISK_READ] = TYPE_READ,
        [DISK_WRITE] = TYPE_WRITE,
        [DISK_FLUSH] = TYPE_FLUSH,
    };
    struct virtio_blk *d = dev->driver;
    struct virtq *q = &d->q;
    if (d->v.dead) {
        return -E_IO;
    }
    /*
     * Without the feature a write that is complete is on the medium.
     */
    if (req->op == DISK_FLUSH && (d->v.features & BLK_FLUSH) == 0) {
        disk_done(dev, req->token, 0); /* it has no cache to write out */
        return 0;
    }
    if (!virtq_start(q, req->pieces + 2u)) {
        return -E_AGAIN;
    }
    d->request[q->head] = (struct request){
        .type = type[req->op],
        .sector = req->op == DISK_FLUSH ? 0 : req->sector,
        .status = STATUS_NONE,
    };
    d->token[q->head] = req->token;
    uint64_t at = arch_ptr_paddr(&d->request[q->head]);
    virtq_piece(q, at, REQUEST_HEADER, false);
    for (unsigned i = 0; i < req->pieces; i++) {
        virtq_piece(q, req->piece[i].paddr, req->piece[i].len,
                    req->op == DISK_READ);
    }
    virtq_piece(q, at + offsetof(struct request, status), 1, true);
    (void)virtq_finish(q);
    return 0;
}

static void virtio_blk_kick(struct blkdev *dev)
{
    struct virtio_blk *d = dev->driver;
    virtio_kick(&d->q); /* nothing if it is broken */
}

static void take_all(struct virtio_blk *d)
{
    int r;
    uint32_t len;
    uint16_t head;
    while ((r = virtq_take(&d->q, &head, &len)) > 0) {
        /*
         * The status is set to STATUS_NONE before the device gets the request.
         * A device that completes it without writing a status has failed it.
         */
        uint8_t status = *(volatile uint8_t *)&d->request[head].status;
        disk_done(&d->dev, d->token[head], status == STATUS_OK ? 0 : -E_IO);
    }
    if (r < 0) {
        virtio_fail(&d->v, "completed a request that it was not given");
        /*
         * The environments that wait for these requests must hear of them, and
         * their frames are pinned until then. The device can reach no memory
         * any more.
         */
        while (virtq_abandon(&d->q, &head)) {
            disk_done(&d->dev, d->token[head], -E_IO);
        }
    }
}

static void virtio_blk_poll(struct blkdev *dev)
{
    struct virtio_blk *d = dev->driver;
    /* A request that completes between the last look and the moment when
       interrupts are on again would raise none: so look again after it. */
    do {
        take_all(d);
    } while (!d->v.dead && virtq_interrupt(&d->q, 1));
}

static const struct blkdev_ops ops = {submit, virtio_blk_kick, virtio_blk_poll};

static void virtio_blk_interrupt(void *arg)
{
    struct virtio_blk *d = arg;
    disk_interrupt(&d->dev);
}

/* Limits on pieces; the kernel's are fixed, so a lesser device is refused. */
static bool limits_ok(const struct virtio_blk *d)
{
    uint64_t f = d->v.features;
    uint32_t pieces = virtio_config32(&d->v, CONFIG_SEG_MAX);
    uint32_t bytes = virtio_config32(&d->v, CONFIG_SIZE_MAX);
    if ((f & BLK_SEG_MAX) != 0 && pieces < BLKDEV_PIECES_MAX) {
        log_line("%s: takes %u pieces a request, %u are needed; with QEMU set "
                 "seg-max-adjust=on,queue-size=128",
                 d->v.pci.name, pieces, BLKDEV_PIECES_MAX);
        return false;
    }
    if ((f & BLK_SIZE_MAX) != 0 && bytes < DISK_COUNT_MAX * DISK_BLOCK_SIZE) {
        log_line("%s: takes pieces of %u bytes only", d->v.pci.name, bytes);
        return false;
    }
    return true;
}

static bool virtio_blk_start(struct virtio_blk *d)
{
    /* Disks are spread over processors, so that one does not serve all. */
    unsigned cpu = disks_used % arch_cpu_count();
    if (pci_msix_bind(&d->v.pci, 0, cpu, virtio_blk_interrupt, d) < 0 ||
        !virtio_queue(&d->v, &d->q, 0, QUEUE_SIZE, CHAIN_MAX, 0)) {
        return false;
    }
    d->request = page_kalloc_bytes(d->q.size * sizeof(struct request));
    if (d->request == NULL) {
        return false;
    }
    d->dev = (struct blkdev){
        .ops = &ops,
        .driver = d,
        .sectors = virtio_config64(&d->v, CONFIG_SECTORS),
        .read_only = (d->v.features & BLK_RO) != 0,
        /*
         * With indirect tables a request takes one descriptor of the ring,
         * else as many as its chain is long.
         */
        .depth = d->q.tables != NULL ? d->q.size : d->q.size / CHAIN_MAX,
    };
    virtio_run(&d->v);
    (void)virtq_interrupt(&d->q, 1);
    return true;
}

void virtio_blk_found(const struct pci_device *pci)
{
    struct virtio_blk *d = &disks[disks_used];
    if (disks_used == DISKS_MAX) {
        log_line("virtio-blk: more than %u disks", DISKS_MAX);
        return;
    }
    if (!virtio_open(&d->v, pci, "virtio-blk") ||
        !virtio_negotiate(&d->v, known, 0) || !limits_ok(d)) {
        return;
    }
    if (!virtio_blk_start(d)) {
        virtio_fail(&d->v, "cannot be started");
        return;
    }
    disks_used++;
    log_line("%s: %lu MiB%s", d->v.pci.name, d->dev.sectors >> 11,
             d->dev.read_only != 0 ? ", read-only" : "");
    if (disk_attach(&d->dev) < 0) {
        virtio_fail(&d->v, "is not wanted by the kernel");
    }
}
