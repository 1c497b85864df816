#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# matrix.sh [NAME...] - both compilers, each as release, with ASan and UBSan, and with TSan. A NAME
# is one build (gcc-tsan) or a family (clang, asan); without any, all. Warnings are errors here.
#
# Each has a build directory of its own, build/matrix-NAME, kept for the next time. TSan follows the
# threads of one process, so it gets the suites that live in one: processes that share memory are
# no matter for it. What this machine can't do (no clang, a kernel whose address layout TSan can't
# cope with) is said and left out.
#
# The last line sums up: 'N passed, N failed, N skipped'.
set -u
root=$(cd "$(dirname "$0")/.." && pwd -P)
results=() # arguments of test-summary.py

declare -A cpp=([gcc]=g++ [clang]=clang++)
probe=$(mktemp -d) || exit 1
trap 'rm -rf "$probe"' EXIT

wanted()
{
    local name=$1 want
    shift
    [ $# -gt 0 ] || return 0
    for want; do
        case $name in
        "$want" | "$want"-* | *-"$want") return 0 ;;
        esac
    done
    return 1
}

# probe COMPILER FLAG [RUNNER...]: can this machine run what the compiler makes?
probe()
{
    local compiler=$1 flag=$2
    shift 2
    echo 'int main(void) { return 0; }' |
        "$compiler" "$flag" -x c - -o "$probe/program" 2>/dev/null &&
        "$@" "$probe/program" >/dev/null 2>&1
}

build_and_test()
{
    local name=$1 compiler=${1%-*} kind=${1#*-}
    local build=$root/build/matrix-$name
    local options=(--werror) suites=() runner=() leaks=1

    if ! command -v "$compiler" >/dev/null; then
        echo "== $name: left out, no $compiler"
        return
    fi
    case $kind in
    release)
        options+=(-Dbuildtype=release)
        suites=(--suite unit --suite system --suite faults --suite hostile)
        ;;
    asan)
        options+=(-Dbuildtype=debugoptimized -Db_sanitize=address,undefined)
        suites=(--suite unit --suite system --suite faults --suite fuzz --suite hostile)
        # Once is enough for these: they take long.
        case $compiler in
        gcc) suites+=(--suite death --suite stress) ;;
        # Before version 14 gcc's fake stack does not align beyond 32 bytes, as video frames are.
        clang) suites+=(--suite examples) ;;
        esac
        if ! probe "$compiler" -fsanitize=address env; then
            # A container that forbids ptrace stops only the search for leaks.
            leaks=0
            if ! probe "$compiler" -fsanitize=address env ASAN_OPTIONS=detect_leaks=0; then
                echo "== $name: left out, this $compiler can't link or run ASan"
                return
            fi
            echo "== $name: without the search for leaks, which can't work here"
        fi
        ;;
    tsan)
        options+=(-Dbuildtype=debugoptimized -Db_sanitize=thread)
        suites=(--suite unit --suite stress)
        if ! probe "$compiler" -fsanitize=thread env; then
            # More random bits in addresses than its shadow memory was laid out for.
            runner=(setarch -R)
            if ! probe "$compiler" -fsanitize=thread "${runner[@]}"; then
                echo "== $name: left out, this $compiler can't link or run TSan"
                return
            fi
        fi
        ;;
    esac
    # Shared libraries take the sanitizer's functions from the program.
    [ "$kind" = release ] || options+=(-Db_lundef=false)

    echo "== $name"
    mkdir -p "$root/build"
    if [ -f "$build/build.ninja" ]; then
        options+=(--reconfigure)
    fi
    if ! CC=$compiler CXX=${cpp[$compiler]} meson setup "${options[@]}" \
        -Dmodel=disabled "$build" "$root" >"$probe/log" 2>&1; then
        cat "$probe/log"
        results+=(--failed "$name: configuring failed")
        return
    fi
    if ! ninja -C "$build" >"$probe/log" 2>&1; then
        cat "$probe/log"
        results+=(--failed "$name: the build failed")
        return
    fi
    rm -f "$build/meson-logs/testlog.json"
    ASAN_OPTIONS=halt_on_error=1:abort_on_error=1:detect_stack_use_after_return=1:detect_leaks=$leaks \
        UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_stacktrace=1 \
        TSAN_OPTIONS=halt_on_error=1:abort_on_error=1:second_deadlock_stack=1 \
        "${runner[@]}" meson test -C "$build" --no-rebuild --print-errorlogs \
        --timeout-multiplier 3 "${suites[@]}" </dev/null
    results+=("$build/meson-logs/testlog.json")
}

for name in {gcc,clang}-{release,asan,tsan}; do
    ! wanted "$name" "$@" || build_and_test "$name"
done

if [ ${#results[@]} = 0 ]; then
    echo "nothing to do for: ${*:-this machine}"
    echo "0 passed, 0 failed, 0 skipped"
    exit 1
fi
echo "== summary"
python3 "$root/tools/test-summary.py" "${results[@]}"
