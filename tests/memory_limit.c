/*
 * memory_limit.c - in a control group with a memory limit, as containers have. Unlike address space,
 * memory that is over cannot be told by an errno: the pages of stacks come by faults, and where the
 * group has none left the kernel kills. So what must hold is that gort needs little, takes no more for
 * a goroutine than the guide says, and gives back what is not needed any more.
 *
 * Each test makes a group below, or in v2 beside, the one it is in, and sends a child there.
 */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB 1024L
#define MIB (1024 * KIB)

/* ---- groups ---------------------------------------------------------------------------------- */

static struct {
	char dir[600];
	bool v2;
} group;

static void path_of(char path[700], const char *file)
{
	snprintf(path, 700, "%s/%s", group.dir, file);
}

static bool put(const char *file, const char *text)
{
	char path[700];
	ssize_t n;
	int fd;

	path_of(path, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = write(fd, text, strlen(text));
	close(fd);
	return n > 0;
}

static bool has(const char *file)
{
	char path[700];

	path_of(path, file);
	return access(path, W_OK) == 0;
}

/* The path of the group that we are in, in the hierarchy that has the memory controller. */
static bool own_group(char own[256], bool v2)
{
	char line[400], controllers[64], path[256];
	FILE *f = fopen("/proc/self/cgroup", "re");
	bool found = false;

	while (f && !found && fgets(line, sizeof line, f)) {
		if (sscanf(line, "%*d:%63[^:]:%255s", controllers, path) == 2)
			found = !v2 && strcmp(controllers, "memory") == 0;
		else if (sscanf(line, "0::%255s", path) == 1)
			found = v2;
	}
	if (f)
		fclose(f);
	if (found)
		snprintf(own, 256, "%s", strcmp(path, "/") == 0 ? "" : path);
	return found;
}

/* In v2 a group with processes in it has none below that has controllers. */
static bool group_make_in(const char *hierarchy, bool v2, bool beside)
{
	char own[256];

	if (!own_group(own, v2) || (beside && !own[0]))
		return false;
	if (beside)
		*strrchr(own, '/') = 0;
	snprintf(group.dir, sizeof group.dir, "%s%s/gort-test-%d", hierarchy, own, getpid());
	group.v2 = v2;
	if (mkdir(group.dir, 0755) < 0)
		return false;
	if (has(v2 ? "memory.max" : "memory.limit_in_bytes"))
		return true;
	rmdir(group.dir);
	return false;
}

static void group_make(long limit)
{
	char text[32];

	snprintf(text, sizeof text, "%ld", limit);
	if (!group_make_in("/sys/fs/cgroup/memory", false, false) &&
	    !group_make_in("/sys/fs/cgroup", true, false) &&
	    !group_make_in("/sys/fs/cgroup", true, true))
		SKIP("no control group with a memory limit can be made here");
	if (!put(group.v2 ? "memory.max" : "memory.limit_in_bytes", text)) {
		rmdir(group.dir);
		SKIP("a control group's memory cannot be limited here");
	}
	/* Where there is no swap, there may be no such file. */
	put(group.v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes", group.v2 ? "0" : text);
	put("memory.oom_control", "0"); /* to kill is not disabled */
}

static long group_usage(void)
{
	char path[700];
	long n = -1;
	FILE *f;

	path_of(path, group.v2 ? "memory.current" : "memory.usage_in_bytes");
	f = fopen(path, "re");
	CHECK(f && fscanf(f, "%ld", &n) == 1);
	fclose(f);
	return n;
}

/* The status of a child that runs fn in a group with the limit. */
static int in_group(long limit, void (*fn)(void))
{
	int status = -1;
	pid_t pid;

	group_make(limit);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(120);
		if (!put("cgroup.procs", "0"))
			_exit(TEST_SKIPPED);
		fn();
		_exit(0);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	while (rmdir(group.dir) < 0 && errno == EBUSY) /* the dead leave it in their own time */
		usleep(1000);
	CHECK(pid > 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == TEST_SKIPPED)
		SKIP("no process can be moved into a control group here");
	return status;
}

static void check_fits(long limit, void (*fn)(void))
{
	int status = in_group(limit, fn);

	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		test_fail_(__FILE__, __LINE__, "in %ld MiB: status %#x", limit / MIB, status);
}

static long resident(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	long pages = 0;

	CHECK(f && fscanf(f, "%*d %ld", &pages) == 1);
	fclose(f);
	return pages * sysconf(_SC_PAGESIZE);
}

/* ---- goroutines that are all there at once --------------------------------------------------- */

static struct {
	atomic_int there;
	gort_chan *go_on;
	gort_waitgroup ended;
	size_t depth; /* of the stack that each touches */
} crowd;

__attribute__((noinline)) static void touch_stack(size_t depth)
{
	volatile char *p = __builtin_alloca(depth);

	for (size_t i = depth; i > 0; i -= i < 1024 ? i : 1024)
		p[i - 1] = 1;
}

static void join_crowd(void)
{
	if (crowd.depth)
		touch_stack(crowd.depth);
	atomic_fetch_add(&crowd.there, 1);
	gort_chan_recv(crowd.go_on, NULL);
	gort_waitgroup_done(&crowd.ended);
}

static void one(void *arg)
{
	(void)arg;
	join_crowd();
}

static int one_task(void *arg)
{
	(void)arg;
	join_crowd();
	return 0;
}

static int one_more(size_t stack)
{
	const gort_attr attr = { .stack_size = stack };
	gort_task *t;

	if (stack == 0)
		return gort_go(one, NULL);
	t = gort_spawn(one_task, NULL, &attr);
	if (t)
		gort_detach(t);
	return t ? 0 : -ENOMEM;
}

/* Up to n, with stacks of that size (0: the default), till they wait; -errno: not all. */
static int crowd_gather(int n, size_t stack, size_t depth)
{
	int err = 0, made = 0;

	crowd.depth = depth;
	crowd.go_on = gort_chan_make(0, 0);
	CHECK(crowd.go_on != NULL);
	atomic_store(&crowd.there, 0);
	while (made < n) {
		gort_waitgroup_add(&crowd.ended, 1);
		err = one_more(stack);
		if (err) {
			gort_waitgroup_done(&crowd.ended);
			break;
		}
		made++;
	}
	EVENTUALLY(atomic_load(&crowd.there) == made);
	return err;
}

static void crowd_go(void)
{
	CHECK_EQ(gort_chan_close(crowd.go_on), 0);
	CHECK_EQ(gort_waitgroup_wait(&crowd.ended), 0);
	gort_chan_release(crowd.go_on);
}

/* ---- little is enough ------------------------------------------------------------------------ */

static int nap(void *arg)
{
	(void)arg;
	usleep(1000);
	return 3;
}

static void block(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_blocking(nap, NULL), 3);
	gort_sleep(GORT_MS);
}

static int do_much(void *arg)
{
	gort_waitgroup all = { 0 };

	(void)arg;
	for (int i = 0; i < 20; i++)
		CHECK_EQ(gort_waitgroup_go(&all, block, NULL), 0);
	CHECK_EQ(crowd_gather(1000, 0, 0), 0);
	crowd_go();
	CHECK_EQ(gort_waitgroup_wait(&all), 0);
	return 5;
}

static void run_with_defaults(void)
{
	CHECK_EQ(gort_run(do_much, NULL, NULL), 5);
	CHECK_EQ(gort_run(do_much, NULL, NULL), 5);
}

// variants: maxprocs
// not: tsan asan qemu valgrind
TEST_PLAIN(a_runtime_fits_into_a_tight_group)
{
	check_fits(16 * MIB, run_with_defaults);
}

/* ---- what a goroutine takes ------------------------------------------------------------------ */

enum { MANY = 20000 };

static int park_many(void *arg)
{
	long pages, all;

	(void)arg;
	CHECK_EQ(crowd_gather(1, 0, 0), 0);
	crowd_go();
	pages = resident();
	all = group_usage();
	CHECK_EQ(crowd_gather(MANY, 0, 0), 0);
	pages = (resident() - pages) / MANY;
	all = (group_usage() - all) / MANY;
	CHECK(pages >= 4 * KIB && pages < 4 * KIB + 256); /* a page, and a bit of gort's */
	CHECK(all < 5 * KIB);                             /* with page tables */
	crowd_go();
	return 0;
}

static void run_many(void)
{
	if (sysconf(_SC_PAGESIZE) != 4 * KIB)
		_exit(TEST_SKIPPED);
	CHECK_EQ(gort_run(park_many, NULL, NULL), 0);
}

// not: tsan asan qemu valgrind
TEST_PLAIN(parked_goroutines_take_a_page_and_page_tables)
{
	check_fits(MANY * 5 * KIB + 16 * MIB, run_many);
}

/* ---- what comes back ------------------------------------------------------------------------- */

#define DEPTH (40 * KIB)
#define WAVE 800 /* of that depth: 32 MiB */
/* Of one size: 256 in the pool, 64 at each P; with the page of the G. */
#define KEPT (400 * (DEPTH + 8 * KIB))

static int wave_after_wave(void *arg)
{
	(void)arg;
	for (int i = 0; i < 10; i++) {
		CHECK_EQ(crowd_gather(WAVE, 0, DEPTH), 0);
		crowd_go();
	}
	return 0;
}

static void run_waves(void)
{
	CHECK_EQ(gort_run(wave_after_wave, NULL, &(gort_options){ .maxprocs = 2 }), 0);
}

/* Stacks are used again at once, wherever their goroutines ended. */
// not: tsan asan qemu valgrind
TEST_PLAIN(waves_of_goroutines_use_the_same_stacks)
{
	check_fits(WAVE * DEPTH + 32 * MIB, run_waves);
}

/* The stacks of one size are of no use for another: they must go, but for those that are kept. */
static int waves_of_sizes(void *arg)
{
	long before = resident();

	(void)arg;
	for (size_t stack = 64 * KIB; stack <= MIB; stack *= 2) {
		CHECK_EQ(crowd_gather(WAVE, stack, DEPTH), 0);
		crowd_go();
		EVENTUALLY(resident() - before < KEPT);
		before = resident();
	}
	return 0;
}

static void run_waves_of_sizes(void)
{
	CHECK_EQ(gort_run(waves_of_sizes, NULL, &(gort_options){ .maxprocs = 2 }), 0);
}

// not: tsan asan qemu valgrind
TEST_PLAIN(stacks_that_are_not_used_give_their_memory_back)
{
	check_fits(WAVE * DEPTH + 5 * KEPT, run_waves_of_sizes);
}

static int runs_one_wave(void *arg)
{
	(void)arg;
	CHECK_EQ(crowd_gather(WAVE, 0, DEPTH), 0);
	crowd_go();
	return 0;
}

static void run_again_and_again(void)
{
	for (size_t stack = 64 * KIB; stack <= MIB; stack *= 2)
		CHECK_EQ(gort_run(runs_one_wave, NULL, &(gort_options){ .stack_size = stack }), 0);
}

// variants: maxprocs
// not: tsan asan qemu valgrind
TEST_PLAIN(a_runtime_that_ends_gives_all_back)
{
	check_fits(WAVE * DEPTH + 16 * MIB, run_again_and_again);
}

/* ---- more than there is ---------------------------------------------------------------------- */

static int park_too_many(void *arg)
{
	int err = crowd_gather(200000, 0, 0);

	(void)arg;
	CHECK_EQ(err, -ENOMEM); /* the limit is the machine's then, and comes before the group's */
	crowd_go();
	return 0;
}

static void run_too_many(void)
{
	CHECK_EQ(gort_run(park_too_many, NULL, NULL), 0);
}

/* The kernel ends that process, and no other, or gort has said -ENOMEM before. */
// not: tsan asan qemu valgrind
TEST_PLAIN(more_than_the_group_has_is_the_kernels_to_end)
{
	int status = in_group(32 * MIB, run_too_many);

	if (!(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		CHECK_EQ(status, 0);
}
