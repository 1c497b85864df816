/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands.h - what can shmd-bench be asked to do?
 */
#ifndef BENCH_COMMANDS_H
#define BENCH_COMMANDS_H

struct options;
struct trials;

/* argv[0] is the subcommand. @return the program's exit status; 2: the command line is wrong. */
int all_main(int argc, char **argv);
int doctor_main(int argc, char **argv);
int join_main(int argc, char **argv);
int latency_main(int argc, char **argv);
int publish_main(int argc, char **argv);
int restart_main(int argc, char **argv);
int resume_main(int argc, char **argv);

/* What a subcommand measures, put into a list that may have others before. */
void join_add(struct trials *trials, const struct options *options);
void latency_add(struct trials *trials, const struct options *options);
void publish_add(struct trials *trials, const struct options *options);
void restart_add(struct trials *trials, const struct options *options);
void resume_add(struct trials *trials, const struct options *options);

#endif
