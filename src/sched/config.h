/*
 * config.h - gort_options and the GORT_* variables, checked and filled in. See config.c.
 */
#ifndef GORT_SCHED_CONFIG_H
#define GORT_SCHED_CONFIG_H

#include "sched/sched.h"

struct config {
	int maxprocs;
	size_t stack_size, main_stack_size;
	bool sigquit; /* it dumps */
	void (*on_panic)(const char *, uint64_t);
	uint32_t max_threads;
	int64_t slice; /* OS_FOREVER: no preemption */
	int64_t trace; /* GORT_DEBUG=sched; OS_FOREVER: no lines */
	bool uring;    /* may be used: not GORT_DEBUG=uring=0 */
	bool deadlock_returns;
};

/* -EINVAL: nonsense in either. */
int gort__config(struct config *c, const gort_options *options);
/* What maxprocs is without a runtime; n > 0 sets it for the next start. */
int gort__config_maxprocs(int n);

/* fault.c: the SIGSEGV handler's judgement. Signal handler. */
bool gort__fault(uintptr_t address, uintptr_t sp, uintptr_t pc, int code);

/* dump.c. The call stack of the goroutine that runs here, once, when the process is about to end: it
 * was interrupted, or calls this (gort__fatal_hook). Signal handlers. */
void gort__dump_dying(void);
void gort__dump_fatal(void);
/* The same at any time, where the stack has room for it. public: from the public call on. */
void gort__dump_here(bool public);
const char *gort__reason(uint32_t why); /* of a wait: enum g_why */
/* SIGQUIT: all goroutines to descriptor 2. */
void gort__dump_quit(const struct os_context *at);

#endif
