#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# tidy.sh [--scan] [FILE...] - clang-tidy, with the checks of .clang-tidy, over the sources of the
# libraries, the programs, the benchmark and the tests, or over the files given; --scan runs
# scan-build over all of them as well. A warning is an error. Both take minutes: they are for before
# a change goes in, not for each build.
#
# The build they look at is build/tidy: clang's, with the checks of src/call.c.
set -u
root=$(cd "$(dirname "$0")/.." && pwd -P)
build=$root/build/tidy
scan=
if [ "${1:-}" = --scan ]; then
    scan=1
    shift
fi

command -v clang-tidy >/dev/null || {
    echo "skipped: no clang-tidy"
    exit 77
}

# configure DIRECTORY [WRAPPER]
configure()
{
    local directory=$1 log
    shift
    log=$(CC=clang CXX=clang++ "$@" meson setup -Dmodel=disabled -Dchecks=true "$directory" "$root") || {
        echo "$log"
        exit 1
    }
}

mkdir -p "$root/build"
[ -f "$build/build.ninja" ] || configure "$build"
ninja -C "$build" build.ninja >/dev/null || exit 1 # it may know of no new files
if [ $# -gt 0 ]; then
    files=("$@")
else
    mapfile -t files < <(cd "$root" && ls src/*.c services/*/*.c bench/*.c tests/*.c tests/*/*.c)
fi
cd "$root" || exit 1
output=$(printf '%s\n' "${files[@]}" |
    xargs -P "$(nproc)" -n 4 clang-tidy -p "$build" --quiet --warnings-as-errors='*' 2>/dev/null)
found=$(grep -cE ' (warning|error): ' <<<"$output")
[ "$found" = 0 ] || echo "$output"
echo "clang-tidy: ${#files[@]} files, $found warnings"
status=$((found != 0))

if [ -n "$scan" ]; then
    command -v scan-build >/dev/null || {
        echo "skipped: no scan-build (Debian: clang-tools)"
        exit $status
    }
    rm -rf "$build-scan"
    configure "$build-scan" scan-build
    # meson asked for the compiler through scan-build; what it does is decided now.
    # As in .clang-tidy, which has the reasons.
    scan-build --status-bugs -disable-checker unix.Malloc -disable-checker deadcode.DeadStores \
        -disable-checker valist.Uninitialized \
        -disable-checker security.insecureAPI.DeprecatedOrUnsafeBufferHandling -o "$build-scan/reports" ninja -C "$build-scan" | tail -n 3
    [ "${PIPESTATUS[0]}" = 0 ] || status=1
fi
exit $status
