/*
 * plain.c - regular files of which nothing is in the page cache: whole results, in order, at places,
 * by many at once, through io_uring and without; and what that is to the runtime's end, to deadlocks and
 * to the number of threads. What files do anyway: file.c.
 */
#include "io.h"
#include "process.h"
#include "sched/sched.h"

#include <dirent.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define BLOCK 4096
#define BLOCKS 2048
#define SIZE ((int64_t)BLOCK * BLOCKS)
#define READERS 64

static gort_waitgroup group;

/* ---- a file on a disk ------------------------------------------------------------------------ */

/* Where the tests run: /tmp is often memory. */
static int disk_file(int flags)
{
	char path[] = "gort-test-XXXXXX";
	int made = mkstemp(path), fd;

	CHECK(made >= 0);
	fd = open(path, flags | O_RDWR | O_CLOEXEC);
	close(made);
	CHECK_EQ(unlink(path), 0);
	if (fd < 0)
		SKIP("the file system has no such files");
	return fd;
}

static void fill_file(int fd)
{
	static unsigned char block[BLOCK];

	for (int64_t at = 0; at < SIZE; at += BLOCK) {
		fill_pattern(block, BLOCK, at);
		CHECK_EQ(pwrite(fd, block, BLOCK, at), BLOCK);
	}
	CHECK_EQ(fsync(fd), 0);
}

/* How many of its pages are in the cache. */
static int cached(int fd)
{
	static unsigned char pages[BLOCKS];
	void *p = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	int n = 0;

	CHECK(p != MAP_FAILED);
	CHECK_EQ(mincore(p, SIZE, pages), 0);
	munmap(p, SIZE);
	for (int i = 0; i < BLOCKS; i++)
		n += pages[i] & 1;
	return n;
}

/* Nothing is read ahead: one page is one call to the disk. */
static void make_cold(int fd)
{
	CHECK_EQ(fdatasync(fd), 0);
	CHECK_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	CHECK_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM), 0);
	if (cached(fd) > BLOCKS / 2)
		SKIP("what it has cached cannot be dropped here");
}

static gort_file *cold_file(void)
{
	int fd = disk_file(0);
	gort_file *f;

	fill_file(fd);
	make_cold(fd);
	CHECK_EQ(gort_file_from_fd(&f, fd), 0);
	return f;
}

static bool has_uring(void)
{
	return !fiber_uring_stops_all && syscall(SYS_io_uring_setup, 0, NULL) < 0 &&
		(errno == EINVAL || errno == EFAULT);
}

static bool uring_serves(void)
{
	return load_relaxed(&gort__sched.disk_threads) != 0;
}

/* The first reads that need it have it made, and do not wait for that. */
static void read_until_it_serves(gort_file *f, void (*read)(gort_file *f))
{
	do {
		make_cold(gort_file_fd(f));
		read(f);
	} while (has_uring() && !uring_serves());
}

/* ---- at places ------------------------------------------------------------------------------- */

struct reader {
	gort_file *file;
	uint64_t seed; /* not 0 */
	atomic_int_least64_t reads;
};

static void read_block(struct reader *r)
{
	unsigned char block[BLOCK + 100]; /* odd bounds: two pages */
	int64_t at;

	r->seed ^= r->seed << 13;
	r->seed ^= r->seed >> 7;
	r->seed ^= r->seed << 17;
	at = (int64_t)(r->seed % (uint64_t)(SIZE - (int64_t)sizeof block));
	CHECK_EQ(gort_pread(r->file, block, sizeof block, at), sizeof block);
	check_pattern(block, sizeof block, at);
	r->reads++;
}

static void read_blocks(void *reader)
{
	struct reader *r = reader;

	for (int i = 0; i < SCALE(100); i++)
		read_block(r);
}

static void read_by_many(gort_file *f)
{
	static struct reader readers[READERS];

	for (int i = 0; i < READERS; i++) {
		readers[i] = (struct reader){ .file = f, .seed = (uint64_t)i + 1 };
		CHECK_EQ(gort_waitgroup_go(&group, read_blocks, &readers[i]), 0);
	}
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
}

// variants: maxprocs
TEST(many_read_what_is_not_cached)
{
	gort_file *f = cold_file();

	read_until_it_serves(f, read_by_many);
	make_cold(gort_file_fd(f));
	read_by_many(f);
	EVENTUALLY(load_relaxed(&gort__sched.disk) == 0);
	CHECK_EQ(gort_close(f), 0);
}

static int read_once_without(void *arg)
{
	gort_file *f = cold_file();

	(void)arg;
	read_by_many(f);
	CHECK(!uring_serves());
	CHECK_EQ(gort_close(f), 0);
	return 7;
}

TEST_PLAIN(without_io_uring)
{
	CHECK_EQ(setenv("GORT_DEBUG", "uring=0", 1), 0);
	CHECK_EQ(gort_run(read_once_without, NULL, NULL), 7);
}

static int returns_7(void *arg)
{
	(void)arg;
	return 7;
}

TEST_PLAIN(the_setting)
{
	static const char *const bad[] = { "uring",    "uring=",   "uring=2", "uring=01",
					   "uring=0,", "uring=0;", "Uring=0", "uring=-1" };

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		CHECK_EQ(setenv("GORT_DEBUG", bad[i], 1), 0);
		CHECK_EQ(gort_run(returns_7, NULL, NULL), -EINVAL);
	}
	CHECK_EQ(setenv("GORT_DEBUG", "uring=1,sched=1000000,uring=0", 1), 0);
	CHECK_EQ(gort_run(returns_7, NULL, NULL), 7);
}

/* By a sandbox: of this thread, and those that it makes; or of all. */
static void forbid_with(uint32_t call, unsigned flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog filter = { sizeof code / sizeof code[0], code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter) != 0)
		SKIP("no seccomp");
}

static void forbid(uint32_t call)
{
	forbid_with(call, 0);
}

static int read_twice(void *arg)
{
	gort_file *f = cold_file();

	(void)arg;
	read_by_many(f);
	gort_sleep(10 * GORT_MS); /* its thread is there, if ever */
	make_cold(gort_file_fd(f));
	read_by_many(f);
	CHECK_EQ(gort_close(f), 0);
	return 7;
}

TEST_PLAIN(where_a_ring_cannot_be_made)
{
	forbid(SYS_io_uring_setup);
	CHECK_EQ(gort_run(read_twice, NULL, NULL), 7);
}

TEST_PLAIN(where_a_ring_cannot_be_used)
{
	forbid(SYS_io_uring_enter);
	CHECK_EQ(gort_run(read_twice, NULL, NULL), 7);
}

TEST_PLAIN(where_the_cache_cannot_be_asked)
{
	forbid(SYS_preadv2);
	CHECK_EQ(gort_run(read_twice, NULL, NULL), 7);
}

// variants: maxprocs
TEST(a_ring_that_cannot_be_used_any_more)
{
	gort_file *f = cold_file();

	read_until_it_serves(f, read_by_many);
	EVENTUALLY(load_relaxed(&gort__sched.disk) == 0);
	forbid_with(SYS_io_uring_enter, SECCOMP_FILTER_FLAG_TSYNC);
	make_cold(gort_file_fd(f));
	read_by_many(f);
	EVENTUALLY(load_relaxed(&gort__sched.disk) == 0);
	CHECK_EQ(gort_close(f), 0);
}

TEST(once_descriptors_are_to_be_had_again)
{
	gort_file *f = cold_file();
	struct rlimit before, none;

	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 1; /* whatever is closed meanwhile, no number is to be had */
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	read_by_many(f);
	gort_sleep(10 * GORT_MS); /* it has tried, and given up */
	CHECK(!uring_serves());
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
	read_until_it_serves(f, read_by_many);
	CHECK_EQ(gort_close(f), 0);
}

/* Plain threads block. */
static void read_on_guest(void *file)
{
	read_blocks(&(struct reader){ .file = file, .seed = 7 });
}

TEST(guests_read)
{
	gort_file *f = cold_file();

	on_guest(read_on_guest, f);
	CHECK_EQ(gort_close(f), 0);
}

// not: valgrind
TEST(ends_and_errors)
{
	static unsigned char all[2 * BLOCK];
	gort_file *f = cold_file(), *closed;

	for (int i = 0; i < 2; i++) { /* cold, warm */
		CHECK_EQ(gort_pread(f, all, 2 * BLOCK, SIZE - 100), 100);
		check_pattern(all, 100, SIZE - 100);
		CHECK_EQ(gort_pread(f, all, BLOCK, SIZE), 0);
		CHECK_EQ(gort_pread(f, all, BLOCK, SIZE + 1), 0);
		CHECK_EQ(gort_pread(f, all, 0, 0), 0);
	}
	CHECK_EQ(gort_pread(f, all, 1, -1), -EINVAL);
	make_cold(gort_file_fd(f));
	CHECK_EQ(gort_pread(f, (void *)8, BLOCK, 0), -EFAULT);
	closed = gort_file_retain(f);
	CHECK_EQ(gort_close(f), 0);
	CHECK_EQ(gort_pread(closed, all, 1, 0), -EBADF);
	CHECK_EQ(gort_close(closed), -EBADF);
}

/* ---- where the file stands ------------------------------------------------------------------- */

static void read_in_order(gort_file *f)
{
	static unsigned char buf[3 * BLOCK + 7];
	int64_t at = 0, want;

	CHECK_EQ(lseek(gort_file_fd(f), 0, SEEK_SET), 0);
	while (at < SIZE) {
		want = SIZE - at < (int64_t)sizeof buf ? SIZE - at : (int64_t)sizeof buf;
		CHECK_EQ(gort_read(f, buf, sizeof buf), want); /* as read(2): whole */
		check_pattern(buf, (size_t)want, at);
		at += want;
		CHECK_EQ(lseek(gort_file_fd(f), 0, SEEK_CUR), at);
	}
	CHECK_EQ(gort_read(f, buf, sizeof buf), 0);
}

// variants: maxprocs
TEST(a_cold_file_is_read_in_order)
{
	gort_file *f = cold_file();

	read_until_it_serves(f, read_in_order);
	make_cold(gort_file_fd(f));
	read_in_order(f);
	CHECK_EQ(gort_close(f), 0);
}

/* Every other page is there: that is no reason to give less. */
TEST(a_part_that_is_cached_is_no_result)
{
	static unsigned char all[64 * BLOCK];
	gort_file *f = cold_file();

	for (int round = 0; round < 3; round++) {
		make_cold(gort_file_fd(f));
		for (int64_t at = 0; at < (int64_t)sizeof all; at += (int64_t)2 * BLOCK)
			CHECK_EQ(pread(gort_file_fd(f), all, 1, at), 1);
		memset(all, 0, sizeof all);
		if (round % 2) {
			CHECK_EQ(lseek(gort_file_fd(f), 0, SEEK_SET), 0);
			CHECK_EQ(gort_read(f, all, sizeof all), sizeof all);
		} else {
			CHECK_EQ(gort_pread(f, all, sizeof all, 0), sizeof all);
		}
		check_pattern(all, sizeof all, 0);
	}
	CHECK_EQ(gort_close(f), 0);
}

static gort_file *shared;
static unsigned char seen[BLOCKS];

static void take_blocks(void *arg)
{
	int32_t block[BLOCK / sizeof(int32_t)]; /* it begins with its number */
	ssize_t n;

	(void)arg;
	while ((n = gort_read(shared, block, BLOCK)) > 0) {
		CHECK_EQ(n, BLOCK);
		CHECK(block[0] >= 0 && block[0] < BLOCKS);
		CHECK_EQ(seen[block[0]]++, 0);
		check_pattern(block + 1, BLOCK - sizeof block[0],
			      (int64_t)block[0] * BLOCK + (int64_t)sizeof block[0]);
	}
	CHECK_EQ(n, 0);
}

// variants: maxprocs
TEST(several_share_where_it_stands)
{
	int fd;

	shared = cold_file();
	fd = gort_file_fd(shared);
	for (int32_t i = 0; i < BLOCKS; i++)
		CHECK_EQ(pwrite(fd, &i, sizeof i, (off_t)i * BLOCK), sizeof i);
	make_cold(fd);
	CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(gort_waitgroup_go(&group, take_blocks, NULL), 0);
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
	for (int i = 0; i < BLOCKS; i++)
		CHECK_EQ(seen[i], 1);
	CHECK_EQ(gort_close(shared), 0);
}

/* What has no cache gives what read(2) gives: it may make wait for more (/proc/kmsg). */
TEST(a_short_read_of_what_is_not_cached_is_a_result)
{
	static char text[1 << 18];
	int fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	gort_file *f;
	ssize_t n;

	if (fd < 0)
		SKIP("no smaps");
	n = read(fd, text, sizeof text);
	close(fd);
	CHECK(n > 0);
	CHECK_EQ(gort_open(&f, "/proc/self/smaps", O_RDONLY, 0), 0);
	CHECK(gort_read(f, text, sizeof text) < 3 * n / 2);
	CHECK_EQ(gort_close(f), 0);
	CHECK_EQ(gort_open(&f, "/proc/self/smaps", O_RDONLY, 0), 0);
	CHECK(gort_pread(f, text, sizeof text, 0) < 3 * n / 2);
	CHECK_EQ(gort_close(f), 0);
}

/* What /proc says that the process has read from disks. */
static int64_t read_from_disk(void)
{
	char text[512];
	const char *at;
	int fd = open("/proc/self/io", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		SKIP("no /proc/self/io");
	n = read(fd, text, sizeof text - 1);
	CHECK(n > 0);
	close(fd);
	text[n] = 0;
	at = strstr(text, "\nread_bytes: ");
	CHECK(at != NULL);
	return strtoll(at + 13, NULL, 10);
}

/* Where it stands, without a cache. */
TEST(without_a_cache_nothing_is_read_twice)
{
	int fd = disk_file(O_DIRECT);
	void *all = aligned_alloc(BLOCK, SIZE);
	gort_file *f = cold_file(), *direct;
	int64_t before;

	read_until_it_serves(f, read_by_many);
	CHECK(all != NULL);
	memset(all, 7, SIZE);
	CHECK_EQ(write(fd, all, SIZE), SIZE);
	CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
	CHECK_EQ(gort_file_from_fd(&direct, fd), 0);
	before = read_from_disk();
	for (int i = 0; i < 8; i++)
		CHECK_EQ(gort_read(direct, all, SIZE / 8), SIZE / 8);
	CHECK(read_from_disk() - before < SIZE / 2 * 3);
	CHECK_EQ(gort_close(direct), 0);
	CHECK_EQ(gort_close(f), 0);
	free(all);
}

/* ---- writing through ------------------------------------------------------------------------- */

struct writer {
	gort_file *file;
	int first;
};

static void write_blocks(void *writer)
{
	struct writer *w = writer;
	unsigned char *block = aligned_alloc(BLOCK, BLOCK);

	CHECK(block != NULL);
	for (int i = w->first; i < w->first + 4; i++) {
		fill_pattern(block, BLOCK, (int64_t)i * BLOCK);
		CHECK_EQ(gort_pwrite(w->file, block, BLOCK, (off_t)i * BLOCK), BLOCK);
		memset(block, 0, BLOCK);
		CHECK_EQ(gort_pread(w->file, block, BLOCK, (off_t)i * BLOCK), BLOCK);
		check_pattern(block, BLOCK, (int64_t)i * BLOCK);
		if (i % 2)
			CHECK_EQ(gort_fsync(w->file), 0);
	}
	free(block);
}

static void write_through(int flags)
{
	static struct writer writers[16];
	gort_file *f;

	CHECK_EQ(gort_file_from_fd(&f, disk_file(flags)), 0);
	for (int i = 0; i < 16; i++) {
		writers[i] = (struct writer){ f, 4 * i };
		CHECK_EQ(gort_waitgroup_go(&group, write_blocks, &writers[i]), 0);
	}
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
	CHECK_EQ(gort_close(f), 0);
}

// variants: maxprocs
TEST(writes_that_go_to_the_disk)
{
	write_through(0);
	write_through(O_DSYNC);
	write_through(O_SYNC);
}

// variants: maxprocs
TEST(files_without_a_cache)
{
	write_through(O_DIRECT);
}

/* ---- the runtime ----------------------------------------------------------------------------- */

static struct reader hasty[READERS];

static void read_for_ever(void *reader)
{
	for (;;)
		read_block(reader);
}

/* It ends while all of them read. */
static int leave_readers(void *file)
{
	for (int i = 0; i < READERS; i++) {
		hasty[i] = (struct reader){ .file = file, .seed = (uint64_t)i + 1 };
		CHECK_EQ(gort_go(read_for_ever, &hasty[i]), 0);
	}
	while (hasty[0].reads < 3)
		gort_sleep(100 * GORT_US);
	return 7;
}

static int open_cold(void *file)
{
	*(gort_file **)file = cold_file();
	return 0;
}

static int close_it(void *file)
{
	CHECK_EQ(gort_close(file), 0);
	return 0;
}

TEST_PLAIN(the_end_waits_for_the_disk)
{
	gort_file *f;

	CHECK_EQ(gort_run(open_cold, &f, NULL), 0);
	for (int i = 0; i < SCALE(30); i++) {
		make_cold(f->poll.fd);
		CHECK_EQ(gort_run(leave_readers, f, NULL), 7);
		CHECK(!uring_serves());
		EVENTUALLY(is_at_rest(f)); /* who slept in pread(2) is left behind till then */
	}
	CHECK_EQ(gort_run(close_it, f, NULL), 0);
}

static void close_soon(void *file)
{
	gort_sleep(500 * GORT_US);
	CHECK_EQ(gort_close(file), 0);
}

static void read_till_closed(void *reader)
{
	struct reader *r = reader;
	unsigned char block[BLOCK];
	ssize_t n;

	do {
		int64_t at = atomic_fetch_add(&r->reads, 1) % BLOCKS * BLOCK;

		n = gort_pread(r->file, block, BLOCK, at);
		CHECK(n == BLOCK || n == -EBADF);
		if (n == BLOCK)
			check_pattern(block, BLOCK, at);
	} while (n == BLOCK);
	CHECK_EQ(gort_close(r->file), -EBADF);
}

// variants: maxprocs
TEST(closing_it_while_it_is_read)
{
	for (int round = 0; round < SCALE(10); round++) {
		gort_file *f = cold_file();

		for (int i = 0; i < 16; i++) {
			hasty[i] = (struct reader){ .file = gort_file_retain(f),
						    .reads = i * BLOCKS / 16 };
			CHECK_EQ(gort_waitgroup_go(&group, read_till_closed, &hasty[i]), 0);
		}
		CHECK_EQ(gort_waitgroup_go(&group, close_soon, f), 0);
		CHECK_EQ(gort_waitgroup_wait(&group), 0);
	}
}

static int wait_for_nobody(void *arg)
{
	gort_file *f = cold_file();

	(void)arg;
	read_by_many(f);
	CHECK_EQ(gort_close(f), 0);
	return gort_chan_recv(NULL,
			      NULL); /* the thread that serves the disk wakes nobody any more */
}

// not: tsan
TEST_PLAIN(a_deadlock_after_it)
{
	const gort_options returns = { .on_deadlock = GORT_DEADLOCK_RETURN };

	test_leaves_goroutines();
	CHECK_EQ(gort_run(wait_for_nobody, NULL, &returns), -EDEADLK);
}

/* That of the thread which serves the disk. */
static int disk_priority(void)
{
	DIR *d = opendir("/proc/self/task");
	char path[64], name[32];
	struct dirent *e;
	int result = -1;

	CHECK(d != NULL);
	while ((e = readdir(d)) != NULL) {
		FILE *f;

		snprintf(path, sizeof path, "/proc/self/task/%.20s/comm", e->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fgets(name, sizeof name, f) && strcmp(name, "gort-uring\n") == 0)
			result = getpriority(PRIO_PROCESS, (id_t)atoi(e->d_name));
		fclose(f);
	}
	closedir(d);
	return result;
}

static void read_here(gort_file *f)
{
	read_blocks(&(struct reader){ .file = f, .seed = 7 });
}

static int read_on_a_thread_that_yields_to_all(void *file)
{
	int before = getpriority(PRIO_PROCESS, 0);

	gort_lock_thread(); /* and ends with it */
	CHECK_EQ(setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19), 0);
	read_until_it_serves(file, read_here);
	CHECK_EQ(disk_priority(), before);
	return 0;
}

/* What a goroutine does to the thread that it has locked is not the disk's. */
// not: qemu
TEST(its_thread_is_no_copy_of_a_locked_one)
{
	gort_file *f = cold_file();

	if (!has_uring())
		SKIP("no io_uring");
	CHECK_EQ(gort_join(gort_spawn(read_on_a_thread_that_yields_to_all, f, NULL), NULL), 0);
	CHECK_EQ(gort_close(f), 0);
}

static int read_with_few_threads(void *arg)
{
	gort_file *f = cold_file();
	int most = 0;

	(void)arg;
	if (!has_uring())
		SKIP("no io_uring");
	read_until_it_serves(f, read_by_many);
	for (int round = 0; round < 5; round++) {
		make_cold(gort_file_fd(f));
		for (int i = 0; i < READERS; i++) {
			hasty[i] = (struct reader){ .file = f, .seed = (uint64_t)i + 1 };
			CHECK_EQ(gort_waitgroup_go(&group, read_blocks, &hasty[i]), 0);
		}
		while (gort_waitgroup_wait_until(&group, gort_in(GORT_MS)) < 0)
			most = count_threads() > most ? count_threads() : most;
	}
	CHECK(most < READERS); /* a thread for each, and more, without */
	CHECK_EQ(gort_close(f), 0);
	return 7;
}

TEST_PLAIN(reads_take_no_thread_each)
{
	CHECK_EQ(gort_run(read_with_few_threads, NULL, &(gort_options){ .maxprocs = 2 }), 7);
}
