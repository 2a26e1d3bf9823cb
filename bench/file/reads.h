/*
 * reads.h - what those who read share: places in the file, counts, and the report. It knows
 * nothing of gort. bench/go/fileread does the same.
 *
 * A warm-up, then a timed window; readers read all the time, and count. What is printed:
 *
 *	cpu VALUE us         the process's CPU time, user and system, for a read
 *	rate VALUE /s
 */
#ifndef READS_H
#define READS_H

#include "net.h"

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#define DEPTH 64
#define BLOCK 4096
#define NS_PER_SEC 1000000000LL
#define WARM_UP (NS_PER_SEC / 2)
#define LENGTH (2 * NS_PER_SEC)

struct reader { /* a cache line of its own */
	_Alignas(64) atomic_uint_least64_t reads;
	uint64_t seed; /* not 0 */
};

int open_blocks(const char *path, uint64_t *blocks); /* its descriptor; 1 block at least */
off_t next_place(struct reader *r, uint64_t blocks); /* of a block, any of them */
void count_read(struct reader *r, ssize_t n);        /* n: what it gave, a whole block */
uint64_t count_all(const struct reader *readers, size_t n);

struct reading { /* how things stand at a time */
	int64_t wall, cpu;
	uint64_t reads;
};
struct reading reading_now(uint64_t reads);
void report(struct reading begin, struct reading end);

#endif
