/*
 * harness.c - runs the cases of a test program. harness.h says how.
 *
 *  1. The runner itself starts no thread and no runtime, so it may fork at any time.
 *  2. The child is a process group of its own and dies with the runner: nothing is left behind,
 *     whatever a case does, and nothing waits for ever. On a time-out it gets SIGQUIT (a report of
 *     its goroutines, once there is one), and 2 s later SIGKILL.
 *  3. A failing check uses no stdio and no malloc. It may run on a 16 KiB stack.
 *
 * No framework: the usual ones longjmp or keep thread-local state, and a goroutine changes threads.
 */
#include "harness.h"

#include "base/alloc.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_S 75       /* longer than EVENTUALLY, so that the check's own words are seen */
#define SLOW_LIMIT_S 300 /* where SCALE divides */
#define QUIT_S 2

static struct test_case *cases, **cases_end = &cases;
static bool goroutines_may_stay;

/* A report that a sanitizer makes is a death by a signal, as for any other fault. */
const char *__asan_default_options(void)
{
	return "abort_on_error=1:disable_coredump=1";
}

const char *__ubsan_default_options(void)
{
	return "abort_on_error=1:print_stacktrace=1";
}

const char *__tsan_default_options(void)
{
	return "abort_on_error=1:halt_on_error=1:second_deadlock_stack=1";
}

void test_register_(struct test_case *c)
{
	*cases_end = c;
	cases_end = &c->next;
}

/* ---- what cases call */

/* One write(2), cut to what fits. */
static void say(const char *file, int line, const char *format, va_list args)
{
	char text[768];
	size_t room = sizeof text - 1;
	int n = snprintf(text, room, "%s:%d: ", file, line);

	if (n >= 0 && (size_t)n < room)
		n += vsnprintf(text + n, room - (size_t)n, format, args);
	size_t size = n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
	text[size] = '\n';
	if (write(STDERR_FILENO, text, size + 1) < 0)
		return;
}

void test_fail_(const char *file, int line, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(file, line, format, args);
	va_end(args);
	abort();
}

static void say_skipped(const char *file, int line, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(file, line, format, args);
	va_end(args);
}

void test_skip_(const char *file, int line, const char *why)
{
	say_skipped(file, line, "skipped: %s", why);
	_exit(TEST_SKIPPED);
}

void test_check_str_(const char *file, int line, const char *a_text, const char *b_text,
		     const char *a, const char *b)
{
	if (a == b || (a && b && strcmp(a, b) == 0))
		return;
	test_fail_(file, line, "CHECK_STR(%s, %s): \"%s\" is not \"%s\"", a_text, b_text,
		   a ? a : "(null)", b ? b : "(null)");
}

void test_leaves_goroutines(void)
{
	goroutines_may_stay = true;
}

struct guest {
	pthread_t thread;
	void (*fn)(void *arg);
	void *arg;
};

static void *guest_main(void *arg)
{
	struct guest *g = arg;

	g->fn(g->arg);
	return NULL;
}

struct guest *guest_start(void (*fn)(void *arg), void *arg)
{
	struct guest *g = malloc(sizeof *g);

	CHECK(g != NULL);
	g->fn = fn;
	g->arg = arg;
	CHECK_EQ(pthread_create(&g->thread, NULL, guest_main, g), 0);
	return g;
}

void guest_join(struct guest *g)
{
	CHECK_EQ(pthread_join(g->thread, NULL), 0);
	free(g);
}

void on_guest(void (*fn)(void *arg), void *arg)
{
	guest_join(guest_start(fn, arg));
}

/* ---- in the child */

static int descriptors(bool name_them)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *e;
	int n = 0;

	CHECK(dir != NULL);
	while ((e = readdir(dir)) != NULL) {
		char to[256];
		ssize_t size;

		if (e->d_name[0] == '.' || atoi(e->d_name) == dirfd(dir))
			continue;
		n++;
		size = readlinkat(dirfd(dir), e->d_name, to, sizeof to - 1);
		if (name_them && size >= 0)
			say_skipped("descriptor", atoi(e->d_name), "%.*s", (int)size, to);
	}
	closedir(dir);
	return n;
}

static int bubble_body(void *arg)
{
	const struct test_case *c = arg;

	c->body();
	return 0;
}

static int goroutine_body(void *arg)
{
	const struct test_case *c = arg;
	int64_t end;

	if (getenv("GORT_TEST_BUBBLE"))
		CHECK_EQ(gort_bubble(bubble_body, arg), 0);
	else
		c->body();
	/* One that has done its work may still be about to end. */
	end = gort_in(10 * GORT_SEC);
	while (gort_count() > 1 && !goroutines_may_stay) {
		if (gort_now() > end)
			test_fail_(c->name, 0, "leaves %llu goroutines behind",
				   (unsigned long long)gort_count() - 1);
		gort_sleep(GORT_MS);
	}
	return 0;
}

static void run_here(const struct test_case *c)
{
	int before = descriptors(false), after;
	int64_t memory = (int64_t)mem_in_use();

	if (c->plain)
		c->body();
	else
		CHECK_EQ(gort_run(goroutine_body, (void *)(uintptr_t)c, NULL), 0);
	after = descriptors(false);
	if (after != before) {
		descriptors(true);
		test_fail_(c->name, 0, "leaves descriptors behind: %d before, %d after", before,
			   after);
	}
	memory = harness_leaks ? harness_leaks() : (int64_t)mem_in_use() - memory;
	if (memory != 0)
		test_fail_(c->name, 0, "leaves %lld bytes in use", (long long)memory);
}

/* ---- the runner */

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds_from(const char *variable, double otherwise)
{
	const char *text = getenv(variable);
	double n = text ? strtod(text, NULL) : 0;

	return n > 0 ? n : otherwise;
}

/* False: it has not ended in that time. SIGCHLD is blocked. */
static bool ends_within(pid_t child, double limit, int *status)
{
	const struct timespec tick = { 0, 100000000 };
	double end = seconds() + limit;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	for (;;) {
		pid_t pid = waitpid(child, status, WNOHANG);

		if (pid == child)
			return true;
		CHECK_EQ(pid, 0);
		if (seconds() > end)
			return false;
		sigtimedwait(&set, NULL, &tick);
	}
}

static bool contains(FILE *f, const char *text, bool show)
{
	static char all[1 << 16];
	size_t n;

	rewind(f);
	n = fread(all, 1, sizeof all - 1, f);
	all[n] = '\0';
	if (show)
		fprintf(stderr, "it said:\n%s\n", all);
	return strstr(all, text) != NULL;
}

static int judge(const struct test_case *c, int status, FILE *said)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == TEST_SKIPPED)
		return TEST_SKIPPED;
	if (!said && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return TEST_OK;
	if (said && WIFSIGNALED(status) && contains(said, c->dies, false))
		return TEST_OK;
	if (WIFSIGNALED(status))
		fprintf(stderr, "%s: killed by signal %d (%s)\n", c->name, WTERMSIG(status),
			strsignal(WTERMSIG(status)));
	else
		fprintf(stderr, "%s: exit status %d\n", c->name, WEXITSTATUS(status));
	if (said) {
		fprintf(stderr, "%s: should die by a signal, saying \"%s\"; ", c->name, c->dies);
		contains(said, c->dies, true);
	}
	return TEST_FAILED;
}

static void child_main(const struct test_case *c, const sigset_t *mask, FILE *said, pid_t runner)
{
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != runner)
		_exit(TEST_FAILED);
	sigprocmask(SIG_SETMASK, mask, NULL);
	if (said) {
		struct rlimit none = { 0, 0 };

		setrlimit(RLIMIT_CORE, &none);
		dup2(fileno(said), STDERR_FILENO);
		fclose(said);
	}
	run_here(c);
	exit(TEST_OK);
}

int test_run(const struct test_case *c)
{
	double limit = seconds_from("GORT_TEST_TIMEOUT", TEST_SCALE > 1 ? SLOW_LIMIT_S : LIMIT_S);
	FILE *said = c->dies ? tmpfile() : NULL;
	pid_t child, runner = getpid();
	sigset_t set, mask;
	bool late = false;
	int status = 0;

	CHECK(!c->dies || said);
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &mask);
	fflush(NULL);
	child = fork();
	CHECK(child >= 0);
	if (child == 0)
		child_main(c, &mask, said, runner);
	setpgid(child, child);
	if (!ends_within(child, limit, &status)) {
		late = true;
		fprintf(stderr, "%s: not ended after %.0f s\n", c->name, limit);
		kill(child, SIGQUIT);
		if (!ends_within(child, QUIT_S, &status)) {
			kill(child, SIGKILL);
			waitpid(child, &status, 0);
		}
	}
	kill(-child, SIGKILL); /* what it started and left */
	status = judge(c, status, said);
	if (said)
		fclose(said);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	return late ? TEST_FAILED : status;
}

static const struct test_case *find(const char *name)
{
	for (const struct test_case *c = cases; c; c = c->next)
		if (strcmp(c->name, name) == 0)
			return c;
	fprintf(stderr, "there is no case %s\n", name);
	exit(2);
}

static const char *outcome_name(int outcome)
{
	if (outcome == TEST_OK)
		return "ok";
	return outcome == TEST_SKIPPED ? "skipped" : "FAILED";
}

static int run_reported(const struct test_case *c)
{
	double start = seconds();
	int outcome = test_run(c);

	printf("%-8s %s (%.2f s)\n", outcome_name(outcome), c->name, seconds() - start);
	return outcome;
}

static int run_all(void)
{
	int ok = 0, failed = 0, skipped = 0;

	for (const struct test_case *c = cases; c; c = c->next) {
		int rc = run_reported(c);

		*(rc == TEST_OK ? &ok : rc == TEST_SKIPPED ? &skipped : &failed) += 1;
	}
	printf("%d passed, %d failed, %d skipped\n", ok, failed, skipped);
	return failed ? TEST_FAILED : TEST_OK;
}

int main(int argc, char **argv)
{
	int rc = TEST_OK;

	if (argc == 1)
		return run_all();
	if (strcmp(argv[1], "-l") == 0) {
		for (const struct test_case *c = cases; c; c = c->next)
			puts(c->name);
		return 0;
	}
	if (strcmp(argv[1], "-g") == 0 && argc == 3) {
		run_here(find(argv[2]));
		fflush(NULL);
		_exit(TEST_OK); /* LeakSanitizer would refuse to work under gdb */
	}
	if (argv[1][0] == '-') {
		fprintf(stderr, "usage: %s [-l | -g CASE | CASE...]\n", argv[0]);
		return 2;
	}
	for (int i = 1; i < argc; i++) {
		int one = run_reported(find(argv[i]));

		if (rc == TEST_OK || one == TEST_FAILED)
			rc = one;
	}
	return rc;
}
