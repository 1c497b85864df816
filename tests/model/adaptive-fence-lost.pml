/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adaptive-fence-lost.pml - adaptive-fence.pml with a broker that dies, and a publisher that finds
 * the introductions of its last moment when there is no page to look at any more.
 */
#define BROKER_DIES
#include "adaptive-fence.pml"
