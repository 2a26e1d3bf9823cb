/*
 * cxx.cpp - gort.h is C++17, too: it compiles, links, and exceptions are thrown and caught on a
 * goroutine's stack, also across a park inside the try.
 */
#include "said.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static gort_waitgroup group;

static std::string what_of(void (*fn)())
{
	try {
		fn();
	} catch (const std::exception &e) {
		return e.what();
	}
	return "nothing";
}

static void throw_below(int depth)
{
	std::string frame(100, 'f'); /* has a destructor to run */

	if (depth > 0)
		throw_below(depth - 1);
	else
		throw std::runtime_error("from the depth");
	CHECK_EQ(frame.size(), 100);
}

static void throw_from_depth()
{
	throw_below(50);
}

static void park_and_throw()
{
	for (int i = 0; i < 5; i++) {
		gort_yield();
		gort_sleep(1);
	}
	throw_below(10);
}

/* ---- the header's types and calls */
static void count(void *arg)
{
	++*static_cast<std::atomic<int> *>(arg);
	gort_waitgroup_done(&group);
}

struct job {
	int n;
	std::atomic<int> *sum;
};

static void add(void *arg)
{
	auto *j = static_cast<job *>(arg);

	*j->sum += j->n;
	gort_waitgroup_done(&group);
}

static int give(void *arg)
{
	return *static_cast<int *>(arg);
}

TEST(calls_of_the_header)
{
	std::atomic<int> n{ 0 };
	gort_mutex mutex = {};
	gort_attr attr = {};
	int five = 5, got = 0;

	gort_waitgroup_add(&group, 2);
	CHECK_EQ(gort_go(count, &n), 0);
	job j = { 10, &n };
	CHECK_EQ(gort_go_copy(add, &j, sizeof j), 0);
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
	CHECK_EQ(n.load(), 11);
	attr.name = "from C++";
	gort_task *t = gort_spawn(give, &five, &attr);
	CHECK(t != nullptr);
	CHECK_EQ(gort_join(t, &got), 0);
	CHECK_EQ(got, 5);
	CHECK_EQ(gort_mutex_lock_until(&mutex, gort_in(GORT_SEC)), 0);
	gort_mutex_unlock(&mutex);
	errno = ENOENT;
	CHECK_EQ(errno, ENOENT);
	CHECK_STR(gort_version(), GORT_VERSION);
}

TEST(values_through_channels)
{
	gort_chan *c = gort_chan_make(sizeof(std::string *), 0);
	std::unique_ptr<std::string> received;

	CHECK_EQ(gort_go(
			 [](void *arg) {
				 auto *text = new std::string("hello from a lambda");

				 CHECK_EQ(gort_chan_send(static_cast<gort_chan *>(arg), &text), 0);
			 },
			 c),
		 0);
	std::string *text = nullptr;
	CHECK_EQ(gort_chan_recv(c, &text), 0);
	received.reset(text);
	CHECK_STR(received->c_str(), "hello from a lambda");
	gort_chan_release(c);
}

/* ---- exceptions */
TEST(exceptions_in_main)
{
	CHECK_STR(what_of(throw_from_depth).c_str(), "from the depth");
	CHECK_STR(what_of(park_and_throw).c_str(), "from the depth");
	CHECK_STR(what_of([] { gort_yield(); }).c_str(), "nothing");
}

static void throw_and_catch(void *arg)
{
	for (int i = 0; i < 10; i++) {
		CHECK_STR(what_of(throw_from_depth).c_str(), "from the depth");
		CHECK_STR(what_of(park_and_throw).c_str(), "from the depth");
	}
	count(arg);
}

// variants: maxprocs
TEST(exceptions_in_many_goroutines)
{
	std::atomic<int> n{ 0 };

	gort_waitgroup_add(&group, SCALE(200));
	for (int i = 0; i < SCALE(200); i++)
		CHECK_EQ(gort_go(throw_and_catch, &n), 0);
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
	CHECK_EQ(n.load(), SCALE(200));
}

/* Destructors run as the stack is unwound, in order, and a park in one is a park like others. */
struct noted {
	std::vector<int> *to;
	int n;

	~noted()
	{
		gort_yield();
		to->push_back(n);
	}
};

static void unwind(void *arg)
{
	std::vector<int> order;

	try {
		noted one{ &order, 1 };
		noted two{ &order, 2 };
		noted three{ &order, 3 };

		gort_yield();
		throw 42;
	} catch (int n) {
		CHECK_EQ(n, 42);
	}
	CHECK_EQ(order.size(), 3);
	CHECK_EQ(order[0], 3);
	CHECK_EQ(order[1], 2);
	CHECK_EQ(order[2], 1);
	count(arg);
}

// variants: maxprocs
TEST(unwinding_runs_destructors)
{
	std::atomic<int> n{ 0 };

	gort_waitgroup_add(&group, SCALE(200));
	for (int i = 0; i < SCALE(200); i++)
		CHECK_EQ(gort_go(unwind, &n), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(n.load(), SCALE(200));
}

/* What is being handled stays with the goroutine while it blocks, however others throw meanwhile. */
static void block_in_catch(void *arg)
{
	std::string mine = "exception of goroutine " + std::to_string(gort_self());

	for (int i = 0; i < 20; i++) {
		try {
			try {
				throw std::runtime_error(mine);
			} catch (...) {
				gort_yield();
				if (i % 4 == 0)
					gort_sleep(1000);
				CHECK_EQ(std::uncaught_exceptions(), 0);
				throw; /* the one being handled */
			}
		} catch (const std::exception &e) {
			gort_yield();
			CHECK_STR(e.what(), mine.c_str());
			CHECK(std::current_exception() != nullptr);
		}
		CHECK(std::current_exception() == nullptr);
		gort_yield();
	}
	count(arg);
}

// variants: maxprocs
TEST(blocks_inside_a_catch_block)
{
	std::atomic<int> n{ 0 };

	gort_waitgroup_add(&group, SCALE(100));
	for (int i = 0; i < SCALE(100); i++)
		CHECK_EQ(gort_go(block_in_catch, &n), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(n.load(), SCALE(100));
}

static void exit_in_catch(void *)
{
	try {
		throw 1;
	} catch (int) {
		gort_waitgroup_done(&group);
		gort_goexit();
	}
}

// not: asan (the exception is never freed)
TEST(goexit_in_a_catch_block_leaves_others_alone)
{
	std::atomic<int> n{ 0 };

	gort_maxprocs(1);
	gort_waitgroup_add(&group, 1);
	CHECK_EQ(gort_go(exit_in_catch, nullptr), 0);
	gort_waitgroup_wait(&group);
	CHECK(std::current_exception() == nullptr);
	gort_waitgroup_add(&group, 1);
	block_in_catch(&n);
}

static void let_it_go(void *)
{
	gort_set_name("thrower");
	throw std::runtime_error("nobody catches this");
}

TEST_DIES(uncaught_exception_names_the_goroutine, "std::terminate in goroutine 2 (thrower)")
{
	CHECK_EQ(gort_go(let_it_go, nullptr), 0);
	gort_sleep(GORT_SEC);
}

static void rethrow_within(void *arg)
{
	std::string outer, inner;

	try {
		try {
			throw std::logic_error("first");
		} catch (const std::logic_error &e) {
			inner = e.what();
			throw std::runtime_error(inner + " and second");
		}
	} catch (const std::runtime_error &e) {
		outer = e.what();
	}
	CHECK_STR(inner.c_str(), "first");
	CHECK_STR(outer.c_str(), "first and second");
	count(arg);
}

// variants: maxprocs
TEST(exceptions_within_handlers)
{
	std::atomic<int> n{ 0 };

	gort_waitgroup_add(&group, SCALE(500));
	for (int i = 0; i < SCALE(500); i++)
		CHECK_EQ(gort_go(rethrow_within, &n), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(n.load(), SCALE(500));
}

// variants: maxprocs
TEST(exceptions_on_guests)
{
	std::atomic<int> n{ 0 };

	gort_waitgroup_add(&group, 2);
	std::thread thread([&n] {
		rethrow_within(&n);
		throw_and_catch(&n);
	});
	gort_waitgroup_wait(&group);
	thread.join();
	CHECK_EQ(n.load(), 2);
}

/* ---- std::mutex is a pthread mutex: held_mutex.c */
static void listen_if_checked()
{
#ifdef GORT_CHECKS_MUTEXES
	listen_on();
#else
	SKIP("this build has no such check");
#endif
}

// variants: maxprocs
TEST(a_mutex_held_by_one_that_waits)
{
	std::mutex mutex;

	listen_if_checked();
	{
		std::lock_guard<std::mutex> lock(mutex);
	}
	gort_sleep(GORT_MS);
	{
		std::unique_lock<std::mutex> lock(mutex, std::try_to_lock);
		CHECK(lock.owns_lock());
		gort_sleep(200 * GORT_MS);
	}
	listen_off();
	CHECK_EQ(said_times("gort: goroutine 1 waits (sleep) while it holds a pthread mutex"), 1);
}

// variants: maxprocs
TEST(a_timed_mutex_held_by_one_that_waits)
{
	std::timed_mutex mutex;

	listen_if_checked();
	CHECK(mutex.try_lock_for(std::chrono::seconds(60)));
	mutex.unlock();
	gort_sleep(GORT_MS);
	CHECK(mutex.try_lock_until(std::chrono::system_clock::now() + std::chrono::seconds(60)));
	gort_sleep(200 * GORT_MS);
	mutex.unlock();
	listen_off();
	CHECK_EQ(said_times("gort: goroutine 1 waits (sleep) while it holds a pthread mutex"), 1);
}
