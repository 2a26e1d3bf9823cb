/*
 * init.c - what the kernel offers, found out once. See os.h.
 */
#include "base/atomic.h"
#include "os/linux/linux.h"

#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

bool gort__asymmetric;

/* Registered, and then really done once: some emulators answer the query and fail the call. */
static bool membarrier_works(void)
{
	return syscall(SYS_membarrier, LINUX_MEMBARRIER_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0 &&
		syscall(SYS_membarrier, LINUX_MEMBARRIER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

void os_init(void)
{
	static bool done;
	int saved = errno;

	if (done)
		return;
	done = true;
	gort__asymmetric = membarrier_works();
	os_linux_count_threads();
	pthread_atfork(NULL, NULL, os_linux_count_threads);
	os_linux_probe_guards();
	errno = saved;
}
