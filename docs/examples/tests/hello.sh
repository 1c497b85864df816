#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# hello.sh - the two smallest programs, the subscriber first: it prints temperatures in order and
# loses none.
. "$(dirname "$0")/common.sh"

start_broker

# Sanitizers want to be loaded before the library by which stdbuf(1) works.
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0
export ASAN_OPTIONS

# Both run until they are stopped. The fifo ends the subscriber: head(1) closes it after 3 lines.
mkfifo "$dir/lines"
timeout 30 stdbuf -oL "$examples/subscribe-hello" >"$dir/lines" 2>"$dir/subscriber.log" &
started
timeout 30 "$examples/publish-hello" 2>"$dir/publisher.log" &
started
head -n 3 "$dir/lines" >"$dir/got"

# Which one is first depends on who was first; from then on each is 0.1 above the last.
first=$(sed -n '1s/\([0-9]*\)\.\([0-9]\) C, 0 lost/\1\2/p' "$dir/got")
[ -n "$first" ] || fail "the subscriber printed '$(cat "$dir/got")'"
for i in 0 1 2; do
    echo "$(((first + i) / 10)).$(((first + i) % 10)) C, 0 lost"
done >"$dir/expected"
diff "$dir/expected" "$dir/got" >&2 || fail "the subscriber printed something else"

# Without a broker both say so, and how to get one.
for program in subscribe-hello publish-hello; do
    if SHMD_SOCKET=$dir/nobody timeout 10 "$examples/$program" 2>"$dir/error.log"; then
        fail "$program did not notice that there is no broker"
    fi
    grep -q "$dir/nobody" "$dir/error.log" || fail "$program does not name the socket it tried"
done
