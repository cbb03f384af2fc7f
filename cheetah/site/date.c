/* SPDX-License-Identifier: MIT */
/*
 * HTTP dates. Pure arithmetic on the proleptic Gregorian calendar; no time
 * zone but GMT exists here. Source: RFC 9110 section 5.6.7.
 */
#include "cheetah/site/date.h"

#define DAY 86400

static const char DAYS[] = "SunMonTueWedThuFriSat";
static const char MONTHS[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

struct civil {
    int64_t year;
    int month, day; /* from 1 */
    int hour, min, sec;
};

/* Days since 1970-01-01; years begin in March so that leap days come last. */
static int64_t days_of(int64_t y, int m, int d)
{
    y -= m <= 2;
    int64_t era = y / 400, yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

/* Days since 1970-01-01, rounded down: seconds before it are negative. */
static int64_t day_of(int64_t t)
{
    return t / DAY - (t % DAY < 0);
}

static struct civil civil_of(int64_t t)
{
    int64_t z = day_of(t) + 719468, rest = t - day_of(t) * DAY;
    int64_t era = z / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    struct civil c;
    c.day = (int)(doy - (153 * mp + 2) / 5 + 1);
    c.month = (int)(mp < 10 ? mp + 3 : mp - 9);
    c.year = yoe + era * 400 + (c.month <= 2);
    c.hour = (int)(rest / 3600);
    c.min = (int)(rest / 60 % 60);
    c.sec = (int)(rest % 60);
    return c;
}

static char *put_digits(char *p, int64_t v, int n)
{
    for (int i = n - 1; i >= 0; i--, v /= 10) {
        p[i] = (char)('0' + v % 10);
    }
    return p + n;
}

static char *put_text(char *p, const char *s, size_t n)
{
    __builtin_memcpy(p, s, n);
    return p + n;
}

void date_format(int64_t t, char *out)
{
    t = t < DATE_FIRST ? DATE_FIRST : t > DATE_LAST ? DATE_LAST : t;
    struct civil c = civil_of(t);
    /* The year 1 began on a Monday, 719,162 days before 1970. */
    char *p = put_text(out, DAYS + 3 * ((day_of(t) + 719163) % 7), 3);
    p = put_text(p, ", ", 2);
    p = put_digits(p, c.day, 2);
    *p++ = ' ';
    p = put_text(p, MONTHS + 3 * (c.month - 1), 3);
    *p++ = ' ';
    p = put_digits(p, c.year, 4);
    *p++ = ' ';
    p = put_digits(p, c.hour, 2);
    *p++ = ':';
    p = put_digits(p, c.min, 2);
    *p++ = ':';
    p = put_digits(p, c.sec, 2);
    put_text(p, " GMT", 4);
}

/* A cursor that remembers its first failure. */
struct scan {
    const char *p, *end;
    bool bad;
};

static void literal(struct scan *s, const char *text)
{
    for (; *text != 0; text++, s->p++) {
        if (s->bad || s->p == s->end || *s->p != *text) {
            s->bad = true;
            return;
        }
    }
}

/* `n` digits; a leading space stands for zero where asctime pads with it. */
static int number(struct scan *s, int n, bool space)
{
    int v = 0;
    for (int i = 0; i < n; i++, s->p++) {
        if (s->bad || s->p == s->end) {
            s->bad = true;
            return 0;
        }
        bool blank = space && i == 0 && *s->p == ' ';
        if (!blank && (*s->p < '0' || *s->p > '9')) {
            s->bad = true;
            return 0;
        }
        v = v * 10 + (blank ? 0 : *s->p - '0');
    }
    return v;
}

static int name(struct scan *s, const char *table, int n)
{
    if (!s->bad && s->end - s->p >= 3) {
        for (int i = 0; i < n; i++) {
            if (__builtin_memcmp(s->p, table + 3 * i, 3) == 0) {
                s->p += 3;
                return i;
            }
        }
    }
    s->bad = true;
    return 0;
}

static void clock_time(struct scan *s, struct civil *c)
{
    c->hour = number(s, 2, false);
    literal(s, ":");
    c->min = number(s, 2, false);
    literal(s, ":");
    c->sec = number(s, 2, false);
}

static void fixdate(struct scan *s, struct civil *c)
{
    literal(s, ", ");
    c->day = number(s, 2, false);
    literal(s, " ");
    c->month = name(s, MONTHS, 12) + 1;
    literal(s, " ");
    c->year = number(s, 4, false);
    literal(s, " ");
    clock_time(s, c);
    literal(s, " GMT");
}

static void asctime_date(struct scan *s, struct civil *c)
{
    literal(s, " ");
    c->month = name(s, MONTHS, 12) + 1;
    literal(s, " ");
    c->day = number(s, 2, true);
    literal(s, " ");
    clock_time(s, c);
    literal(s, " ");
    c->year = number(s, 4, false);
}

static void rfc850(struct scan *s, struct civil *c, int64_t now)
{
    literal(s, ", ");
    c->day = number(s, 2, false);
    literal(s, "-");
    c->month = name(s, MONTHS, 12) + 1;
    literal(s, "-");
    int64_t this_year = civil_of(now < 0 ? 0 : now).year;
    c->year = this_year / 100 * 100 + number(s, 2, false);
    if (c->year > this_year + 50) {
        c->year -= 100;
    }
    literal(s, " ");
    clock_time(s, c);
    literal(s, " GMT");
}

static int month_days(int64_t year, int month)
{
    static const int8_t days[12] = {31, 28, 31, 30, 31, 30,
                                    31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

static bool plausible(const struct civil *c)
{
    /* 60 is a leap second; it is read as the next minute's first. */
    return c->year >= 1 && c->day >= 1 &&
           c->day <= month_days(c->year, c->month) && c->hour < 24 &&
           c->min < 60 && c->sec <= 60;
}

/* The rest of a long day name; the first three letters are already read. */
static void long_day(struct scan *s, int day)
{
    static const char *const rest[7] = {"day",   "day", "sday", "nesday",
                                        "rsday", "day", "urday"};
    literal(s, rest[day]);
}

bool date_parse(const char *s, size_t len, int64_t now, int64_t *out)
{
    struct scan in = {.p = s, .end = s + len};
    struct civil c = {0};
    int day = name(&in, DAYS, 7);
    if (in.bad || in.p == in.end) {
        return false;
    }
    if (*in.p == ',') {
        fixdate(&in, &c);
    } else if (*in.p == ' ') {
        asctime_date(&in, &c);
    } else {
        long_day(&in, day);
        rfc850(&in, &c, now);
    }
    if (in.bad || in.p != in.end || !plausible(&c)) {
        return false;
    }
    *out = days_of(c.year, c.month, c.day) * DAY + c.hour * 3600 + c.min * 60 +
           c.sec;
    return true;
}
