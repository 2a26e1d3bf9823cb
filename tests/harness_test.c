/*
 * harness_test.c - the harness itself: what fails must be seen to fail. Cases that must fail are
 * not registered; test_run() runs them in a child of this one, with their stderr in a file.
 */
#include "harness.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char said[8192]; /* by the last run_inner() */

#define CHECK_SAID(text) \
	do { \
		if (!strstr(said, (text))) \
			test_fail_(__FILE__, __LINE__, "no \"%s\" in: %s", (text), said); \
	} while (0)

static int run_inner(void (*body)(void), const char *dies, bool plain)
{
	const struct test_case inner = { "inner", body, dies, plain, NULL };
	FILE *f = tmpfile();
	int before = dup(STDERR_FILENO), rc;

	CHECK(f != NULL && before >= 0);
	dup2(fileno(f), STDERR_FILENO);
	rc = test_run(&inner);
	fflush(stderr);
	dup2(before, STDERR_FILENO);
	close(before);
	rewind(f);
	said[fread(said, 1, sizeof said - 1, f)] = '\0';
	fclose(f);
	return rc;
}

static void nothing(void)
{
}

/* ---- checks that hold say nothing */
TEST(checks_that_hold_pass)
{
	const char *null = NULL;
	uint64_t big = UINT64_MAX;
	bool yes = true;

	CHECK(yes);
	CHECK_EQ(big, -1);
	CHECK_EQ((uint8_t)200, 200);
	CHECK_STR("a", "a");
	CHECK_STR(null, NULL);
	EVENTUALLY(yes);
	CHECK_EQ(gort_self(), 1);
}

static void no_goroutine(void *arg)
{
	(void)arg;
	abort();
}

TEST_PLAIN(plain_case_has_no_runtime)
{
	CHECK_EQ(gort_self(), 0);
	CHECK_EQ(gort_go(no_goroutine, NULL), -ESRCH);
}

/* ---- checks that do not hold */
static const int fail_line = __LINE__ + 4;

static void fail(void)
{
	CHECK(1 + 1 == 3);
}

TEST_PLAIN(failed_check_names_its_place)
{
	char wanted[100];

	snprintf(wanted, sizeof wanted, "harness_test.c:%d: CHECK(1 + 1 == 3)\n", fail_line);
	CHECK_EQ(run_inner(fail, NULL, false), TEST_FAILED);
	CHECK_SAID(wanted);
}

TEST_DIES(failed_check_dies_on_a_goroutine, "CHECK(two == 3)")
{
	int two = 2;

	CHECK(two == 3);
}

TEST_PLAIN_DIES(failed_check_dies_on_a_plain_thread, "CHECK(two == 3)")
{
	int two = 2;

	CHECK(two == 3);
}

TEST_DIES(failed_check_eq_prints_both_values,
	  "CHECK_EQ(two, -ETIMEDOUT): 2 (0x2) is not -110 (0xffffffffffffff92)")
{
	int two = 2;

	CHECK_EQ(two, -ETIMEDOUT);
}

TEST_DIES(failed_check_str_prints_both_values, "CHECK_STR(a, \"b\"): \"(null)\" is not \"b\"")
{
	const char *a = NULL;

	CHECK_STR(a, "b");
}

static void fail_here(void *arg)
{
	CHECK(arg != NULL);
}

TEST_DIES(failed_check_dies_on_a_guest, "CHECK(arg != NULL)")
{
	on_guest(fail_here, NULL);
}

static void fail_long(void)
{
	char text[4000];

	memset(text, 'x', sizeof text);
	text[sizeof text - 1] = '\0';
	CHECK_STR(text, "");
}

TEST_PLAIN(long_message_is_cut)
{
	CHECK_EQ(run_inner(fail_long, NULL, true), TEST_FAILED);
	CHECK_SAID("xxx\n");
	CHECK_SAID("inner: killed by signal 6");
}

/* ---- the runner's judgement */
static void leave(void)
{
	_exit(3);
}

static void skip(void)
{
	SKIP("for this reason");
}

static void fault(void)
{
	fprintf(stderr, "last words\n");
	raise(SIGSEGV);
}

TEST_PLAIN(runner_tells_outcomes_apart)
{
	CHECK_EQ(run_inner(nothing, NULL, true), TEST_OK);
	CHECK_STR(said, "");
	CHECK_EQ(run_inner(nothing, NULL, false), TEST_OK);
	CHECK_EQ(run_inner(leave, NULL, true), TEST_FAILED);
	CHECK_STR(said, "inner: exit status 3\n");
	CHECK_EQ(run_inner(fault, NULL, true), TEST_FAILED);
	CHECK_SAID("inner: killed by signal");
	CHECK_EQ(run_inner(skip, NULL, false), TEST_SKIPPED);
	CHECK_SAID("skipped: for this reason");
}

TEST_PLAIN(runner_wants_the_death_and_the_words)
{
	CHECK_EQ(run_inner(fault, "last words", true), TEST_OK);
	CHECK_STR(said, "");
	CHECK_EQ(run_inner(fault, "other words", true), TEST_FAILED);
	CHECK_SAID("saying \"other words\"; it said:\nlast words");
	CHECK_EQ(run_inner(nothing, "last words", true), TEST_FAILED);
	CHECK_EQ(run_inner(leave, "", true), TEST_FAILED);
	CHECK_EQ(run_inner(skip, "last words", true), TEST_SKIPPED);
}

static void on_quit(int sig)
{
	(void)sig;
	if (write(STDERR_FILENO, "asked to quit\n", 14) < 0)
		abort();
}

static void hang(void)
{
	for (;;)
		pause();
}

TEST_PLAIN(hanging_case_is_asked_then_killed)
{
	setenv("GORT_TEST_TIMEOUT", "1", 1);
	signal(SIGQUIT, on_quit); /* the case inherits it, however late it begins */
	CHECK_EQ(run_inner(hang, NULL, true), TEST_FAILED);
	CHECK_SAID("inner: not ended after 1 s\nasked to quit\n");
	CHECK_SAID("killed by signal 9");
	CHECK_EQ(run_inner(hang, "asked to quit", true), TEST_FAILED);
}

static int grandchild_pipe[2];

static void leave_a_child(void)
{
	if (fork() != 0)
		return;
	signal(SIGHUP, SIG_IGN);
	for (;;)
		pause();
}

TEST_PLAIN(what_a_case_started_ends_with_it)
{
	char byte;

	CHECK_EQ(pipe(grandchild_pipe), 0);
	CHECK_EQ(run_inner(leave_a_child, NULL, true), TEST_OK);
	close(grandchild_pipe[1]);
	CHECK_EQ(read(grandchild_pipe[0], &byte, 1), 0); /* the grandchild's end is closed */
	close(grandchild_pipe[0]);
}

/* ---- leaks */
static void leak_descriptor(void)
{
	CHECK(open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0);
}

static void leak_goroutine_main(void *arg)
{
	(void)arg;
	gort_sleep(GORT_FOREVER);
}

static void leak_goroutine(void)
{
	CHECK_EQ(gort_go(leak_goroutine_main, NULL), 0);
}

static void leave_goroutine(void)
{
	test_leaves_goroutines();
	leak_goroutine();
}

static void leak_channel(void)
{
	CHECK(gort_chan_make(8, 100) != NULL);
}

TEST_PLAIN(leaks_fail_the_case)
{
	CHECK_EQ(run_inner(leak_descriptor, NULL, true), TEST_FAILED);
	CHECK_SAID("/dev/null\n");
	CHECK_SAID("leaves descriptors behind: ");
	CHECK_EQ(run_inner(leak_goroutine, NULL, false), TEST_FAILED);
	CHECK_SAID("leaves 1 goroutines behind");
	CHECK_EQ(run_inner(leave_goroutine, NULL, false), TEST_OK);
	CHECK_EQ(run_inner(leak_channel, NULL, false), TEST_FAILED);
	CHECK_SAID("bytes in use");
	CHECK_EQ(run_inner(leak_channel, NULL, true), TEST_FAILED);
}

/* ---- the rest */
TEST_PLAIN(scale_divides_and_stays_above_zero)
{
	_Static_assert(SCALE(1000) == 1000 / TEST_SCALE, "a constant");
	CHECK_EQ(SCALE(1), 1);
	CHECK_EQ(sizeof(SCALE((int64_t)1)), 8);
}

static void note_thread(void *arg)
{
	CHECK_EQ(gort_self(), 0);
	*(pthread_t *)arg = pthread_self();
}

TEST(guest_is_another_thread)
{
	pthread_t other = pthread_self();

	on_guest(note_thread, &other);
	CHECK(!pthread_equal(other, pthread_self()));
}

// variants: maxprocs
TEST(variants_set_the_number_of_processors)
{
	const char *procs = getenv("GORT_MAXPROCS");

	if (!procs)
		SKIP("run by hand, without a variant");
	CHECK_EQ(gort_maxprocs(0), atoi(procs));
}
