#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check-format.sh - what clang-format would change, as the test of `ninja clang-format-check`.
# Versions format differently, so only the one that the code was formatted with is asked; without
# it the test is skipped (77).
set -u
cd "$(dirname "$0")/.." || exit 1
version=14

format=
for program in clang-format-$version clang-format; do
    case $($program --version 2>/dev/null) in
    *"version $version."*) format=$program && break ;;
    esac
done
if [ -z "$format" ]; then
    echo "skipped: no clang-format $version"
    exit 77
fi

set --
while read -r pattern; do
    for file in $pattern; do
        [ ! -f "$file" ] || set -- "$@" "$file"
    done
done <<end
$(grep -v '^#' .clang-format-include)
end
"$format" --style=file --dry-run --Werror "$@"
