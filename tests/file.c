/*
 * file.c - gort_file: pipes, regular files, devices, terminals, the standard descriptors; who holds one,
 * whole writes, several at once. What ends a wait: io_calls.c.
 */
#include "base/alloc.h"
#include "io.h"

#include <limits.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

static gort_waitgroup group;

static void wait_for_group(void)
{
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
}

/* ---- pipes --------------------------------------------------------------------------------------- */

static void check_pipe(void *arg)
{
	gort_file *p[2];
	char buf[16];

	(void)arg;
	pipe_pair(p);
	CHECK_EQ(gort_write(p[1], "hello", 5), 5);
	CHECK_EQ(gort_read(p[0], buf, 3), 3);
	CHECK_EQ(gort_read(p[0], buf + 3, sizeof buf - 3), 2);
	CHECK(memcmp(buf, "hello", 5) == 0);
	CHECK_EQ(gort_read(p[0], buf, 0), 0);
	CHECK_EQ(gort_write(p[1], buf, 0), 0);
	CHECK_EQ(gort_write_some(p[1], "x", 1), 1);
	CHECK_EQ(gort_close(p[1]), 0);
	CHECK_EQ(gort_read(p[0], buf, 5), 1);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(gort_read(p[0], buf, 5), 0);
	CHECK_EQ(gort_close(p[0]), 0);
}

// variants: maxprocs
TEST(pipe_passes_bytes_and_ends)
{
	check_pipe(NULL);
	on_guest(check_pipe, NULL);
}

static void read_all(void *arg)
{
	static unsigned char buf[10007];
	int64_t at = 0;
	ssize_t n;

	while ((n = gort_read(arg, buf, sizeof buf)) > 0) {
		check_pattern(buf, (size_t)n, at);
		at += n;
	}
	CHECK_EQ(n, 0);
	CHECK_EQ(at, 5000000);
}

// variants: maxprocs
TEST(a_large_write_is_whole)
{
	unsigned char *all = malloc(5000000);

	fill_pattern(all, 5000000, 0);
	for (int i = 0; i < 2; i++) {
		gort_file *p[2];

		if (i == 0)
			pipe_pair(p);
		else
			tcp_pair(p);
		CHECK_EQ(gort_waitgroup_go(&group, read_all, p[0]), 0);
		CHECK_EQ(gort_write(p[1], all, 5000000), 5000000);
		CHECK_EQ(gort_close(p[1]), 0);
		wait_for_group();
		CHECK_EQ(gort_close(p[0]), 0);
	}
	free(all);
}

TEST(read_full)
{
	gort_file *p[2];
	char buf[8] = "";

	pipe_pair(p);
	CHECK_EQ(gort_read_full(p[0], buf, 0), 0);
	CHECK_EQ(gort_write(p[1], "abcdefghij", 10), 10);
	CHECK_EQ(gort_read_full(p[0], buf, 4), 4);
	CHECK(memcmp(buf, "abcd", 4) == 0);
	CHECK_EQ(gort_close(p[1]), 0);
	CHECK_EQ(gort_read_full(p[0], buf, 8), 6);
	CHECK(memcmp(buf, "efghij", 6) == 0);
	CHECK_EQ(gort_read_full(p[0], buf, 8), 0);
	CHECK_EQ(gort_close(p[0]), 0);
}

static void write_in_bits(void *arg)
{
	for (int i = 0; i < 1000; i++) {
		char c = (char)byte_at(i);

		CHECK_EQ(gort_write(arg, &c, 1), 1);
		if (i % 7 == 0)
			gort_yield();
	}
}

static void expire_once_empty(void *f)
{
	EVENTUALLY(poll(&(struct pollfd){ gort_file_fd(f), POLLIN, 0 }, 1, 0) == 0);
	CHECK_EQ(gort_set_read_deadline(f, GORT_NOW), 0);
}

// variants: maxprocs
TEST(read_full_goes_on_until_it_has_all)
{
	gort_file *p[2];
	char buf[1000];

	pipe_pair(p);
	CHECK_EQ(gort_waitgroup_go(&group, write_in_bits, p[1]), 0);
	CHECK_EQ(gort_read_full(p[0], buf, sizeof buf), sizeof buf);
	check_pattern(buf, sizeof buf, 0);
	wait_for_group();
	CHECK_EQ(gort_write(p[1], "lost", 4), 4); /* after an error */
	CHECK_EQ(gort_waitgroup_go(&group, expire_once_empty, p[0]), 0);
	CHECK_EQ(gort_read_full(p[0], buf, sizeof buf), -ETIMEDOUT);
	wait_for_group();
	CHECK_EQ(gort_set_read_deadline(p[0], GORT_FOREVER), 0);
	CHECK_EQ(gort_close(p[1]), 0);
	CHECK_EQ(gort_read(p[0], buf, sizeof buf), 0);
	CHECK_EQ(gort_close(p[0]), 0);
}

/* ---- many buffers ---------------------------------------------------------------------------------- */

#define BUFFERS 10000

static void read_buffers(void *arg)
{
	static unsigned char buf[4096];
	int64_t at = 0;
	ssize_t n;

	while ((n = gort_read(arg, buf, sizeof buf)) > 0) {
		check_pattern(buf, (size_t)n, at);
		at += n;
	}
	CHECK_EQ(n, 0);
}

static void check_many_buffers(gort_file *to, gort_file *from)
{
	static struct iovec iov[BUFFERS];
	static unsigned char all[BUFFERS * 40];
	size_t at = 0;

	fill_pattern(all, sizeof all, 0);
	for (int i = 0; i < BUFFERS; i++) {
		iov[i] = (struct iovec){ all + at, i % 200 < 70 ? 0 : (size_t)(i % 41) };
		at += iov[i].iov_len;
	}
	CHECK_EQ(gort_waitgroup_go(&group, read_buffers, from), 0);
	CHECK_EQ(gort_writev(to, iov, BUFFERS), at);
	CHECK_EQ(gort_close(to), 0);
	wait_for_group();
	CHECK_EQ(gort_close(from), 0);
}

/* check(to, from), which closes both, on each kind of stream. */
static void on_each_stream(void (*check)(gort_file *to, gort_file *from))
{
	gort_file *p[2];

	pipe_pair(p);
	check(p[1], p[0]);
	tcp_pair(p);
	check(p[1], p[0]);
	socket_pair(SOCK_STREAM, p);
	check(p[1], p[0]);
}

// variants: maxprocs
TEST(writev_of_10000_buffers)
{
	on_each_stream(check_many_buffers);
}

TEST(writev_of_strange_numbers)
{
	gort_file *p[2];
	char byte = 'x', got[4];
	struct iovec huge[2] = { { &byte, SSIZE_MAX }, { &byte, 1 } };
	struct iovec empty[200] = { { &byte, 0 } };

	pipe_pair(p);
	CHECK_EQ(gort_writev(p[1], NULL, 0), 0);
	CHECK_EQ(gort_writev(p[1], huge, -1), -EINVAL);
	CHECK_EQ(gort_writev(p[1], huge, 2), -EINVAL);
	CHECK_EQ(gort_writev(p[1], empty, 200), 0);
	empty[199] = (struct iovec){ &byte, 1 };
	CHECK_EQ(gort_writev(p[1], empty, 200), 1);
	CHECK_EQ(gort_readv(p[0], huge, -1), -EINVAL);
	CHECK_EQ(gort_read(p[0], got, sizeof got), 1);
	close_both(p);
}

TEST(readv_fills_one_after_the_other)
{
	gort_file *p[2];
	char buf[2000];
	struct iovec iov[2000];

	pipe_pair(p);
	fill_pattern(buf, sizeof buf, 0);
	CHECK_EQ(gort_write(p[1], buf, sizeof buf), sizeof buf);
	memset(buf, 0, sizeof buf);
	for (int i = 0; i < 2000; i++)
		iov[i] = (struct iovec){ buf + i, 1 };
	CHECK_EQ(gort_readv(p[0], iov, 2000), 1024); /* as many as go at once */
	CHECK_EQ(gort_readv(p[0], iov + 1024, 2000 - 1024), 2000 - 1024);
	check_pattern(buf, sizeof buf, 0);
	close_both(p);
}

/* ---- whole writes do not mix -------------------------------------------------------------------------- */

#define WRITERS 8
#define BLOCK_MOST 30000

struct block {
	uint32_t size, writer, number;
};

static struct {
	gort_file *to;
	int rounds;
} mixed;

static void write_blocks(void *arg)
{
	uint32_t writer = (uint32_t)(uintptr_t)arg;
	unsigned char *buf = malloc(BLOCK_MOST);

	for (uint32_t i = 0; i < (uint32_t)mixed.rounds; i++) {
		struct block head = { (writer * 7919 + i * 104729) % BLOCK_MOST, writer, i };
		struct iovec iov[3] = { { &head, sizeof head }, { buf, 0 }, { buf, head.size } };

		memset(buf, (int)(writer * 16 + i % 16), head.size);
		if (i % 2 == 0 || head.size < sizeof head) {
			CHECK_EQ(gort_writev(mixed.to, iov, 3), (int64_t)(sizeof head + head.size));
		} else {
			head.size -= (uint32_t)sizeof head;
			memcpy(buf, &head, sizeof head);
			CHECK_EQ(gort_write(mixed.to, buf, head.size + sizeof head),
				 (int64_t)(head.size + sizeof head));
		}
	}
	free(buf);
}

static void write_blocks_and_end(void *arg)
{
	write_blocks(arg);
	gort_waitgroup_done(&group);
}

static void check_blocks(gort_file *from)
{
	static unsigned char buf[BLOCK_MOST];
	uint32_t next[WRITERS + 2] = { 0 };

	for (int i = 0; i < (WRITERS + 2) * mixed.rounds; i++) {
		struct block head;

		CHECK_EQ(gort_read_full(from, &head, sizeof head), sizeof head);
		CHECK(head.writer < WRITERS + 2 && head.size < BLOCK_MOST);
		CHECK_EQ(head.number, next[head.writer]++);
		CHECK_EQ(gort_read_full(from, buf, head.size), head.size);
		for (uint32_t k = 0; k < head.size; k++)
			CHECK_EQ(buf[k], (unsigned char)(head.writer * 16 + head.number % 16));
	}
}

static void check_whole(gort_file *to, gort_file *from)
{
	struct guest *g[2];

	mixed.to = to;
	mixed.rounds = SCALE(100);
	for (uintptr_t i = 0; i < WRITERS; i++)
		CHECK_EQ(gort_waitgroup_go(&group, write_blocks, (void *)i), 0);
	for (uintptr_t i = 0; i < 2; i++) {
		gort_waitgroup_add(&group, 1);
		g[i] = guest_start(write_blocks_and_end, (void *)(WRITERS + i));
	}
	check_blocks(from);
	wait_for_group();
	guest_join(g[0]);
	guest_join(g[1]);
	CHECK(is_at_rest(to));
	CHECK_EQ(gort_close(to), 0);
	CHECK_EQ(gort_close(from), 0);
}

// variants: maxprocs
TEST(whole_writes_do_not_mix)
{
	on_each_stream(check_whole);
}

/* ---- several readers ------------------------------------------------------------------------------------ */

#define READERS 16

static struct {
	gort_file *from;
	atomic_int_fast64_t sum, count;
} shared;

static void read_numbers(void *arg)
{
	int64_t n, last = -1;
	ssize_t got;

	(void)arg;
	while ((got = gort_read_full(shared.from, &n, sizeof n)) == sizeof n) {
		CHECK(n > last); /* the turns are in order */
		last = n;
		atomic_fetch_add(&shared.sum, n);
		atomic_fetch_add(&shared.count, 1);
	}
	CHECK_EQ(got, 0);
}

static void write_numbers(gort_file *to, int64_t n)
{
	unsigned char bytes[8];

	for (int64_t i = 0; i < n; i++) {
		memcpy(bytes, &i, sizeof i);
		if (i % 3 == 0) { /* in two pieces */
			CHECK_EQ(gort_write(to, bytes, 3), 3);
			if (i % 2 == 0)
				gort_yield();
			CHECK_EQ(gort_write(to, bytes + 3, 5), 5);
		} else {
			CHECK_EQ(gort_write(to, bytes, 8), 8);
		}
	}
}

// variants: maxprocs
TEST(each_of_several_readers_gets_what_it_asked_for)
{
	for (int round = 0; round < 2; round++) {
		gort_file *p[2];
		int64_t n = SCALE(20000);

		if (round == 0)
			pipe_pair(p);
		else
			tcp_pair(p);
		shared.from = p[0];
		atomic_store(&shared.sum, 0);
		atomic_store(&shared.count, 0);
		for (int i = 0; i < READERS; i++)
			CHECK_EQ(gort_waitgroup_go(&group, read_numbers, NULL), 0);
		write_numbers(p[1], n);
		CHECK_EQ(gort_close(p[1]), 0);
		wait_for_group();
		CHECK_EQ(atomic_load(&shared.count), n);
		CHECK_EQ(atomic_load(&shared.sum), n * (n - 1) / 2);
		CHECK(is_at_rest(p[0]));
		CHECK_EQ(gort_close(p[0]), 0);
	}
}

static char order[8];
static atomic_int order_at;

static void read_in_turn(void *arg)
{
	char byte;

	CHECK_EQ(gort_read(arg, &byte, 1), 1);
	order[byte - '0'] = (char)('0' + atomic_fetch_add(&order_at, 1));
}

// variants: maxprocs
TEST(readers_come_in_the_order_in_which_they_began)
{
	gort_file *p[2];

	pipe_pair(p);
	for (int i = 0; i < 5; i++) {
		CHECK_EQ(gort_waitgroup_go(&group, read_in_turn, p[0]), 0);
		EVENTUALLY(waits_at(p[0], POLL_READ) && gate_length(p[0], POLL_READ) == i);
	}
	for (int i = 0; i < 5; i++) {
		char byte = (char)('0' + i);

		CHECK_EQ(gort_write(p[1], &byte, 1), 1);
		EVENTUALLY(atomic_load(&order_at) == i + 1);
	}
	wait_for_group();
	CHECK_STR(order, "01234");
	close_both(p);
}

/* One reads and one writes: the two sides do not wait for each other. */
// variants: maxprocs
TEST(a_reader_that_waits_is_no_hindrance_to_a_writer)
{
	gort_file *p[2];
	char byte = '0';

	tcp_pair(p);
	CHECK_EQ(gort_waitgroup_go(&group, read_in_turn, p[0]), 0);
	EVENTUALLY(waits_at(p[0], POLL_READ));
	CHECK_EQ(gort_write(p[0], "x", 1), 1);
	CHECK_EQ(gort_write(p[1], &byte, 1), 1);
	wait_for_group();
	close_both(p);
}

/* ---- no SIGPIPE -------------------------------------------------------------------------------------------- */

static atomic_int sigpipes;

static void on_sigpipe(int signo)
{
	(void)signo;
	atomic_fetch_add(&sigpipes, 1);
}

static void check_broken(gort_file *to, gort_file *from)
{
	gort_file *file = scratch_file(), *p[2];
	struct iovec iov[2] = { { "a", 1 }, { "b", 1 } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };

	CHECK_EQ(gort_pwrite(file, "0123456789", 10, 0), 10);
	CHECK_EQ(gort_close(from), 0);
	/* A TCP socket learns it from an answer. */
	EVENTUALLY(gort_write(to, "x", 1) < 0);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(gort_write(to, "x", 1), -EPIPE);
		CHECK_EQ(gort_write_some(to, "x", 1), -EPIPE);
		CHECK_EQ(gort_writev(to, iov, 2), -EPIPE);
		CHECK_EQ(gort_copy(to, file, -1, NULL), -EPIPE);
		pipe_pair(p);
		CHECK_EQ(gort_write(p[1], "in between", 10), 10);
		CHECK_EQ(gort_copy(to, p[0], 10, NULL), -EPIPE);
		close_both(p);
		if (to->kind == FILE_SOCKET)
			CHECK_EQ(gort_sendmsg(to, &m, 0), -EPIPE);
	}
	CHECK_EQ(gort_close(to), 0);
	CHECK_EQ(gort_close(file), 0);
}

static void check_broken_ones(void *arg)
{
	gort_file *p[2];

	(void)arg;
	pipe_pair(p);
	check_broken(p[1], p[0]);
	socket_pair(SOCK_STREAM, p);
	check_broken(p[1], p[0]);
	tcp_pair(p);
	check_broken(p[1], p[0]);
}

// variants: maxprocs
TEST(no_sigpipe_is_raised)
{
	CHECK(signal(SIGPIPE, on_sigpipe) != SIG_ERR);
	check_broken_ones(NULL);
	on_guest(check_broken_ones, NULL);
	CHECK_EQ(atomic_load(&sigpipes), 0);
	raise(SIGPIPE); /* it is not blocked */
	CHECK_EQ(atomic_load(&sigpipes), 1);
	signal(SIGPIPE, SIG_DFL);
	check_broken_ones(NULL); /* it would die */
}

/* Takes some, and hangs up: with luck in the midst of one call of sendfile's or splice's. */
static void *hang_up_midway(void *arg)
{
	gort_file *f = arg;
	char buf[4096];
	unsigned some = 0;

	while (some++ < 20)
		(void)!recv(gort_file_fd(f), buf, sizeof buf, 0); /* it does not wait */
	shutdown(gort_file_fd(f), SHUT_RDWR);
	return NULL;
}

// variants: maxprocs
TEST(no_sigpipe_when_the_reader_goes_midway)
{
	gort_file *file = scratch_file(), *p[2];
	pthread_t reader;
	int rc;

	CHECK_EQ(ftruncate(gort_file_fd(file), 1 << 20), 0);
	for (int i = 0; i < SCALE(3000); i++) { /* SIGPIPE would kill */
		socket_pair(SOCK_STREAM, p);
		CHECK_EQ(lseek(gort_file_fd(file), 0, SEEK_SET), 0);
		CHECK_EQ(pthread_create(&reader, NULL, hang_up_midway, p[0]), 0);
		rc = gort_copy(p[1], file, -1, NULL);
		CHECK(rc == -EPIPE || rc == -ECONNRESET);
		CHECK_EQ(pthread_join(reader, NULL), 0);
		close_both(p);
	}
	CHECK_EQ(gort_close(file), 0);
}

/* One that is the program's own, and blocked, stays. */
static void check_pending_stays(void *arg)
{
	const struct timespec at_once = { 0 };
	sigset_t set, pending;

	(void)arg;
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	check_broken_ones(NULL);
	sigpending(&pending);
	CHECK(!sigismember(&pending, SIGPIPE)); /* none of ours */
	raise(SIGPIPE);
	check_broken_ones(NULL);
	sigpending(&pending);
	CHECK(sigismember(&pending, SIGPIPE));
	CHECK_EQ(sigtimedwait(&set, NULL, &at_once), SIGPIPE);
	CHECK_EQ(sigtimedwait(&set, NULL, &at_once), -1);
	CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
}

TEST(a_sigpipe_that_is_pending_is_kept)
{
	gort_lock_thread();
	check_pending_stays(NULL);
	gort_unlock_thread();
	on_guest(check_pending_stays, NULL);
}

/* ---- regular files, devices --------------------------------------------------------------------------------- */

static void check_regular(void *arg)
{
	char path[] = "/tmp/gort-test-XXXXXX", buf[100];
	int fd = mkstemp(path);
	gort_file *f, *again;

	(void)arg;
	close(fd);
	CHECK_EQ(gort_open(&f, path, O_RDWR | O_TRUNC, 0), 0);
	CHECK(fcntl(gort_file_fd(f), F_GETFD) & FD_CLOEXEC);
	CHECK_EQ(gort_write(f, "0123456789", 10), 10);
	CHECK_EQ(gort_read(f, buf, 10), 0);
	CHECK_EQ(gort_pread(f, buf, sizeof buf, 4), 6);
	CHECK(memcmp(buf, "456789", 6) == 0);
	CHECK_EQ(gort_pread(f, buf, 5, 10), 0);
	CHECK_EQ(gort_pread(f, buf, 5, 11), 0);
	CHECK_EQ(gort_pread(f, buf, 5, -1), -EINVAL);
	CHECK_EQ(gort_pwrite(f, "AB", 2, 12), 2);
	CHECK_EQ(gort_pwrite(f, "AB", 0, 12), 0);
	CHECK_EQ(gort_pread(f, buf, sizeof buf, 0), 14);
	CHECK(memcmp(buf, "0123456789\0\0AB", 14) == 0);
	CHECK_EQ(gort_fsync(f), 0);
	CHECK_EQ(gort_open(&again, path, O_WRONLY | O_APPEND, 0), 0);
	CHECK_EQ(gort_read(again, buf, 1), -EBADF);
	CHECK_EQ(gort_pread(again, buf, 1, 0), -EBADF);
	CHECK_EQ(gort_write(again, "end", 3), 3);
	CHECK_EQ(gort_close(again), 0);
	CHECK_EQ(lseek(gort_file_fd(f), 0, SEEK_SET), 0);
	CHECK_EQ(gort_read_full(f, buf, sizeof buf), 17);
	CHECK_EQ(gort_shutdown(f, SHUT_RD), -ENOTSOCK);
	CHECK_EQ(gort_accept(f, &again), -ENOTSOCK);
	CHECK_EQ(gort_set_read_deadline(f, gort_now()), 0);
	CHECK_EQ(gort_read(f, buf, 1), -ETIMEDOUT);
	CHECK_EQ(gort_write(f, "x", 1), 1);
	CHECK_EQ(gort_close(f), 0);
	CHECK_EQ(unlink(path), 0);
}

// variants: maxprocs
TEST(regular_files)
{
	check_regular(NULL);
	on_guest(check_regular, NULL);
}

TEST(errors_of_open)
{
	gort_file here, *f = &here;

	CHECK_EQ(gort_open(&f, "/no/such/file", O_RDONLY, 0), -ENOENT);
	CHECK_EQ(gort_open(&f, "/tmp", O_WRONLY, 0), -EISDIR);
	CHECK_EQ(gort_open(&f, "/dev/null/x", O_RDONLY, 0), -ENOTDIR);
	CHECK_EQ(gort_file_from_fd(&f, -1), -EBADF);
	CHECK_EQ(gort_file_from_fd(&f, 1000000), -EBADF);
	CHECK(f == &here);
}

TEST(directories_and_devices)
{
	gort_file *f;
	char buf[4096] = { 0 };

	CHECK_EQ(gort_open(&f, "/tmp", O_RDONLY | O_DIRECTORY, 0), 0);
	CHECK_EQ(gort_read(f, buf, 1), -EISDIR);
	CHECK_EQ(gort_close(f), 0);
	CHECK_EQ(gort_open(&f, "/dev/null", O_RDWR, 0), 0);
	CHECK_EQ(gort_read(f, buf, 1), 0);
	CHECK_EQ(gort_write(f, buf, sizeof buf), sizeof buf);
	CHECK_EQ(gort_close(f), 0);
	CHECK_EQ(gort_open(&f, "/dev/zero", O_RDWR, 0), 0);
	memset(buf, 1, sizeof buf);
	CHECK_EQ(gort_read_full(f, buf, sizeof buf), sizeof buf);
	for (size_t i = 0; i < sizeof buf; i++)
		CHECK_EQ(buf[i], 0);
	CHECK_EQ(gort_close(f), 0);
	CHECK_EQ(gort_open(&f, "/dev/full", O_RDWR, 0), 0);
	CHECK_EQ(gort_write(f, "x", 1), -ENOSPC);
	CHECK_EQ(gort_close(f), 0);
	CHECK_EQ(gort_open(&f, "/proc/self/stat", O_RDONLY, 0), 0);
	CHECK(gort_read_full(f, buf, sizeof buf) > 100);
	CHECK_EQ(gort_close(f), 0);
}

/* It gives what it could. */
TEST(pwrite_that_meets_an_error_behind_some_of_it)
{
	int fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	static char buf[3 * 65536];
	gort_file *f;
	ssize_t n;

	CHECK_EQ(ftruncate(fd, 65536), 0);
	CHECK_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
	CHECK_EQ(gort_file_from_fd(&f, fd), 0);
	n = gort_pwrite(f, buf, sizeof buf, 0);
	if (n == -EPERM)
		SKIP("this kernel writes nothing of it");
	CHECK_EQ(n, 65536);
	CHECK_EQ(gort_pwrite(f, buf, 1, 65536), -EPERM);
	CHECK_EQ(gort_close(f), 0);
}

static void write_far(void *arg)
{
	static atomic_int next;
	int64_t at = atomic_fetch_add(&next, 1);
	char block[5000];

	fill_pattern(block, sizeof block, at * 5000);
	CHECK_EQ(gort_pwrite(arg, block, sizeof block, at * 5000), 5000);
}

// variants: maxprocs
TEST(many_at_their_own_places)
{
	gort_file *f = scratch_file();
	static char all[5000 * 50];

	for (int i = 0; i < 50; i++)
		CHECK_EQ(gort_waitgroup_go(&group, write_far, f), 0);
	wait_for_group();
	CHECK_EQ(gort_pread(f, all, sizeof all, 0), sizeof all);
	check_pattern(all, sizeof all, 0);
	CHECK_EQ(gort_close(f), 0);
}

TEST(what_cannot_be_synced)
{
	gort_file *p[2];

	pipe_pair(p);
	CHECK_EQ(gort_fsync(p[0]), -EINVAL);
	CHECK_EQ(gort_pread(p[0], NULL, 0, 0), -ESPIPE);
	CHECK_EQ(gort_pwrite(p[1], "", 1, 0), -ESPIPE);
	close_both(p);
}

/* eventfd and the like are files as any. */
// variants: maxprocs
TEST(eventfd_as_a_file)
{
	gort_file *f;
	uint64_t n = 3;

	CHECK_EQ(gort_file_from_fd(&f, eventfd(0, EFD_SEMAPHORE)), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(gort_write(f, &n, sizeof n), sizeof n);
	for (int i = 0; i < 9; i++) {
		CHECK_EQ(gort_read(f, &n, sizeof n), sizeof n);
		CHECK_EQ(n, 1);
	}
	CHECK_EQ(gort_set_read_deadline(f, gort_in(GORT_MS)), 0);
	CHECK_EQ(gort_read(f, &n, sizeof n), -ETIMEDOUT);
	CHECK_EQ(gort_close(f), 0);
}

/* ---- holders ------------------------------------------------------------------------------------------------- */

/* What is there; 0: nothing. A number that is free again may be somebody else's, if only for a moment. */
static ino_t inode_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

TEST(each_holder_closes)
{
	gort_file *p[2], *next[2];
	ino_t inode;
	int fd;

	pipe_pair(p);
	fd = gort_file_fd(p[0]);
	inode = inode_of(fd);
	CHECK(inode != 0);
	CHECK(gort_file_retain(p[0]) == p[0]);
	CHECK(gort_file_retain(p[0]) == p[0]);
	CHECK_EQ(gort_close(p[0]), 0);
	CHECK(inode_of(fd) != inode); /* at once, not when the last goes */
	CHECK_EQ(gort_close(p[0]), -EBADF);
	pipe_pair(next); /* it is no other's yet */
	CHECK(next[0] != p[0] && next[1] != p[0]);
	CHECK_EQ(gort_read(p[0], NULL, 0), -EBADF);
	CHECK_EQ(gort_close(p[0]), -EBADF);
	CHECK_EQ(gort_close(p[1]), 0);
	close_both(next);
}

static void read_one(void *arg)
{
	char byte;

	CHECK_EQ(gort_read(arg, &byte, 1), -EBADF);
}

/* What a file was is used again, however it was closed. */
// variants: maxprocs
TEST(memory_of_files_is_used_again)
{
	gort_file *p[2], *first[2];

	pipe_pair(first);
	close_both(first);
	for (int i = 0; i < 100; i++) {
		pipe_pair(p);
		CHECK((p[0] == first[0] && p[1] == first[1]) ||
		      (p[0] == first[1] && p[1] == first[0]));
		CHECK_EQ(gort_waitgroup_go(&group, read_one, p[0]), 0);
		CHECK_EQ(gort_waitgroup_go(&group, read_one, p[0]), 0);
		if (i % 3)
			EVENTUALLY(waits_at_gate(p[0], POLL_READ));
		if (i % 2)
			gort_file_retain(p[0]);
		CHECK_EQ(gort_close(p[0]), 0);
		wait_for_group();
		if (i % 2)
			CHECK_EQ(gort_close(p[0]), -EBADF);
		CHECK_EQ(gort_close(p[1]), 0);
	}
}

TEST_DIES(closing_too_often, "gort_close: a file that its holders have closed")
{
	gort_file *p[2];

	pipe_pair(p);
	CHECK_EQ(gort_close(p[0]), 0);
	gort_close(p[0]);
}

TEST_DIES(no_file_to_read, "gort_read: no file")
{
	gort_read(NULL, NULL, 0);
}

TEST_DIES(no_file_to_copy, "gort_copy: no file")
{
	gort_file *f = scratch_file();

	gort_copy(f, NULL, 0, NULL);
}

TEST_DIES(no_file_to_close, "gort_close: no file")
{
	gort_close(NULL);
}

TEST(descriptor_of_a_file)
{
	gort_file *p[2];

	pipe_pair(p);
	CHECK(gort_file_fd(p[0]) >= 0 && gort_file_fd(p[0]) != gort_file_fd(p[1]));
	CHECK(fcntl(gort_file_fd(p[0]), F_GETFD) & FD_CLOEXEC);
	CHECK(fcntl(gort_file_fd(p[0]), F_GETFL) & O_NONBLOCK);
	CHECK_EQ(gort_wait_fd(gort_file_fd(p[0]), POLLIN, GORT_NOW), -ETIMEDOUT);
	CHECK_EQ(write(gort_file_fd(p[1]), "x", 1), 1);
	CHECK_EQ(gort_wait_fd(gort_file_fd(p[0]), POLLIN, GORT_FOREVER), POLLIN);
	close_both(p);
}

TEST(flags_of_what_is_taken_over)
{
	gort_file *f;
	int fds[2];
	ino_t inode;

	CHECK_EQ(pipe(fds), 0);
	inode = inode_of(fds[0]);
	CHECK_EQ(gort_file_from_fd(&f, fds[0]), 0);
	CHECK_EQ(gort_file_fd(f), fds[0]);
	CHECK(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
	CHECK(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
	CHECK(!(fcntl(fds[1], F_GETFD) & FD_CLOEXEC));
	CHECK_EQ(gort_close(f), 0);
	CHECK(inode_of(fds[0]) != inode);
	close(fds[1]);
}

TEST_PLAIN(without_a_runtime)
{
	gort_file here, *f = &here;
	int fds[2];

	CHECK_EQ(pipe(fds), 0);
	CHECK_EQ(gort_file_from_fd(&f, fds[0]), -ESRCH);
	CHECK_EQ(gort_pipe(&f, &f), -ESRCH);
	CHECK_EQ(gort_open(&f, "/dev/null", O_RDONLY, 0), -ESRCH);
	CHECK_EQ(gort_listen(&f, "tcp", "127.0.0.1:0", NULL), -ESRCH);
	CHECK_EQ(gort_dial(&f, "tcp", "127.0.0.1:1"), -ESRCH);
	CHECK(gort_std(0) == NULL);
	CHECK(f == &here);
	CHECK(fcntl(fds[0], F_GETFD) >= 0);
	close(fds[0]);
	close(fds[1]);
}

TEST(out_of_memory)
{
	gort_file here, *p[2] = { &here, &here };
	int fds[2];

	if (!CHECKED)
		SKIP("memory is never short");
	CHECK_EQ(pipe(fds), 0);
	for (uint32_t i = 1; i <= 2; i++) {
		mem_fail_after(i);
		CHECK_EQ(gort_pipe(&p[0], &p[1]), -ENOMEM);
		mem_fail_after(0);
	}
	mem_fail_after(1);
	CHECK_EQ(gort_file_from_fd(&p[0], fds[0]), -ENOMEM);
	mem_fail_after(1);
	CHECK_EQ(gort_open(&p[0], "/dev/null", O_RDONLY, 0), -ENOMEM);
	mem_fail_after(0);
	CHECK(p[0] == &here);
	CHECK_EQ(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
	close(fds[0]);
	close(fds[1]);
}

/* None more is to be had from here on, whoever gives one back. */
static struct rlimit limit_descriptors(void)
{
	struct rlimit before;

	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 0, before.rlim_max }), 0);
	return before;
}

TEST(out_of_descriptors)
{
	struct rlimit before;
	gort_file *p[2], *f;
	char byte;

	pipe_pair(p);
	CHECK_EQ(gort_set_read_deadline(p[0], gort_in(GORT_MS)), 0);
	CHECK_EQ(gort_read(p[0], &byte, 1), -ETIMEDOUT);
	before = limit_descriptors();
	CHECK_EQ(gort_pipe(&p[0], &p[0]), -EMFILE);
	CHECK_EQ(gort_open(&f, "/dev/null", O_RDONLY, 0), -EMFILE);
	CHECK_EQ(gort_listen(&f, "tcp", "127.0.0.1:0", NULL), -EMFILE);
	CHECK_EQ(gort_dial(&f, "tcp", "127.0.0.1:1"), -EMFILE);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
	close_both(p);
}

/* ---- terminals ----------------------------------------------------------------------------------------------- */

static struct {
	int master;
	gort_file *slave;
} tty;

static void open_tty(void)
{
	int fd;

	CHECK_EQ(openpty(&tty.master, &fd, NULL, NULL, NULL), 0);
	CHECK_EQ(gort_file_from_fd(&tty.slave, fd), 0);
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
}

static atomic_int said_result;
static char said_text[100];

static void read_line(void *arg)
{
	atomic_store(&said_result, (int)gort_read(arg, said_text, sizeof said_text));
}

// variants: maxprocs
TEST(who_reads_a_terminal_waits_for_a_line)
{
	open_tty();
	atomic_store(&said_result, 77);
	CHECK_EQ(gort_waitgroup_go(&group, read_line, tty.slave), 0);
	EVENTUALLY(waits_at(tty.slave, POLL_READ));
	CHECK_EQ(write(tty.master, "half", 4), 4);
	CHECK_EQ(atomic_load(&said_result), 77);
	CHECK_EQ(write(tty.master, " a line\n", 8), 8);
	wait_for_group();
	CHECK_EQ(atomic_load(&said_result), 12);
	CHECK(memcmp(said_text, "half a line\n", 12) == 0);
	CHECK_EQ(gort_write(tty.slave, "answer\n", 7), 7);
	CHECK_EQ(gort_set_read_deadline(tty.slave, gort_in(GORT_MS)), 0);
	CHECK_EQ(gort_read(tty.slave, said_text, 1), -ETIMEDOUT);
	CHECK_EQ(gort_close(tty.slave), 0);
	close(tty.master);
}

// variants: maxprocs
TEST(who_reads_a_terminal_is_ended_by_close_and_hangup)
{
	open_tty();
	CHECK_EQ(gort_waitgroup_go(&group, read_line, tty.slave), 0);
	EVENTUALLY(waits_at(tty.slave, POLL_READ));
	CHECK_EQ(gort_close(tty.slave), 0);
	wait_for_group();
	CHECK_EQ(atomic_load(&said_result), -EBADF);
	close(tty.master);

	open_tty();
	CHECK_EQ(gort_waitgroup_go(&group, read_line, tty.slave), 0);
	EVENTUALLY(waits_at(tty.slave, POLL_READ));
	close(tty.master);
	wait_for_group();
	CHECK(atomic_load(&said_result) == 0 || atomic_load(&said_result) == -EIO);
	CHECK_EQ(gort_close(tty.slave), 0);
}

static void write_to_tty(void *arg)
{
	static char much[100000];

	memset(much, 'm', sizeof much);
	CHECK_EQ(gort_write(arg, much, sizeof much), sizeof much);
}

/* It may block its thread: the others go on. */
// variants: maxprocs
TEST(who_writes_to_a_terminal_holds_up_nobody)
{
	char buf[4096];
	int64_t all = 0;

	open_tty();
	CHECK_EQ(gort_waitgroup_go(&group, write_to_tty, tty.slave), 0);
	for (int i = 0; i < 100; i++)
		gort_yield();
	CHECK_EQ(gort_sleep(5 * GORT_MS), 0);
	while (all < 100000) {
		ssize_t n = read(tty.master, buf, sizeof buf);

		CHECK(n > 0);
		all += n;
	}
	wait_for_group();
	CHECK_EQ(gort_close(tty.slave), 0);
	close(tty.master);
}

/* ---- the standard descriptors ------------------------------------------------------------------------------------ */

static void std_as(int fd, int other)
{
	CHECK_EQ(dup2(other, fd), fd);
	close(other);
}

static int use_std(void *arg)
{
	char buf[16];
	int flags = fcntl(0, F_GETFL);
	gort_file *f = gort_std(0);

	CHECK(f != NULL);
	CHECK(f == gort_std(0));
	CHECK_EQ(gort_file_fd(f), 0);
	CHECK_EQ(fcntl(0, F_GETFL), flags);
	CHECK_EQ(gort_close(f), -EINVAL);
	CHECK_EQ(gort_close(f), -EINVAL);
	CHECK_EQ(gort_waitgroup_go(&group, read_line, f), 0);
	EVENTUALLY(waits_at(f, POLL_READ));
	CHECK_EQ(write(*(int *)arg, "in", 2), 2);
	wait_for_group();
	CHECK_EQ(atomic_load(&said_result), 2);
	CHECK_EQ(write(*(int *)arg, "more", 4), 4);
	CHECK_EQ(gort_read(f, buf, sizeof buf), 4);
	CHECK_EQ(gort_set_read_deadline(f, gort_in(GORT_MS)), 0);
	CHECK_EQ(gort_read(f, buf, sizeof buf), -ETIMEDOUT);
	CHECK_EQ(gort_set_read_deadline(f, GORT_FOREVER), 0);
	return 0;
}

// variants: maxprocs
TEST_PLAIN(standard_input_is_lent_and_survives_runtimes)
{
	int before = dup(0), fds[2];

	CHECK_EQ(pipe(fds), 0);
	std_as(0, fds[0]);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(gort_run(use_std, &fds[1], NULL), 0);
	CHECK_EQ(gort_run(use_std, &fds[1], NULL), 0);
	std_as(0, before);
	close(fds[1]);
}

static int look_for_std(void *limit)
{
	CHECK(gort_std(-1) == NULL);
	CHECK(gort_std(3) == NULL);
	*(struct rlimit *)limit =
		limit_descriptors(); /* or a thread of gort's might take number 0 */
	close(0);
	CHECK(gort_std(0) == NULL);
	CHECK(gort_std(1) != NULL);
	return 0;
}

TEST_PLAIN(what_is_no_standard_descriptor)
{
	int before = dup(0);
	struct rlimit limit;

	CHECK_EQ(gort_run(look_for_std, &limit, NULL), 0);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	std_as(0, before);
}

TEST(standard_input_of_a_regular_file_and_null)
{
	int before = dup(0), fd = memfd_create("in", MFD_CLOEXEC);
	char buf[16];

	CHECK_EQ(write(fd, "text", 4), 4);
	CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
	std_as(0, fd);
	CHECK_EQ(gort_read_full(gort_std(0), buf, sizeof buf), 4);
	CHECK_EQ(gort_read(gort_std(0), buf, sizeof buf), 0);
	std_as(0, before);
}

/* A pipe that others fill: it must not be made not to block. */
TEST(standard_output_is_a_full_pipe)
{
	int before = dup(1), fds[2];
	gort_file *out;
	char buf[4096] = { 0 };

	CHECK_EQ(pipe(fds), 0);
	std_as(1, fds[1]);
	out = gort_std(1);
	CHECK_EQ(fcntl(1, F_GETFL) & O_NONBLOCK, 0);
	CHECK_EQ(gort_write(out, buf, 4096), 4096);
	for (int i = 0; i < 15; i++)
		CHECK_EQ(write(1, buf, 4096), 4096);
	CHECK_EQ(gort_set_write_deadline(out, gort_in(GORT_MS)), 0);
	CHECK_EQ(gort_write(out, "x", 1), -ETIMEDOUT);
	CHECK_EQ(gort_set_write_deadline(out, GORT_FOREVER), 0);
	close(fds[0]);
	CHECK_EQ(gort_write(out, "x", 1), -EPIPE); /* and no SIGPIPE */
	std_as(1, before);
}

/* ---- deadlines --------------------------------------------------------------------------------------------------- */

// variants: maxprocs
TEST(a_deadline_can_be_moved_while_somebody_waits)
{
	gort_file *p[2];
	char buf[4];
	int64_t shorter, last;
	bool in_time;

	pipe_pair(p);
	CHECK_EQ(gort_set_read_deadline(p[0], gort_in(LONG_TIME)), 0);
	CHECK_EQ(gort_waitgroup_go(&group, read_line, p[0]), 0);
	EVENTUALLY(waits_at(p[0], POLL_READ));
	shorter = gort_in(20 * GORT_MS);
	CHECK_EQ(gort_set_read_deadline(p[0], shorter), 0);
	CHECK_EQ(gort_set_read_deadline(p[0], gort_in(LONG_TIME)), 0);
	in_time = gort_now() < shorter; /* or that has passed, where all is slow */
	CHECK_EQ(gort_set_write_deadline(p[0], gort_now()), 0); /* not of this side */
	gort_sleep(30 * GORT_MS);
	EVENTUALLY(waits_at(p[0], POLL_READ) || !in_time);
	last = gort_in(10 * GORT_MS);
	CHECK_EQ(gort_set_read_deadline(p[0], last), 0);
	wait_for_group();
	CHECK_EQ(atomic_load(&said_result), -ETIMEDOUT);
	CHECK(gort_now() >= last || !in_time);
	gort_sleep_until(last);
	CHECK_EQ(gort_write(p[1], "data", 4), 4);
	CHECK_EQ(gort_read(p[0], buf, 4), -ETIMEDOUT); /* even if it could */
	CHECK_EQ(gort_set_read_deadline(p[0], GORT_FOREVER), 0);
	CHECK_EQ(gort_read(p[0], buf, 4), 4);
	close_both(p);
}

static void move_deadlines(void *arg)
{
	gort_file *f = arg;

	for (int i = 0; i < SCALE(5000); i++) {
		CHECK_EQ(gort_set_read_deadline(f, gort_in(i % 3 ? LONG_TIME : 30 * GORT_US)), 0);
		if (i % 50 == 0)
			gort_yield();
	}
	CHECK_EQ(gort_set_read_deadline(f, GORT_FOREVER), 0);
}

static void read_in_spite(void *arg)
{
	int64_t n = 0;
	char buf[64];
	ssize_t got;

	do {
		got = gort_read(arg, buf, sizeof buf);
		n += got > 0 ? got : 0;
		CHECK(got >= 0 || got == -ETIMEDOUT);
	} while (got != 0);
	CHECK_EQ(n, SCALE(20000));
}

/* Nothing is lost, and nobody hangs. */
// variants: maxprocs
TEST(deadlines_that_move_all_the_time)
{
	gort_file *p[2];

	tcp_pair(p);
	CHECK_EQ(gort_waitgroup_go(&group, read_in_spite, p[0]), 0);
	CHECK_EQ(gort_waitgroup_go(&group, move_deadlines, p[0]), 0);
	CHECK_EQ(gort_waitgroup_go(&group, move_deadlines, p[0]), 0);
	for (int i = 0; i < SCALE(20000); i++) {
		CHECK_EQ(gort_write(p[1], "x", 1), 1);
		if (i % 64 == 0)
			gort_yield();
	}
	CHECK_EQ(gort_close(p[1]), 0);
	wait_for_group();
	CHECK_EQ(gort_close(p[0]), 0);
}
