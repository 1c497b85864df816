#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check-snippets.sh [COMPILER...] - the C in README.md and docs/*.md is what it says it is.
#
#   <!-- file: PATH -->     the block that follows is that file, whole
#   <!-- part of: PATH -->  the block that follows stands in that file, word for word
#   <!-- compile -->        the block that follows compiles against the public headers
#
# The comment is a line of its own, the block begins with ```c on one of the next two lines. Prints
# one line for each fault, and what was checked; exits 1 if there was a fault, or README.md has none of
# the first or of the last kind.
set -u
export LC_ALL=C
cd "$(dirname "$0")/.." || exit 1
[ $# -gt 0 ] || set -- "${CC:-cc}"

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# Each marked block becomes $work/N.c, and a line "N KIND PATH DOCUMENT:LINE" in $work/list.
awk -v work="$work" '
    FNR == 1 { mark = ""; inside = 0 }
    inside && /^```/ { inside = 0; close(file); next }
    inside { print >file; next }
    match($0, /^<!-- (file|part of): [^ ]+ -->$/) {
        mark = /^<!-- file/ ? "file" : "part"
        path = $(NF - 1)
        left = 3
        where = FILENAME ":" FNR
        next
    }
    /^<!-- compile -->$/ { mark = "compile"; path = "-"; left = 3; where = FILENAME ":" FNR; next }
    mark != "" && /^```c$/ {
        file = work "/" ++n ".c"
        printf "" >file
        print n, mark, path, where >(work "/list")
        mark = ""
        inside = 1
        next
    }
    mark != "" && --left == 0 {
        print n + 1, "lost", "-", where >(work "/list")
        mark = ""
    }
' README.md docs/*.md
touch "$work/list"

# Whether the first file stands in the second.
stands_in()
{
    awk '
        FNR == NR { part = part $0 "\n"; next }
        { whole = whole $0 "\n" }
        END { exit !(part != "" && index("\n" whole, "\n" part)) }
    ' "$1" "$2"
}

faults=0
fault()
{
    echo "$1: $2"
    faults=$((faults + 1))
}

checked=0
while read -r n kind path where; do
    block=$work/$n.c
    case $kind in
    file)
        cmp -s "$block" "$path" || {
            fault "$where" "the block is not $path"
            diff "$path" "$block" | head -n 10
        }
        ;;
    part) stands_in "$block" "$path" || fault "$where" "the block does not stand in $path" ;;
    compile)
        "$@" -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -Iinclude -Idocs/examples -fsyntax-only \
            "$block" >"$work/log" 2>&1 || {
            fault "$where" "the block does not compile"
            head -n 10 "$work/log"
        }
        ;;
    *) fault "$where" "no block of C follows" ;;
    esac
    checked=$((checked + 1))
done <"$work/list"

for kind in file compile; do
    grep -q "^[0-9]* $kind [^ ]* README.md:" "$work/list" ||
        fault README.md "has no block that is marked as '$kind'"
done
echo "$checked blocks checked, $faults faults"
[ "$faults" = 0 ]
