/*
 * config.h - gort_options and the GORT_* variables, checked and filled in. See config.c.
 */
#ifndef GORT_SCHED_CONFIG_H
#define GORT_SCHED_CONFIG_H

#include "sched/sched.h"

struct config {
	int maxprocs;
	size_t stack_size, main_stack_size;
	void (*on_panic)(const char *, uint64_t);
};

/* -EINVAL: nonsense in either. */
int gort__config(struct config *c, const gort_options *options);
/* What maxprocs is without a runtime; n > 0 sets it for the next start. */
int gort__config_maxprocs(int n);

/* fault.c: the SIGSEGV handler's judgement. Signal handler. */
bool gort__fault(uintptr_t address, uintptr_t sp, uintptr_t pc, int code);

#endif
