#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fuzz.sh [--afl] NAME [SECONDS] - fuzzes `wire` or `session` (tests/fuzz) for so long; 600 s.
#
# With libFuzzer, under ASan and UBSan; with --afl by AFL++, which builds the same sources with
# afl-clang-fast. Both begin with the corpus that is kept in tests/fuzz/corpus-NAME, work on a copy
# in build/, and end with 1 if something was found: the inputs are named then, and
# `fuzz-NAME FILE` repeats one. What is new in the copy is put into the kept corpus by
#
#     fuzz.sh --keep NAME
#
# which takes only what covers more. What was written by hand (seed-*), or had found something
# (found-*), always stays.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd -P)
kind=libfuzzer

usage()
{
    sed -n '4p' "$0" | sed 's/^# //' >&2
    exit 2
}

case ${1:-} in
--afl) kind=afl && shift ;;
--keep) kind=keep && shift ;;
esac
name=${1:-} seconds=${2:-600}
kept=$root/tests/fuzz/corpus-$name
[ -n "$name" ] && [ -d "$kept" ] || usage

work=$root/build/fuzz-$name
mkdir -p "$work/corpus" "$work/findings"

# build DIRECTORY COMPILER OPTION...: the program that the fuzzer runs
build()
{
    local directory=$root/build/$1 compiler=$2
    shift 2
    command -v "$compiler" >/dev/null || {
        echo "fuzz.sh: there is no $compiler" >&2
        exit 1
    }
    [ -f "$directory/build.ninja" ] ||
        AFL_QUIET=1 CC=$compiler meson setup "$directory" "$root" -Dbuildtype=debugoptimized \
            -Db_lundef=false -Dmodel=disabled -Dbench=disabled -Dexamples=disabled "$@" >/dev/null
    AFL_QUIET=1 ninja -C "$directory" "tests/fuzz/fuzz-$name-libfuzzer" >/dev/null
    program=$directory/tests/fuzz/fuzz-$name-libfuzzer
}

case $kind in
libfuzzer | keep)
    build fuzz-libfuzzer clang -Db_sanitize=address,undefined
    export UBSAN_OPTIONS=halt_on_error=1
    ;;
afl)
    build fuzz-afl afl-clang-fast
    ;;
esac

cp "$kept"/* "$work/corpus/"
case $kind in
libfuzzer)
    "$program" -max_total_time="$seconds" -max_len=2048 -timeout=20 \
        -artifact_prefix="$work/findings/" "$work/corpus"
    ;;
keep)
    rm -rf "$work/merged"
    mkdir "$work/merged"
    # Edges only, not how often: so it stays small.
    "$program" -set_cover_merge=1 -use_counters=0 "$work/merged" "$work/corpus"
    find "$kept" -type f ! -name 'found-*' ! -name 'seed-*' -delete
    cp "$work/merged"/* "$kept/"
    ;;
afl)
    rm -rf "$work/afl"
    export AFL_SKIP_CPUFREQ=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_NO_AFFINITY=1 AFL_NO_UI=1
    afl-fuzz -V "$seconds" -i "$work/corpus" -o "$work/afl" -- "$program"
    cp "$work"/afl/default/queue/id:* "$work/corpus/"
    find "$work/afl/default/crashes" "$work/afl/default/hangs" -name 'id:*' \
        -exec cp {} "$work/findings/" \;
    ;;
esac

found=$(find "$work/findings" -type f)
[ -z "$found" ] || {
    printf 'found:\n%s\n' "$found" >&2
    exit 1
}
