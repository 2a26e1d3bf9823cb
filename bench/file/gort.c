/*
 * gort.c - the same by DEPTH goroutines, each with its block on its stack. bench/go/fileread is its
 * twin.
 *
 *	read_gort FILE          GORT_MAXPROCS as ever
 */
#include "reads.h"

#include <gort.h>

static struct reader readers[DEPTH];
static gort_file *file;
static uint64_t blocks;
static atomic_bool stop;

static void read_on(void *reader)
{
	struct reader *r = reader;
	char block[BLOCK];

	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		count_read(r, gort_pread(file, block, BLOCK, next_place(r, blocks)));
}

static struct reading after(int64_t duration)
{
	expect(gort_sleep(duration) == 0, "gort_sleep");
	return reading_now(count_all(readers, DEPTH));
}

GORT_MAIN(argc, argv)
{
	gort_waitgroup all = { 0 };
	struct reading begin;

	program_name = "read_gort";
	expect(argc == 2, "usage: read_gort FILE");
	expect(gort_file_from_fd(&file, open_blocks(argv[1], &blocks)) == 0, "gort_file_from_fd");
	for (size_t i = 0; i < DEPTH; i++) {
		readers[i].seed = i + 1;
		expect(gort_waitgroup_go(&all, read_on, &readers[i]) == 0, "gort_waitgroup_go");
	}
	begin = after(WARM_UP);
	report(begin, after(LENGTH));
	atomic_store_explicit(&stop, true, memory_order_relaxed);
	gort_waitgroup_wait(&all);
	gort_close(file);
	return 0;
}
