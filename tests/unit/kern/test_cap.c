/* SPDX-License-Identifier: MIT */
/* Capabilities: dominance, and every refusal of the cap_* calls. */
#include "src/abi/err.h"
#include "src/abi/page.h"
#include "src/abi/sysno.h"
#include "src/kern/secret.h"
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
    int g = guard_intern(NULL, (const uint8_t *)name, (uint32_t)strlen(name));
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
        got[i] = (uint32_t)guard_intern(NULL, (const uint8_t *)&i, 4);
    }
    for (uint32_t i = 0; i < 5000; i++) {
        ck_assert_int_eq(guard_intern(NULL, (const uint8_t *)&i, 4),
                         (int)got[i]);
    }
}
END_TEST

/* Chosen names would else make every search of one bucket long. */
START_TEST(hashes_cannot_be_foretold)
{
    const uint64_t key[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    const uint64_t other[2] = {key[0], key[1] + 1};
    unsigned same = 0;
    uint8_t name[24];
    for (uint8_t i = 0; i < sizeof(name); i++) {
        name[i] = i;
    }
    for (uint32_t len = 0; len <= sizeof(name); len++) {
        uint64_t h = secret_hash(key, name, len);
        same += h == secret_hash(other, name, len);
        same += len > 0 && h == secret_hash(key, name, len - 1);
    }
    ck_assert_uint_eq(same, 0);
    boot();
    ck_assert_uint_ne(secret_word(), secret_word());
}
END_TEST

START_TEST(mint)
{
    boot();
    uint64_t s = fake_put("xyz", 3);
    ck_assert_int_eq(CALL(SYS_CAP_MINT, 1, 5, s, 3, CAP_READ), 0);
    ck_assert_uint_eq(root->cap[5].rights, CAP_READ);
    ck_assert_uint_eq(root->cap[5].len, 6);
    ck_assert_mem_eq(root->cap[5].name, "ab\3xyz\0", 7);
    REFUSED(E_BUSY, SYS_CAP_MINT, 1, 5, s, 3, CAP_READ);
    REFUSED(E_CAP, SYS_CAP_MINT, 9, 6, s, 3, CAP_READ);
    REFUSED(E_RANGE, SYS_CAP_MINT, CAP_SLOTS, 6, s, 3, CAP_READ);
    REFUSED(E_RANGE, SYS_CAP_MINT, 1, CAP_SLOTS, s, 3, CAP_READ);
    REFUSED(E_RANGE, SYS_CAP_MINT, 1, 6, s, CAP_NAME_MAX - 2, CAP_READ);
    REFUSED(E_RANGE, SYS_CAP_MINT, 1, 6, s, UINT32_MAX, CAP_READ);
    REFUSED(E_CAP, SYS_CAP_MINT, 1, 6, s, 3, CAP_CTL); /* a right it lacks */
    REFUSED(E_INVAL, SYS_CAP_MINT, 1, 6, s, 3, 0);
    REFUSED(E_INVAL, SYS_CAP_MINT, 1, 6, s, 3, CAP_ALL + 1);
    REFUSED(E_FAULT, SYS_CAP_MINT, 1, 6, 0x1000, 3, CAP_READ);
    REFUSED(E_FAULT, SYS_CAP_MINT, 1, 6, UADDR_TOP + 4095, 3, CAP_READ);
    REFUSED(E_FAULT, SYS_CAP_MINT, 1, 6, UINT64_MAX, 3, CAP_READ);
    REFUSED(E_FAULT, SYS_CAP_MINT, 1, 6, ARCH_DIRECT_MAP, 3, CAP_READ);
    /* The whole name fits exactly. */
    ck_assert_int_eq(CALL(SYS_CAP_MINT, 1, 6, s, CAP_NAME_MAX - 3, CAP_WRITE),
                     0);
    /* No suffix: the same name, even where none longer would fit. */
    ck_assert_int_eq(CALL(SYS_CAP_MINT, 6, 7, s, 0, CAP_WRITE), 0);
    ck_assert_uint_eq(root->cap[7].len, CAP_NAME_MAX);
    REFUSED(E_RANGE, SYS_CAP_MINT, 6, 8, s, 1, CAP_WRITE);
}
END_TEST

/* Whoever is called "web" has nothing of what is called "web2". */
START_TEST(no_name_begins_its_neighbours)
{
    boot();
    uint64_t s = fake_put("disk/web2", 9);
    ck_assert_int_eq(CALL(SYS_CAP_MINT, 0, 5, s, 8, CAP_ALL), 0);
    s = fake_put("disk/web2", 9);
    ck_assert_int_eq(CALL(SYS_CAP_MINT, 0, 6, s, 9, CAP_ALL), 0);
    int64_t f = CALL(SYS_PAGE_ALLOC, 6, PAGE_ANY, 1);
    ck_assert_int_gt(f, 0);
    REFUSED(E_CAP, SYS_PAGE_FREE, 5, (uint64_t)f, 1);
    ck_assert_int_eq(CALL(SYS_CAP_REVOKE, 5), 0);
    ck_assert_uint_eq(root->cap[6].rights, CAP_ALL);
    ck_assert_int_eq(CALL(SYS_PAGE_FREE, 6, (uint64_t)f, 1), 0);
}
END_TEST

START_TEST(grant)
{
    boot();
    int64_t id = CALL(SYS_ENV_CREATE, 2, 16, SHARES);
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
    ck_assert_uint_eq(root->cap[10].rights, 0);       /* derived */
    ck_assert_uint_eq(root->cap[11].rights, CAP_ALL); /* another name */
    ck_assert_uint_eq(root->cap[12].rights, 0);       /* the same name */
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

TESTS("cap", dominance, guards_are_unique_and_reused, many_guards,
      hashes_cannot_be_foretold, mint, no_name_begins_its_neighbours, grant,
      drop_and_revoke, unknown_numbers)
