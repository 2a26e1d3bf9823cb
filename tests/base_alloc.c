/*
 * base_alloc.c - base/alloc.h: blocks are aligned, do not overlap, come back, and go back to the
 * system.
 */
#include "harness.h"

#include "base/alloc.h"
#include "os/os.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t next_random(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return *state >> 33;
}

/* Not under a sanitizer or an emulator, whose memory would be counted as well. */
static bool native(void)
{
	return SCALE(1000) == 1000;
}

/* Sizes as they come: many small ones, a few large. */
static size_t random_size(uint64_t *state)
{
	return 1 + next_random(state) % ((size_t)16 << next_random(state) % 13);
}

TEST_PLAIN(classes_fit_and_are_close)
{
	unsigned last = 0;

	for (size_t size = 1; size <= MEM_SMALL; size++) {
		unsigned class = mem_class(size);

		CHECK(class < MEM_CLASSES);
		CHECK(mem_class_size(class) >= size);
		CHECK(class == 0 || mem_class_size(class - 1) < size);
		CHECK(size <= 64 || mem_class_size(class) - size <= size / 4);
		CHECK(class == last || class == last + 1);
		last = class;
	}
	CHECK_EQ(last, MEM_CLASSES - 1);
	CHECK_EQ(mem_class(0), 0);
}

TEST_PLAIN(blocks_are_aligned)
{
	static struct mem_cache cache;

	for (size_t size = 0; size <= 3 * MEM_SMALL; size += size < 2048 ? 1 : 61) {
		size_t align = size && size % 64 == 0 ? 64 : 16;
		void *a = mem_alloc(&cache, size), *b = mem_alloc(NULL, size);

		CHECK(a != NULL && b != NULL && a != b);
		CHECK_EQ((uintptr_t)a % align, 0);
		CHECK_EQ((uintptr_t)b % align, 0);
		memset(a, 1, size);
		memset(b, 2, size);
		mem_free(NULL, a, size);
		mem_free(&cache, b, size);
	}
	mem_cache_flush(&cache);
	CHECK_EQ(mem_in_use(), 0);
}

TEST_PLAIN(use_is_counted_without_what_caches_hold)
{
	static struct mem_cache cache;
	void *a = mem_alloc(&cache, 100), *b = mem_alloc(NULL, 100), *c = mem_alloc(&cache, 100000);
	size_t page = os_page_size();

	CHECK_EQ(mem_in_use(), 2 * 112 + align_up(100000, page));
	mem_free(&cache, b, 100);
	CHECK_EQ(mem_in_use(), 112 + align_up(100000, page));
	mem_free(&cache, a, 100);
	mem_free(&cache, c, 100000);
	CHECK_EQ(mem_in_use(), 0);
	mem_cache_flush(&cache);
	CHECK_EQ(mem_in_use(), 0);
	mem_cache_flush(&cache); /* an empty one */
}

/* ---- blocks that are used ------------------------------------------------------------------ */

struct held {
	unsigned char *p;
	size_t size;
	unsigned char mark;
};

static void hold(struct held *h, struct mem_cache *cache, uint64_t *random)
{
	h->size = random_size(random);
	h->mark = (unsigned char)next_random(random);
	h->p = mem_alloc(cache, h->size);
	CHECK(h->p != NULL);
	memset(h->p, h->mark, h->size);
}

static void drop(struct held *h, struct mem_cache *cache)
{
	for (size_t i = 0; i < h->size; i++)
		if (h->p[i] != h->mark)
			CHECK_EQ(h->p[i], h->mark);
	mem_free(cache, h->p, h->size);
	h->p = NULL;
}

TEST_PLAIN(blocks_do_not_overlap)
{
	static struct mem_cache cache;
	static struct held held[1000];
	uint64_t random = 7, rounds = SCALE(UINT64_C(200000));

	for (uint64_t i = 0; i < rounds; i++) {
		struct held *h = &held[next_random(&random) % 1000];
		struct mem_cache *c = next_random(&random) % 8 ? &cache : NULL;

		if (h->p)
			drop(h, c);
		else
			hold(h, c, &random);
	}
	for (int i = 0; i < 1000; i++)
		if (held[i].p)
			drop(&held[i], &cache);
	CHECK_EQ(mem_in_use(), 0);
	mem_cache_flush(&cache);
}

/* Threads with caches of their own, which hand half of their blocks to the next one to free. */
#define THREADS 4
#define SLOTS 64

static struct held *slots[THREADS][SLOTS]; /* atomic */

static void *churn(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	struct mem_cache *cache = mem_alloc(NULL, sizeof *cache);
	uint64_t random = me + 1, rounds = SCALE(UINT64_C(200000));

	CHECK(cache != NULL);
	memset(cache, 0, sizeof *cache);
	for (uint64_t i = 0; i < rounds; i++) {
		struct held *h = mem_alloc(cache, sizeof *h);

		CHECK(h != NULL);
		hold(h, next_random(&random) % 16 ? cache : NULL, &random);
		if (next_random(&random) % 2) /* what lay there comes here: to be freed here */
			h = swap_acq_rel(&slots[(me + 1) % THREADS][next_random(&random) % SLOTS],
					 h);
		if (!h)
			h = swap_acq_rel(&slots[me][next_random(&random) % SLOTS], NULL);
		if (h) {
			drop(h, cache);
			mem_free(cache, h, sizeof *h);
		}
		if (i % 10000 == 9999)
			mem_cache_flush(cache);
	}
	mem_cache_flush(cache);
	mem_free(NULL, cache, sizeof *cache);
	return NULL;
}

TEST_PLAIN(threads_free_what_others_have_taken)
{
	pthread_t threads[THREADS];

	os_init();
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, churn, (void *)i), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < THREADS * SLOTS; i++) {
		struct held *h = slots[i / SLOTS][i % SLOTS];

		if (h) {
			drop(h, NULL);
			mem_free(NULL, h, sizeof *h);
		}
	}
	CHECK_EQ(mem_in_use(), 0);
}

/* ---- back to the system -------------------------------------------------------------------- */

static size_t statm(int field)
{
	unsigned long value[2] = { 0, 0 };
	FILE *f = fopen("/proc/self/statm", "r");

	CHECK(f != NULL);
	CHECK_EQ(fscanf(f, "%lu %lu", &value[0], &value[1]), 2);
	fclose(f);
	return value[field] * os_page_size();
}

enum { SPIKE = 65536, SPIKE_SIZE = 1000 };
static struct mem_cache spike_cache;

/* Take and free much, in another order. */
static void spike(void **blocks)
{
	size_t count = SCALE((size_t)SPIKE);

	for (size_t i = 0; i < count; i++) {
		blocks[i] = mem_alloc(&spike_cache, SPIKE_SIZE);
		CHECK(blocks[i] != NULL);
		memset(blocks[i], 3, SPIKE_SIZE);
	}
	CHECK(mem_in_use() >= count * SPIKE_SIZE);
	for (size_t first = 0; first < 7; first++)
		for (size_t i = first; i < count; i += 7)
			mem_free(&spike_cache, blocks[i], SPIKE_SIZE);
	CHECK_EQ(mem_in_use(), 0);
	mem_cache_flush(&spike_cache);
}

static void **spike_begin(size_t *rss, size_t *space)
{
	size_t size = SCALE((size_t)SPIKE) * sizeof(void *);
	void **blocks = malloc(size);

	os_init();
	CHECK(blocks != NULL);
	memset(blocks, 1, size);
	*rss = statm(1);
	*space = statm(0);
	return blocks;
}

static void check_small(size_t rss, size_t space)
{
	if (!native())
		return;
	CHECK(statm(1) < rss + (4 << 20));
	CHECK(statm(0) < space + (8 << 20));
}

TEST_PLAIN(memory_goes_back_after_a_spike)
{
	size_t rss, space;
	void **blocks = spike_begin(&rss, &space);

	for (int round = 0; round < 3; round++)
		spike(blocks);
	check_small(rss, space);
	free(blocks);
}

/* Where it is trimmed it is kept as long as it is wanted again and again, then goes in steps. */
TEST_PLAIN(kept_memory_goes_back_when_it_is_trimmed)
{
	size_t rss, space;
	uint32_t left, before;
	void **blocks = spike_begin(&rss, &space);

	mem_keep(true);
	for (int round = 0; round < 3; round++) {
		spike(blocks);
		CHECK_EQ(mem_trim(UINT32_MAX, true), 0); /* all that is there was used since */
		if (native())
			CHECK(statm(1) > rss + SPIKE * SPIKE_SIZE / 2);
	}
	before = mem_trim(1, true);
	while ((left = mem_trim(5, false)) != 0) {
		CHECK(left < before);
		before = left;
	}
	check_small(rss, space);
	spike(blocks);
	mem_keep(false);
	check_small(rss, space);
	free(blocks);
}

/* ---- failures ------------------------------------------------------------------------------ */

TEST_PLAIN(the_nth_allocation_fails)
{
	void *p[4];

	for (uint32_t n = 1; n <= 4; n++) {
		mem_fail_after(n);
		for (uint32_t i = 0; i < 4; i++) {
			p[i] = mem_alloc(NULL, i % 2 ? 100 : 100000);
			CHECK_EQ(p[i] == NULL, i + 1 == n);
		}
		for (uint32_t i = 0; i < 4; i++)
			if (p[i])
				mem_free(NULL, p[i], i % 2 ? 100 : 100000);
	}
	mem_fail_after(1);
	mem_fail_after(0);
	p[0] = mem_alloc(NULL, 100);
	CHECK(p[0] != NULL);
	mem_free(NULL, p[0], 100);
	CHECK_EQ(mem_in_use(), 0);
}

TEST_PLAIN(absurd_sizes_fail)
{
	CHECK(mem_alloc(NULL, SIZE_MAX) == NULL);
	CHECK(mem_alloc(NULL, SIZE_MAX - 4095) == NULL);
	CHECK(mem_alloc(NULL, SIZE_MAX / 2) == NULL);
	CHECK_EQ(mem_in_use(), 0);
}

static void exhaust(void)
{
	struct rlimit limit = { 192 << 20, 192 << 20 };
	static struct mem_cache cache;
	struct mem_block *list = NULL, *b;
	size_t n = 0;

	if (setrlimit(RLIMIT_AS, &limit) < 0)
		_exit(1);
	for (int round = 0; round < 2; round++) { /* what is freed can be taken again */
		size_t got = 0;

		while ((b = mem_alloc(&cache, 4000)) != NULL) {
			b->next = list;
			list = b;
			got++;
		}
		if (got < 1000 || (round == 1 && got != n))
			_exit(2);
		n = got;
		while ((b = list) != NULL) {
			list = b->next;
			mem_free(&cache, b, 4000);
		}
		if (mem_in_use() != 0)
			_exit(3);
		mem_cache_flush(&cache);
	}
	_exit(0);
}

static int in_child(void (*fn)(void))
{
	struct rlimit none = { 0, 0 };
	pid_t pid = fork();
	int status = 0;

	CHECK(pid >= 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &none);
		fn();
		_exit(99);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return status;
}

TEST_PLAIN(out_of_memory_is_survived)
{
	if (!native())
		SKIP("the address space is not ours alone");
	CHECK_EQ(in_child(exhaust), 0);
}

#ifdef GORT_CHECKED
static void quiet(void)
{
	close(2);
}

static void free_twice(void)
{
	void *p = mem_alloc(NULL, 100), *q = mem_alloc(NULL, 100);

	quiet();
	mem_free(NULL, p, 100);
	mem_free(NULL, p, 100);
	mem_free(NULL, q, 100);
}

static void free_twice_cached(void)
{
	static struct mem_cache cache;
	void *p = mem_alloc(&cache, 16);

	quiet();
	mem_free(&cache, p, 16);
	mem_free(&cache, p, 16);
}

static void free_wrong_size(void)
{
	void *p = mem_alloc(NULL, 100);

	quiet();
	mem_free(NULL, p, 300);
}

static void free_inside(void)
{
	char *p = mem_alloc(NULL, 160);

	quiet();
	mem_free(NULL, p + 16, 160);
}
#endif

TEST_PLAIN(checked_builds_stop_at_bad_frees)
{
#ifdef GORT_CHECKED
	void (*const cases[])(void) = { free_twice, free_twice_cached, free_wrong_size,
					free_inside };

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int status = in_child(cases[i]);

		CHECK(WIFSIGNALED(status));
		CHECK_EQ(WTERMSIG(status), SIGABRT);
	}
#else
	SKIP("not a checked build");
#endif
}

TEST_PLAIN(checked_builds_fill_freed_memory)
{
	unsigned char *p = mem_alloc(NULL, 100);
	void *keep = mem_alloc(NULL, 100); /* the span stays */
	bool filled = true;

	CHECK(p != NULL && keep != NULL);
	memset(p, 1, 100);
	mem_free(NULL, p, 100);
	if (native()) /* else nobody may look */
		for (int i = sizeof(struct mem_block); i < 100; i++)
			filled &= p[i] == 0xdd;
	mem_free(NULL, keep, 100);
#ifdef GORT_CHECKED
	CHECK(filled);
#else
	(void)filled;
	SKIP("not a checked build");
#endif
}
