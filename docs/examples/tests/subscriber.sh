#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# subscriber.sh PROGRAM - one of wait, loop-uv, loop-epoll: takes five samples, in order, and ends.
. "$(dirname "$0")/common.sh"

start_broker

timeout 30 "$examples/$1" house/kitchen 5 >"$dir/got" 2>"$dir/subscriber.log" &
subscriber=$!
started
timeout 30 "$examples/publish-hello" 2>"$dir/publisher.log" &
started
ends_well "$1" "$subscriber"

grep '^sample' "$dir/got" >"$dir/samples" || :
first=$(sed -n '1s/sample \([0-9]*\):.*/\1/p' "$dir/samples")
[ -n "$first" ] || fail "$1 printed no sample"
for i in 0 1 2 3 4; do
    n=$((first + i))
    echo "sample $n: $((20 + n / 10)).$((n % 10)) C"
done >"$dir/expected"
diff "$dir/expected" "$dir/samples" >&2 || fail "$1 printed something else"
