/* SPDX-License-Identifier: MIT */
/* Capabilities: dominance, and every refusal of the cap_* calls. */
#include "src/abi/err.h"
#include "src/abi/sysno.h"
#include "tests/unit/kern/fake_arch.h"
#include "tests/unit/kern/main.h"

static struct env *root;

static void boot(void)
{
    fake_boot(1);
    root = fake_first();
    fake_cap(root, 1, "ab", CAP_READ | CAP_WRITE);
    fake_cap(root, 2, "net", CAP_ALL);
}

static uint32_t guard(const char *name)
{
    int g = guard_intern((const uint8_t *)name, (uint32_t)strlen(name));
    ck_assert_int_ge(g, 0);
    return (uint32_t)g;
}

START_TEST(dominance)
{
    boot();
    struct cap k = {.rights = CAP_READ | CAP_CTL, .len = 2, .name = "ab"};
    ck_assert(cap_dominates(&k, guard("ab"), CAP_READ));
    ck_assert(cap_dominates(&k, guard("abc"), CAP_READ | CAP_CTL));
    ck_assert(!cap_dominates(&k, guard("abc"), CAP_WRITE));
    ck_assert(!cap_dominates(&k, guard("a"), CAP_READ));
    ck_assert(!cap_dominates(&k, guard("ac"), CAP_READ));
    ck_assert(!cap_dominates(&k, GUARD_ROOT, CAP_READ));
    struct cap top = {.rights = CAP_READ};
    ck_assert(cap_dominates(&top, GUARD_ROOT, CAP_READ));
    ck_assert(cap_dominates(&top, guard("anything"), CAP_READ));
    struct cap none = {0};
    ck_assert(!cap_dominates(&none, GUARD_ROOT, 0));
}
END_TEST

START_TEST(guards_are_unique_and_reused)
{
    boot();
    uint32_t a = guard("one"), b = guard("two");
    ck_assert_uint_ne(a, b);
    ck_assert_uint_eq(guard("one"), a);
    guard_drop(a);
    ck_assert_uint_eq(guard("one"), a);
    guard_drop(a);
    guard_drop(a);
    uint32_t c = guard("three"); /* takes the number that is free now */
    ck_assert_uint_eq(c, a);
    ck_assert_uint_eq(guard("two"), b);
}
END_TEST

START_TEST(many_guards)
{
    boot();
    uint32_t got[5000];
    for (uint32_t i = 0; i < 5000; i++) {
        got[i] = (uint32_t)guard_intern((const uint8_t *)&i, 4);
    }
    for (uint32_t i = 0; i < 5000; i++) {
        ck_assert_int_eq(guard_intern((const uint8_t *)&i, 4), (int)got[i]);
    }
}
END_TEST

START_TEST(mint)
{
    boot();
    uint64_t s = fake_put("xyz", 3);
    ck_assert_int_eq(CALL(SYS_CAP_MINT, 1, 5, s, 3, CAP_READ), 0);
    ck_assert_uint_eq(root->cap[5].rights, CAP_READ);
    ck_assert_uint_eq(root->cap[5].len, 5);
    ck_assert_mem_eq(root->cap[5].name, "abxyz\0", 6);
    REFUSED(E_BUSY, SYS_CAP_MINT, 1, 5, s, 3, CAP_READ);
    REFUSED(E_CAP, SYS_CAP_MINT, 9, 6, s, 3, CAP_READ);
    REFUSED(E_RANGE, SYS_CAP_MINT, CAP_SLOTS, 6, s, 3, CAP_READ);
    REFUSED(E_RANGE, SYS_CAP_MINT, 1, CAP_SLOTS, s, 3, CAP_READ);
    REFUSED(E_RANGE, SYS_CAP_MINT, 1, 6, s, CAP_NAME_MAX - 1, CAP_READ);
    REFUSED(E_RANGE, SYS_CAP_MINT, 1, 6, s, UINT32_MAX, CAP_READ);
    REFUSED(E_CAP, SYS_CAP_MINT, 1, 6, s, 3, CAP_CTL); /* a right it lacks */
    REFUSED(E_INVAL, SYS_CAP_MINT, 1, 6, s, 3, 0);
    REFUSED(E_INVAL, SYS_CAP_MINT, 1, 6, s, 3, CAP_ALL + 1);
    REFUSED(E_FAULT, SYS_CAP_MINT, 1, 6, 0x1000, 3, CAP_READ);
    REFUSED(E_FAULT, SYS_CAP_MINT, 1, 6, UADDR_TOP + 4095, 3, CAP_READ);
    REFUSED(E_FAULT, SYS_CAP_MINT, 1, 6, UINT64_MAX, 3, CAP_READ);
    REFUSED(E_FAULT, SYS_CAP_MINT, 1, 6, ARCH_DIRECT_MAP, 3, CAP_READ);
    /* The whole name fits exactly. */
    ck_assert_int_eq(CALL(SYS_CAP_MINT, 1, 6, s, CAP_NAME_MAX - 2, CAP_WRITE),
                     0);
}
END_TEST

START_TEST(grant)
{
    boot();
    int64_t id = CALL(SYS_ENV_CREATE, 2, 16);
    ck_assert_int_gt(id, 0);
    uint64_t child = (uint64_t)id;
    ck_assert_int_eq(CALL(SYS_CAP_GRANT, 2, child, 2, 7), 0);
    ck_assert_mem_eq(&env_find((uint32_t)id)->cap[7], &root->cap[2],
                     sizeof(struct cap));
    REFUSED(E_BUSY, SYS_CAP_GRANT, 2, child, 2, 7);
    REFUSED(E_CAP, SYS_CAP_GRANT, 1, child, 2, 8);  /* not over the child */
    REFUSED(E_CAP, SYS_CAP_GRANT, 2, child, 1, 8);  /* lacks CAP_GRANT */
    REFUSED(E_CAP, SYS_CAP_GRANT, 2, child, 30, 8); /* empty */
    REFUSED(E_RANGE, SYS_CAP_GRANT, 99, child, 2, 8);
    REFUSED(E_RANGE, SYS_CAP_GRANT, 2, child, 64, 8);
    REFUSED(E_RANGE, SYS_CAP_GRANT, 2, child, 2, 64);
    REFUSED(E_NONE, SYS_CAP_GRANT, 2, child + 256, 2, 8);
    REFUSED(E_NONE, SYS_CAP_GRANT, 2, 0, 2, 8);
}
END_TEST

START_TEST(drop_and_revoke)
{
    boot();
    fake_cap(root, 10, "net/80", CAP_ALL);
    fake_cap(root, 11, "neu", CAP_ALL);
    fake_cap(root, 12, "net", CAP_READ);
    REFUSED(E_CAP, SYS_CAP_REVOKE, 1); /* lacks CAP_CTL */
    REFUSED(E_CAP, SYS_CAP_REVOKE, 40);
    REFUSED(E_RANGE, SYS_CAP_REVOKE, 64);
    ck_assert_int_eq(CALL(SYS_CAP_REVOKE, 2), 0);
    ck_assert_uint_eq(root->cap[10].rights, 0);        /* derived */
    ck_assert_uint_eq(root->cap[11].rights, CAP_ALL);  /* another name */
    ck_assert_uint_eq(root->cap[12].rights, CAP_READ); /* the same name */
    ck_assert_uint_eq(root->cap[2].rights, CAP_ALL);
    ck_assert_int_eq(CALL(SYS_CAP_DROP, 2), 0);
    REFUSED(E_CAP, SYS_CAP_DROP, 2);
    REFUSED(E_RANGE, SYS_CAP_DROP, 64);
    REFUSED(E_RANGE, SYS_CAP_DROP, UINT32_MAX);
}
END_TEST

START_TEST(unknown_numbers)
{
    boot();
    REFUSED(E_NOSYS, 0x100f);
    REFUSED(E_NOSYS, 0xffff);
    REFUSED(E_NOSYS, UINT64_MAX);
}
END_TEST

TESTS("cap", dominance, guards_are_unique_and_reused, many_guards, mint, grant,
      drop_and_revoke, unknown_numbers)
