/*
 * linux.h - between the files of os/linux, and for their tests.
 */
#ifndef GORT_OS_LINUX_LINUX_H
#define GORT_OS_LINUX_LINUX_H

#include "os/os.h"

/* The kernel's numbers: its headers are not always installed beside another libc's. */
enum {
	LINUX_FUTEX_WAKE = 1,
	LINUX_FUTEX_WAIT_BITSET = 9, /* absolute deadlines, on CLOCK_MONOTONIC */
	LINUX_FUTEX_PRIVATE = 128,
	LINUX_MEMBARRIER_PRIVATE_EXPEDITED = 8,
	LINUX_MEMBARRIER_REGISTER_PRIVATE_EXPEDITED = 16,
};

/* From a signal handler's ucontext. */
void os_linux_context(struct os_context *c, const void *ucontext);

/* The number of the call that the signal has just ended, with EINTR, and that can be made again; or
 * -1. again: let it be made. */
int64_t os_linux_call_interrupted(const void *ucontext);
void os_linux_call_again(void *ucontext, int64_t number);

/* Not SIGRTMIN: libraries tend to take those from the lower end. */
#define LINUX_SWITCH_SIGNAL (SIGRTMAX - 2)

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

int *gort_errno_location(void);
void os_linux_count_threads(void);
void os_linux_probe_guards(void);
/* For tests: use this kind, and those behind it in the enum, from now on. */
void os_linux_force_guard(enum os_guard kind);

/* The CPUs that a cgroup's quota allows, or 0 for no limit: from the texts of /proc/self/cgroup and
 * /proc/self/mountinfo; quota files are read below prefix ("" but for tests). */
int os_linux_cgroup_limit(const char *cgroup, const char *mountinfo, const char *prefix);

#endif
