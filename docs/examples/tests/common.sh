# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
#
# common.sh - what each test script begins with: a private broker, and nothing left at the end.
#
#     . common.sh                  after: $dir, a directory of its own; $SHMD_SOCKET; $examples
#
# Meson tells where things are: $SHMD_PROGRAM, the broker, and $SHMD_EXAMPLES, the directory of the
# built examples. Every process that a script starts in the background is noted with `started`.
set -eu

: "${SHMD_PROGRAM:?the broker, shmd: run this by meson test}"
: "${SHMD_EXAMPLES:?where the examples were built: run this by meson test}"

examples=$SHMD_EXAMPLES
name=$(basename "$0" .sh)
processes=
dir=$(mktemp -d "${TMPDIR:-/tmp}/shmd-$name-XXXXXX")
SHMD_SOCKET=$dir/control
export SHMD_SOCKET

say()
{
    echo "$name: $*" >&2
}

fail()
{
    say "$*"
    exit 1
}

skip()
{
    say "skipped: $*"
    exit 77
}

# Notes the process that was started last: it is ended with the script.
started()
{
    processes="$! $processes"
}

# Ends one of them before.
stop()
{
    kill "$1" 2>/dev/null || :
    wait "$1" 2>/dev/null || :
}

clean_up()
{
    status=$?
    trap - EXIT
    for process in $processes; do
        stop "$process"
    done
    if [ "$status" != 0 ] && [ "$status" != 77 ]; then
        for file in "$dir"/*.log; do
            [ ! -s "$file" ] || { echo "--- $(basename "$file")" && cat "$file"; } >&2
        done
    fi
    rm -rf "$dir"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

start_broker()
{
    "$SHMD_PROGRAM" --socket "$SHMD_SOCKET" 2>"$dir/broker.log" &
    started
    "$examples/ready" || fail "the broker does not answer"
}

# Waits for a process of this script that has to end by itself, with status 0.
ends_well()
{
    wait "$2" || fail "$1 ended with status $?"
}
