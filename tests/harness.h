/*
 * harness.h - what a test may say. Each tests/<subject>.c is a program; each TEST in it is a
 * ctest test named subject.case, in a process of its own (tests/CMakeLists.txt reads them off the
 * source).
 *
 *     subject              all cases, one after the other
 *     subject CASE...      these, each in a forked child that is watched; exit 0, 1, or 77: skipped
 *     subject -g CASE      unforked and without a time limit, for gdb
 *     subject -l           list the cases
 *
 * Lines right before a TEST, one each:
 *     // variants: maxprocs    it runs with GORT_MAXPROCS 1, 2 and 8 as subject.case@1, @2, @8
 *     // variants: bubble      it also runs in a bubble as subject.case@bubble: all clocks are exact
 *     // label: full           a long one: only `./dev ci --full` runs it
 *     // isolate               alone on the machine
 *     // not: valgrind qemu    not a test of such builds: asan, tsan, valgrind, qemu. For what they
 *                              cannot do; where it depends on the machine, SKIP
 *
 * A check that fails prints one line by one write(2) and aborts: right on any stack and thread.
 * A case fails, too, if it leaves goroutines, descriptors, or memory of gort's behind.
 */
#ifndef GORT_TESTS_HARNESS_H
#define GORT_TESTS_HARNESS_H

#include <gort.h>

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct test_case {
	const char *name;
	void (*body)(void);
	const char *dies; /* NULL, or what it says on stderr when it dies by a signal, as it must */
	bool plain;       /* no runtime */
	struct test_case *next;
};

enum { TEST_OK = 0, TEST_FAILED = 1, TEST_SKIPPED = 77 };

/* The body is the main goroutine of a gort_run. */
#define TEST(name) TEST_CASE_(name, NULL, false)
/* The body runs on the process's main thread, without a runtime. */
#define TEST_PLAIN(name) TEST_CASE_(name, NULL, true)
/* It must die by a signal, and its stderr must contain the text. */
#define TEST_DIES(name, text) TEST_CASE_(name, text, false)
#define TEST_PLAIN_DIES(name, text) TEST_CASE_(name, text, true)

#define CHECK(cond) \
	do { \
		if (!(cond)) \
			test_fail_(__FILE__, __LINE__, "CHECK(%s)", #cond); \
	} while (0)

/* Integers of up to 64 bits, and pointers. */
#define CHECK_EQ(a, b) test_check_eq_(__FILE__, __LINE__, #a, #b, (int64_t)(a), (int64_t)(b))
#define CHECK_STR(a, b) test_check_str_(__FILE__, __LINE__, #a, #b, (a), (b))

/* Poll cond for up to 60 s. For what no event announces. */
#define EVENTUALLY(cond) \
	do { \
		int64_t test_end_ = gort_in(60 * GORT_SEC); \
		while (!(cond)) { \
			if (gort_now() >= test_end_) \
				test_fail_(__FILE__, __LINE__, "EVENTUALLY(%s): not in 60 s", \
					   #cond); \
			gort_sleep(GORT_MS); \
		} \
	} while (0)

/* This case cannot be run here. */
#define SKIP(why) test_skip_(__FILE__, __LINE__, (why))

/* n, or a part of it (1 at least) where all is slow: sanitizers, emulators. A constant if n is one.
 * The build sets the divisor, GORT_TEST_SCALE. */
#define SCALE(n) ((n) / TEST_SCALE > 0 ? (n) / TEST_SCALE : 1)
#ifndef TEST_SCALE
#define TEST_SCALE 1
#endif

/* This case ends with goroutines alive, on purpose. */
void test_leaves_goroutines(void);

/* A thread that gort did not make. join frees the guest. Of goroutines, join blocks the thread. */
struct guest;
struct guest *guest_start(void (*fn)(void *arg), void *arg);
void guest_join(struct guest *g);
void on_guest(void (*fn)(void *arg), void *arg); /* start, join */

/* A subject may define it: how many bytes (or whatever it counts) are left at a case's end, where
 * the default is what gort's allocator has handed out since the case began. */
int harness_leaks(void) __attribute__((weak));

/* Run a case as the runner does; for tests of the harness. */
int test_run(const struct test_case *c);

/* ---- what the macros stand on */
void test_register_(struct test_case *c);
void test_fail_(const char *file, int line, const char *format, ...)
	__attribute__((noreturn, cold, format(printf, 3, 4)));
void test_skip_(const char *file, int line, const char *why) __attribute__((noreturn));
void test_check_str_(const char *file, int line, const char *a_text, const char *b_text,
		     const char *a, const char *b);

static inline void test_check_eq_(const char *file, int line, const char *a_text,
				  const char *b_text, int64_t a, int64_t b)
{
	if (a != b)
		test_fail_(file, line, "CHECK_EQ(%s, %s): %lld (0x%llx) is not %lld (0x%llx)",
			   a_text, b_text, (long long)a, (unsigned long long)a, (long long)b,
			   (unsigned long long)b);
}

#define TEST_CASE_(name, dies, plain) \
	static void test_##name(void); \
	__attribute__((constructor)) static void test_register_##name(void) \
	{ \
		static struct test_case c_ = { #name, test_##name, dies, plain, NULL }; \
		test_register_(&c_); \
	} \
	static void test_##name(void)

#ifdef __cplusplus
}
#endif

#endif
