/*
 * cxx_preempt.cpp - C++ goroutines that never give way by themselves are preempted, in the middle of
 * throwing, unwinding, catching, allocating: each finds its own exceptions and its own strings.
 */
#include "harness.h"

#include <atomic>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

struct churner {
	std::atomic<bool> *stop;
	std::atomic<uint64_t> rounds{ 0 };
	gort_task *task = nullptr;
	uint64_t seen = 0;
	int turns = 0; /* it has gone on since the last look */
};

/* Counts those alive: what unwinding forgets stays. */
struct counted {
	int *alive;

	explicit counted(int *n) : alive(n)
	{
		++*alive;
	}
	~counted()
	{
		--*alive;
	}
	counted(const counted &) = delete;
	counted &operator=(const counted &) = delete;
};

static void throw_below(int depth, int *alive, const std::string &what)
{
	counted here(alive);
	std::string frame(static_cast<size_t>(40 + depth), 'f'); /* not within the object */

	if (depth == 0)
		throw std::runtime_error(what);
	throw_below(depth - 1, alive, what);
	CHECK_EQ(frame.size(), 40 + depth);
}

/* One exception that is thrown from a depth, caught, rethrown and caught; one within its handler. */
static void throw_and_catch(uint64_t n)
{
	std::string what = "exception " + std::to_string(n) + " of goroutine " +
		std::to_string(gort_self());
	int alive = 0, caught = 0;

	try {
		try {
			throw_below(static_cast<int>(n % 8), &alive, what);
		} catch (const std::logic_error &) {
			CHECK(false);
		} catch (...) {
			CHECK_EQ(std::uncaught_exceptions(), 0);
			try {
				throw static_cast<int>(n);
			} catch (int inner) {
				CHECK_EQ(inner, static_cast<int>(n));
				caught++;
			}
			throw;
		}
	} catch (const std::exception &e) {
		CHECK_STR(e.what(), what.c_str());
		CHECK(std::current_exception() != nullptr);
		caught++;
	}
	CHECK_EQ(caught, 2);
	CHECK_EQ(alive, 0);
	CHECK(std::current_exception() == nullptr);
}

static void churn_strings(uint64_t n)
{
	std::map<std::string, std::unique_ptr<std::string>> kept;
	std::string all;

	for (uint64_t i = 0; i < 16; i++) {
		std::string key = std::to_string(n * 16 + i) + std::string(30, 'k');

		kept[key] = std::make_unique<std::string>(key + key);
		all += key.substr(0, i);
	}
	CHECK_EQ(kept.size(), 16);
	CHECK_EQ(all.size(), 120);
	for (const auto &entry : kept)
		CHECK(*entry.second == entry.first + entry.first);
}

/* A stop of the thread is sound in any code: so also in the unwinder's locks and malloc's. */
static int throw_on(void *arg)
{
	auto *c = static_cast<churner *>(arg);

	while (!c->stop->load(std::memory_order_relaxed))
		throw_and_catch(c->rounds++);
	return 0;
}

static int churn_on(void *arg)
{
	auto *c = static_cast<churner *>(arg);

	while (!c->stop->load(std::memory_order_relaxed))
		churn_strings(c->rounds++);
	return 0;
}

/* In turns, until each of them has gone on so often after another look. With one P that is only
 * possible when it was stopped in between. */
static void preempted(int (*const fn[2])(void *), int turns)
{
	auto count = static_cast<size_t>(2 * gort_maxprocs(0) + 2), done = size_t{ 0 };
	std::vector<churner> churners(count);
	std::atomic<bool> stop{ false };

	for (size_t i = 0; i < count; i++) {
		churners[i].stop = &stop;
		churners[i].task = gort_spawn(fn[i % 2], &churners[i], nullptr);
		CHECK(churners[i].task != nullptr);
	}
	while (done < count) {
		done = 0;
		CHECK_EQ(gort_sleep(GORT_MS), 0);
		throw_and_catch(done); /* among theirs */
		for (auto &c : churners) {
			uint64_t rounds = c.rounds;

			c.turns += rounds != c.seen;
			c.seen = rounds;
			done += c.turns >= turns;
		}
	}
	stop = true;
	for (auto &c : churners)
		CHECK_EQ(gort_join(c.task, nullptr), 0);
}

// variants: maxprocs
// not: tsan valgrind
TEST(throwing_goroutines_are_preempted)
{
	static int (*const fn[2])(void *) = { throw_on, throw_on };

	preempted(fn, SCALE(20));
}

// variants: maxprocs
// not: tsan valgrind
TEST(string_churn_is_preempted)
{
	static int (*const fn[2])(void *) = { churn_on, churn_on };

	preempted(fn, SCALE(20));
}

// variants: maxprocs
// not: tsan valgrind
TEST(throwing_among_string_churn_is_preempted)
{
	static int (*const fn[2])(void *) = { throw_on, churn_on };

	preempted(fn, SCALE(20));
}

/* What is being handled stays with the goroutine that is stopped in its handler. */
static int spin_in_catch(void *arg)
{
	auto *c = static_cast<churner *>(arg);
	std::string mine = "exception of goroutine " + std::to_string(gort_self());

	while (!c->stop->load(std::memory_order_relaxed)) {
		try {
			throw std::runtime_error(mine);
		} catch (const std::exception &) {
			for (int i = 0; i < 100000; i++)
				__asm__ volatile("" ::: "memory");
			try {
				std::rethrow_exception(std::current_exception());
			} catch (const std::exception &e) {
				CHECK_STR(e.what(), mine.c_str());
			}
		}
		c->rounds++;
	}
	return 0;
}

// variants: maxprocs
// not: tsan valgrind
TEST(preempted_inside_a_catch_block)
{
	static int (*const fn[2])(void *) = { spin_in_catch, throw_on };

	preempted(fn, SCALE(10));
}
