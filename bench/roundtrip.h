/* SPDX-License-Identifier: Apache-2.0 */
/*
 * roundtrip.h - how long does a sample take to the other process, by one transport?
 */
#ifndef BENCH_ROUNDTRIP_H
#define BENCH_ROUNDTRIP_H

#include <stdint.h>

#include "figures.h"
#include "transport.h"

/**
 * Sends samples to and fro between two processes on two CPUs for some `seconds`. With both on
 * one CPU there is no floor.
 * @return 0; negative errno with a text in `reason`.
 */
int roundtrip_measure(struct link *link, const int *cpus, double seconds, struct figures *figures,
                      char *reason, uint32_t reason_size);

#endif
