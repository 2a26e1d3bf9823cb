/*
 * event.c - an eventfd, readable while it is not 0. See os.h.
 *
 * syscall, since read and write are points of cancellation: a thread must not end here, with a lock
 * held. Neither can fail for a descriptor that is what it was, nor block. (The end is close's own:
 * ThreadSanitizer wants to see each descriptor that it saw made closed, else the next that gets its
 * number is a race to it.)
 */
#include "os/os.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

int os_event_make(void)
{
	int saved = errno, fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		fd = -errno;
	errno = saved;
	return fd;
}

void os_event_set(int fd)
{
	uint64_t one = 1;
	int saved = errno;

	(void)syscall(SYS_write, fd, &one, sizeof one);
	errno = saved;
}

void os_event_clear(int fd)
{
	uint64_t count;
	int saved = errno;

	(void)syscall(SYS_read, fd, &count, sizeof count);
	errno = saved;
}

void os_event_close(int fd)
{
	os_fd_close(fd);
}
