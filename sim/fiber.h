/*
 * fiber.h - stands in for src/arch/fiber/<kind>/fiber.h in the simulator. The calls by which the
 * runtime tells sanitizers of stacks and freed memory tell the engine instead: which stack runs on
 * which thread (check.c), what memory nobody may touch (memory.c).
 */
#ifndef SIM_FIBER_H
#define SIM_FIBER_H

#include "base/base.h"

enum { fiber_is_plain = false };

/* Signals may be sent to an alternate stack that was taken away. */
enum { fiber_altstack_lasts = false };

/* While a thread sleeps in an io_uring no other runs. */
#define fiber_uring_stops_all false

struct fiber {
	char *low; /* of its stack; NULL: a thread's own */
	size_t size;
	int16_t thread;  /* that uses the stack, or -1 */
	uint8_t life;    /* enum fiber_life, check.c */
	uint16_t listed; /* its place in the list of all, from 1 */
	void *fake;      /* AddressSanitizer's, while it does not run */
};

bool fiber_create(struct fiber *f, void *low, size_t size);
void fiber_adopt_thread(struct fiber *f);
void fiber_destroy(struct fiber *f);
void fiber_forget(struct fiber *f);
void fiber_leave(struct fiber *from, struct fiber *to, bool forever);
void fiber_arrive(struct fiber *me);
void fiber_poison(void *p, size_t size);
void fiber_unpoison(void *p, size_t size);

#endif
