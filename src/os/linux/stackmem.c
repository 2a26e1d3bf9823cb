/*
 * stackmem.c - mappings, and guards below stacks. See os.h.
 *
 * Guards: MADV_GUARD_INSTALL (Linux 6.13) marks pages without splitting the mapping; for many at
 * once process_madvise on oneself (where the kernel lets it). Both are probed by what they do: a
 * read into the page must fail with EFAULT, since emulators accept unknown advice. Otherwise
 * mprotect, which costs two mappings a guard, while we have used under half of vm.max_map_count;
 * otherwise none.
 */
#include "base/atomic.h"
#include "os/linux/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef PIDFD_SELF
#define PIDFD_SELF -10000
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#define MANY 64u

/* Set by the probe, before there are threads. */
static size_t page_size = 4096;
static bool can_madvise, can_many;
static enum os_guard strongest; /* that may be used */
static uint32_t most_mprotected;

static uint32_t mprotected; /* atomic: guards of that kind that there are */

size_t os_page_size(void)
{
	return page_size;
}

static void *map(size_t size, int prot, int flags)
{
	int saved = errno;
	void *p = mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	errno = saved;
	return p == MAP_FAILED ? NULL : p;
}

void *os_map(size_t size)
{
	return map(size, PROT_READ | PROT_WRITE, 0);
}

void os_unmap(void *p, size_t size)
{
	int saved = errno;

	munmap(p, size);
	errno = saved;
}

void *os_reserve(size_t size)
{
	void *p = map(size, PROT_NONE, MAP_NORESERVE | MAP_STACK);
	int saved = errno;

	if (p) {
		munlock(p, size);
		madvise(p, size, MADV_NOHUGEPAGE);
	}
	errno = saved;
	return p;
}

/* Under mlockall(MCL_FUTURE) the mapping is locked, and would be populated as soon as it can be
 * accessed: so it is unlocked first, while it cannot. */
int os_commit(void *p, size_t size)
{
	int saved = errno, err = 0;

	if (mprotect(p, size, PROT_READ | PROT_WRITE) < 0)
		err = -ENOMEM;
	errno = saved;
	return err;
}

void os_discard(void *p, size_t size)
{
	int saved = errno;

	madvise(p, size, MADV_DONTNEED);
	errno = saved;
}

/* ---- guards -------------------------------------------------------------------------------- */

static bool guarded(const char *p)
{
	int fds[2];
	bool fails = false;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return false;
	fails = write(fds[1], p, 1) < 0 && errno == EFAULT;
	close(fds[0]);
	close(fds[1]);
	return fails;
}

static bool install_many(struct iovec *iov, unsigned n)
{
	long done = syscall(SYS_process_madvise, PIDFD_SELF, iov, (size_t)n, MADV_GUARD_INSTALL, 0);

	return done >= 0 && (size_t)done == n * iov[0].iov_len;
}

static uint32_t read_max_map_count(void)
{
	char text[32] = "";
	int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (read(fd, text, sizeof text - 1) < 0)
			text[0] = 0;
		close(fd);
	}
	return text[0] ? (uint32_t)strtoul(text, NULL, 10) : 65530;
}

/* Stacks are unlocked before they get their guards, so the probe's pages are as well. */
void os_linux_probe_guards(void)
{
	struct iovec iov;
	char *p;

	page_size = (size_t)sysconf(_SC_PAGESIZE);
	most_mprotected = read_max_map_count() / 4; /* of half the mappings, two for each */
	p = os_map(2 * page_size);
	if (!p)
		return;
	munlock(p, 2 * page_size);
	can_madvise = madvise(p, page_size, MADV_GUARD_INSTALL) == 0 && guarded(p);
	iov = (struct iovec){ p + page_size, page_size };
	can_many = can_madvise && install_many(&iov, 1) && guarded(p + page_size);
	os_unmap(p, 2 * page_size);
}

void os_linux_force_guard(enum os_guard kind)
{
	strongest = kind;
}

static bool install_each(const struct iovec *iov, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (madvise(iov[i].iov_base, iov[i].iov_len, MADV_GUARD_INSTALL) < 0)
			return false; /* EINVAL: locked memory. Those that were made do no harm */
	return true;
}

static bool guard_by_madvise(char *p, size_t stride, size_t size, unsigned n)
{
	struct iovec iov[MANY];

	for (unsigned done = 0, now; done < n; done += now) {
		now = n - done < MANY ? n - done : MANY;
		for (unsigned i = 0; i < now; i++)
			iov[i] = (struct iovec){ p + (done + i) * stride, size };
		if (!(can_many && install_many(iov, now)) && !install_each(iov, now))
			return false;
	}
	return true;
}

static bool guard_by_mprotect(char *p, size_t stride, size_t size, unsigned n)
{
	unsigned i = 0;

	if (add_relaxed(&mprotected, n) + n > most_mprotected)
		goto none;
	for (; i < n; i++)
		if (mprotect(p + i * stride, size, PROT_NONE) < 0)
			goto none;
	return true;
none:
	while (i-- > 0)
		mprotect(p + i * stride, size, PROT_READ | PROT_WRITE);
	sub_relaxed(&mprotected, n);
	return false;
}

enum os_guard os_guard_many(void *p, size_t stride, size_t size, unsigned n)
{
	int saved = errno;
	enum os_guard kind = OS_GUARD_NONE;

	if (can_madvise && strongest == OS_GUARD_MADVISE && guard_by_madvise(p, stride, size, n))
		kind = OS_GUARD_MADVISE;
	else if (strongest <= OS_GUARD_MPROTECT && guard_by_mprotect(p, stride, size, n))
		kind = OS_GUARD_MPROTECT;
	errno = saved;
	return kind;
}

void os_guard_forget(enum os_guard kind, unsigned n)
{
	if (kind == OS_GUARD_MPROTECT)
		sub_relaxed(&mprotected, n);
}
