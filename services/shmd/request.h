/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.h - what each message of a client does. The message has passed wire_check() and has no
 * more descriptors than it should; fewer only because this process had none free.
 *
 * A request that can't be granted gets a REPLY with the reason and leaves nothing behind (but the
 * connection's block and pipe, which later requests count on). What an honest client never does
 * ends the session.
 */
#ifndef SHMD_BROKER_REQUEST_H
#define SHMD_BROKER_REQUEST_H

struct packet;
struct session;

/* What remains in the packet of its descriptors is closed by the caller. */
void request_handle(struct session *session, struct packet *packet);

#endif
