#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# demo.sh - the demonstration, small: every frame is read where it was written. And that it can
# tell: a subscriber that copies, and one that is killed, make it fail.
. "$(dirname "$0")/common.sh"

unset SHMD_SOCKET # it brings its own broker
TMPDIR=$dir
export TMPDIR

# Its directory is gone when it is.
left_nothing()
{
    for path in "$dir"/shmd-demo-*; do
        [ ! -e "$path" ] || fail "$1 left $path"
    done
}

timeout 60 "$examples/video-demo" --frames 20 --size 160x120 --rate 200 --no-table \
    >"$dir/demo.log" 2>&1 || fail "the demonstration failed with status $?"
left_nothing "the demonstration"
grep -Eq '^video-publish +20 sent$' "$dir/demo.log" || fail "it did not send 20 frames"
for program in video-checksum video-histogram; do
    grep -Eq "^$program +[0-9]+ taken +[0-9]+ +0 " "$dir/demo.log" ||
        fail "$program did not read in place"
done

status=0
timeout 60 "$examples/video-demo" --frames 20 --size 160x120 --rate 200 --no-table --copy \
    >"$dir/copy.log" 2>&1 || status=$?
left_nothing "the copying demonstration"
[ "$status" = 1 ] || fail "copied frames were not noticed: status $status"
taken=$(sed -n 's/^video-checksum  *\([0-9]*\) taken.*/\1/p' "$dir/copy.log")
grep -q "video-checksum read $taken frames in memory that was not the publisher's" \
    "$dir/copy.log" || fail "not all copied frames were noticed"
grep -Eq '^video-histogram +[0-9]+ taken +[0-9]+ +0 ' "$dir/copy.log" ||
    fail "frames that were not copied count as copied"

# A file that is no video: the publisher's complaint comes through.
echo "no video" >"$dir/file"
status=0
timeout 60 "$examples/video-demo" --no-table "$dir/file" >"$dir/bad.log" 2>&1 || status=$?
left_nothing "the demonstration that failed"
[ "$status" = 1 ] || fail "a file that is no video was not noticed: status $status"
grep -q "YUV4MPEG2" "$dir/bad.log" || fail "it was not said that the file is no YUV4MPEG2"

# The process of that name that the demonstration started.
child_of()
{
    for stat in /proc/[0-9]*/stat; do
        read -r process name_of _ parent _ <"$stat" 2>/dev/null || continue
        [ "$parent" != "$1" ] || [ "$name_of" != "($2)" ] || echo "$process"
    done
}

# A subscriber that is killed in the middle: said, with the others ended. The fifo's first line says
# that it plays.
mkfifo "$dir/output"
"$examples/video-demo" --seconds 60 --size 160x120 --no-table \
    >"$dir/output" 2>"$dir/killed.log" &
demo=$!
started
exec 3<"$dir/output"
head -n 1 <&3 >/dev/null
kill -KILL "$(child_of "$demo" video-histogram)"
cat <&3 >/dev/null
exec 3<&-
status=0
wait "$demo" || status=$?
left_nothing "the demonstration with a killed subscriber"
[ "$status" = 1 ] || fail "a killed subscriber was not noticed: status $status"
grep -q "video-histogram was killed by signal 9" "$dir/killed.log" ||
    fail "it was not said that a subscriber was killed"

# Interrupted: ends soon, and cleanly.
timeout --foreground 60 "$examples/video-demo" --seconds 1000 --size 160x120 --no-table \
    >"$dir/output" 2>"$dir/interrupted.log" &
demo=$!
started
exec 3<"$dir/output"
head -n 1 <&3 >/dev/null
kill -TERM "$demo"
cat <&3 >/dev/null
exec 3<&-
status=0
wait "$demo" || status=$?
left_nothing "the interrupted demonstration"
[ "$status" = 130 ] || [ "$status" = 143 ] || fail "interrupted, it ended with status $status"
