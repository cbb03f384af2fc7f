/* SPDX-License-Identifier: MIT */
/*
 * Why a program is refused, in words that a person can act on, with what was
 * known of the registers.
 */
#include "dpf/vm/text.h"
#include "dpf/vm/verifier.h"

static const struct reason {
    const char *rule, *text;
} reasons[] = {
#define X(name, rule, text) {rule, text},
    REASONS(X)
#undef X
};

static void put_signed(struct text *t, int64_t n)
{
    if (n >= 0) {
        text_char(t, '+');
    }
    text_dec(t, n);
}

/* "region N", or what region N is called in this type. */
static void put_region(struct text *t, uint32_t type, uint32_t region)
{
    static const char *const names[][2] = {
        [DPF_FILTER] = {"packet"}, [DPF_PREDICATE] = {NULL},
        [DPF_UDF] = {"metadata"},  [DPF_HANDLER] = {"packet", "state"},
        [DPF_RAW] = {"memory"},
    };
    const char *name = region < 2 ? names[type][region] : NULL;
    if (name != NULL) {
        text_str(t, name);
        return;
    }
    text_str(t, "region ");
    text_dec(t, region);
}

static void put_kind(struct text *t, const struct verifier *v,
                     struct value value)
{
    static const char *const names[] = {
        [K_STACK] = "stack",         [K_TABLE] = "table",
        [K_SCALAR] = "scalar",       [K_MIXED] = "scalar or pointer by path",
        [K_UNWRITTEN] = "unwritten",
    };
    if (value.kind < K_STACK) {
        put_region(t, v->p->type, value.kind);
        return;
    }
    text_str(t, names[value.kind]);
    if (value.kind > K_TABLE) {
        return;
    }
    if (value.off == NOTE_OFF_ANY) {
        text_str(t, "+?");
    } else {
        put_signed(t, value.off);
    }
}

static void put_register(struct text *t, const struct verifier *v, uint32_t reg,
                         const char *is)
{
    text_char(t, 'r');
    text_dec(t, reg);
    text_str(t, is);
    put_kind(t, v, v->now[reg]);
}

/* The registers that were written. */
static void put_state(struct text *t, const struct verifier *v)
{
    const char *sep = " [";
    for (uint32_t i = 0; i < BPF_REG_COUNT; i++) {
        if (v->now[i].kind != K_UNWRITTEN) {
            text_str(t, sep);
            put_register(t, v, i, " ");
            sep = ", ";
        }
    }
    text_char(t, ']');
}

bool refuse(struct verifier *v, enum why why, int64_t n)
{
    v->err->code = -DPF_E_VERIFY;
    v->err->insn = v->at;
    struct text t;
    text_init(&t, v->err->rule, sizeof(v->err->rule));
    text_str(&t, reasons[why].rule);
    text_init(&t, v->err->text, sizeof(v->err->text));
    text_str(&t, "insn ");
    text_dec(&t, v->at);
    text_str(&t, ": ");
    for (const char *c = reasons[why].text; *c != '\0'; c++) {
        switch (*c) {
        case '#':
            text_dec(&t, n);
            break;
        case '$':
            text_hex(&t, (uint64_t)n);
            break;
        case '~':
            put_signed(&t, n);
            break;
        case '@':
            put_register(&t, v, (uint32_t)n, " is ");
            text_str(&t, "; ");
            break;
        default:
            text_char(&t, *c);
            break;
        }
    }
    if (v->flowing) {
        put_state(&t, v);
    }
    return false;
}
