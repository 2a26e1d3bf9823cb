/*
 * sanitize.h - what AddressSanitizer must be told of simulated threads and memory. See sanitize/none
 * for the order of calls. The engine itself is not instrumented.
 */
#ifndef SIM_SANITIZE_H
#define SIM_SANITIZE_H

#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <stddef.h>

static inline void sanitize_leave(void **fake, const void *low, size_t size)
{
	__sanitizer_start_switch_fiber(fake, low, size);
}

static inline void sanitize_arrive(void *fake)
{
	__sanitizer_finish_switch_fiber(fake, NULL, NULL);
}

static inline void sanitize_close(const void *p, size_t size)
{
	__asan_poison_memory_region(p, size);
}

static inline void sanitize_open(const void *p, size_t size)
{
	__asan_unpoison_memory_region(p, size);
}

/* memset and memcpy would be checked, and a loop that looks like one becomes one. */
#define sanitize_loop static inline __attribute__((optimize("no-tree-loop-distribute-patterns")))

sanitize_loop void sanitize_fill(void *p, int byte, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((char *)p)[i] = (char)byte;
}

sanitize_loop void sanitize_copy(void *to, const void *from, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((char *)to)[i] = ((const char *)from)[i];
}

#endif
