/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resume-boards.pml - resume.pml with one more broker and an introduction that is lost, and so with
 * peers that the second broker has moved to its board on one side only.
 */
#define LOSES_ONE
#define BROKERS  3
#define MESSAGES 2
#include "resume.pml"
