/*
 * pool.c - idle objects: kept, given out once, bounded, destroyed when asked for.
 */
#include "base/alloc.h"
#include "harness.h"

#include <stdatomic.h>
#include <stdlib.h>

struct object {
	atomic_int in_use;
	int uses; /* whoever has it */
};

static atomic_int made, destroyed;
static gort_waitgroup group;

static void *make(void *arg)
{
	struct object *o = calloc(1, sizeof *o);

	CHECK(o != NULL);
	CHECK(arg == &made);
	atomic_fetch_add(&made, 1);
	return o;
}

static void destroy(void *object)
{
	struct object *o = object;

	CHECK_EQ(atomic_load(&o->in_use), 0);
	atomic_fetch_add(&destroyed, 1);
	free(o);
}

static gort_pool *open_pool(void)
{
	gort_pool *p = gort_pool_make(make, destroy, &made);

	CHECK(p != NULL);
	return p;
}

static void close_pool(gort_pool *p)
{
	gort_pool_release(p);
	CHECK_EQ(atomic_load(&destroyed), atomic_load(&made));
}

/* ---- the plain cases, for whoever calls */
static void check_one_user(void *arg)
{
	gort_pool *p = open_pool();
	struct object *a, *b;
	int begin = atomic_load(&made);

	(void)arg;
	a = gort_pool_get(p);
	b = gort_pool_get(p);
	CHECK(a && b && a != b);
	CHECK_EQ(atomic_load(&made), begin + 2);
	gort_pool_put(p, a);
	CHECK(gort_pool_get(p) == a);
	gort_pool_put(p, b);
	gort_pool_put(p, a);
	gort_pool_put(p, NULL);
	CHECK(gort_pool_get(p) == a); /* the warmest first */
	CHECK(gort_pool_get(p) == b);
	CHECK_EQ(atomic_load(&made), begin + 2);
	gort_pool_put(p, a);
	gort_pool_put(p, b);
	gort_pool_trim(p);
	CHECK_EQ(atomic_load(&destroyed), begin + 2);
	gort_pool_trim(p);
	gort_pool_put(p, gort_pool_get(p));
	CHECK_EQ(atomic_load(&made), begin + 3);
	close_pool(p);
}

TEST_PLAIN(one_user)
{
	check_one_user(NULL);
	on_guest(check_one_user, NULL);
	gort_pool_release(NULL);
}

/* It stays on one P: what lies in the slot of another is not to be had. */
TEST(one_user_on_a_goroutine)
{
	gort_maxprocs(1);
	check_one_user(NULL);
	on_guest(check_one_user, NULL);
}

static void check_many_objects(void *arg)
{
	enum { N = 1000 };
	static struct object *o[N];
	gort_pool *p = open_pool();
	int begin = atomic_load(&made);

	(void)arg;
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < N; i++) {
			o[i] = gort_pool_get(p);
			CHECK_EQ(atomic_fetch_add(&o[i]->in_use, 1), 0);
		}
		for (int i = 0; i < N; i++) {
			atomic_fetch_sub(&o[i]->in_use, 1);
			gort_pool_put(p, o[i]);
		}
	}
	CHECK_EQ(atomic_load(&made), begin + N);
	gort_pool_trim(p);
	CHECK_EQ(atomic_load(&destroyed), begin + N);
	close_pool(p);
}

TEST_PLAIN(many_objects)
{
	check_many_objects(NULL);
	on_guest(check_many_objects, NULL);
}

TEST(many_objects_on_a_goroutine)
{
	gort_maxprocs(1);
	check_many_objects(NULL);
	on_guest(check_many_objects, NULL);
}

/* ---- without make, without destroy */
static void *make_none(void *arg)
{
	(void)arg;
	return NULL;
}

TEST(make_and_destroy_may_be_missing)
{
	int a, b;
	gort_pool *p = gort_pool_make(NULL, NULL, NULL);

	gort_maxprocs(1);
	CHECK(p != NULL);
	CHECK(gort_pool_get(p) == NULL);
	gort_pool_put(p, &a);
	gort_pool_put(p, &b);
	CHECK(gort_pool_get(p) == &b);
	gort_pool_trim(p);
	CHECK(gort_pool_get(p) == NULL);
	gort_pool_put(p, &a);
	gort_pool_release(p);
	p = gort_pool_make(make_none, NULL, NULL);
	CHECK(gort_pool_get(p) == NULL);
	gort_pool_release(p);
}

/* ---- how many are kept */
#define KEPT \
	(30 * \
	 (256 + \
	  2 * 9)) /* the depot's magazines, and two in the slot of each P where it has been */

// variants: maxprocs
TEST(growth_is_bounded)
{
	const int n = 4 * KEPT;
	gort_pool *p = open_pool();

	for (int i = 0; i < n; i++)
		gort_pool_put(p, make(&made));
	CHECK(atomic_load(&made) - atomic_load(&destroyed) <= KEPT);
	CHECK(atomic_load(&made) - atomic_load(&destroyed) > KEPT / 2);
	close_pool(p);
}

/* What nobody has needed for a second goes as others come. */
TEST(what_is_not_needed_goes)
{
	enum { N = 600 };
	gort_pool *p = open_pool();
	int64_t deadline = gort_in(30 * GORT_SEC);
	struct object *o[61];

	for (int i = 0; i < N; i++)
		gort_pool_put(p, make(&made));
	while (atomic_load(&made) - atomic_load(&destroyed) > N / 2) {
		CHECK(gort_now() < deadline);
		gort_sleep(10 * GORT_MS);
		for (int i = 0; i < 61; i++) /* at the edge of two magazines */
			o[i] = gort_pool_get(p);
		for (int i = 0; i < 61; i++)
			gort_pool_put(p, o[i]);
	}
	close_pool(p);
}

/* ---- many users */
static atomic_bool stop;

static void use(gort_pool *p, int i)
{
	struct object *o[40];
	int n = i % 40 + 1;

	for (int k = 0; k < n; k++) {
		o[k] = gort_pool_get(p);
		CHECK_EQ(atomic_fetch_add(&o[k]->in_use, 1), 0);
		o[k]->uses++;
	}
	if (i % 8 == 0)
		gort_yield();
	if (i % 256 == 0)
		gort_sleep(1);
	for (int k = 0; k < n; k++) {
		CHECK_EQ(atomic_fetch_sub(&o[k]->in_use, 1), 1);
		gort_pool_put(p, o[k]);
	}
}

static void use_often(void *arg)
{
	for (int i = 0; i < SCALE(2000); i++)
		use(arg, i);
}

static void guest_uses_often(void *arg)
{
	use_often(arg);
	gort_waitgroup_done(&group);
}

static void trim_often(void *arg)
{
	while (!atomic_load(&stop)) {
		gort_pool_trim(arg);
		gort_sleep(50 * GORT_US);
	}
}

static void many_users(int goroutines, bool trims)
{
	gort_pool *p = open_pool();
	struct guest *g[2], *trimmer = trims ? guest_start(trim_often, p) : NULL;

	gort_waitgroup_add(&group, 2);
	for (int i = 0; i < 2; i++)
		g[i] = guest_start(guest_uses_often, p);
	for (int i = 0; i < goroutines; i++)
		CHECK_EQ(gort_waitgroup_go(&group, use_often, p), 0);
	gort_waitgroup_wait(&group);
	for (int i = 0; i < 2; i++)
		guest_join(g[i]);
	atomic_store(&stop, true);
	if (trims)
		guest_join(trimmer);
	if (!trims) /* all that 40 each for all at once need, and what lies in slots meanwhile */
		CHECK(atomic_load(&made) <= (goroutines + 2) * 40 + 9 * 60 + 60);
	close_pool(p);
}

// variants: maxprocs
TEST(each_object_has_one_user)
{
	many_users(8, false);
}

// variants: maxprocs
TEST(trim_while_it_is_used)
{
	many_users(8, true);
}

TEST_PLAIN(trim_while_it_is_used_without_a_runtime)
{
	many_users(0, true);
}

/* What one makes and another gives back comes round by the depot. */
struct belt {
	gort_pool *pool;
	gort_chan *way;
};

static void take_and_send(void *arg)
{
	struct belt *b = arg;

	for (int i = 0; i < SCALE(20000); i++) {
		void *o = gort_pool_get(b->pool);

		CHECK_EQ(gort_chan_send(b->way, &o), 0);
	}
	gort_chan_close(b->way);
}

// variants: maxprocs
TEST(objects_come_round)
{
	struct belt b = { open_pool(), gort_chan_make(sizeof(void *), 10) };
	void *o;

	CHECK_EQ(gort_waitgroup_go(&group, take_and_send, &b), 0);
	while (gort_chan_recv(b.way, &o) == 0)
		gort_pool_put(b.pool, o);
	gort_waitgroup_wait(&group);
	CHECK(atomic_load(&made) <= 9 * 60 + 60 + 12);
	gort_chan_release(b.way);
	close_pool(b.pool);
}

/* ---- GOMAXPROCS, and lives of the runtime */
// variants: maxprocs
TEST(while_processors_come_and_go)
{
	gort_pool *p = open_pool();

	for (int i = 0; i < 6; i++)
		CHECK_EQ(gort_waitgroup_go(&group, use_often, p), 0);
	for (int i = 0; i < 30; i++) {
		gort_maxprocs(i % 6 + 1);
		use(p, i);
		gort_yield();
	}
	gort_waitgroup_wait(&group);
	close_pool(p);
}

static int put_ten(void *arg)
{
	for (int i = 0; i < 10; i++)
		gort_pool_put(arg, make(&made));
	return 0;
}

static int get_ten(void *arg)
{
	void *o[10];

	for (int i = 0; i < 10; i++)
		o[i] = gort_pool_get(arg);
	CHECK_EQ(atomic_load(&made), 10);
	for (int i = 0; i < 10; i++)
		gort_pool_put(arg, o[i]);
	return 0;
}

TEST_PLAIN(objects_outlive_the_runtime)
{
	const gort_options one = { .maxprocs = 1 };
	gort_pool *p = open_pool();

	CHECK_EQ(gort_run(put_ten, p, &one), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(gort_run(get_ten, p, &one), 0);
	gort_pool_trim(p); /* without a runtime */
	CHECK_EQ(atomic_load(&destroyed), 10);
	close_pool(p);
}

/* ---- callbacks may do what they like */
static void *make_slowly(void *arg)
{
	gort_sleep(10 * GORT_US);
	return make(arg);
}

static gort_pool *inner;

static void destroy_into_another(void *object)
{
	gort_yield();
	gort_pool_put(inner, object);
}

// variants: maxprocs
TEST(make_and_destroy_may_wait_and_use_pools)
{
	gort_pool *p = gort_pool_make(make_slowly, destroy_into_another, &made);

	inner = open_pool();
	for (int i = 0; i < 4; i++)
		CHECK_EQ(gort_waitgroup_go(&group, use_often, p), 0);
	for (int i = 0; i < 20; i++) {
		gort_pool_trim(p);
		gort_sleep(20 * GORT_US);
	}
	gort_waitgroup_wait(&group);
	gort_pool_release(p);
	close_pool(inner);
}

/* ---- out of memory: an object that cannot be kept is destroyed */
TEST(out_of_memory)
{
	gort_pool *p = open_pool();

	for (uint32_t fail = 1; fail < 4; fail++) {
		for (int i = 0; i < 100; i++) {
			mem_fail_after(fail);
			gort_pool_put(p, make(&made));
			mem_fail_after(0);
		}
		gort_pool_trim(p);
		CHECK_EQ(atomic_load(&destroyed), atomic_load(&made));
		mem_fail_after(1);
		gort_pool_put(p, gort_pool_get(p));
		mem_fail_after(0);
	}
	close_pool(p);
}

/* ---- misuse */
TEST_DIES(get_of_null, "gort_pool_get")
{
	gort_pool_get(NULL);
}

TEST_DIES(put_of_null_names_the_goroutine, "goroutine 1")
{
	gort_pool_put(NULL, &made);
}

TEST_PLAIN_DIES(trim_of_null, "gort_pool_trim")
{
	gort_pool_trim(NULL);
}
