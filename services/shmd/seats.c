/* SPDX-License-Identifier: Apache-2.0 */
/* seats.c - a publication's shares, a handful of users at most. */
#include <errno.h>
#include <stdlib.h>

#include "error.h"
#include "quota.h"
#include "registry.h"
#include "seats.h"
#include "session.h"

static struct seat_share *find(const struct publication *publication, uid_t uid)
{
        list_for_each (&publication->shares, link) {
                struct seat_share *share = list_entry(link, struct seat_share, link);

                if (share->uid == uid)
                        return share;
        }
        return NULL;
}

struct seat_share *seat_share_ref(struct publication *publication, uid_t uid)
{
        struct seat_share *share = find(publication, uid);

        if (!share) {
                share = calloc(1, sizeof(*share));
                if (!share) {
                        error_set(-ENOMEM, "the broker has no memory");
                        return NULL;
                }
                share->uid = uid;
                list_append(&publication->shares, &share->link);
        }
        share->n_pairs++;
        return share;
}

void seat_share_unref(struct seat_share *share)
{
        if (--share->n_pairs)
                return;
        list_remove(&share->link);
        free(share);
}

uint32_t seats_max(const struct publication *publication, const struct session *session)
{
        uint64_t percent = quota_max(session->account, QUOTA_SEATS), seats;

        if (percent >= 100 || session->uid == publication->session->uid)
                return publication->max_subscribers;
        seats = publication->max_subscribers * percent / 100;
        return seats ? (uint32_t)seats : 1;
}

bool seats_are_used_up(const struct publication *publication, const struct session *session)
{
        const struct seat_share *share = find(publication, session->uid);

        uint32_t max = seats_max(publication, session);

        return share && max < publication->max_subscribers && share->n_seats >= max;
}

bool seats_are_free(const struct publication *publication, const struct session *session)
{
        return publication->n_seats < publication->max_subscribers &&
               !seats_are_used_up(publication, session);
}
