#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# aarch64.sh - what of the order of memory accesses on AArch64 can be seen on an x86 machine:
#
#   1. The ring's functions, compiled for it, have the instructions that docs/memory-model.md says
#      they have: each acquire is an ldar, each release an stlr, each full fence a dmb ish, in this
#      order.
#   2. The ring's stress test, compiled for it, passes under qemu.
#
# The second shows that the code compiles and runs there. It does not show that the orders are
# enough: an emulator on x86 gives its guest x86's memory, or little less.
#
# Needs (Debian): gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user. Exits with 77 without.
set -u
root=$(cd "$(dirname "$0")/.." && pwd -P)
prefix=aarch64-linux-gnu-

for tool in ${prefix}gcc ${prefix}objdump qemu-aarch64; do
    command -v "$tool" >/dev/null || {
        echo "skipped: no $tool"
        exit 77
    }
done
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

compile()
{
    "${prefix}gcc" -std=gnu11 -O2 -Wall -Wextra -Wno-unused-parameter -Werror -D_GNU_SOURCE \
        -I"$work" -I"$root/include" -I"$root/src" "$@"
}

# ---- the instructions ----

# What is inlined into public calls has to stand alone to be looked at.
cat >"$work/probe.c" <<'END'
#include "ring-publish.h"
#include "ring-take.h"

void commit(struct ring_writer *w, uint32_t chunk, uint64_t size);
void commit(struct ring_writer *w, uint32_t chunk, uint64_t size) { ring_commit(w, chunk, size); }

void announce(struct ring_writer *w);
void announce(struct ring_writer *w) { ring_announce(w); }

uint64_t look(const struct ring_reader *r);
uint64_t look(const struct ring_reader *r) { return ring_look(r); }

bool hold(struct ring_reader *r, uint64_t *word, struct ring_sample *sample);
bool hold(struct ring_reader *r, uint64_t *word, struct ring_sample *sample)
{
        return ring_hold(r, word, sample);
}
END

# orders OBJECT FUNCTION: its ordering instructions, in the order in which they stand.
orders()
{
    "${prefix}objdump" -d --no-show-raw-insn --disassemble="$2" "$1" |
        grep -oE '\b(ldar|ldapr|stlr|ldaxr|stlxr|dmb\s+\w+|ldadd\w*)\b|__aarch64_\w+' |
        sed 's/\s\+/ /' | tr '\n' ',' | sed 's/,$//'
}

# expect OBJECT FUNCTION REGEX
expect()
{
    local is
    is=$(orders "$work/$1.o" "$2")
    if [[ $is =~ ^($3)$ ]]; then
        echo "ok $2: ${is//,/, }"
    else
        echo "FAILED $2: has '$is', and should have '$3'"
        failed=1
    fi
}

compile -c "$work/probe.c" -o "$work/probe.o" || exit 1
for file in ring-writer ring-reader; do
    compile -c "$root/src/$file.c" -o "$work/$file.o" || exit 1
done
# libuv's header is the same on every platform.
compile -idirafter /usr/include -c "$root/src/doorbell.c" -o "$work/doorbell.o" || exit 1

# Out of order: the new slot, the mark; then, always, the commit.
expect probe commit 'stlr,stlr,stlr'
expect probe announce 'stlr'
expect probe look 'ldar'
expect probe hold 'dmb ish,ldar'
expect ring-writer ring_reclaim_begin '(dmb ish,?)+'
expect ring-writer ring_reclaim_mark 'ldar'
expect ring-reader ring_release 'stlr'
# The increment alone would be no fence there.
expect doorbell doorbell_bump '(ldaddal|__aarch64_ldadd8_acq_rel),dmb ish'
# The fence, the mode's release and its fence at the switch, the mode again; the looks in between.
expect doorbell doorbell_after_commit 'dmb ish,stlr,dmb ish,stlr,stlr'
expect doorbell look_at_boards 'ldar.*'

# ---- the stress test ----

# There is no cmocka for another architecture to be had by itself; this is as much of it as is used.
cat >"$work/cmocka.h" <<'END'
#include <stdio.h>
#include <stdlib.h>

#define assert_true(c) ((c) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #c), abort()))
#define assert_false(c) assert_true(!(c))
#define assert_non_null(p) assert_true((p) != NULL)
#define assert_null(p) assert_true((p) == NULL)
#define assert_int_equal(a, b) assert_true((a) == (b))
#define assert_int_not_equal(a, b) assert_true((a) != (b))
#define assert_string_equal(a, b) assert_true(!strcmp(a, b))
#define fail_msg(...) (fprintf(stderr, __VA_ARGS__), abort())
#define print_message printf

struct CMUnitTest {
        const char *name;
        void (*run)(void **state);
};
#define cmocka_unit_test(function) {#function, function}

#define cmocka_run_group_tests_name(group, tests, setup, teardown) \
        (run_tests(tests, sizeof(tests) / sizeof((tests)[0])))
static inline int run_tests(const struct CMUnitTest *tests, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                tests[i].run(NULL);
                printf("ok %s\n", tests[i].name);
                fflush(stdout);
        }
        return 0;
}
END

compile -Wno-sign-compare -static -pthread -I"$root/tests/unit" "$root/tests/unit/stress-ring.c" \
    "$root/tests/unit/ring-rig.c" "$root"/src/{ring,ring-reader,ring-writer,error,util}.c \
    -o "$work/stress-ring" || exit 1
timeout 120 qemu-aarch64 "$work/stress-ring" || {
    echo "FAILED stress-ring under qemu"
    failed=1
}
exit $failed
