/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list.h - what the broker told, kept until all of it is there: columns are as wide as their
 * widest entry.
 */
#ifndef SHMDCTL_LIST_H
#define SHMDCTL_LIST_H

#include <stddef.h>

#include <shmd/shmd.h>

/* Records in the broker's order: a service, its publishers, its subscribers, the next service. The
 * texts are the list's own. */
struct records {
        struct shmd_listing *all;
        size_t n;
        size_t room;
        int failed; /* a negative errno, or 0 */
};

void list_print_table(const struct records *records);

/* 0, or a negative errno with a line on standard error. */
int list_print_json(const struct records *records);

#endif
