/*
 * clock.c - os_now. See os.h.
 */
#include "os/os.h"

#include <time.h>

int64_t os_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail; vDSO */
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}
