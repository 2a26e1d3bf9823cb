/*
 * fatal.h - the end of the process, and checks of what must hold.
 *
 * fatal() is for faults of gort itself and for misuse that no caller can handle. It writes one
 * line to descriptor 2 with write(2) only (any thread, any stack, signal handlers), then aborts.
 * The text is a format of its own: %s string, %d int64_t, %u uint64_t, %x uint64_t in
 * hexadecimal, %p pointer, %% itself. The names of the goroutine and the call are added by
 * sched (misuse() in sched/sched.h), since base knows no goroutine.
 */
#ifndef GORT_BASE_FATAL_H
#define GORT_BASE_FATAL_H

#include "base/base.h"

#include <stdarg.h>

/* Format into buf (always NUL-terminated when size > 0); returns the length written. Every
 * integer argument is 64 bits wide: cast it. */
size_t gort__vformat(char *buf, size_t size, const char *format, va_list args);
size_t gort__format(char *buf, size_t size, const char *format, ...);
/* "gort: " + text + newline to descriptor 2, in one write(2). */
void gort__report(const char *format, ...);
/* Called between fatal's line and the abort, to say more; NULL: nothing. Set before there are
 * threads. */
extern hidden_data void (*gort__fatal_hook)(void);
_Noreturn void gort__fatal(const char *format, ...);

/* NULL, but in the child of a fork: who called that, for gort__fatal_forked ("goroutine 7"). Set
 * once, by the child's only thread; see sched/fork.c. */
extern hidden_data const char *gort__forked;
_Noreturn void gort__fatal_forked(const char *what);

/* Cheap invariants, checked always. */
#define must(cond) \
	do { \
		if (unlikely(!(cond))) \
			gort__fatal("internal error: %s, at %s:%d", #cond, __FILE__, \
				    (int64_t)__LINE__); \
	} while (0)

/* Dear ones, checked in checked builds. No side effects in cond. */
#ifdef GORT_CHECKED
#define must_checked(cond) must(cond)
#else
#define must_checked(cond) ((void)sizeof(!(cond)))
#endif

#endif
