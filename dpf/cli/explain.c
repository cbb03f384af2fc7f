/* SPDX-License-Identifier: MIT */
/*
 * dpf explain: why a packet went where it went, test by test.
 */
#include "dpf/cli/cli.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

struct job {
    struct filter_options options;
    const char *capture;
    uint64_t number; /* of the packet, from 1 */
    char *hex;       /* the packet itself, or NULL */
};

/* --packet: hexadecimal, with or without blanks and colons. */
static bool packet_from_hex(const char *text, uint8_t **out, size_t *len)
{
    struct dpf_error err = {0};
    size_t room = strlen(text);
    *out = malloc(room / 2 + 1);
    if (*out == NULL) {
        cli_say("out of memory");
        return false;
    }
    if (dpf_hex_bytes(text, room, *out, len, &err) != 0) {
        cli_say("--packet:1:%u: %s", err.position + 1, err.text);
        return false;
    }
    return true;
}

static bool packet_from_capture(struct job *j, uint8_t **out, size_t *len,
                                int *dlt)
{
    int more = 0;
    struct capture c;
    if (!capture_open(&c, j->capture, false)) {
        return false;
    }
    /* The packet's link type is how the filters must be compiled. */
    *dlt = c.dlt;
    j->options.swapped = c.swapped;
    const uint8_t *data;
    struct pcap_pkthdr *h;
    do {
        more = capture_next(&c, &h, &data);
    } while (more == 1 && c.packets < j->number);
    if (more == 1) {
        *out = malloc(h->caplen + 1);
        *len = h->caplen;
        if (*out != NULL) {
            memcpy(*out, data, h->caplen);
        }
    } else if (more == 0) {
        cli_say("%s: it has only %llu packets", j->capture,
                (unsigned long long)c.packets);
    }
    capture_close(&c);
    return more == 1 && *out != NULL;
}

static int explain_packet(const struct job *j, const uint8_t *packet,
                          size_t len, int dlt, char **words, int count)
{
    struct filters f = {0};
    struct dpf_atlas *a = NULL;
    unsigned hits = 0;
    int status = filters_read(&f, &j->options, dlt, count, words);
    status = status ? status : filters_verify(&f, &j->options, DPF_COMPILE);
    if (status == CLI_OK && dpf_atlas_create(cli_mem(), &a) != 0) {
        status = cli_usage("out of memory");
    }
    for (size_t i = 0; i < f.count && status == CLI_OK; i++) {
        if (dpf_atlas_add(a, f.all[i].name, f.all[i].program) != 0) {
            status = cli_usage("out of memory");
            break;
        }
        printf("%s: %s\n", f.all[i].name, f.all[i].text);
        hits += dpf_atlas_explain(a, stdout, i, packet, len);
    }
    if (status == CLI_OK && f.count > 1) {
        printf("%u of %zu filters accept the packet\n", hits, f.count);
    }
    status = status ? status : hits > 0 ? CLI_OK : CLI_NO;
    dpf_atlas_destroy(a);
    filters_finish(&f);
    return status;
}

static int explain_run(int argc, char **argv)
{
    enum { OPT_PACKET = OPT_VERB };
    static const struct option longs[] = {
        FILTER_LONG_OPTIONS,
        {"packet", required_argument, NULL, OPT_PACKET},
        {NULL, 0, NULL, 0}};
    struct job j = {.options = FILTER_OPTIONS_INIT, .number = 1};
    uint8_t *packet = NULL;
    size_t len = 0;
    int dlt = DLT_EN10MB, status = CLI_OK;
    int c;
    while ((c = getopt_long(argc, argv, "r:n:", longs, NULL)) != -1) {
        if (filter_option(&j.options, c, optarg)) {
            continue;
        }
        switch (c) {
        case 'r':
            j.capture = optarg;
            break;
        case 'n':
            if (!cli_number("-n", optarg, 1, UINT64_MAX, &j.number)) {
                return CLI_USAGE;
            }
            break;
        case OPT_PACKET:
            j.hex = optarg;
            break;
        case OPT_HELP:
            return cli_help(&verb_explain);
        default:
            return CLI_USAGE;
        }
    }
    if (j.options.status) {
        return j.options.status;
    }
    if (!filters_judge(&j.options)) {
        return CLI_USAGE;
    }
    if ((j.hex == NULL) == (j.capture == NULL)) {
        return cli_usage("name the packet: -r CAPTURE -n NUMBER, or --packet");
    }
    bool good = j.hex != NULL ? packet_from_hex(j.hex, &packet, &len)
                              : packet_from_capture(&j, &packet, &len, &dlt);
    status = good ? explain_packet(&j, packet, len, dlt, argv + optind,
                                   argc - optind)
                  : CLI_USAGE;
    free(packet);
    return status;
}

const struct verb verb_explain = {
    "explain", "Tell why a packet is accepted or rejected, test by test",
    "[OPTION...] {-r CAPTURE [-n NUMBER] | --packet HEX} FILTER...",
    "Exit status 1 if no filter accepts the packet.\n\n"
    "  -r CAPTURE      a pcap or pcapng file\n"
    "  -n NUMBER       which packet in it, from 1 (1)\n"
    "  --packet HEX    the packet's bytes\n\n",
    explain_run};
