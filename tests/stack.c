/*
 * stack.c - goroutines' stacks: what an overflow says, that other faults go where they went before,
 * sizes, libc's deep functions, what a parked goroutine costs, and that memory comes back.
 */
#include "child.h"

#include "os/linux/linux.h"

#include <alloca.h>
#include <fcntl.h>
#include <iconv.h>
#include <netdb.h>
#include <regex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- ways to use much of a stack */
static volatile int64_t deepest = INT64_MAX; /* for compilers: the recursion may end */

static noinline int64_t dig(int64_t depth)
{
	volatile char frame[256];

	memset((char *)(uintptr_t)frame, 0x5a, sizeof frame);
	return depth < deepest ? dig(depth + 1) + frame[depth % 256] : 0;
}

static noinline int64_t jump(int64_t depth)
{
	volatile char *frame = alloca(8192);

	frame[0] = 1; /* its low end only: 8 KiB from the last one touched */
	return depth < deepest ? jump(depth + 1) + frame[0] : 0;
}

/* Touch so many bytes below. */
static noinline void use(size_t size)
{
	volatile char *low = alloca(size);

	for (size_t at = size; at > 4096; at -= 4096)
		low[at - 4096] = (char)at;
	low[0] = 1;
	gort_yield();
	CHECK_EQ(low[0], 1);
}

#define ROOM 6144 /* of any stack: what it takes to get there, and to call */

static int dig_task(void *arg)
{
	(void)arg;
	return (int)dig(0);
}

static int jump_task(void *arg)
{
	(void)arg;
	return (int)jump(0);
}

static void join_one(int (*fn)(void *arg), size_t size, const char *name)
{
	gort_task *t = gort_spawn(fn, NULL, &(gort_attr){ .stack_size = size, .name = name });

	CHECK(t != NULL);
	gort_join(t, NULL);
}

/* ---- the report of an overflow */
TEST_DIES(overflow_names_the_goroutine, "(digger)")
{
	join_one(dig_task, 64 << 10, "digger");
}

TEST_DIES(overflow_says_the_size, "64 KiB")
{
	join_one(dig_task, 64 << 10, NULL);
}

TEST_DIES(overflow_says_how_to_raise_the_size, "GORT_STACK")
{
	join_one(dig_task, 0, NULL);
}

TEST_DIES(overflow_by_jumps_is_reported, "stack overflow: goroutine ")
{
	join_one(jump_task, 0, "jumper");
}

TEST_DIES(overflow_of_main_is_reported, "stack overflow: goroutine 1 ")
{
	dig(0);
}

static int overflow_numbered(void *arg)
{
	char text[64];

	(void)arg;
	/* The report must agree. */
	snprintf(text, sizeof text, "it is goroutine %llu (digger)\n",
		 (unsigned long long)gort_self());
	CHECK(write(STDERR_FILENO, text, strlen(text)) > 0);
	return (int)dig(0);
}

static int run_numbered(void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++)
		join_one(overflow_numbered, 128 << 10, "digger");
	return 0;
}

static void overflow_in_run(void)
{
	gort_run(run_numbered, NULL, NULL);
}

/* It dies of SIGSEGV, having said all, once. */
static void check_overflow(void)
{
	static char said[1 << 16];
	int status = in_child(overflow_in_run, said, sizeof said);
	const char *number = strstr(said, "it is "), *report = strstr(said, "stack overflow: ");
	size_t size;

	if (!number || !report)
		test_fail_(__FILE__, __LINE__, "status 0x%x, it said: %s", status, said);
	number += strlen("it is ");
	size = strcspn(number, "\n");
	report += strlen("stack overflow: ");
	CHECK(strncmp(number, report, size) == 0);
	CHECK(strstr(report, "128 KiB") != NULL);
	CHECK(strstr(report, "GORT_STACK") != NULL);
	CHECK(strstr(report, "stack overflow: ") == NULL);
	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGSEGV);
}

TEST_PLAIN(overflow_dies_of_sigsegv_and_says_all)
{
	check_overflow();
}

/* ---- other kinds of guards */
TEST_PLAIN(overflow_is_reported_with_mprotect_guards)
{
	os_linux_force_guard(OS_GUARD_MPROTECT);
	check_overflow();
}

/* Beyond the lowest byte by a little: without a guard that is only seen at the next switch. We are
 * within 4 KiB of the size asked for, on either side. */
static noinline void creep_below(size_t size)
{
	volatile char *low = alloca(size);

	for (int i = 0; i < 8192; i++)
		low[i] = 0x5a;
}

static int overflow_a_little(void *arg)
{
	(void)arg;
	creep_below((64 + 6) << 10);
	gort_yield();
	gort_sleep(GORT_MS);
	return 0;
}

static int run_a_little(void *arg)
{
	(void)arg;
	join_one(overflow_a_little, 64 << 10, "creeper");
	return 0;
}

static void overflow_unguarded(void)
{
	os_linux_force_guard(OS_GUARD_NONE);
	gort_run(run_a_little, NULL, NULL);
}

TEST_PLAIN(overflow_is_reported_without_guards)
{
	static const char *const texts[] = { "stack overflow: goroutine ", "creeper", "GORT_STACK",
					     NULL };

	check_dies(overflow_unguarded, SIGABRT, texts);
}

static void use_nearly_all(void *arg)
{
	(void)arg;
	use((256 << 10) - ROOM);
}

static int use_many(void *arg)
{
	gort_waitgroup group = { 0 };

	(void)arg;
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 200; i++)
			CHECK_EQ(gort_waitgroup_go(&group, use_nearly_all, NULL), 0);
		CHECK_EQ(gort_waitgroup_wait(&group), 0);
	}
	return 5;
}

TEST_PLAIN(full_stacks_are_fine_with_each_kind_of_guard)
{
	const gort_options o = { .stack_size = 256 << 10 };

	for (int kind = OS_GUARD_MADVISE; kind <= OS_GUARD_NONE; kind++) {
		os_linux_force_guard((enum os_guard)kind);
		CHECK_EQ(gort_run(use_many, NULL, &o), 5);
	}
}

/* ---- faults that are none of ours */
static volatile char *forbidden;
static atomic_int faults;
static void *volatile fault_address;

static void allow(void)
{
	atomic_fetch_add(&faults, 1);
	mprotect((void *)(uintptr_t)forbidden, 4096, PROT_READ | PROT_WRITE);
}

static void on_fault_info(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	fault_address = info->si_addr;
	allow();
}

static void on_fault(int sig)
{
	(void)sig;
	allow();
}

static int touch_forbidden(void *arg)
{
	(void)arg;
	forbidden[5] = 7;
	CHECK_EQ(forbidden[5], 7);
	return 1;
}

static int touch_forbidden_elsewhere(void *arg)
{
	int got = 0;

	CHECK_EQ(gort_join(gort_spawn(touch_forbidden, arg, NULL), &got), 0);
	return got;
}

static void forbid(void)
{
	forbidden = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK((void *)(uintptr_t)forbidden != MAP_FAILED);
}

static void with_handler(const struct sigaction *sa, int (*fn)(void *arg))
{
	struct sigaction now;
	int before = atomic_load(&faults);

	forbid();
	CHECK_EQ(sigaction(SIGSEGV, sa, NULL), 0);
	CHECK_EQ(gort_run(fn, NULL, NULL), 1);
	CHECK_EQ(atomic_load(&faults), before + 1);
	CHECK_EQ(sigaction(SIGSEGV, NULL, &now), 0);
	CHECK_EQ(now.sa_handler, sa->sa_handler); /* it is back */
	munmap((void *)(uintptr_t)forbidden, 4096);
}

/* Valgrind sees to such faults itself (os_signal.c). */
// variants: maxprocs
// not: valgrind
TEST_PLAIN(sigsegv_elsewhere_reaches_the_handler_of_before)
{
	struct sigaction plain = { .sa_handler = on_fault };
	struct sigaction info = { .sa_sigaction = on_fault_info, .sa_flags = SA_SIGINFO };

	with_handler(&info, touch_forbidden);
	CHECK_EQ((uintptr_t)fault_address, (uintptr_t)&forbidden[5]);
	with_handler(&info, touch_forbidden_elsewhere);
	CHECK_EQ((uintptr_t)fault_address, (uintptr_t)&forbidden[5]);
	info.sa_flags |= SA_ONSTACK;
	with_handler(&info, touch_forbidden_elsewhere);
	with_handler(&plain, touch_forbidden);
	with_handler(&plain, touch_forbidden_elsewhere);
}

static void touch_in_run(void)
{
	signal(SIGSEGV, SIG_DFL);
	forbid();
	gort_run(touch_forbidden_elsewhere, NULL, NULL);
}

// not: valgrind
TEST_PLAIN(sigsegv_elsewhere_kills_without_talk_of_stacks)
{
	static char said[1 << 16];
	int status = in_child(touch_in_run, said, sizeof said);

	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGSEGV);
	CHECK(strstr(said, "stack overflow") == NULL);
}

/* ---- sizes */
static int use_arg(void *arg)
{
	use(*(size_t *)arg - ROOM);
	return 6;
}

static int use_main_and_others(void *arg)
{
	size_t *size = arg; /* main's, the default, one of its own */
	int got = 0;

	use(size[0] - ROOM);
	CHECK_EQ(gort_join(gort_spawn(use_arg, &size[1], NULL), &got), 0);
	CHECK_EQ(got, 6);
	CHECK_EQ(gort_join(gort_spawn(use_arg, &size[2], &(gort_attr){ .stack_size = size[2] }),
			   &got),
		 0);
	CHECK_EQ(got, 6);
	return 8;
}

// variants: maxprocs
TEST_PLAIN(stacks_are_usable_to_nearly_the_sizes_asked_for)
{
	size_t sizes[][3] = { { 16 << 10, 16 << 10, 16 << 10 },
			      { 1 << 20, 24 << 10, 300 << 10 },
			      { 48 << 10, 1 << 20, 16 << 10 },
			      { 64 << 20, 100 << 10, 33 << 20 } };

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		gort_options o = { .main_stack_size = sizes[i][0], .stack_size = sizes[i][1] };

		CHECK_EQ(gort_run(use_main_and_others, sizes[i], &o), 8);
	}
}

TEST_PLAIN(gort_stack_sets_the_default_size)
{
	static const struct {
		const char *text;
		size_t size;
	} values[] = { { "20000", 20000 }, { "512K", 512 << 10 }, { "3M", 3 << 20 } };

	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
		size_t sizes[3] = { 64 << 10, values[i].size, 16 << 10 };

		CHECK_EQ(setenv("GORT_STACK", values[i].text, 1), 0);
		CHECK_EQ(gort_run(use_main_and_others, sizes,
				  &(gort_options){ .main_stack_size = 64 << 10 }),
			 8);
	}
	CHECK_EQ(unsetenv("GORT_STACK"), 0);
}

/* ---- libc's own needs */
static void print_long_double(void *arg)
{
	char text[8192];

	(void)arg;
	CHECK(snprintf(text, sizeof text, "%.2000Lf", 1.0L / 3) == 2002);
	CHECK(snprintf(text, sizeof text, "%Lf", __LDBL_MAX__) > 300);
	CHECK(snprintf(text, sizeof text, "%La %5000d", 0.1L, 7) > 5000);
}

static void resolve_localhost(void *arg)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;

	(void)arg;
	if (getaddrinfo("localhost", "80", &hints, &list) == 0) { /* not every machine knows it */
		CHECK(list != NULL);
		freeaddrinfo(list);
	}
}

static void convert(void *arg)
{
	char in[] = "gr\xc3\xbc\xc3\x9f", out[64] = "", *from = in, *to = out;
	size_t from_left = strlen(in), to_left = sizeof out;
	iconv_t cd = iconv_open("UTF-16LE", "UTF-8");

	(void)arg;
	if (cd == (iconv_t)-1)
		return; /* its modules are not installed */
	CHECK_EQ(iconv(cd, &from, &from_left, &to, &to_left), 0);
	CHECK_EQ(to - out, 8);
	CHECK_EQ(out[4], '\xfc');
	CHECK_EQ(iconv_close(cd), 0);
}

static void match(void *arg)
{
	regex_t re;

	(void)arg;
	CHECK_EQ(regcomp(&re, "^((a|b)*(c|d)+){1,20}(x[[:alpha:]]*y|[0-9]{1,50})+$", REG_EXTENDED),
		 0);
	CHECK_EQ(regexec(&re, "abcabdabcdabcdx12y", 0, NULL, 0), REG_NOMATCH);
	CHECK_EQ(regexec(&re, "abcabdabcdabcdxyzy123", 0, NULL, 0), 0);
	regfree(&re);
}

static int by_value(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void sort(void *arg)
{
	int n[4000];

	(void)arg;
	for (int i = 0; i < 4000; i++)
		n[i] = i * 2654 % 4001;
	qsort(n, 4000, sizeof n[0], by_value);
	for (int i = 1; i < 4000; i++)
		CHECK(n[i - 1] <= n[i]);
}

// variants: maxprocs
TEST(libc_fits_a_default_stack)
{
	static const gort_func fns[] = { print_long_double, resolve_localhost, convert, match,
					 sort };
	gort_waitgroup group = { 0 };

	for (size_t i = 0; i < 4 * sizeof fns / sizeof fns[0]; i++)
		CHECK_EQ(gort_waitgroup_go(&group, fns[i / 4], NULL), 0);
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
}

/* ---- what it costs */
/* In bytes, one line of /proc/self/status. */
static int64_t status(const char *key)
{
	char text[4096] = "";
	const char *at;
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK(read(fd, text, sizeof text - 1) > 0);
	close(fd);
	at = strstr(text, key);
	CHECK(at != NULL);
	return strtoll(at + strlen(key), NULL, 10) * 1024;
}

static int64_t resident(void)
{
	return status("VmRSS:");
}

static int64_t resident_with_tables(void)
{
	return status("VmRSS:") + status("VmPTE:");
}

static gort_chan *gate;
static atomic_int passed;

static void wait_at_gate(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_chan_recv(gate, NULL), -EPIPE);
	atomic_fetch_add(&passed, 1);
}

static void park_so_many(int n)
{
	gate = gort_chan_make(0, 0);
	for (int i = 0; i < n; i++)
		CHECK_EQ(gort_go(wait_at_gate, NULL), 0);
	CHECK_EQ(gort_count(), n + 1);
	gort_sleep(20 * GORT_MS);
}

static void let_pass(int n)
{
	CHECK_EQ(gort_chan_close(gate), 0);
	EVENTUALLY(gort_count() == 1);
	CHECK_EQ(atomic_load(&passed), n);
	gort_chan_release(gate);
}

// variants: maxprocs
// not: asan tsan valgrind qemu
TEST(parked_goroutine_costs_under_6_kilobytes)
{
	int64_t before = resident_with_tables(), cost;

	park_so_many(10000);
	cost = (resident_with_tables() - before) / 10000;
	if (cost > 6000 || cost < 64)
		test_fail_(__FILE__, __LINE__, "%lld bytes", (long long)cost);
	let_pass(10000);
}

static void wait_deep_at_gate(void *arg)
{
	volatile char frame[16384];

	for (size_t i = 0; i < sizeof frame; i += 1024)
		frame[i] = 1;
	wait_at_gate(arg);
	CHECK_EQ(frame[1024], 1);
}

// variants: maxprocs
// not: asan tsan valgrind qemu
TEST(memory_comes_back_after_a_spike)
{
	int64_t before = resident(), peak;

	gate = gort_chan_make(0, 0);
	for (int i = 0; i < 50000; i++)
		CHECK_EQ(gort_go(i % 10 ? wait_at_gate : wait_deep_at_gate, NULL), 0);
	gort_sleep(50 * GORT_MS);
	peak = resident();
	CHECK(peak - before > 50000 * 4000LL);
	let_pass(50000);
	EVENTUALLY(resident() - before < (peak - before) / 4);
}

/* The same stacks serve again after they were cold. What eight Ps keep is little of so many. */
// variants: maxprocs
// not: asan tsan valgrind qemu
TEST(cold_stacks_serve_again)
{
	int64_t before = resident(), peak;

	for (int round = 0; round < 2; round++) {
		atomic_store(&passed, 0);
		park_so_many(50000);
		peak = resident();
		CHECK(peak - before > 50000 * 4000LL);
		let_pass(50000);
		EVENTUALLY(resident() - before < (peak - before) / 4);
	}
}

/* The end of the runtime keeps no stacks: lives do not add up. */
static int spike(void *arg)
{
	(void)arg;
	atomic_store(&passed, 0);
	park_so_many(20000);
	let_pass(20000);
	return 0;
}

// not: asan tsan valgrind qemu
TEST_PLAIN(memory_comes_back_at_the_runtimes_end)
{
	int64_t before;

	CHECK_EQ(gort_run(spike, NULL, NULL), 0);
	before = resident();
	for (int i = 0; i < 5; i++)
		CHECK_EQ(gort_run(spike, NULL, NULL), 0);
	CHECK(resident() < before + (8 << 20));
}
