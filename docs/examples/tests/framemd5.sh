#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# framemd5.sh - frames taken are the frames of the stream, as ffmpeg sees them: the same MD5 for
# each, none lost, with the publisher stepped by acknowledgement; from a file, and from ffmpeg's own
# pipe, in each arrangement of planes.
. "$(dirname "$0")/common.sh"

command -v ffmpeg >/dev/null 2>&1 || skip "there is no ffmpeg to compare with"
start_broker

# ffmpeg reads standard input unless told otherwise.
ffmpeg()
{
    command ffmpeg -nostdin -loglevel error -y "$@"
}

# compare PIX_FMT FRAMES SIZE HOW
compare()
{
    service=test/video-$1-$4
    timeout 120 "$examples/video-checksum" --framemd5 --ack "$service" \
        >"$dir/got" 2>"$dir/subscriber.log" &
    subscriber=$!
    started
    if [ "$4" = file ]; then
        timeout 120 "$examples/video-publish" "$service" "$dir/stream.y4m" --rate 0 --step-by-ack \
            2>"$dir/publisher.log" || fail "$1: the publisher ended with status $?"
    else
        ffmpeg -i "$dir/stream.y4m" -pix_fmt "$1" -f yuv4mpegpipe - |
            timeout 120 "$examples/video-publish" "$service" --rate 0 --step-by-ack \
                2>"$dir/publisher.log" || fail "$1: the publisher ended with status $?"
    fi
    ends_well "video-checksum" "$subscriber"
    grep -q "taken $2, lost 0," "$dir/subscriber.log" ||
        fail "$1: not all of $2 frames were taken: $(cat "$dir/subscriber.log")"
    grep -v '^#' "$dir/expected" >"$dir/expected.frames"
    grep -v '^#' "$dir/got" >"$dir/got.frames"
    [ "$(wc -l <"$dir/expected.frames")" = "$2" ] || fail "$1: ffmpeg made not $2 frames"
    diff "$dir/expected.frames" "$dir/got.frames" >&2 ||
        fail "$1 by $4: the frames taken are not those of the stream"
}

make()
{
    ffmpeg -f lavfi -i "testsrc=size=$3:rate=25" -frames:v "$2" -pix_fmt "$1" \
        -f yuv4mpegpipe "$dir/stream.y4m"
    ffmpeg -i "$dir/stream.y4m" -f framemd5 "$dir/expected"
}

make yuv420p 64 320x240
compare yuv420p 64 320x240 file
compare yuv420p 64 320x240 pipe

# Odd sides: planes of chroma round up.
for format in yuv420p yuv422p yuv444p yuv411p gray; do
    make $format 5 163x91
    compare $format 5 163x91 file
    compare $format 5 163x91 pipe
done
