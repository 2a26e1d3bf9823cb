/*
 * raw.c - the floor: one thread that calls pread, one call after the other.
 *
 *	read_raw FILE
 */
#include "reads.h"

#include <unistd.h>

#define BETWEEN_LOOKS 64 /* reads, between two looks at the clock */

static struct reading read_until(struct reader *r, int fd, uint64_t blocks, int64_t end)
{
	static char block[BLOCK];
	struct reading so_far;

	do {
		for (int i = 0; i < BETWEEN_LOOKS; i++)
			count_read(r, pread(fd, block, BLOCK, next_place(r, blocks)));
		so_far = reading_now(count_all(r, 1));
	} while (so_far.wall < end);
	return so_far;
}

int main(int argc, char **argv)
{
	struct reader r = { .seed = 1 };
	struct reading begin;
	uint64_t blocks;
	int fd;

	program_name = "read_raw";
	expect(argc == 2, "usage: read_raw FILE");
	fd = open_blocks(argv[1], &blocks);
	begin = read_until(&r, fd, blocks, reading_now(0).wall + WARM_UP);
	report(begin, read_until(&r, fd, blocks, begin.wall + LENGTH));
	close(fd);
	return 0;
}
