/*
 * poll.c - waiting for descriptors, in one epoll instance. See os.h.
 *
 * errno is kept: gort runs inside calls of user code that may look at it. Raw system calls, since
 * the libc's are points of cancellation, which cost, and at which a plain thread may end: inside gort.
 */
#include "base/atomic.h"
#include "base/base.h"
#include "os/linux/linux.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

_Static_assert((uint32_t)OS_POLL_IN == EPOLLIN && (uint32_t)OS_POLL_OUT == EPOLLOUT &&
		       (uint32_t)OS_POLL_ERR == EPOLLERR && (uint32_t)OS_POLL_HUP == EPOLLHUP &&
		       (uint32_t)OS_POLL_PRI == EPOLLPRI && (uint32_t)OS_POLL_RDHUP == EPOLLRDHUP &&
		       (uint32_t)OS_POLL_EDGE == EPOLLET && (uint32_t)OS_POLL_ONCE == EPOLLONESHOT,
	       "the kernel's numbers");

/* The kernel has none that takes nanoseconds (before Linux 5.11, and in emulators), or a filter that does
 * not know it forbids it. */
static bool no_pwait2; /* atomic */

static int64_t failed(int saved)
{
	int64_t err = -errno;

	errno = saved;
	return err;
}

static int control(const struct os_poll *p, int op, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event e = { .events = events, .data.u64 = data };
	int saved = errno;

	return epoll_ctl(p->fd, op, fd, &e) < 0 ? (int)failed(saved) : 0;
}

int os_poll_add(const struct os_poll *p, int fd, uint32_t events, uint64_t data)
{
	return control(p, EPOLL_CTL_ADD, fd, events, data);
}

int os_poll_change(const struct os_poll *p, int fd, uint32_t events, uint64_t data)
{
	return control(p, EPOLL_CTL_MOD, fd, events, data);
}

int os_poll_remove(const struct os_poll *p, int fd)
{
	return control(p, EPOLL_CTL_DEL, fd, 0, 0);
}

int os_poll_open(struct os_poll *p)
{
	int saved = errno, err;

	p->fd = epoll_create1(EPOLL_CLOEXEC);
	if (p->fd < 0)
		return (int)failed(saved);
	p->bell = os_event_make();
	if (p->bell < 0) {
		os_fd_close(p->fd);
		return p->bell;
	}
	err = os_poll_add(p, p->bell, EPOLLIN, OS_POLL_BELL);
	if (err < 0)
		os_poll_close(p);
	return err;
}

void os_poll_close(struct os_poll *p)
{
	os_fd_close(p->fd);
	os_event_close(p->bell);
}

void os_poll_ring(const struct os_poll *p)
{
	os_event_set(p->bell);
}

static int64_t wait_for(int fd, struct epoll_event *e, int most, const struct timespec *left)
{
	int64_t n = -1;

	if (left && (left->tv_sec || left->tv_nsec)) {
		if (!load_relaxed(&no_pwait2)) {
			n = syscall(SYS_epoll_pwait2, fd, e, most, left, NULL, 8);
			if (n >= 0 || (errno != ENOSYS && errno != EPERM))
				return n;
			store_relaxed(&no_pwait2, true);
		}
		if (ppoll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, left, NULL) < 0)
			return -1;
		left = &(struct timespec){ 0 };
	}
	return syscall(SYS_epoll_pwait, fd, e, most, left ? 0 : -1, NULL, 8);
}

/* True: it was the bell. It is for who sleeps, and heard by nobody else: of two who wait at once the
 * kernel may wake the sleeper, who finds nothing if the other has emptied the bell meanwhile, and
 * sleeps on. */
static bool is_bell(const struct os_poll *p, const struct epoll_event *e, bool sleeps)
{
	if (e->data.u64 != OS_POLL_BELL)
		return false;
	if (sleeps)
		os_event_clear(p->bell);
	return true;
}

int os_poll_wait(const struct os_poll *p, struct os_poll_event *events, int most, int64_t until)
{
	struct epoll_event e[OS_POLL_MOST];
	struct timespec left, *timeout = NULL;
	int saved = errno, count = 0;
	int64_t n;

	if (until != OS_FOREVER) {
		int64_t ns = until == OS_POLL_NOW ? 0 : until - os_now();

		ns = ns > 0 ? ns : 0;
		left = (struct timespec){ .tv_sec = (time_t)(ns / 1000000000),
					  .tv_nsec = (long)(ns % 1000000000) };
		timeout = &left;
	}
	n = wait_for(p->fd, e, most < OS_POLL_MOST ? most : OS_POLL_MOST, timeout);
	for (int64_t i = 0; i < n; i++)
		if (!is_bell(p, &e[i], until != OS_POLL_NOW))
			events[count++] =
				(struct os_poll_event){ e[i].data.u64, (uint32_t)e[i].events };
	errno = saved;
	return count;
}

int os_poll_look(int fd, uint32_t events)
{
	struct pollfd p = { .fd = fd, .events = (short)events };
	int saved = errno, n;

	do
		n = (int)syscall(SYS_ppoll, &p, 1, &(struct timespec){ 0 }, NULL, 8);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return (int)failed(saved);
	errno = saved;
	return n ? p.revents & 0x7fff : 0;
}

int os_cancel_off(void)
{
	int before;

	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
	return before;
}

void os_cancel_back(int before)
{
	(void)pthread_setcancelstate(before, NULL);
}

void os_fd_close(int fd)
{
	int saved = errno, cancel = os_cancel_off();

	close(fd);
	os_cancel_back(cancel);
	errno = saved;
}
