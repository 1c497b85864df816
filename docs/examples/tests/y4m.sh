#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# y4m.sh - streams that are not what they should be: each refused with a text that says what is
# wrong and where, and a status of 1; nothing hangs.
. "$(dirname "$0")/common.sh"

start_broker

# publishes STATUS TEXT: what standard input makes of video-publish.
publishes()
{
    status=0
    timeout 30 "$examples/video-publish" "test/y4m" - --rate 0 2>"$dir/error.log" || status=$?
    [ "$status" = "$1" ] || fail "status $status, not $1, where '$2' was expected"
    grep -qF -- "$2" "$dir/error.log" || fail "the text does not say '$2'"
}

zeros()
{
    head -c "$1" /dev/zero
}

header="YUV4MPEG2 W4 H2 F25:1"

# Good ones. A picture of 4x2 in 4:2:0 has 12 bytes.
{ echo "$header"; echo FRAME; zeros 12; } | publishes 0 "sent 1"
{ echo "$header Ip A1:1 C420mpeg2 XYSCSS=420MPEG2 XANY"; echo FRAME; zeros 12; } |
    publishes 0 "sent 1"
{ echo "$header C422 It"; echo "FRAME Ixyz Xsomething"; zeros 16; } | publishes 0 "sent 1"
{ echo "$header C444"; echo FRAME; zeros 24; echo FRAME; zeros 24; } | publishes 0 "sent 2"
{ echo "$header Cmono"; echo FRAME; zeros 8; } | publishes 0 "sent 1"
{ echo "YUV4MPEG2 W3 H3 F0:0 A0:0"; echo FRAME; zeros 17; } | publishes 0 "sent 1"
echo "$header" | publishes 0 "sent 0"

# Stream headers.
: | publishes 1 "the stream is empty"
echo "RIFF....AVI LIST" | publishes 1 "begins with 'RIFF....A', not with YUV4MPEG2"
printf 'YUV4' | publishes 1 "begins with 'YUV4', not with YUV4MPEG2"
echo "YUV4MPEG3 W4 H2" | publishes 1 "not with YUV4MPEG2"
echo "YUV4MPEG2x W4 H2" | publishes 1 "not with YUV4MPEG2"
printf 'YUV4MPEG2 W4 H' | publishes 1 "ends at byte 14, within the stream header"
{ printf '%s X' "$header"; head -c 2000 /dev/zero | tr '\0' y; } |
    publishes 1 "the stream header is longer than 1024 bytes"
echo "YUV4MPEG2 H2" | publishes 1 "has no width (W)"
echo "YUV4MPEG2 W4" | publishes 1 "has no height (H)"
echo "YUV4MPEG2 W0 H2" | publishes 1 "'W0' is not a number from 1 to 16384"
echo "YUV4MPEG2 W4 H16385" | publishes 1 "'H16385' is not a number from 1 to 16384"
echo "YUV4MPEG2 W99999999999999999999 H2" | publishes 1 "is not a number from 1 to 16384"
echo "YUV4MPEG2 W-4 H2" | publishes 1 "'W-4' is not a number from 1 to 16384"
echo "YUV4MPEG2 W4 H2 F25" | publishes 1 "'F25' is not two numbers with a colon"
echo "YUV4MPEG2 W4 H2 A1:x" | publishes 1 "'A1:x' is not two numbers with a colon"
echo "$header Iq" | publishes 1 "'Iq' is not Ip, It, Ib or Im"
echo "$header C420p10" | publishes 1 "'C420p10' has more than 8 bits a pixel"
echo "$header Cmono16" | publishes 1 "'Cmono16' has more than 8 bits a pixel"
echo "$header C444alpha" | publishes 1 "'C444alpha' is not one of C420jpeg,"
printf 'YUV4MPEG2 W4 H2 C\033[31m\n' | publishes 1 "'C?[31m' is not one of"

# Frames. The first begins at byte 22.
{ echo "$header"; echo FRAMES; zeros 12; } | publishes 1 "frame 1, byte 22: 'FRAMES' where FRAME"
{ echo "$header"; echo FRAME; zeros 12; echo GARBAGE; } |
    publishes 1 "frame 2, byte 40: 'GARBAG' where FRAME was expected"
{ echo "$header"; echo FRAME; zeros 12; printf 'FRA'; } | publishes 1 "frame 2, byte 40: 'FRA'"
{ echo "$header"; echo FRAME; zeros 12; printf 'FRAME X'; } |
    publishes 1 "ends at byte 47, within the header of frame 2"
{ echo "$header"; printf 'FRAME '; head -c 2000 /dev/zero | tr '\0' X; } |
    publishes 1 "the header of frame 1 is longer than 1024 bytes"
{ echo "$header"; echo FRAME; zeros 12; echo FRAME; zeros 5; } |
    publishes 1 "frame 2 is cut off at byte 51: 5 of its 12 bytes are there"

# Pieces: read(2) gives what is there, and that is little.
{ echo "$header"; echo FRAME; zeros 12; echo FRAME; zeros 12; } | dd bs=1 2>/dev/null |
    publishes 0 "sent 2"

# Again and again from a file, but not from a pipe.
{ echo "$header"; echo FRAME; zeros 12; echo FRAME; zeros 12; } >"$dir/two.y4m"
timeout 30 "$examples/video-publish" test/loop "$dir/two.y4m" --loop --frames 7 --rate 0 \
    2>"$dir/error.log" || fail "--loop ended with status $?"
grep -q "sent 7" "$dir/error.log" || fail "--loop did not send 7 frames"
status=0
{ echo "$header"; echo FRAME; zeros 12; } |
    timeout 30 "$examples/video-publish" test/loop - --loop --rate 0 2>"$dir/error.log" || status=$?
[ "$status" = 1 ] || fail "--loop from a pipe ended with status $status"
grep -q "a pipe, not a file" "$dir/error.log" || fail "--loop from a pipe was not refused"
