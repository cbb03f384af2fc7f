/* SPDX-License-Identifier: MIT */
/*
 * The command line of init.
 */
#include "programs/init/config.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct config c;
static struct program p;
static char why[128];

static bool reads(const char *line)
{
    return config_read(line, &c, why, sizeof(why));
}

START_TEST(addresses)
{
    ck_assert(reads("ip=10.0.2.15/24 gw=10.0.2.2"));
    ck_assert_mem_eq(c.addr, "\x0a\x00\x02\x0f", 4);
    ck_assert_mem_eq(c.gateway, "\x0a\x00\x02\x02", 4);
    ck_assert_uint_eq(c.prefix, 24);
    ck_assert(reads("ip=dhcp"));
    ck_assert(c.dhcp);
    ck_assert(reads(""));
    ck_assert(!c.dhcp && c.prefix == 0);
    ck_assert(!reads("ip=10.0.2"));
    ck_assert(!reads("ip=10.0.2.15"));
    ck_assert(!reads("ip=10.0.2.256/24"));
    ck_assert(!reads("ip=10.0.2.15/33"));
    ck_assert(!reads("ip=10.0.2.15/24 gw=nobody"));
    ck_assert_ptr_nonnull(strstr(why, "gw"));
}
END_TEST

START_TEST(hooks)
{
    ck_assert(reads("kill=netsvc@2500 halt=10"));
    ck_assert_str_eq(c.kill, "netsvc");
    ck_assert_uint_eq(c.kill_ns, 2500000000u);
    ck_assert_uint_eq(c.halt_ns, 10000000u);
    ck_assert(reads(""));
    ck_assert_uint_eq(c.kill_ns, UINT64_MAX);
    ck_assert(!reads("kill=netsvc"));
    ck_assert(!reads("kill=@5"));
    ck_assert(!reads("kill=a-name-that-is-too-long@5"));
}
END_TEST

START_TEST(programs)
{
    const char *line = "cheetah.cache=8M netsvc.tcp=7 cheetah.mem=64M "
                       "cheetah.cpu=1 other.udp=53,5353 xcheetah.a=1";
    ck_assert(config_program(line, "cheetah", 65536, &p, why, sizeof(why)));
    ck_assert_uint_eq(p.tcp[0], 80);
    ck_assert_uint_eq(p.tcp[1], 0);
    ck_assert(p.has_disk && p.disk == 0);
    ck_assert_uint_eq(p.frames, 16384);
    ck_assert_uint_eq(p.cpu, 1);
    ck_assert_str_eq(p.args, "cache=8M mem=64M cpu=1");
    ck_assert(config_program(line, "netsvc", 65536, &p, why, sizeof(why)));
    ck_assert_uint_eq(p.tcp[0], 7);
    ck_assert_uint_eq(p.tcp[1], 0);
    ck_assert_uint_eq(p.udp[2], 19);
    ck_assert(!p.has_disk);
    ck_assert(config_program(line, "other", 65536, &p, why, sizeof(why)));
    ck_assert_uint_eq(p.udp[1], 5353);
    ck_assert(config_program("", "a-name-of-fiftn", 1, &p, why, sizeof(why)));
    ck_assert(!config_program("", "a-name-of-sixtee", 1, &p, why, sizeof(why)));
    ck_assert(!config_program("a.tcp=0", "a", 1, &p, why, sizeof(why)));
    ck_assert(!config_program("a.tcp=70000", "a", 1, &p, why, sizeof(why)));
    ck_assert(
        !config_program("a.tcp=1,2,3,4,5,6,7,8", "a", 1, &p, why, sizeof(why)));
}
END_TEST

START_TEST(which_run)
{
    ck_assert(config_runs("", "netsvc"));
    ck_assert(config_runs("run=cheetah,netsvc", "netsvc"));
    ck_assert(config_runs("run=cheetah,netsvc", "cheetah"));
    ck_assert(!config_runs("run=cheetah,netsvc", "net"));
    ck_assert(!config_runs("run=", "netsvc"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("config");
    TCase *t = tcase_create("config");
    tcase_add_test(t, addresses);
    tcase_add_test(t, hooks);
    tcase_add_test(t, programs);
    tcase_add_test(t, which_run);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
