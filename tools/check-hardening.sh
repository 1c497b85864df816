#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check-hardening.sh WORD,... FILE... - what the build was told to harden is so in programs and
# libraries, and in the objects of archives. The words are those of meson.build; what no word asks
# for is not looked for, but memory that is both code and writable (TEXTREL) is always a fault.
set -u
export LC_ALL=C
words=,$1,
shift

if ! command -v readelf >/dev/null; then
    echo "skipped: no readelf"
    exit 77
fi

failed=0
fault()
{
    echo "$file: $*"
    failed=1
}

asked()
{
    case $words in
    *,"$1",*) return 0 ;;
    esac
    return 1
}

# has TEXT PATTERN
has()
{
    printf '%s\n' "$1" | grep -qE "$2"
}

# Each member has the note of its compiler.
check_archive()
{
    asked cf-protection || return 0
    objects=$(readelf -h "$file" | grep -c 'Type: *REL')
    noted=$(readelf -nW "$file" | grep -cE 'x86 feature: IBT, SHSTK')
    [ "$objects" -gt 0 ] || fault "has no objects"
    [ "$objects" = "$noted" ] || fault "$noted of $objects objects with -fcf-protection"
}

check_linked()
{
    header=$(readelf -hW "$file")
    segments=$(readelf -lW "$file")
    dynamic=$(readelf -dW "$file")
    symbols=$(readelf --dyn-syms -W "$file")

    has "$header" 'Type: *DYN' || ! asked pie || fault "not position-independent"
    has "$segments" GNU_RELRO || ! asked relro || fault "no GNU_RELRO"
    has "$dynamic" 'BIND_NOW|FLAGS_1.*NOW' || ! asked now || fault "binds lazily: no BIND_NOW"
    if asked noexecstack; then
        has "$segments" GNU_STACK || fault "no GNU_STACK"
        ! has "$segments" 'GNU_STACK.*E ' || fault "the stack is executable"
    fi
    ! has "$dynamic" TEXTREL || fault "code is written to: TEXTREL"
    has "$symbols" __stack_chk_fail || ! asked stack-protector || fault "no __stack_chk_fail"
    has "$symbols" '__[a-z]*_chk(@|$)' || ! asked fortify || fault "no function of _FORTIFY_SOURCE"
}

for file; do
    if ! [ -f "$file" ]; then
        fault "is not there"
        continue
    fi
    case $file in
    *.a) check_archive ;;
    *) check_linked ;;
    esac
done
exit $failed
