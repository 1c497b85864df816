#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# with-old.sh SOURCE DIRECTORY PROGRAM COMPILER... -- [ARGUMENT...] - builds an older shmd from the
# history of SOURCE, then runs PROGRAM with the place of it and the ARGUMENTs.
#
# In DIRECTORY/old-COMMIT there are afterwards the library, the broker, and client.c built against
# that library's header. It is built once. Without a history (a release's archive, a shallow clone)
# there is nothing to build, and the test is skipped.
set -eu

# The newest commit that speaks version 1 of the protocol and has all that was made before version 2:
# its successor, 47b7090, merges what raised PROTOCOL_VERSION (c59fca0). The version of its layout is
# today's. When PROTOCOL_MIN_VERSION is raised, this moves to the newest commit that speaks that one.
commit=d1ee043

source=$1 directory=$2 program=$3
shift 3
compiler=()
while [ "$1" != -- ]; do
    compiler+=("$1")
    shift
done
shift

skip()
{
    echo "skipped: $*"
    exit 77
}

history()
{
    git -c safe.directory='*' -C "$source" "$@"
}

# A directory above may have a history, but it is not ours.
command -v git >/dev/null || skip "no git"
[ -e "$source/.git" ] || skip "no history: this is no clone"
if ! history cat-file -e "$commit^{commit}" 2>/dev/null; then
    [ "$(history rev-parse --is-shallow-repository)" != true ] ||
        skip "no history: the clone is shallow"
    echo "$commit is not in the history"
    exit 1
fi

old=$directory/old-$commit
mkdir -p "$old"
exec 9>"$old/lock" # another run may be building
flock 9
made_with=$("${compiler[@]}" --version | head -n 1)
if [ "$(cat "$old/made-with" 2>/dev/null)" != "$made_with" ]; then
    rm -rf "$old/source" "$old/build"
    mkdir "$old/source"
    history archive "$commit" | tar -x -C "$old/source"
    # Alone: what this build's environment adds is not meant for it.
    if ! {
        env -u CFLAGS -u LDFLAGS CC="${compiler[*]}" meson setup "$old/build" "$old/source" \
            -Dauto_features=disabled -Dbuildtype=debugoptimized &&
            ninja -j2 -C "$old/build"
    } >"$old/log" 2>&1 </dev/null; then
        cat "$old/log"
        echo "$commit can't be built"
        exit 1
    fi
    echo "$made_with" >"$old/made-with"
fi
client=$source/tests/compat/client.c
if ! [ "$old/client" -nt "$client" ] || ! [ "$old/client" -nt "$old/made-with" ]; then
    "${compiler[@]}" -std=gnu11 -D_GNU_SOURCE -O1 -o "$old/client.new" "$client" \
        -I "$old/source/include" -L "$old/build/src" -lshmd -Wl,-rpath-link,"$old/build/src"
    mv "$old/client.new" "$old/client"
fi
exec 9>&-

exec "$program" --old "$old" "$@"
