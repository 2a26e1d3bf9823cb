/*
 * reads.c - see reads.h.
 */
#include "reads.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

int open_blocks(const char *path, uint64_t *blocks)
{
	int fd = expect_call(open(path, O_RDONLY | O_CLOEXEC), path);
	struct stat st;

	expect_call(fstat(fd, &st), path);
	expect(st.st_size >= BLOCK, "a file of a block at least");
	*blocks = (uint64_t)st.st_size / BLOCK;
	return fd;
}

/* xorshift64 */
off_t next_place(struct reader *r, uint64_t blocks)
{
	r->seed ^= r->seed << 13;
	r->seed ^= r->seed >> 7;
	r->seed ^= r->seed << 17;
	return (off_t)(r->seed % blocks * BLOCK);
}

/* It has one writer: no locked instruction. */
void count_read(struct reader *r, ssize_t n)
{
	expect(n == BLOCK, "a whole block");
	atomic_store_explicit(&r->reads, atomic_load_explicit(&r->reads, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

uint64_t count_all(const struct reader *readers, size_t n)
{
	uint64_t all = 0;

	for (size_t i = 0; i < n; i++)
		all += atomic_load_explicit(&readers[i].reads, memory_order_relaxed);
	return all;
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	expect_call(clock_gettime(clock, &t), "clock_gettime");
	return (int64_t)t.tv_sec * NS_PER_SEC + t.tv_nsec;
}

struct reading reading_now(uint64_t reads)
{
	return (struct reading){ clock_ns(CLOCK_MONOTONIC), clock_ns(CLOCK_PROCESS_CPUTIME_ID),
				 reads };
}

void report(struct reading begin, struct reading end)
{
	double reads = (double)(end.reads - begin.reads);

	expect(reads > 0, "no read ended");
	printf("cpu %.4f us\n", (double)(end.cpu - begin.cpu) / 1e3 / reads);
	printf("rate %.3f /s\n", reads / ((double)(end.wall - begin.wall) / NS_PER_SEC));
}
