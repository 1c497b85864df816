/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list-json.c - the same for programs: an array of services, each with arrays of its publishers and
 * subscribers.
 *
 * Ids and hashes are strings of 16 hexadecimal digits, since not every reader of JSON has integers
 * of 64 bits. Sizes are bytes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "list.h"

#ifdef SHMDCTL_JSON

#include <jansson.h>

static json_t *hex(uint64_t number)
{
        char text[17];

        snprintf(text, sizeof(text), "%016" PRIx64, number);
        return json_string(text);
}

static json_t *service(const struct shmd_listing *record)
{
        return json_pack("{s:s, s:{s:s, s:o, s:I, s:b}, s:I, s:I, s:I, s:[], s:[]}", "service",
                         record->service, "type", "name", record->type, "hash",
                         hex(record->type_hash), "size", (json_int_t)record->type_size, "variable",
                         (record->type_flags & SHMD_TYPE_VARIABLE) != 0, "max_size",
                         (json_int_t)record->max_size, "segment_size",
                         (json_int_t)record->segment_size, "sequence", (json_int_t)record->sequence,
                         "publishers", "subscribers");
}

static json_t *peer(const struct shmd_peer *who)
{
        return json_pack("{s:o, s:i, s:I, s:s}", "id", hex(who->id), "pid", who->pid, "uid",
                         (json_int_t)who->uid, "program", who->program);
}

static json_t *publisher(const struct shmd_listing *record)
{
        json_t *object = peer(&record->peer);

        if (object)
                json_object_update_new(object,
                                       json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "subscribers",
                                                 (json_int_t)record->subscribers, "depth",
                                                 (json_int_t)record->depth, "holds",
                                                 (json_int_t)record->holds, "max_size",
                                                 (json_int_t)record->max_size, "segment_size",
                                                 (json_int_t)record->segment_size, "sequence",
                                                 (json_int_t)record->sequence));
        return object;
}

static json_t *subscriber(const struct shmd_listing *record)
{
        json_t *object = peer(&record->peer);

        if (object)
                json_object_update_new(object, json_pack("{s:I, s:I, s:I}", "publishers",
                                                         (json_int_t)record->publishers, "history",
                                                         (json_int_t)record->depth, "holds",
                                                         (json_int_t)record->holds));
        return object;
}

static json_t *services(const struct records *records)
{
        json_t *all = json_array(), *last = NULL;

        for (size_t i = 0; i < records->n; i++) {
                const struct shmd_listing *record = &records->all[i];

                if (record->what == SHMD_LISTED_SERVICE) {
                        last = service(record);
                        json_array_append_new(all, last);
                } else if (last && record->what == SHMD_LISTED_PUBLISHER) {
                        json_array_append_new(json_object_get(last, "publishers"),
                                              publisher(record));
                } else if (last && record->what == SHMD_LISTED_SUBSCRIBER) {
                        json_array_append_new(json_object_get(last, "subscribers"),
                                              subscriber(record));
                }
        }
        return all;
}

int list_print_json(const struct records *records)
{
        json_t *all = json_pack("{s:o}", "services", services(records));
        int failed = all ? json_dumpf(all, stdout, JSON_INDENT(2)) : -1;

        json_decref(all);
        puts("");
        if (failed)
                fprintf(stderr, "shmdctl: can't write JSON\n");
        return failed ? -EIO : 0;
}

#else

int list_print_json(const struct records *records)
{
        (void)records;
        fprintf(stderr, "shmdctl: built without JSON; install libjansson-dev (jansson-devel) and "
                        "build again\n");
        return -ENOSYS;
}

#endif
