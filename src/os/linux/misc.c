/*
 * misc.c - see os.h.
 */
#include "os/os.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

void os_write_err(const char *text, size_t size)
{
	int saved = errno;
	ssize_t n;

	while (size) {
		n = write(2, text, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		text += n;
		size -= (size_t)n;
	}
	errno = saved;
}

void os_abort(void)
{
	abort();
}

void os_exit(int status)
{
	_exit(status);
}

uint64_t os_random(void)
{
	uint64_t n = 0;
	int saved = errno;

	if (getrandom(&n, sizeof n, GRND_NONBLOCK) != sizeof n)
		n = (uint64_t)os_now() * UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)(uintptr_t)&n;
	errno = saved;
	return n;
}

const char *os_getenv(const char *name)
{
	return getenv(name);
}

bool os_has_ipv6(void)
{
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return errno != EAFNOSUPPORT;
	close(fd);
	return true;
}

/* gort.h's errno: in a file apart from its callers, so that the address is asked for anew on each
 * use. */
__attribute__((visibility("default"))) int *gort_errno_location(void);
int *gort_errno_location(void)
{
	__asm__ volatile("");
	return &errno;
}
