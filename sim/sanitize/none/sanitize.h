/*
 * sanitize.h - what AddressSanitizer must be told of simulated threads and memory. The build picks one of
 * sanitize/{none,asan}; this one tells nobody.
 *
 * The order at a switch of stacks: sanitize_leave(from's fake, to's stack); the switch; on the new
 * stack sanitize_arrive(its fake). fake NULL in sanitize_leave: what runs never runs again.
 */
#ifndef SIM_SANITIZE_H
#define SIM_SANITIZE_H

#include <stddef.h>
#include <string.h>

static inline void sanitize_leave(void **fake, const void *low, size_t size)
{
	(void)fake, (void)low, (void)size;
}

static inline void sanitize_arrive(void *fake)
{
	(void)fake;
}

/* Nobody may touch it, or may again. */
static inline void sanitize_close(const void *p, size_t size)
{
	(void)p, (void)size;
}

static inline void sanitize_open(const void *p, size_t size)
{
	(void)p, (void)size;
}

/* Of memory that nobody may touch. */
static inline void sanitize_fill(void *p, int byte, size_t size)
{
	memset(p, byte, size);
}

static inline void sanitize_copy(void *to, const void *from, size_t size)
{
	memcpy(to, from, size);
}

#endif
