/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slice.c - floor, measure, floor; keep or discard.
 */
#include "slice.h"

uint32_t slices_discardable(uint32_t wanted)
{
        return 10 + 2 * wanted;
}

bool slice_jumped(double before_ns, double after_ns)
{
        double low = before_ns < after_ns ? before_ns : after_ns;
        double high = before_ns < after_ns ? after_ns : before_ns;

        /* Written so that a floor that is no number counts as a jump. */
        return !(high - low <= low * SLICE_JUMP);
}

static int slice_take(const struct slice_source *source, bool *keep)
{
        double before, after;
        int result;

        *keep = true;
        if (!source->floor)
                return source->measure(source->user);
        result = source->floor(source->user, false, &before);
        if (result >= 0)
                result = source->measure(source->user);
        if (result >= 0)
                result = source->floor(source->user, true, &after);
        if (result >= 0)
                *keep = !slice_jumped(before, after);
        return result;
}

int slices_take(const struct slice_source *source, uint32_t wanted, struct slice_count *count)
{
        *count = (struct slice_count){0};
        while (count->kept < wanted && count->discarded < slices_discardable(wanted)) {
                bool keep;
                int result = slice_take(source, &keep);

                if (result < 0)
                        return result;
                source->settle(source->user, keep);
                if (keep)
                        count->kept++;
                else
                        count->discarded++;
        }
        return 0;
}
