/* SPDX-License-Identifier: Apache-2.0 */
/* tally.c - compares where frames were. */
#include "tally.h"

#include <stdlib.h>
#include <string.h>

/* A month at 100 frames a second. */
#define FRAMES_MAX (UINT64_C(1) << 28)

static int same(const struct where *a, const struct where *b)
{
        return a->major == b->major && a->minor == b->minor && a->inode == b->inode &&
               a->offset == b->offset;
}

/* The place's number, a new one if need be; -1 if there are too many. */
static int number_of(struct tally_places *places, const struct where *where)
{
        unsigned i = 0;

        while (i < places->n_places && !same(&places->places[i], where))
                i++;
        if (i == TALLY_PLACES)
                return -1;
        if (i == places->n_places)
                places->places[places->n_places++] = *where;
        return (int)i;
}

static int make_room(struct tally *tally, uint64_t n_frames)
{
        uint64_t capacity = tally->capacity > 0 ? tally->capacity : 1024;
        uint16_t *frames;

        if (n_frames > FRAMES_MAX)
                return -1;
        while (capacity < n_frames)
                capacity *= 2;
        if (capacity == tally->capacity)
                return 0;
        frames = realloc(tally->frames, capacity * sizeof(*frames));
        if (frames == NULL)
                return -1;
        memset(frames + tally->capacity, 0, (capacity - tally->capacity) * sizeof(*frames));
        tally->frames = frames;
        tally->capacity = capacity;
        return 0;
}

int tally_add(struct tally *tally, struct tally_places *places, uint64_t number,
              const struct where *where)
{
        int place = number_of(places, where);

        if (place < 0 || number < 1 || make_room(tally, number) < 0)
                return -1;
        tally->frames[number - 1] = (uint16_t)(place + 1);
        if (number > tally->n_frames)
                tally->n_frames = number;
        return 0;
}

const struct where *tally_get(const struct tally *tally, const struct tally_places *places,
                              uint64_t number)
{
        if (number < 1 || number > tally->n_frames || tally->frames[number - 1] == 0)
                return NULL;
        return &places->places[tally->frames[number - 1] - 1];
}

uint64_t tally_foreign(const struct tally *subscriber, const struct tally *publisher,
                       const struct tally_places *places)
{
        uint64_t n_foreign = 0;

        for (uint64_t number = 1; number <= subscriber->n_frames; number++) {
                const struct where *read = tally_get(subscriber, places, number);
                const struct where *written = tally_get(publisher, places, number);

                /* Places are unique: one is the other, or it is another place. */
                n_foreign += read != NULL && (read != written || read->inode == 0);
        }
        return n_foreign;
}

void tally_deinit(struct tally *tally)
{
        free(tally->frames);
        *tally = (struct tally){0};
}
