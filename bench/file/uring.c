/*
 * uring.c - the floor where the disk is asked: one thread, and an io_uring with DEPTH reads under way.
 * By liburing; not built where there is none.
 *
 *	read_uring FILE
 */
#include "reads.h"

#include <liburing.h>

static struct io_uring ring;
static struct reader all = { .seed = 1 };
static char buffers[DEPTH][BLOCK];
static uint64_t blocks;
static int fd;

static void ask(uint64_t which)
{
	struct io_uring_sqe *e = io_uring_get_sqe(&ring);

	expect(e != NULL, "room in the ring");
	io_uring_prep_read(e, fd, buffers[which], BLOCK, (uint64_t)next_place(&all, blocks));
	e->user_data = which;
}

static void take_answers(void)
{
	struct io_uring_cqe *e;

	expect(io_uring_submit_and_wait(&ring, 1) >= 0, "io_uring_submit_and_wait");
	while (io_uring_peek_cqe(&ring, &e) == 0) {
		count_read(&all, e->res);
		ask(e->user_data);
		io_uring_cqe_seen(&ring, e);
	}
}

static struct reading read_until(int64_t end)
{
	struct reading so_far;

	do {
		take_answers();
		so_far = reading_now(count_all(&all, 1));
	} while (so_far.wall < end);
	return so_far;
}

int main(int argc, char **argv)
{
	struct reading begin;

	program_name = "read_uring";
	expect(argc == 2, "usage: read_uring FILE");
	fd = open_blocks(argv[1], &blocks);
	expect(io_uring_queue_init(DEPTH * 2, &ring, 0) == 0, "io_uring_queue_init");
	for (uint64_t i = 0; i < DEPTH; i++)
		ask(i);
	begin = read_until(reading_now(0).wall + WARM_UP);
	report(begin, read_until(begin.wall + LENGTH));
	return 0; /* what is under way ends with the ring */
}
