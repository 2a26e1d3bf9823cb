/*
 * io.h - files for tests, and how to see from outside that somebody waits for one.
 */
#ifndef GORT_TESTS_IO_H
#define GORT_TESTS_IO_H

#include "harness.h"
#include "io/file.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define LONG_TIME (3600 * GORT_SEC)

/* A checked build: mem_fail_after works. */
#ifdef GORT_CHECKED
#define CHECKED true
#else
#define CHECKED false
#endif

/* "@gort-test-NAME-PID": tests run beside each other. Good until the next call. */
static inline const char *local_name(const char *name)
{
	static char text[80];

	snprintf(text, sizeof text, "@gort-test-%s-%d", name, (int)getpid());
	return text;
}

static inline void close_both(gort_file *pair[2])
{
	CHECK_EQ(gort_close(pair[0]), 0);
	CHECK_EQ(gort_close(pair[1]), 0);
}

static inline gort_file *listen_at(const char *network, const char *address)
{
	gort_file *f;

	CHECK_EQ(gort_listen(&f, network, address, NULL), 0);
	return f;
}

static inline gort_file *dial_to(const char *network, gort_file *listener)
{
	char at[128];
	gort_file *f;

	CHECK(gort_local_address(listener, at, sizeof at) > 0);
	CHECK_EQ(gort_dial(&f, network, at), 0);
	return f;
}

static inline gort_file *accepted(gort_file *listener)
{
	gort_file *f;

	CHECK_EQ(gort_accept(listener, &f), 0);
	return f;
}

/* [0] is the one that dialled. */
static inline void net_pair(const char *network, const char *address, gort_file *pair[2])
{
	gort_file *l = listen_at(network, address);

	pair[0] = dial_to(network, l);
	pair[1] = accepted(l);
	CHECK_EQ(gort_close(l), 0);
}

static inline void tcp_pair(gort_file *pair[2])
{
	net_pair("tcp", "127.0.0.1:0", pair);
}

static inline void socket_pair(int type, gort_file *pair[2])
{
	int fds[2];

	CHECK_EQ(socketpair(AF_UNIX, type, 0, fds), 0);
	CHECK_EQ(gort_file_from_fd(&pair[0], fds[0]), 0);
	CHECK_EQ(gort_file_from_fd(&pair[1], fds[1]), 0);
}

static inline void pipe_pair(gort_file *pair[2])
{
	CHECK_EQ(gort_pipe(&pair[0], &pair[1]), 0);
}

/* Without waiting: until nothing goes in any more. How much did. Not TCP, whose bytes are on their way
 * for a while. */
static inline int64_t fill(gort_file *f)
{
	static char block[1 << 16];
	int64_t all = 0;
	ssize_t n;

	while ((n = write(f->poll.fd, block, sizeof block)) > 0)
		all += n;
	return all;
}

static inline bool waits_at(const gort_file *f, int side)
{
	return load_relaxed(&f->poll.side[side].waiting.head) != NULL;
}

static inline bool waits_at_gate(const gort_file *f, int side)
{
	return load_relaxed(&f->poll.side[side].gate.head) != NULL;
}

/* So many. */
static inline int gate_length(gort_file *f, int side)
{
	struct m *m = rt_enter();
	int n = 0;

	lock_acquire(&f->poll.lock);
	for (struct waiter *w = f->poll.side[side].gate.head; w; w = w->next)
		n++;
	lock_release(&f->poll.lock);
	rt_leave(m);
	return n;
}

/* No call is inside, and none waits: only holders are left. */
static inline bool is_at_rest(const gort_file *f)
{
	return (load_acquire(&f->state) & ((UINT64_C(1) << 36) - 1)) == 0;
}

/* A new regular file without a name, as one that reads and writes. */
static inline gort_file *scratch_file(void)
{
	char path[] = "/tmp/gort-test-XXXXXX";
	int fd = mkstemp(path);
	gort_file *f;

	CHECK(fd >= 0);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(gort_file_from_fd(&f, fd), 0);
	return f;
}

/* Bytes that tell where they belong. */
static inline unsigned char byte_at(int64_t i)
{
	return (unsigned char)((uint64_t)i * UINT64_C(0x9e3779b97f4a7c15) >> 56);
}

static inline void fill_pattern(void *buf, size_t n, int64_t from)
{
	for (size_t i = 0; i < n; i++)
		((unsigned char *)buf)[i] = byte_at(from + (int64_t)i);
}

static inline void check_pattern(const void *buf, size_t n, int64_t from)
{
	for (size_t i = 0; i < n; i++)
		if (((const unsigned char *)buf)[i] != byte_at(from + (int64_t)i))
			test_fail_(__FILE__, __LINE__, "byte %lld is wrong",
				   (long long)from + (long long)i);
}

#endif
