/*
 * unwind.h - from one frame of a stack to the next. See unwind.c.
 */
#ifndef GORT_DEBUG_UNWIND_H
#define GORT_DEBUG_UNWIND_H

#include "debug/image.h"

/* Memory that may be read, and is there. */
struct span {
	uintptr_t low, high;
};

struct unwind {
	struct images *images;
	struct os_context *at; /* the frame; a copy of its stack wins over what is there ... */
	uintptr_t copied_at;   /* ... and begins here */
	struct span spans[2];  /* the goroutine's stack; the alternate one, or nothing */
	bool called;           /* at->pc is where a call returns to, not where it was interrupted */
};

/* Go to the caller's frame. False: there is none, or none that can be found. */
bool gort__unwind(struct unwind *u);

/* The instruction that u stands at: of a call, one in it. */
static inline uintptr_t unwind_pc(const struct unwind *u)
{
	return u->at->pc - (u->called ? 1 : 0);
}

#endif
