#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check-imports.sh LIBRARY FUNCTION... - the library calls none of these functions: what they do is
# the program's to decide.
set -u
export LC_ALL=C
library=$1
shift

if ! command -v nm >/dev/null; then
    echo "skipped: no nm"
    exit 77
fi

imported=$(nm --dynamic --undefined-only "$library" | awk '{ sub(/@.*/, "", $2); print $2 }')
if ! echo "$imported" | grep -qx memcpy; then
    echo "nothing is read of what $library imports"
    exit 1
fi
status=0
for function; do
    if echo "$imported" | grep -qx "$function"; then
        echo "$library: calls $function()"
        status=1
    fi
done
exit $status
