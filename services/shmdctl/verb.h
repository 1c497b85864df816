/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verb.h - what shmdctl can do: one verb, one file.
 *
 * A verb parses its own options, from argv[1] on, and returns the program's exit status.
 */
#ifndef SHMDCTL_VERB_H
#define SHMDCTL_VERB_H

#define STATUS_ERROR 1
#define STATUS_USAGE 2

/* Services, their publishers and their subscribers: a table, or JSON. */
int verb_list(int argc, char **argv);

#endif
