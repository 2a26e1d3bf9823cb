/*
 * fiber.h - what AddressSanitizer must be told of stacks. See fiber/none for the order of calls.
 *
 * ASan keeps the bounds of the running stack (for its reports, and to clear the redzones of
 * frames that a noreturn call leaves behind) and a fake stack, where it puts locals when it looks
 * for use after return. A switch hands over both.
 *
 * The caller that leaves forever has no locals in memory between fiber_leave and the switch: its
 * fake frames are freed by fiber_leave.
 */
#ifndef GORT_FIBER_H
#define GORT_FIBER_H

#include "base/base.h"

#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>

#define fiber_call static inline __attribute__((no_sanitize_address))

/* Stacks may be left in signal handlers. */
enum { fiber_is_plain = false };

/* Signals may be sent to an alternate stack that was taken away. */
enum { fiber_altstack_lasts = false };

/* While a thread sleeps in an io_uring no other runs. */
#define fiber_uring_stops_all false

struct fiber {
	const void *low;
	size_t size;
	void *fake; /* while it does not run */
};

fiber_call bool fiber_create(struct fiber *f, void *low, size_t size)
{
	/* Whoever ran here before left redzones: it never returned from its last frames. */
	__asan_unpoison_memory_region(low, size);
	f->low = low;
	f->size = size;
	f->fake = NULL;
	return true;
}

/* ASan knows the bounds of a thread's stack, but tells them only to who has left it: so say that
 * we leave, and come back. Nothing instrumented runs meanwhile. */
fiber_call void fiber_adopt_thread(struct fiber *f)
{
	__sanitizer_start_switch_fiber(&f->fake, f, sizeof *f);
	__sanitizer_finish_switch_fiber(f->fake, &f->low, &f->size);
	__sanitizer_start_switch_fiber(&f->fake, f->low, f->size);
	__sanitizer_finish_switch_fiber(f->fake, NULL, NULL);
	f->fake = NULL;
}

fiber_call void fiber_destroy(struct fiber *f)
{
	(void)f;
}

fiber_call void fiber_forget(struct fiber *f)
{
	(void)f;
}

fiber_call void fiber_leave(struct fiber *from, struct fiber *to, bool forever)
{
	__sanitizer_start_switch_fiber(forever ? NULL : &from->fake, to->low, to->size);
}

fiber_call void fiber_arrive(struct fiber *me)
{
	__sanitizer_finish_switch_fiber(me->fake, NULL, NULL);
}

fiber_call void fiber_poison(void *p, size_t size)
{
	__asan_poison_memory_region(p, size);
}

fiber_call void fiber_unpoison(void *p, size_t size)
{
	__asan_unpoison_memory_region(p, size);
}

#undef fiber_call

void __asan_storeN(void *p, long size);
void __asan_loadN(void *p, long size);
static inline void fiber_touched(void *p, size_t size, bool written)
{
	if (size)
		(written ? __asan_storeN : __asan_loadN)(p, (long)size);
}

#endif
