#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check-headers.sh VERSION LANGUAGE COMPILER... - each public header alone is strict C11 (LANGUAGE
# c) or C++17 (c++), describes a type there as the comments promise, and names the VERSION of the
# project.
set -u
cd "$(dirname "$0")/../include" || exit 1
version=$1 language=$2
shift 2

case $language in
c) standard=c11 ;;
c++) standard=c++17 ;;
esac

failed=0
check()
{
    what=$1
    shift
    if ! "$@" -x "$language" -std=$standard -pedantic-errors -Wall -Wextra -Werror -I. \
        -fsyntax-only -; then
        echo "as $standard: $what"
        failed=1
    fi
}

for header in shmd/*.h; do
    check "$header alone" "$@" <<end
#include <$header>
#include <$header>
end
done

check "a type and the version" "$@" <<end
#include <shmd/shmd.h>
#include <shmd/broker.h>

#define NUMBER(major, minor, patch) ((major) * 1000000 + (minor) * 1000 + (patch))
SHMD_STATIC_ASSERT(NUMBER(SHMD_VERSION_MAJOR, SHMD_VERSION_MINOR, SHMD_VERSION_PATCH) ==
                   NUMBER($(echo "$version" | tr . ,)), "shmd.h and meson.build differ");

struct point {
        double x, y;
};
struct example {
        uint64_t time_ns;
        float values[3];
        char name[8];
        struct point point;
};
SHMD_TYPE(example_type, struct example,
          SHMD_FIELD(struct example, time_ns),
          SHMD_ARRAY(struct example, values),
          SHMD_ARRAY(struct example, name),
          SHMD_FIELD(struct example, point.x),
          SHMD_FIELD(struct example, point));

const struct shmd_type *example(void);
const struct shmd_type *example(void)
{
        return &example_type;
}
end
exit $failed
