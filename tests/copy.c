/*
 * copy.c - gort_copy: between all kinds of files, to the byte; limits; errors, and how much was
 * written before them.
 */
#include "io.h"

#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define TOTAL 1000000

static gort_waitgroup group;

static void wait_for_group(void)
{
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
}

enum kind { REGULAR, MEMORY, APPENDED, PIPE, TCP, UNIX, PACKETS, NULL_DEVICE, ZERO, KINDS };
static const char *const names[KINDS] = { "regular", "memory",  "appended",  "pipe",     "tcp",
					  "unix",    "packets", "/dev/null", "/dev/zero" };

/* ---- where from, where to -------------------------------------------------------------------------- */

static bool is_file(enum kind k)
{
	return k <= APPENDED;
}

static gort_file *make_file(enum kind k)
{
	gort_file *f;

	if (k == MEMORY) {
		CHECK_EQ(gort_file_from_fd(&f, memfd_create("copy", 0)), 0);
		return f;
	}
	f = scratch_file();
	if (k == APPENDED)
		CHECK_EQ(fcntl(gort_file_fd(f), F_SETFL, O_APPEND), 0);
	return f;
}

static void make_pair(enum kind k, gort_file *p[2])
{
	if (k == PIPE)
		pipe_pair(p);
	else if (k == TCP)
		tcp_pair(p);
	else
		socket_pair(k == UNIX ? SOCK_STREAM : SOCK_SEQPACKET, p);
}

static void feed(void *arg)
{
	unsigned char buf[7001];
	int64_t at = 0;

	while (at < TOTAL) {
		size_t n = sizeof buf < (size_t)(TOTAL - at) ? sizeof buf : (size_t)(TOTAL - at);

		fill_pattern(buf, n, at);
		if (gort_write(arg, buf, n) < 0)
			break; /* it was not read to the end */
		at += (int64_t)n;
	}
	CHECK_EQ(gort_close(arg), 0);
}

static gort_file *source(enum kind k)
{
	gort_file *p[2];
	unsigned char *all;

	if (k == ZERO) {
		CHECK_EQ(gort_open(&p[0], "/dev/zero", O_RDONLY, 0), 0);
		return p[0];
	}
	if (is_file(k)) {
		all = malloc(TOTAL);
		fill_pattern(all, TOTAL, 0);
		p[0] = make_file(k);
		CHECK_EQ(gort_pwrite(p[0], all, TOTAL, 0), TOTAL);
		CHECK_EQ(lseek(gort_file_fd(p[0]), 0, SEEK_SET), 0);
		free(all);
		return p[0];
	}
	make_pair(k, p);
	CHECK_EQ(gort_waitgroup_go(&group, feed, p[1]), 0);
	return p[0];
}

static struct {
	atomic_int_fast64_t count; /* -1: not all yet */
	bool zeros;
} collected;

static void check_bytes(const unsigned char *buf, size_t n, int64_t at)
{
	if (!collected.zeros)
		check_pattern(buf, n, at);
	else
		for (size_t i = 0; i < n; i++)
			CHECK_EQ(buf[i], 0);
}

static void collect(void *arg)
{
	static unsigned char buf[100000];
	int64_t at = 0;
	ssize_t n;

	while ((n = gort_read(arg, buf, sizeof buf)) > 0) {
		check_bytes(buf, (size_t)n, at);
		at += n;
	}
	CHECK_EQ(n, 0);
	CHECK_EQ(gort_close(arg), 0);
	atomic_store(&collected.count, at);
}

static bool appending; /* pipes and sockets, too */

static gort_file *target(enum kind k)
{
	gort_file *p[2];

	atomic_store(&collected.count, -1);
	if (k == NULL_DEVICE) {
		CHECK_EQ(gort_open(&p[1], "/dev/null", O_WRONLY, 0), 0);
		return p[1];
	}
	if (is_file(k)) {
		p[1] = make_file(k);
		if (k == APPENDED) {
			CHECK_EQ(gort_write(p[1], "before", 6), 6);
			CHECK_EQ(lseek(gort_file_fd(p[1]), 0, SEEK_SET), 0);
		}
		return p[1];
	}
	make_pair(k, p);
	if (appending)
		CHECK_EQ(fcntl(gort_file_fd(p[1]), F_SETFL, O_NONBLOCK | O_APPEND), 0);
	CHECK_EQ(gort_waitgroup_go(&group, collect, p[0]), 0);
	return p[1];
}

/* It has got n bytes, and is closed. */
static void check_target(enum kind k, gort_file *f, int64_t n)
{
	static unsigned char buf[TOTAL + 1000];
	int64_t before = k == APPENDED ? 6 : 0;

	if (is_file(k)) {
		CHECK_EQ(gort_pread(f, buf, sizeof buf, 0), n + before);
		check_bytes(buf + before, (size_t)n, 0);
		CHECK_EQ(lseek(gort_file_fd(f), 0, SEEK_CUR), n ? n + before : 0);
	}
	CHECK_EQ(gort_close(f), 0);
	if (!is_file(k) && k != NULL_DEVICE) {
		EVENTUALLY(atomic_load(&collected.count) >= 0);
		CHECK_EQ(atomic_load(&collected.count), n);
	}
}

/* What is left in from is what comes next. */
static void check_source(enum kind k, gort_file *f, int64_t at)
{
	static unsigned char buf[1000];

	if (k == ZERO || k == PACKETS)
		return;
	if (is_file(k))
		CHECK_EQ(lseek(gort_file_fd(f), 0, SEEK_CUR), at);
	for (int i = 0; i < 3 && at < TOTAL; i++) {
		CHECK_EQ(gort_read_full(f, buf, sizeof buf), sizeof buf);
		check_pattern(buf, sizeof buf, at);
		at += (int64_t)sizeof buf;
	}
}

/* ---- all pairs ------------------------------------------------------------------------------------------ */

static void check_pair(enum kind to_kind, enum kind from_kind, int64_t limit)
{
	int64_t expect = limit < 0 || limit > TOTAL ? TOTAL : limit, done = -1;
	gort_file *from, *to;
	int err;

	if (from_kind == ZERO && limit < 0)
		return; /* it has no end */
	if (from_kind == ZERO)
		expect = limit;
	collected.zeros = from_kind == ZERO;
	from = source(from_kind);
	to = target(to_kind);
	err = gort_copy(to, from, limit, &done);
	if (err != 0 || done != expect)
		test_fail_(__FILE__, __LINE__, "%s to %s, limit %lld: %d, %lld bytes",
			   names[from_kind], names[to_kind], (long long)limit, err,
			   (long long)done);
	CHECK(is_at_rest(from) && is_at_rest(to));
	check_target(to_kind, to, expect);
	check_source(from_kind, from, expect);
	CHECK_EQ(gort_close(from), 0);
	wait_for_group();
}

static void check_pairs_from(enum kind from)
{
	static const int64_t limits[] = { -1, 0, 1, 300000, TOTAL, TOTAL + 500 };

	for (enum kind to = REGULAR; to < ZERO; to++)
		for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
			check_pair(to, from, limits[i]);
}

// variants: maxprocs
TEST(from_regular_files)
{
	check_pairs_from(REGULAR);
	check_pairs_from(MEMORY);
}

// variants: maxprocs
TEST(from_pipes)
{
	check_pairs_from(PIPE);
}

// variants: maxprocs
TEST(from_tcp)
{
	check_pairs_from(TCP);
}

// variants: maxprocs
TEST(from_local_sockets)
{
	check_pairs_from(UNIX);
	check_pairs_from(PACKETS);
}

// variants: maxprocs
TEST(from_dev_zero)
{
	check_pairs_from(ZERO);
}

/* The kernel may refuse, though it is no matter there. */
// variants: maxprocs
TEST(to_streams_that_append)
{
	appending = true;
	for (enum kind to = PIPE; to < PACKETS; to++) {
		check_pair(to, REGULAR, -1);
		check_pair(to, PIPE, -1);
		check_pair(to, UNIX, 300000);
	}
}

static void on_a_guest(void *arg)
{
	(void)arg;
	for (enum kind from = REGULAR; from < PACKETS; from++)
		for (enum kind to = REGULAR; to < PACKETS; to++)
			check_pair(to, from, 300000);
}

TEST(by_a_guest)
{
	on_guest(on_a_guest, NULL);
}

/* They have no size, and yet something in them. */
// variants: maxprocs
TEST(from_proc)
{
	for (int k = REGULAR; k <= UNIX; k++) {
		gort_file *from, *to;
		char text[4096] = "";
		int64_t done;

		CHECK_EQ(gort_open(&from, "/proc/self/status", O_RDONLY, 0), 0);
		if (is_file((enum kind)k)) {
			to = make_file((enum kind)k);
			CHECK_EQ(gort_copy(to, from, -1, &done), 0);
			CHECK_EQ(gort_pread(to, text, sizeof text - 1, 0), done);
		} else {
			gort_file *p[2];

			make_pair((enum kind)k, p);
			to = p[1];
			CHECK_EQ(gort_copy(to, from, -1, &done), 0);
			CHECK_EQ(gort_read_full(p[0], text, (size_t)done), done);
			CHECK_EQ(gort_close(p[0]), 0);
		}
		CHECK(done > 100);
		CHECK(strncmp(text, "Name:", 5) == 0);
		CHECK(strstr(text, "nonvoluntary_ctxt_switches") != NULL);
		CHECK_EQ(gort_close(to), 0);
		CHECK_EQ(gort_close(from), 0);
	}
}

static void copy_back(void *arg)
{
	int64_t done;

	CHECK_EQ(gort_copy(arg, arg, -1, &done), 0);
	CHECK_EQ(done, TOTAL);
	CHECK_EQ(gort_shutdown(arg, SHUT_WR), 0);
}

static void feed_and_end(void *arg)
{
	gort_file_retain(arg);
	unsigned char *all = malloc(TOTAL);

	fill_pattern(all, TOTAL, 0);
	CHECK_EQ(gort_write(arg, all, TOTAL), TOTAL);
	CHECK_EQ(gort_shutdown(arg, SHUT_WR), 0);
	free(all);
}

/* An echo server in one call. */
// variants: maxprocs
TEST(from_a_socket_to_itself)
{
	for (int k = TCP; k <= UNIX; k++) {
		gort_file *p[2];

		make_pair((enum kind)k, p);
		collected.zeros = false;
		CHECK_EQ(gort_waitgroup_go(&group, copy_back, p[1]), 0);
		CHECK_EQ(gort_waitgroup_go(&group, feed_and_end, p[0]), 0);
		collect(p[0]);
		CHECK_EQ(atomic_load(&collected.count), TOTAL);
		wait_for_group();
		CHECK_EQ(gort_close(p[0]), -EBADF);
		CHECK_EQ(gort_close(p[1]), 0);
	}
}

/* ---- errors ------------------------------------------------------------------------------------------------- */

/* How much comes out at the other end, once nobody writes any more. */
static int64_t drain(gort_file *f)
{
	static char buf[100000];
	int64_t all = 0;
	ssize_t n;

	while ((n = gort_read(f, buf, sizeof buf)) > 0)
		all += n;
	CHECK_EQ(n, 0);
	CHECK_EQ(gort_close(f), 0);
	return all;
}

/* Nobody reads, and the writer's time is up: what was written is what can be read. */
// variants: maxprocs
TEST(done_is_what_was_written_before_an_error)
{
	for (int to = PIPE; to <= PACKETS; to++)
		for (int from = REGULAR; from <= ZERO; from++) {
			gort_file *p[2], *f;
			int64_t done = -1;

			if (from == NULL_DEVICE)
				continue;
			f = source((enum kind)from);
			make_pair((enum kind)to, p);
			CHECK_EQ(setsockopt(gort_file_fd(p[1]), SOL_SOCKET, SO_SNDBUF,
					    &(int){ 50000 }, sizeof(int)) < 0,
				 to == PIPE);
			if (to == TCP)
				CHECK_EQ(setsockopt(gort_file_fd(p[0]), SOL_SOCKET, SO_RCVBUF,
						    &(int){ 50000 }, sizeof(int)),
					 0);
			CHECK_EQ(gort_set_write_deadline(p[1], gort_in(20 * GORT_MS)), 0);
			CHECK_EQ(gort_copy(p[1], f, -1, &done), -ETIMEDOUT);
			CHECK(done >= 0 && done < TOTAL);
			CHECK(is_at_rest(p[1]) && is_at_rest(f));
			CHECK_EQ(gort_close(p[1]), 0);
			CHECK_EQ(gort_close(f), 0);
			CHECK_EQ(drain(p[0]), done);
			wait_for_group();
		}
}

static size_t left_to_read(gort_file *f)
{
	int n = -1;

	CHECK_EQ(ioctl(gort_file_fd(f), FIONREAD, &n), 0);
	return (size_t)n;
}

/* Who copies has got all, and waits for more. */
static void expire_when_all_is_read(void *f)
{
	EVENTUALLY(left_to_read(f) == 0 && waits_at(f, POLL_READ));
	CHECK_EQ(gort_set_read_deadline(f, gort_in(GORT_MS)), 0);
}

/* The reader's time is up: nothing of what was read is lost. */
// variants: maxprocs
TEST(nothing_is_lost_when_the_reader_is_late)
{
	for (int from = PIPE; from <= PACKETS; from++)
		for (int to = REGULAR; to <= PACKETS; to++) {
			gort_file *p[2], *f;
			int64_t done = -1;
			unsigned char buf[5000];

			collected.zeros = false;
			fill_pattern(buf, sizeof buf, 0);
			make_pair((enum kind)from, p);
			f = target((enum kind)to);
			CHECK_EQ(gort_write(p[1], buf, sizeof buf), sizeof buf);
			EVENTUALLY(left_to_read(p[0]) == sizeof buf);
			CHECK_EQ(gort_waitgroup_go(&group, expire_when_all_is_read, p[0]), 0);
			CHECK_EQ(gort_copy(f, p[0], -1, &done), -ETIMEDOUT);
			CHECK_EQ(done, (int64_t)sizeof buf);
			check_target((enum kind)to, f, done);
			close_both(p);
			wait_for_group();
		}
}

static void copy_until_closed(void *arg)
{
	gort_file **pair = arg;
	int64_t done;

	CHECK_EQ(gort_copy(pair[0], pair[1], -1, &done), -EBADF);
	CHECK_EQ(done, 0);
}

// variants: maxprocs
TEST(close_of_either_side)
{
	for (int from = PIPE; from <= PACKETS; from++) {
		gort_file *p[2], *both[2];

		make_pair((enum kind)from, p);
		both[0] = scratch_file();
		both[1] = p[0];
		CHECK_EQ(gort_waitgroup_go(&group, copy_until_closed, both), 0);
		EVENTUALLY(waits_at(p[0], POLL_READ));
		CHECK_EQ(gort_close(p[0]), 0); /* it waits for this one */
		wait_for_group();
		CHECK_EQ(gort_close(both[0]), 0);
		CHECK_EQ(gort_close(p[1]), 0);

		make_pair((enum kind)from, p);
		both[0] = scratch_file();
		both[1] = p[0];
		gort_file_retain(both[0]);
		CHECK_EQ(gort_waitgroup_go(&group, copy_until_closed, both), 0);
		EVENTUALLY(waits_at(p[0], POLL_READ));
		CHECK_EQ(gort_close(both[0]), 0); /* and writes to that one next */
		CHECK_EQ(gort_write(p[1], "!", 1), 1);
		wait_for_group();
		CHECK_EQ(gort_close(both[0]), -EBADF);
		close_both(p);
	}
}

TEST(files_that_cannot_be_read_or_written)
{
	gort_file *in, *out, *regular = scratch_file(), *p[2];
	int64_t done = 77;

	CHECK_EQ(gort_write(regular, "text", 4), 4);
	CHECK_EQ(lseek(gort_file_fd(regular), 0, SEEK_SET), 0);
	CHECK_EQ(gort_open(&in, "/proc/self/exe", O_RDONLY, 0), 0);
	CHECK_EQ(gort_open(&out, "/dev/null", O_WRONLY, 0), 0);
	CHECK_EQ(gort_copy(in, regular, -1, &done), -EBADF);
	CHECK_EQ(done, 0);
	CHECK_EQ(gort_copy(regular, out, -1, NULL), -EBADF);
	pipe_pair(p);
	CHECK_EQ(gort_copy(p[0], regular, -1, NULL), -EBADF);
	CHECK_EQ(gort_copy(regular, p[1], -1, NULL), -EBADF);
	close_both(p);
	CHECK_EQ(gort_close(out), 0);
	CHECK_EQ(gort_open(&out, "/dev/full", O_WRONLY, 0), 0);
	CHECK_EQ(lseek(gort_file_fd(regular), 0, SEEK_SET), 0);
	CHECK_EQ(gort_copy(out, regular, -1, &done), -ENOSPC);
	CHECK_EQ(done, 0);
	CHECK_EQ(gort_close(in), 0);
	CHECK_EQ(gort_close(out), 0);
	CHECK_EQ(gort_close(regular), 0);
}

/* What an error came upon behind some of it. */
TEST(a_full_file)
{
	gort_file *from = source(REGULAR), *to;
	int fd = memfd_create("sealed", MFD_ALLOW_SEALING);
	int64_t done = -1;

	CHECK_EQ(ftruncate(fd, 65536), 0);
	CHECK_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
	CHECK_EQ(gort_file_from_fd(&to, fd), 0);
	CHECK_EQ(gort_copy(to, from, -1, &done), -EPERM);
	CHECK_EQ(done, lseek(fd, 0, SEEK_CUR));
	CHECK_EQ(gort_close(from), 0);
	CHECK_EQ(gort_close(to), 0);
}

/* ---- between two sockets, in both directions ------------------------------------------------------------------- */

static void copy_and_shut(void *arg)
{
	gort_file **pair = arg;
	int64_t done;

	CHECK_EQ(gort_copy(pair[0], pair[1], -1, &done), 0);
	CHECK_EQ(done, TOTAL);
	CHECK_EQ(gort_shutdown(pair[0], SHUT_WR), 0);
}

static void talk(void *arg)
{
	static atomic_int turn;
	int64_t at = 0;
	unsigned char buf[5000];
	ssize_t n;

	CHECK_EQ(gort_waitgroup_go(&group, feed_and_end, arg), 0);
	while ((n = gort_read(arg, buf, sizeof buf)) > 0) {
		check_pattern(buf, (size_t)n, at);
		at += n;
	}
	CHECK_EQ(n, 0);
	CHECK_EQ(at, TOTAL);
	atomic_fetch_add(&turn, 1);
}

// variants: maxprocs
TEST(a_proxy)
{
	for (int k = TCP; k <= UNIX; k++) {
		gort_file *a[2], *b[2], *there[2], *back[2];

		make_pair((enum kind)k, a);
		tcp_pair(b);
		there[0] = back[1] = b[0];
		there[1] = back[0] = a[1];
		CHECK_EQ(gort_waitgroup_go(&group, copy_and_shut, there), 0);
		CHECK_EQ(gort_waitgroup_go(&group, copy_and_shut, back), 0);
		CHECK_EQ(gort_waitgroup_go(&group, talk, a[0]), 0);
		CHECK_EQ(gort_waitgroup_go(&group, talk, b[1]), 0);
		wait_for_group();
		gort_close(a[0]); /* feed_and_end has kept each */
		gort_close(a[0]);
		gort_close(b[1]);
		gort_close(b[1]);
		CHECK_EQ(gort_close(a[1]), 0);
		CHECK_EQ(gort_close(b[0]), 0);
	}
}
