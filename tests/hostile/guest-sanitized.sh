#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# guest-sanitized.sh SOURCES INCLUDES LIBRARIES COMPILER... - a program with sanitizers links with
# the libraries as they are, the broker's beside, and finds nothing wrong in them.
#
# LIBRARIES are libshmd.so and libshmd-broker.so, and then the same as archives, with what those
# need. What this machine's compiler can't do is said and left out.
set -u
sources=$1 includes=$2 shared=$3 archives=$4
shift 4
directory=$(mktemp -d) || exit 1
trap 'rm -rf "$directory"' EXIT
n=0

for sanitizer in none address,undefined thread; do
    flags="-g -fsanitize=$sanitizer -fno-sanitize-recover=all"
    runner=
    [ "$sanitizer" != none ] || flags=-g
    # ThreadSanitizer can't cope with all that the kernel does to addresses.
    [ "$sanitizer" != thread ] || runner="setarch -R"
    # shellcheck disable=SC2086
    if ! echo 'int main(void) { return 0; }' |
        "$@" $flags -x c - -o "$directory/probe" 2>/dev/null ||
        ! $runner "$directory/probe" 2>/dev/null; then
        echo "left out: $sanitizer, which this machine can't run"
        continue
    fi
    for kind in shared archives; do
        libraries=$shared
        [ $kind = shared ] || libraries=$archives
        # shellcheck disable=SC2086
        "$@" -D_GNU_SOURCE -std=gnu11 $flags $includes $sources $libraries -pthread \
            -o "$directory/program" || exit 1
        rm -rf "$directory/bus"
        # shellcheck disable=SC2086
        timeout 60 $runner "$directory/program" "$directory/bus/control" || {
            echo "$sanitizer, $kind: failed"
            exit 1
        }
        n=$((n + 1))
    done
done
echo "$n programs"
[ "$n" -gt 0 ]
