/*
 * child.h - a forked child that does something that processes do not survive.
 */
#ifndef GORT_TESTS_CHILD_H
#define GORT_TESTS_CHILD_H

#include "harness.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a child that calls fn says on stderr, and its status. */
static inline int in_child(void (*fn)(void), char *said, size_t size)
{
	int fds[2], status;
	size_t n = 0;
	ssize_t got;
	pid_t pid;

	CHECK_EQ(pipe(fds), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		const struct rlimit none = { 0, 0 };

		setrlimit(RLIMIT_CORE, &none);
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		close(fds[1]);
		fn();
		_exit(0);
	}
	close(fds[1]);
	while (n < size - 1 && (got = read(fds[0], said + n, size - 1 - n)) > 0)
		n += (size_t)got;
	said[n] = 0;
	close(fds[0]);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return status;
}

/* It dies of sig, having said all texts (the last is NULL). */
static inline void check_dies(void (*fn)(void), int sig, const char *const *texts)
{
	static char said[1 << 16];
	int status = in_child(fn, said, sizeof said);

	if (!WIFSIGNALED(status) || WTERMSIG(status) != sig)
		test_fail_(__FILE__, __LINE__, "status 0x%x, not signal %d; it said: %s", status,
			   sig, said);
	for (; *texts; texts++)
		if (!strstr(said, *texts))
			test_fail_(__FILE__, __LINE__, "\"%s\" is not in: %s", *texts, said);
}

#endif
