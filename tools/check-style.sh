#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check-style.sh - the rules of the house that a machine can check.
#
#   includes   who includes whom, by the table "## Who may include whom" in docs/architecture.md:
#
#                  | file     | may use                              |
#                  |----------|--------------------------------------|
#                  | src/ring | atomic layout util                   |
#                  | bench/*  | bench/* <shmd/*>                     |
#
#              A row speaks of file.c and file.h; both may include file.h. The first cell may have
#              several files. Names without a slash are in the row's own directory, others count
#              from the top; `*` stands for anything, and the first row that matches decides. A
#              header in <angle brackets> that stands anywhere in the table is for those rows only
#              that name it. Every file of src/, services/ and bench/ has a row, every row has a
#              file, and the rows have no circle.
#   public     bench/ and docs/examples/ include their own files and <shmd/...>, nothing of ours else
#   first line the licence, in every source file
#   notes      no reminders to oneself: do it or delete it
#   length     no .c file over 600 lines
#   paths      no path of somebody's machine in any text
#
# Prints one line for each fault; exits 1 if there was one.
set -u
export LC_ALL=C
cd "$(dirname "$0")/.." || exit 1

list=$(mktemp) && pairs=$(mktemp) && found=$(mktemp) || exit 1
trap 'rm -f "$list" "$pairs" "$found"' EXIT

# Faults of one kind at a time come through here, so that the end can count them.
fault()
{
    tee -a "$found"
}

files()
{
    for directory in "$@"; do
        [ ! -d "$directory" ] || find "$directory" -type f -print
    done | sort
}

files include src services bench docs/examples tests tools >"$list"
sources=$(grep -E '\.(c|h|cpp|hpp|sh|py|pml|map|gp)$|/meson\.build$' "$list")
sources="$sources
meson.build
meson_options.txt
run
.ci/run"
# shellcheck disable=SC2086 # our names have no spaces
set -- $sources

# ---- first line (a script's first line belongs to the kernel, the second is ours) ----
awk '
    FNR == 1 { done = 0 }
    FNR <= 2 && /SPDX-License-Identifier: Apache-2\.0/ && (FNR == 1 || script) { done = 1 }
    FNR == 1 { script = /^#!/; if (!script && !done && FILENAME !~ /\.map$/) bad(); next }
    FNR == 2 && script && !done { bad() }
    function bad() { print FILENAME ": the first line is not SPDX-License-Identifier: Apache-2.0" }
' "$@" | fault

# ---- notes (the brackets keep this line from finding itself) ----
grep -nwE '[T]ODO|[X]XX|[F]IXME|[H]ACK' "$@" /dev/null |
    sed 's/^\([^:]*:[0-9]*\):.*/\1: a note to oneself: do it or delete it/' | fault

# ---- length ----
for file in "$@"; do
    case $file in
    *.c)
        lines=$(wc -l <"$file")
        [ "$lines" -le 600 ] || echo "$file: $lines lines, 600 are enough"
        ;;
    esac
done | fault

# ---- paths ----
{
    printf '%s\n' "$@"
    grep -E '\.(md|txt|[1-9])$' "$list"
    ls ./*.md docs/*.md docs/man/* 2>/dev/null
} | sort -u | while read -r file; do
    [ ! -f "$file" ] || grep -nE '/([h]ome|[U]sers)/[A-Za-z]|/[r]oot/|(^|[^a-z.])/[w]ork/' "$file" /dev/null
done | sed 's/^\([^:]*:[0-9]*\):.*/\1: a path of one machine/' | fault

# ---- public ----
top=$(pwd -P)
for file in $(grep -E '^(bench|docs/examples)/.*\.[ch]$' "$list"); do
    directory=$(dirname "$file")
    own=$top/$(echo "$file" | sed -n 's|^\(bench\)/.*|\1|p; s|^\(docs/examples\)/.*|\1|p')
    sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p' "$file" |
        while read -r header; do
            if [ -f "$directory/$header" ]; then
                case $(cd "$(dirname "$directory/$header")" && pwd -P)/ in
                "$own"/*) continue ;;
                esac
            fi
            echo "$file: includes \"$header\": only its own files and <shmd/...> are allowed"
        done
done | fault

# ---- includes ----
rules=docs/architecture.md
if [ ! -f "$rules" ]; then
    echo "$rules: missing, it has the table of who may include whom" | fault
else
    # shellcheck disable=SC2046
    awk -v pairs="$pairs" '
        function regex(glob)
        {
            gsub(/[.+^$(){}|\[\]]/, "\\\\&", glob)
            gsub(/\*/, ".*", glob)
            return "^" glob "$"
        }
        function directory(path) { sub(/\/[^\/]*$/, "", path); return path }
        function row_of(stem,    i)
        {
            for (i = 1; i <= n_rows; i++)
                if (stem ~ regex(row[i]))
                    return i
            return 0
        }
        function may(i, what,    n, name, j)
        {
            n = split(uses[i], name, " ")
            for (j = 1; j <= n; j++)
                if (what ~ regex(name[j]))
                    return 1
            return 0
        }
        function exists(path,    line, got)
        {
            got = (getline line <path) >= 0
            close(path)
            return got
        }
        # The table.
        FILENAME == ARGV[1] {
            if (/^## /)
                inside = /^## Who may include whom[ \t]*$/
            if (!inside || !/^\|/)
                next
            had_table = 1
            n = split($0, cell, "|")
            gsub(/[`,]/, " ", cell[2])
            gsub(/[`,]/, " ", cell[3])
            if (cell[2] ~ /^[ \t]*:?-+:?[ \t]*$/ || cell[2] ~ /^[ \t]*file[s]?[ \t]*$/)
                next
            n_files = split(cell[2], file, " ")
            n_names = split(cell[3], name, " ")
            for (i = 1; i <= n_files; i++) {
                row[++n_rows] = file[i]
                uses[n_rows] = ""
                for (j = 1; j <= n_names; j++) {
                    what = name[j]
                    if (what ~ /^</)
                        guarded[what] = 1
                    else if (what !~ /[A-Za-z]/)
                        continue # a dash: nothing
                    else if (what !~ /\//)
                        what = directory(file[i]) "/" what
                    uses[n_rows] = uses[n_rows] " " what
                    if (what !~ /[<*]/ && file[i] !~ /\*/ && what != file[i])
                        print file[i], what >pairs
                }
            }
            next
        }
        FNR == 1 {
            stem = FILENAME
            sub(/\.[ch]$/, "", stem)
            r = row_of(stem)
            if (!r)
                print FILENAME ": has no row in " ARGV[1]
            else
                used[r] = 1
        }
        r && /^[ \t]*#[ \t]*include[ \t]*"/ {
            split($0, part, "\"")
            header = part[2]
            target = directory(FILENAME) "/" header
            if (!exists(target))
                target = exists("src/" header) ? "src/" header : header
            sub(/\.h$/, "", target)
            if (target != stem && !may(r, target))
                print FILENAME ":" FNR ": may not use " target
        }
        r && /^[ \t]*#[ \t]*include[ \t]*</ {
            header = $0
            sub(/^[^<]*/, "", header)
            sub(/>.*/, ">", header)
            for (what in guarded)
                if (header ~ regex(what) && !may(r, header)) {
                    print FILENAME ":" FNR ": may not use " header
                    break
                }
        }
        END {
            if (!had_table)
                print ARGV[1] ": has no table \"## Who may include whom\""
            for (i = 1; i <= n_rows; i++)
                if (!used[i])
                    print ARGV[1] ": row " row[i] ": there is no such file"
        }
    ' "$rules" $(grep -E '^(src|services|bench)/.*\.[ch]$' "$list") | fault
    tsort "$pairs" 2>&1 >/dev/null | sed -n "/loop/d; s|^tsort: |$rules: in a circle: |p" | fault
fi

if [ -s "$found" ]; then
    echo "$(wc -l <"$found") faults"
    exit 1
fi
