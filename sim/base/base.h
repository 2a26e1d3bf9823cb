/*
 * base.h - src/base/base.h, but for variables of which each thread has one. Other thread-locals are
 * swapped, so that those of all threads have the same address (thread.c); where others use the
 * address there is one for each slot.
 */
#ifndef SIM_BASE_BASE_H
#define SIM_BASE_BASE_H

#include_next "base/base.h"

extern unsigned sim_slot; /* of the running thread */

#undef per_thread
#undef own_of
#define per_thread(type, name) type name[SIM_MAX_THREADS]
#define own_of(name) name[sim_slot]

#endif
