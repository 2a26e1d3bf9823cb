/*
 * os_linux.c - os/os.h as os/linux fulfils it: waiting, threads, CPUs, mappings and guards. Signals
 * and faults: os_signal.c.
 */
#include "harness.h"

#include "base/atomic.h"
#include "fiber.h"
#include "os/linux/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS INT64_C(1000000)

/* Not under a sanitizer or an emulator. */
static bool native(void)
{
	return SCALE(1000) == 1000;
}

/* For cases that touch, or let the kernel touch, what nobody may. */
static void skip_under_valgrind(void)
{
#ifdef RUNNING_ON_VALGRIND
	if (RUNNING_ON_VALGRIND)
		SKIP("Valgrind reports it");
#endif
}

/* The exit status of fn in a child, as wait gives it. */
static int in_child(void (*fn)(void))
{
	struct rlimit none = { 0, 0 };
	pid_t pid = fork();
	int status = 0;

	CHECK(pid >= 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &none);
		fn();
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return status;
}

/* ---- clock and futex ----------------------------------------------------------------------- */

TEST_PLAIN(clock_does_not_go_back)
{
	int64_t last = os_now();

	CHECK(last > 0);
	for (int i = 0; i < 1000; i++) {
		int64_t now = os_now();

		CHECK(now >= last);
		last = now;
	}
}

TEST_PLAIN(futex_wait_says_why_it_ended)
{
	uint32_t word = 5;
	int64_t until = os_now() + 20 * MS;

	errno = 123;
	CHECK_EQ(os_futex_wait(&word, 4, OS_FOREVER), -EAGAIN);
	CHECK_EQ(os_futex_wait(&word, 5, 0), -ETIMEDOUT);
	CHECK_EQ(os_futex_wait(&word, 5, INT64_MIN), -ETIMEDOUT);
	CHECK_EQ(os_futex_wait(&word, 5, os_now() - 1), -ETIMEDOUT);
	CHECK_EQ(os_futex_wait(&word, 5, until), -ETIMEDOUT);
	CHECK(os_now() >= until);
	os_futex_wake(&word, 1);
	os_yield_thread();
	os_membarrier();
	CHECK_EQ(errno, 123);
}

static uint32_t turn; /* atomic */

static void wait_for_turn(uint32_t mine)
{
	uint32_t now;

	while ((now = load_acquire(&turn)) != mine)
		os_futex_wait(&turn, now, mine % 2 ? OS_FOREVER : os_now() + 60000 * MS);
}

static void *ping(void *arg)
{
	for (uint32_t i = 0; i < 1000; i++) {
		wait_for_turn(2 * i + 1);
		store_release(&turn, 2 * i + 2);
		os_futex_wake(&turn, 1);
	}
	return arg;
}

TEST_PLAIN(futex_wake_wakes)
{
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, ping, NULL), 0);
	for (uint32_t i = 0; i < 1000; i++) {
		wait_for_turn(2 * i);
		store_release(&turn, 2 * i + 1);
		os_futex_wake(&turn, 1);
	}
	pthread_join(thread, NULL);
	CHECK_EQ(turn, 2000);
}

/* Each side stores, makes its fence, and looks at the other's store: not both may miss it. */
static struct {
	aligned_line uint32_t round;                               /* atomic */
	aligned_line uint32_t light, heavy, light_saw, light_done; /* atomic */
} dekker;

static void *light_side(void *arg)
{
	uint32_t n = (uint32_t)(uintptr_t)arg;

	for (uint32_t i = 1; i <= n; i++) {
		while (load_acquire(&dekker.round) != i)
			;
		store_relaxed(&dekker.light, i);
		fence_light();
		store_relaxed(&dekker.light_saw, load_relaxed(&dekker.heavy));
		store_release(&dekker.light_done, i);
	}
	return NULL;
}

TEST_PLAIN(membarrier_pairs_with_the_light_fence)
{
	uint32_t n = SCALE(UINT32_C(2000)), saw;
	pthread_t thread;

	os_init();
	if (!native())
		SKIP("spins, and neither emulators nor ThreadSanitizer model it");
	CHECK_EQ(pthread_create(&thread, NULL, light_side, (void *)(uintptr_t)n), 0);
	for (uint32_t i = 1; i <= n; i++) {
		store_release(&dekker.round, i);
		for (uint32_t spin = 0; spin < i % 300; spin++)
			fence_compiler();
		store_relaxed(&dekker.heavy, i);
		os_membarrier();
		saw = load_relaxed(&dekker.light);
		while (load_acquire(&dekker.light_done) != i)
			os_yield_thread();
		CHECK(saw == i || load_relaxed(&dekker.light_saw) == i);
	}
	pthread_join(thread, NULL);
}

TEST_PLAIN(init_may_be_called_again)
{
	bool asymmetric;

	errno = 123;
	os_init();
	asymmetric = gort__asymmetric;
	os_init();
	CHECK_EQ(gort__asymmetric, asymmetric);
	CHECK_EQ(errno, 123);
	CHECK_EQ(os_page_size(), (size_t)sysconf(_SC_PAGESIZE));
}

/* ---- threads ------------------------------------------------------------------------------- */

struct seen {
	sigset_t mask;
	char name[16];
	int32_t id;
	void *arg;
};

static struct seen seen;
static uint32_t exits; /* atomic */

static void count_exit(void)
{
	add_relaxed(&exits, 1);
}

static void look_around(void *arg)
{
	pthread_sigmask(SIG_SETMASK, NULL, &seen.mask);
	os_thread_name("a name of more than 15 bytes");
	os_thread_timer_slack(1);
	prctl(PR_GET_NAME, seen.name);
	seen.id = os_thread_id();
	seen.arg = arg;
	CHECK_EQ(os_thread_on_exit(count_exit), 0);
}

TEST_PLAIN(thread_starts_with_signals_blocked)
{
	sigset_t before, after;
	os_thread thread;

	pthread_sigmask(SIG_SETMASK, NULL, &before);
	CHECK_EQ(os_thread_start(&thread, look_around, &seen, 0), 0);
	os_thread_join(&thread);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	CHECK_EQ(sigismember(&seen.mask, SIGTERM), 1);
	CHECK_EQ(sigismember(&seen.mask, SIGURG), 1);
	CHECK_EQ(sigismember(&before, SIGTERM), sigismember(&after, SIGTERM));
	CHECK_STR(seen.name, "a name of more ");
	CHECK(seen.id > 0 && seen.id != os_thread_id());
	CHECK(seen.arg == &seen);
	CHECK_EQ(exits, 1);
}

TEST_PLAIN(thread_may_be_detached)
{
	os_thread thread;

	CHECK_EQ(os_thread_start(&thread, look_around, NULL, 256 << 10), 0);
	os_thread_detach(&thread);
	while (load_acquire(&exits) == 0)
		os_yield_thread();
}

/* ---- CPUs ---------------------------------------------------------------------------------- */

TEST_PLAIN(cpus_follow_affinity)
{
	cpu_set_t set, one;
	int cpus = os_cpus();

	CHECK(cpus >= 1);
	CHECK(cpus <= sysconf(_SC_NPROCESSORS_CONF));
	CHECK_EQ(sched_getaffinity(0, sizeof set, &set), 0);
	CPU_ZERO(&one);
	for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
		if (CPU_ISSET(i, &set))
			CPU_SET(i, &one);
	if (sched_setaffinity(0, sizeof one, &one) < 0)
		SKIP("affinity cannot be set");
	CHECK_EQ(os_cpus(), 1);
}

static char prefix[64] = "/tmp/gort-cgroup-XXXXXX";

static void put_file(const char *dir, const char *name, const char *text)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof path, "%s%s/%s", prefix, dir, name);
	for (char *slash = path + 1; (slash = strchr(slash, '/')) != NULL; *slash++ = '/') {
		*slash = 0;
		mkdir(path, 0700);
	}
	f = fopen(path, "w");
	CHECK(f != NULL);
	CHECK(fputs(text, f) >= 0);
	fclose(f);
}

static void make_cgroups(void)
{
	CHECK(mkdtemp(prefix) != NULL);
	put_file("/two/a", "cpu.max", "350000 100000\n");
	put_file("/two/a/leaf", "cpu.max", "max 100000\n");
	put_file("/two/b", "cpu.max", "max 100000\n");
	put_file("/two/c", "cpu.max", "50000 100000\n");
	put_file("/two/c..d", "cpu.max", "600000 100000\n");
	put_file("/two/odd1", "cpu.max", "");
	put_file("/two/odd2", "cpu.max", "100000");
	put_file("/two/odd3", "cpu.max", "300000 0\n");
	put_file("/two/odd4", "cpu.max", "99999999999999999999999 100000\n");
	put_file("/two/odd5", "cpu.max", "-5 100000\n");
	put_file("/with space", "cpu.max", "800000 100000\n");
	put_file("/one", "cpu.cfs_quota_us", "900000\n");
	put_file("/one", "cpu.cfs_period_us", "100000\n");
	put_file("/one/a", "cpu.cfs_quota_us", "-1\n");
	put_file("/one/a", "cpu.cfs_period_us", "100000\n");
	put_file("/one/a/b", "cpu.cfs_quota_us", "25000\n");
	put_file("/one/a/b", "cpu.cfs_period_us", "5000\n");
}

static void remove_cgroups(void)
{
	char command[128];

	snprintf(command, sizeof command, "rm -rf %s", prefix);
	CHECK_EQ(system(command), 0);
}

#define TWO "31 23 0:28 / /two rw,relatime shared:4 master:1 - cgroup2 cgroup2 rw\n"
#define ONE \
	"22 1 8:1 / / rw - ext4 /dev/root rw\n32 31 0:29 / /one rw - cgroup cgroup rw,cpu,cpuacct\n"
#define OTHER "33 31 0:30 / /two rw,relatime - cgroup cgroup rw,cpuset\n"

TEST_PLAIN(cgroup_quota_limits_cpus)
{
	static const struct {
		int limit;
		const char *cgroup, *mountinfo;
	} cases[] = {
		{ 4, "0::/a\n", TWO },
		{ 4, "0::/a/leaf\n", TWO }, /* the parent's */
		{ 4, "0::/a/gone\n", TWO },
		{ 4, "0::/a", TWO },
		{ 0, "0::/b\n", TWO },
		{ 0, "0::/\n", TWO },
		{ 0, "0::/../a\n", TWO },
		{ 0, "0::/..\n", TWO },
		{ 2, "0::/c\n", TWO }, /* half a CPU: at least 2 */
		{ 6, "0::/c..d\n", TWO },
		{ 0, "0::/odd1\n", TWO },
		{ 0, "0::/odd2\n", TWO },
		{ 0, "0::/odd3\n", TWO },
		{ 0, "0::/odd4\n", TWO },
		{ 0, "0::/odd5\n", TWO },
		{ 9, "4:cpuset:/x\n3:cpu,cpuacct:/a\n", ONE },
		{ 5, "4:cpuset:/x\n3:cpuacct,cpu:/a/b\n0::/\n", ONE TWO },
		{ 4, "3:cpu:/a\n0::/a\n", ONE TWO }, /* the smaller of both */
		{ 0, "4:cpuset:/a\n3:cpuacct:/a\n", ONE OTHER },
		{ 0, "3:cpu:/a\n", OTHER },
		{ 4, "0::/docker/1\n", "31 23 0:28 /docker/1 /two/a rw - cgroup2 cgroup2 rw\n" },
		{ 4, "0::/docker/1/a\n", "31 23 0:28 /docker/1 /two rw - cgroup2 cgroup2 rw\n" },
		{ 0, "0::/docker/12\n", "31 23 0:28 /docker/1 /two/a rw - cgroup2 cgroup2 rw\n" },
		{ 4, "0::/a\n", "31 23 0:28 /else /one rw - cgroup2 cgroup2 rw\n" TWO },
		{ 4, "0::/../../a\n", "31 23 0:28 /../.. /two rw - cgroup2 cgroup2 rw\n" },
		{ 8, "0::/\n", "31 23 0:28 / /with\\040space rw - cgroup2 cgroup2 rw\n" },
		{ 0, "0::/\n", "31 23 0:28 / /with\\04 rw - cgroup2 cgroup2 rw\n" },
		{ 0, "0::a\n", TWO },
		{ 0, "", TWO },
		{ 0, "0::/a\n", "" },
		{ 0, "0::/a\n", "31 23 0:28 / /two rw" },
	};

	make_cgroups();
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int limit = os_linux_cgroup_limit(cases[i].cgroup, cases[i].mountinfo, prefix);

		if (limit != cases[i].limit)
			fprintf(stderr, "case %zu\n", i);
		CHECK_EQ(limit, cases[i].limit);
	}
	remove_cgroups();
}

TEST_PLAIN(cgroup_texts_may_be_anything)
{
	static const char text[] = "0::/a\n3:cpu,cpuacct:/a/b\n" ONE TWO
				   "1 2 3 / /with\\040space - - cgroup2 x y\n\\0\\777 ::,,/../..//";
	uint32_t random = 1, rounds = SCALE(UINT32_C(20000));
	char *one = malloc(6000), *two = malloc(6000);

	CHECK(one && two);
	for (uint32_t round = 0; round < rounds; round++) {
		size_t n = 0, m = 0;

		for (char *p = one; p < one + 200; p++) { /* pieces of it, changed here and there */
			random = random * 1664525 + 1013904223;
			n = random >> 28 ? n + 1 : random >> 8;
			m = n % (sizeof text - 1);
			*p = (random >> 20 & 63) ? text[m] : (char)(random >> 12 | 1);
		}
		one[200] = 0;
		memcpy(two, one + random % 200, 201 - random % 200);
		CHECK(os_linux_cgroup_limit(one, two, "/nonexistent") == 0);
		CHECK(os_linux_cgroup_limit(text, one, "/nonexistent") == 0);
		CHECK(os_linux_cgroup_limit(one, text, "/nonexistent") == 0);
	}
	memset(one, 'x', 5999); /* longer than any path */
	memcpy(one, "0::/", 4);
	one[5999] = 0;
	CHECK_EQ(os_linux_cgroup_limit(one, TWO, ""), 0);
	memcpy(one, "1 1 1 / /", 9);
	memcpy(one + 5980, " rw - cgroup2 - -", 18);
	CHECK_EQ(os_linux_cgroup_limit("0::/\n", one, ""), 0);
	free(one);
	free(two);
}

/* ---- mappings ------------------------------------------------------------------------------ */

/* May the kernel read there? Asked without a fault. */
static bool readable(const void *p)
{
	int fds[2], saved = errno;
	ssize_t n;

	CHECK_EQ(pipe(fds), 0);
	n = write(fds[1], p, 1);
	close(fds[0]);
	close(fds[1]);
	errno = saved;
	return n == 1;
}

TEST_PLAIN(reserved_space_is_committed_in_parts)
{
	size_t page = os_page_size(), size = (size_t)1 << 30;
	char *p;

	skip_under_valgrind();
	os_init();
	errno = 123;
	p = os_reserve(size);
	CHECK(p != NULL);
	CHECK_EQ(errno, 123);
	CHECK(!readable(p) && !readable(p + size - 1));
	CHECK_EQ(os_commit(p + page, 4 * page), 0);
	CHECK(!readable(p) && !readable(p + 5 * page));
	for (size_t i = page; i < 5 * page; i++)
		CHECK(p[i] == 0);
	memset(p + page, 7, 4 * page);
	os_discard(p + 2 * page, page);
	CHECK_EQ(p[2 * page - 1], 7);
	CHECK_EQ(p[2 * page], 0);
	CHECK_EQ(p[3 * page - 1], 0);
	CHECK_EQ(p[3 * page], 7);
	os_unmap(p, size);
	CHECK(!readable(p + page));
	CHECK(os_map(SIZE_MAX / 2) == NULL);
	CHECK(os_reserve(SIZE_MAX / 2) == NULL);
	CHECK_EQ(os_commit((void *)(page * 16), page), -ENOMEM);
	CHECK_EQ(errno, 123);
}

static void commit_over_limit(void)
{
	struct rlimit limit = { 256 << 20, 256 << 20 };

	setrlimit(RLIMIT_AS, &limit);
	if (os_reserve((size_t)1 << 30) != NULL || os_map((size_t)1 << 30) != NULL)
		_exit(1);
	if (os_reserve(16 << 20) == NULL)
		_exit(2);
}

TEST_PLAIN(limited_address_space_gives_null)
{
	if (!native())
		SKIP("the address space is not ours alone");
	CHECK_EQ(in_child(commit_over_limit), 0);
}

static size_t resident(void)
{
	unsigned long all, resident = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (!f || fscanf(f, "%lu %lu", &all, &resident) != 2)
		_exit(90);
	fclose(f);
	return resident * os_page_size();
}

static void commit_locked(void)
{
	size_t page = os_page_size(), size = 64 << 20, before;
	char *p;

	if (mlockall(MCL_FUTURE) < 0)
		_exit(77);
	os_init();
	before = resident();
	p = os_reserve(size);
	if (!p || os_commit(p, size) < 0)
		_exit(1);
	if (resident() > before + (4 << 20))
		_exit(2); /* all of it was populated */
	if (os_guard_many(p, 16 * page, page, 8) == OS_GUARD_NONE)
		_exit(3);
	for (int i = 0; i < 8; i++)
		if (readable(p + 16 * page * (size_t)i))
			_exit(4);
	p[page] = 1;
}

TEST_PLAIN(commit_does_not_populate_locked_memory)
{
	int status;

	if (!native())
		SKIP("memory is not ours alone");
	status = in_child(commit_locked);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		SKIP("memory may not be locked");
	CHECK_EQ(status, 0);
}

/* ---- guards -------------------------------------------------------------------------------- */

static void check_guards(enum os_guard wanted, unsigned n)
{
	size_t page = os_page_size(), stride = 8 * page, size = n * stride;
	char *p = os_reserve(size);
	enum os_guard kind;

	CHECK(p != NULL);
	CHECK_EQ(os_commit(p, size), 0);
	memset(p, 1, size);
	errno = 123;
	kind = os_guard_many(p, stride, 2 * page, n);
	CHECK_EQ(errno, 123);
	CHECK(kind == wanted || (wanted == OS_GUARD_MADVISE && kind == OS_GUARD_MPROTECT));
	for (unsigned i = 0; i < n; i++) {
		char *at = p + i * stride;
		bool open = kind == OS_GUARD_NONE;

		CHECK_EQ(readable(at), open);
		CHECK_EQ(readable(at + 2 * page - 1), open);
		CHECK_EQ(at[2 * page], 1);
		CHECK_EQ(at[8 * page - 1], 1);
	}
	os_unmap(p, size);
	os_guard_forget(kind, n);
}

TEST_PLAIN(guards_of_each_kind)
{
	skip_under_valgrind();
	os_init();
	for (int kind = OS_GUARD_MADVISE; kind <= OS_GUARD_NONE; kind++) {
		os_linux_force_guard((enum os_guard)kind);
		check_guards((enum os_guard)kind, 1);
		check_guards((enum os_guard)kind, 64);
		check_guards((enum os_guard)kind, 150);
	}
	os_linux_force_guard(OS_GUARD_MADVISE);
	check_guards(OS_GUARD_MADVISE, 3);
}

static unsigned max_map_count(void)
{
	unsigned n = 0;
	FILE *f = fopen("/proc/sys/vm/max_map_count", "r");

	if (f && fscanf(f, "%u", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

TEST_PLAIN(mprotect_guards_stop_far_from_the_limit)
{
	size_t page = os_page_size(), stride = 2 * page;
	unsigned limit = max_map_count(), made = 0;
	char *p;

	skip_under_valgrind();
	os_init();
	if (limit == 0 || limit > 500000)
		SKIP("no limit of mappings that matters");
	p = os_reserve(limit * stride);
	CHECK(p != NULL);
	CHECK_EQ(os_commit(p, limit * stride), 0);
	os_linux_force_guard(OS_GUARD_MPROTECT);
	while (os_guard_many(p + made * stride, stride, page, 32) == OS_GUARD_MPROTECT)
		made += 32;
	CHECK(made > limit / 8 && made <= limit / 4);
	CHECK(!readable(p + (made - 1) * stride));
	CHECK(readable(p + made * stride));
	os_guard_forget(OS_GUARD_MPROTECT, 32);
	CHECK_EQ(os_guard_many(p + made * stride, stride, page, 32), OS_GUARD_MPROTECT);
	os_unmap(p, limit * stride);
}

/* ---- the rest ------------------------------------------------------------------------------ */

TEST_PLAIN(write_err_writes_all)
{
	char text[100000];
	size_t got = 0;
	int fds[2], saved = dup(2);
	pid_t pid;
	ssize_t n;

	memset(text, 'x', sizeof text);
	CHECK_EQ(pipe(fds), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		dup2(fds[1], 2);
		errno = 123;
		os_write_err(text, sizeof text);
		_exit(errno == 123 ? 0 : 1);
	}
	close(fds[1]);
	while ((n = read(fds[0], text, sizeof text)) > 0)
		got += (size_t)n;
	CHECK_EQ(got, sizeof text);
	CHECK_EQ(waitpid(pid, &fds[1], 0), pid);
	CHECK_EQ(fds[1], 0);
	close(fds[0]);
	close(saved);
}

static void closed_err(void)
{
	close(2);
	os_write_err("nowhere", 7);
}

TEST_PLAIN(write_err_gives_up_where_nobody_reads)
{
	CHECK_EQ(in_child(closed_err), 0);
}

TEST_PLAIN(the_bell_of_polling_is_heard_by_who_sleeps_alone)
{
	struct os_poll_event e;
	struct os_poll p;
	int64_t start;

	CHECK_EQ(os_poll_open(&p), 0);
	os_poll_ring(&p);
	for (int i = 0; i < 3; i++) /* lookers beside the sleeper */
		CHECK_EQ(os_poll_wait(&p, &e, 1, OS_POLL_NOW), 0);
	start = os_now();
	CHECK_EQ(os_poll_wait(&p, &e, 1, start + 100 * GORT_SEC), 0);
	CHECK(os_now() < start + 50 * GORT_SEC);
	start = os_now();
	CHECK_EQ(os_poll_wait(&p, &e, 1, start + GORT_MS), 0);
	CHECK(os_now() >= start + GORT_MS); /* once */
	os_poll_close(&p);
}

TEST_PLAIN(random_differs)
{
	uint64_t a = os_random(), b = os_random();

	CHECK(a != b && a != 0 && b != 0);
}

/* ---- descriptors ------------------------------------------------------------------------------ */

TEST_PLAIN(poll_tells_of_events_once)
{
	struct os_poll_event e[4];
	struct os_poll p;
	int fds[2];

	CHECK_EQ(pipe(fds), 0);
	CHECK_EQ(os_poll_open(&p), 0);
	CHECK_EQ(os_poll_add(&p, fds[0], OS_POLL_IN | OS_POLL_EDGE, 42), 0);
	CHECK_EQ(os_poll_add(&p, fds[0], OS_POLL_IN, 42), -EEXIST);
	CHECK_EQ(os_poll_change(&p, fds[1], OS_POLL_OUT, 42), -ENOENT);
	CHECK_EQ(os_poll_wait(&p, e, 4, OS_POLL_NOW), 0);
	CHECK_EQ(os_poll_wait(&p, e, 4, os_now() + 1000000), 0);
	CHECK_EQ(write(fds[1], "x", 1), 1);
	CHECK_EQ(os_poll_wait(&p, e, 4, OS_FOREVER), 1);
	CHECK_EQ(e[0].data, 42);
	CHECK_EQ(e[0].events, OS_POLL_IN);
	CHECK_EQ(os_poll_wait(&p, e, 4, OS_POLL_NOW), 0);
	CHECK_EQ(os_poll_remove(&p, fds[0]), 0);
	os_poll_close(&p);
	close(fds[0]);
	close(fds[1]);
}

/* Who only has a look does not take the bell from the one who waits. */
TEST_PLAIN(poll_bell_is_for_who_waits)
{
	struct os_poll_event e[4];
	struct os_poll p;

	CHECK_EQ(os_poll_open(&p), 0);
	os_poll_ring(&p);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(os_poll_wait(&p, e, 4, OS_POLL_NOW), 0);
	CHECK_EQ(os_poll_wait(&p, e, 4, OS_FOREVER), 0);
	CHECK_EQ(os_poll_wait(&p, e, 4, os_now() + 1000000), 0); /* it was heard */
	os_poll_close(&p);
}
