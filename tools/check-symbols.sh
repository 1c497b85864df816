#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check-symbols.sh LIBRARY MARK HEADER... - the library exports exactly what the headers mark with
# MARK (SHMD_EXPORT): whatever else comes out could never be taken back.
set -u
export LC_ALL=C
library=$1 mark=$2
shift 2

if ! command -v nm >/dev/null; then
    echo "skipped: no nm"
    exit 77
fi

directory=$(mktemp -d) || exit 1
trap 'rm -rf "$directory"' EXIT
# The version node itself is an absolute symbol (A).
nm --dynamic --defined-only "$library" |
    awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u >"$directory/exported"
# From the mark to the semicolon is a declaration; its name comes before the parameters.
sed '/^#define/d' "$@" | tr '\n' ' ' | sed "s/$mark /\\n&/g" |
    sed -n "s/^$mark \\([^;(]*\\)[;(].*/\\1/p" |
    sed 's/ *$//; s/.*[^a-z0-9_]//' | sort -u >"$directory/declared"

if ! [ -s "$directory/declared" ]; then
    echo "no declaration with $mark found"
    exit 1
fi
if ! cmp -s "$directory/declared" "$directory/exported"; then
    comm -23 "$directory/declared" "$directory/exported" | sed 's/$/: declared, not exported/'
    comm -13 "$directory/declared" "$directory/exported" | sed 's/$/: exported, not declared/'
    exit 1
fi
