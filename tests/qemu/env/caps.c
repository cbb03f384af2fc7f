/* SPDX-License-Identifier: MIT */
/* Capabilities: what narrowing allows, and every refusal. */
#include "src/abi/cap.h"
#include "tests/qemu/env/families.h"

#define A (FREE_SLOT + 0)
#define AB (FREE_SLOT + 1)
#define ABC (FREE_SLOT + 2)
#define B (FREE_SLOT + 3)
#define EMPTY (FREE_SLOT + 4)

static int64_t mint(uint32_t from, uint32_t to, const char *suffix,
                    uint32_t len, uint32_t rights)
{
    return sys_cap_mint(from, to, (const uint8_t *)suffix, len, rights);
}

static void minting(void)
{
    IS(mint(ROOT, A, "a", 1, CAP_ALL), 0);
    IS(mint(A, AB, "b", 1, CAP_ALL), 0);
    IS(mint(AB, ABC, "c", 1, CAP_READ), 0);
    IS(mint(ROOT, B, "b", 1, CAP_READ), 0);
    IS(mint(EMPTY, EMPTY + 1, "x", 1, CAP_READ), -E_CAP);
    IS(mint(ABC, EMPTY, "x", 1, CAP_READ | CAP_WRITE), -E_CAP);
    IS(mint(A, AB, "x", 1, CAP_READ), -E_BUSY);
    IS(mint(CAP_SLOTS, EMPTY, "x", 1, CAP_READ), -E_RANGE);
    IS(mint(A, CAP_SLOTS, "x", 1, CAP_READ), -E_RANGE);
    IS(mint(A, EMPTY, "x", 1, 1u << 15), -E_INVAL);
    IS(mint(A, EMPTY, NULL, 1, CAP_READ), -E_FAULT);
    OK(mint(A, EMPTY, "0123456789012345678901", CAP_NAME_MAX, CAP_READ) < 0);
    IS(sys_cap_mint(A, EMPTY, (const uint8_t *)(1ull << 47), 1, CAP_READ),
       -E_FAULT);
}

static void authority(void)
{
    int64_t frame = sys_page_alloc(A, UINT64_MAX, 1);
    OK(frame >= 0);
    /* b does not dominate a; abc is longer than a, so neither does it */
    IS(sys_page_free(B, (uint64_t)frame, 1), -E_CAP);
    IS(sys_page_free(ABC, (uint64_t)frame, 1), -E_CAP);
    IS(sys_page_free(EMPTY, (uint64_t)frame, 1), -E_CAP);
    IS(sys_page_free(CAP_SLOTS, (uint64_t)frame, 1), -E_RANGE);
    IS(sys_page_free(A, (uint64_t)frame, 1), 0);

    frame = sys_page_alloc(ABC, UINT64_MAX, 1);
    OK(frame >= 0);
    /* the name is right, the right to free is missing */
    IS(sys_page_free(ABC, (uint64_t)frame, 1), -E_CAP);
    IS(sys_page_free(AB, (uint64_t)frame, 1), 0);
}

/* Names of neighbours: neither is the beginning of the other. */
static void neighbours(void)
{
    IS(mint(ROOT, EMPTY, "web", 3, CAP_ALL), 0);
    IS(mint(ROOT, EMPTY + 1, "web2", 4, CAP_ALL), 0);
    int64_t frame = sys_page_alloc(EMPTY + 1, UINT64_MAX, 1);

    OK(frame >= 0);
    IS(sys_page_free(EMPTY, (uint64_t)frame, 1), -E_CAP);
    IS(sys_page_free(EMPTY + 1, (uint64_t)frame, 1), 0);
    IS(sys_cap_drop(EMPTY), 0);
    IS(sys_cap_drop(EMPTY + 1), 0);
}

static void revoking(void)
{
    IS(sys_cap_revoke(ABC), -E_CAP); /* CAP_CTL is missing */
    IS(sys_cap_revoke(A), 0);
    IS(sys_cap_drop(AB), -E_CAP);
    IS(sys_cap_drop(ABC), -E_CAP);
    int64_t frame = sys_page_alloc(A, UINT64_MAX, 1);
    tap_ok(frame >= 0, "the revoked capability itself stays");
    IS(sys_page_free(A, (uint64_t)frame, 1), 0);
    IS(sys_cap_drop(B), 0);
    IS(sys_cap_drop(B), -E_CAP);
    IS(sys_cap_drop(CAP_SLOTS), -E_RANGE);
    IS(sys_cap_drop(A), 0);
}

void family_caps(void)
{
    minting();
    authority();
    neighbours();
    revoking();
}
