/* SPDX-License-Identifier: Apache-2.0 */
/* type-described.cpp - the same description, as a C++ compiler sees it. */
#include "type-described.h"

const struct shmd_type *described_in_cpp(void)
{
        return &described_type;
}
