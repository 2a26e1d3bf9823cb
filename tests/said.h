/*
 * said.h - what is said on descriptor 2 meanwhile.
 */
#ifndef GORT_TESTS_SAID_H
#define GORT_TESTS_SAID_H

#include "harness.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct {
	int to, before;
	char text[1 << 16];
} said;

static inline void listen_on(void)
{
	said.to = memfd_create("said", MFD_CLOEXEC);
	said.before = dup(2);
	CHECK(said.to >= 0 && said.before >= 0);
	CHECK_EQ(dup2(said.to, 2), 2);
}

/* From now on it is in said.text. */
static inline void listen_off(void)
{
	ssize_t n;

	CHECK_EQ(dup2(said.before, 2), 2);
	n = pread(said.to, said.text, sizeof said.text - 1, 0);
	CHECK(n >= 0);
	said.text[n] = 0;
	close(said.to);
	close(said.before);
}

/* How often. */
static inline int said_times(const char *text)
{
	int n = 0;

	for (const char *at = said.text; (at = strstr(at, text)) != NULL; at++)
		n++;
	return n;
}

#endif
