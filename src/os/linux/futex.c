/*
 * futex.c - waiting in the kernel, and fences on all threads. See os.h.
 *
 * errno is kept: gort runs inside calls of user code that may look at it.
 */
#include "base/atomic.h"
#include "base/fatal.h"
#include "os/linux/linux.h"

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int64_t raw_futex(uint32_t *word, int op, uint32_t value, const struct timespec *until)
{
	int saved = errno;
	int64_t result = syscall(SYS_futex, word, op | LINUX_FUTEX_PRIVATE, value, until, NULL,
				 UINT32_MAX /* any waiter */);

	if (result < 0)
		result = -errno;
	errno = saved;
	return result;
}

int os_futex_wait(uint32_t *word, uint32_t expected, int64_t deadline)
{
	struct timespec ts, *until = NULL;

	if (deadline != OS_FOREVER) {
		deadline = deadline > 0 ? deadline : 0;
		ts.tv_sec = (time_t)(deadline / 1000000000);
		ts.tv_nsec = (long)(deadline % 1000000000);
		until = &ts;
	}
	return (int)raw_futex(word, LINUX_FUTEX_WAIT_BITSET, expected, until);
}

void os_futex_wake(uint32_t *word, int count)
{
	raw_futex(word, LINUX_FUTEX_WAKE, (uint32_t)count, NULL);
}

void os_membarrier(void)
{
	int saved = errno;

	fence_seq();
	if (gort__asymmetric) /* it worked at the start; if a filter forbids it now, nothing is safe */
		must(syscall(SYS_membarrier, LINUX_MEMBARRIER_PRIVATE_EXPEDITED, 0, 0) == 0);
	fence_seq();
	errno = saved;
}

void os_yield_thread(void)
{
	sched_yield();
}
