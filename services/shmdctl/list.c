/* SPDX-License-Identifier: Apache-2.0 */
/* list.c - `shmdctl list`: asks, keeps, prints. */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "list.h"
#include "verb.h"

struct wish {
        const char *socket;
        bool json;
};

static void keep(void *user, const struct shmd_listing *listing)
{
        struct records *records = user;
        struct shmd_listing copy = *listing;

        if (records->n == records->room) {
                size_t room = records->room ? 2 * records->room : 64;
                struct shmd_listing *all = realloc(records->all, room * sizeof(*all));

                if (!all) {
                        records->failed = -ENOMEM;
                        return;
                }
                records->all = all;
                records->room = room;
        }
        copy.service = strdup(listing->service ? listing->service : "");
        copy.type = strdup(listing->type ? listing->type : "");
        records->all[records->n++] = copy;
        if (!copy.service || !copy.type)
                records->failed = -ENOMEM;
}

static void records_free(struct records *records)
{
        for (size_t i = 0; i < records->n; i++) {
                free((void *)records->all[i].service);
                free((void *)records->all[i].type);
        }
        free(records->all);
}

/* -1: go on; else the status to end with. */
static int read_options(struct wish *wish, int argc, char **argv)
{
        static const struct option options[] = {
                {"socket", required_argument, NULL, 's'},
                {"json", no_argument, NULL, 'j'},
                {"help", no_argument, NULL, 'h'},
                {NULL, 0, NULL, 0},
        };
        int option;

        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                switch (option) {
                case 's':
                        wish->socket = optarg;
                        break;
                case 'j':
                        wish->json = true;
                        break;
                case 'h':
                        printf("Usage: shmdctl list [--json] [--socket PATH]\n");
                        return 0;
                default:
                        return STATUS_USAGE;
                }
        }
        if (optind < argc) {
                fprintf(stderr, "shmdctl: list: unexpected argument '%s'\n", argv[optind]);
                return STATUS_USAGE;
        }
        return -1;
}

static int ask(struct records *records, const char *socket)
{
        struct shmd_connect_options options = {.size = sizeof(options), .socket = socket};
        struct shmd *bus;
        int code = shmd_connect(&bus, &options);

        if (code < 0)
                return code;
        code = shmd_list(bus, keep, records);
        shmd_close(bus);
        return code;
}

int verb_list(int argc, char **argv)
{
        struct records records = {0};
        struct wish wish = {0};
        int status = read_options(&wish, argc, argv), code;

        if (status >= 0)
                return status;
        code = ask(&records, wish.socket);
        if (code < 0)
                fprintf(stderr, "shmdctl: %s\n", shmd_error());
        else if (records.failed < 0)
                fprintf(stderr, "shmdctl: no memory\n");
        else if (wish.json)
                code = list_print_json(&records);
        else
                list_print_table(&records);
        if (code == 0)
                code = records.failed;
        records_free(&records);
        return code < 0 ? STATUS_ERROR : 0;
}
