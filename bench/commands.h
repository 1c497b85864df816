/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands.h - what can shmd-bench be asked to do?
 */
#ifndef BENCH_COMMANDS_H
#define BENCH_COMMANDS_H

/* argv[0] is the subcommand. @return the program's exit status; 2: the command line is wrong. */
int latency_main(int argc, char **argv);
int publish_main(int argc, char **argv);
int join_main(int argc, char **argv);

#endif
