/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adaptive-fence-lost.pml - adaptive-fence.pml with a broker that dies, and a publisher that finds
 * the introductions of its last moment when there is no page to look at any more. The member that has
 * membarrier does not go to sleep here: it needs nothing of what is lost.
 */
#define BROKER_DIES
#define M 3
#include "adaptive-fence.pml"
