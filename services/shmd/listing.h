/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listing.h - LIST: what there is, a page at a time.
 *
 * Services come in the order of their names; the records of each are itself, its publishers, its
 * subscribers. A client names the service it was told of last and how many of its records it has,
 * so that nothing is kept here between two pages; what comes or goes meanwhile may be told once
 * too often or not at all.
 */
#ifndef SHMD_BROKER_LISTING_H
#define SHMD_BROKER_LISTING_H

#include "protocol.h"

struct session;

/* Sends one page and its REPLY. */
void listing_send(struct session *session, const struct message_list *list);

#endif
