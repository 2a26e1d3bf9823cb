/*
 * init.c - what the kernel offers, found out once. See os.h.
 */
#include "base/atomic.h"
#include "os/linux/linux.h"
#include "os/os.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

bool gort__asymmetric;

/* Registered, and then really done once: some emulators answer the query and fail the call. */
static bool membarrier_works(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0 &&
	       syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

void os_init(void)
{
	static bool done;
	int saved = errno;

	if (done)
		return;
	done = true;
	gort__asymmetric = membarrier_works();
	os_linux_probe_guards();
	errno = saved;
}
