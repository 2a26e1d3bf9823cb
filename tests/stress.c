/*
 * stress.c - much of everything: many goroutines one after the other and at once, channels under
 * guests and goroutines, GOMAXPROCS changing, fork-join trees, fairness to the oldest, many lives
 * of the runtime; and the opposite, a process that has nothing to do.
 */
#include "harness.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static int64_t rss(void)
{
	char text[128] = "";
	long long pages = 0;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK(read(fd, text, sizeof text - 1) > 0);
	close(fd);
	CHECK_EQ(sscanf(text, "%*d %lld", &pages), 1);
	return pages * sysconf(_SC_PAGESIZE);
}

/* Nobody trims while the runtime idles for good: what is freed then goes back at once. */
// not: asan tsan valgrind qemu
TEST_PLAIN(memory_that_a_thread_frees_while_all_idle_goes_back)
{
	enum { CHANNELS = 20000 };
	gort_chan **c = calloc(CHANNELS, sizeof(gort_chan *));
	int64_t before, most;

	CHECK(c != NULL);
	memset(c, 1, CHANNELS * sizeof(gort_chan *));
	CHECK_EQ(gort_start(NULL), 0);
	gort_sleep(1500 * GORT_MS); /* it has nothing to do any more */
	before = rss();
	for (int i = 0; i < CHANNELS; i++)
		CHECK((c[i] = gort_chan_make(1000, 1)) != NULL);
	most = rss();
	for (int i = 0; i < CHANNELS; i++)
		gort_chan_release(c[i]);
	CHECK(most > before + CHANNELS * 1000 / 2);
	EVENTUALLY(rss() < before + (4 << 20));
	CHECK_EQ(gort_stop(), 0);
	free(c);
}

static atomic_llong called;

static void count_call(void *arg)
{
	(void)arg;
	atomic_fetch_add(&called, 1);
}

/* ---- one after the other, in flat memory */
#define FLAT_BATCH 1000

static void short_lives(int64_t batches)
{
	gort_waitgroup group = { 0 };
	int64_t begin = 0, most = 0;

	for (int64_t i = 0; i < batches; i++) {
		for (int k = 0; k < FLAT_BATCH; k++)
			CHECK_EQ(gort_waitgroup_go(&group, count_call, NULL), 0);
		CHECK_EQ(gort_waitgroup_wait(&group), 0);
		if (i == batches / 10)
			begin = rss();
		else if (i > batches / 10 && (i % 64 == 0 || i == batches - 1))
			most = rss() > most ? rss() : most;
	}
	CHECK_EQ(atomic_load(&called), batches * FLAT_BATCH);
	/* Whoever spawns before the others end has more stacks: one batch's, for each P that may
	 * be stopped with some at hand. */
	if (TEST_SCALE == 1 && most > begin + (16 << 20))
		test_fail_(__FILE__, __LINE__, "grew from %lld to %lld bytes", (long long)begin,
			   (long long)most);
}

// variants: maxprocs
TEST(short_goroutines_use_flat_memory)
{
	short_lives(SCALE(500));
}

// label: full
// variants: maxprocs
TEST(ten_million_short_goroutines_use_flat_memory)
{
	short_lives(SCALE(10000));
}

/* ---- at once */
static gort_chan *gate;

static void wait_at_gate(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_chan_recv(gate, NULL), -EPIPE);
	atomic_fetch_add(&called, 1);
}

/* Three times as many as guards that split mappings would allow at the usual vm.max_map_count. */
// variants: maxprocs
// not: tsan valgrind
TEST(two_hundred_thousand_are_alive)
{
	const int n = SCALE(200000);

	gate = gort_chan_make(0, 0);
	for (int i = 0; i < n; i++)
		CHECK_EQ(gort_go(wait_at_gate, NULL), 0);
	CHECK_EQ(gort_count(), n + 1);
	gort_yield(); /* most of them wait before the gate opens, or none does yet */
	gort_sleep(10 * GORT_MS);
	CHECK_EQ(gort_count(), n + 1);
	CHECK_EQ(gort_chan_close(gate), 0);
	EVENTUALLY(gort_count() == 1);
	CHECK_EQ(atomic_load(&called), n);
	gort_chan_release(gate);
}

/* ---- conservation */
struct tally {
	atomic_ullong count, sum, mixed; /* mixed: a value lost and another doubled shows */
};

struct hub {
	gort_chan *chan;
	struct tally sent, received;
	atomic_ullong timed_out;
	gort_waitgroup senders, receivers;
	atomic_uint next_seed;
	int each;
};

static void tally_add(struct tally *t, uint64_t v)
{
	uint64_t mixed = (v + 1) * UINT64_C(0x9e3779b97f4a7c15);

	mixed = (mixed ^ mixed >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	atomic_fetch_add(&t->count, 1);
	atomic_fetch_add(&t->sum, v);
	atomic_fetch_add(&t->mixed, mixed ^ mixed >> 32);
}

static int send_somehow(struct hub *h, uint64_t v, uint32_t r)
{
	if (r % 4 == 0)
		return gort_chan_send(h->chan, &v);
	if (r % 4 == 1)
		return gort_chan_try_send(h->chan, &v);
	return gort_chan_send_until(h->chan, &v, gort_in(r / 4 % 100 * GORT_US));
}

static int recv_somehow(struct hub *h, uint64_t *v, uint32_t r)
{
	if (r % 4 == 0)
		return gort_chan_recv(h->chan, v);
	if (r % 4 == 1)
		return gort_chan_try_recv(h->chan, v);
	return gort_chan_recv_until(h->chan, v, gort_in(r / 4 % 100 * GORT_US));
}

static void hub_send(void *arg)
{
	struct hub *h = arg;
	uint32_t id = atomic_fetch_add(&h->next_seed, 1), state = id * 2654435761u + 1;

	for (int i = 0; i < h->each; i++) {
		uint64_t v = (uint64_t)id << 32 | (uint32_t)i;
		int err = send_somehow(h, v, next_random(&state));

		if (err == 0) {
			tally_add(&h->sent, v);
		} else {
			CHECK(err == -ETIMEDOUT || err == -EAGAIN);
			atomic_fetch_add(&h->timed_out, 1);
			gort_yield();
		}
	}
	gort_waitgroup_done(&h->senders);
}

static void hub_recv(void *arg)
{
	struct hub *h = arg;
	uint32_t id = atomic_fetch_add(&h->next_seed, 1), state = id * 2654435761u + 1;

	for (;;) {
		uint64_t v = 0;
		int err = recv_somehow(h, &v, next_random(&state));

		if (err == -EPIPE) {
			CHECK_EQ(v, 0);
			break;
		}
		if (err == 0) {
			tally_add(&h->received, v);
		} else {
			CHECK(err == -ETIMEDOUT || err == -EAGAIN);
			gort_yield();
		}
	}
	gort_waitgroup_done(&h->receivers);
}

enum { HUB_GOROUTINES = 6, HUB_GUESTS = 2 };

static void hammer(size_t capacity, int each)
{
	struct hub h = { .chan = gort_chan_make(sizeof(uint64_t), capacity), .each = each };
	struct guest *guests[2 * HUB_GUESTS];
	uint64_t all = (uint64_t)each * (HUB_GOROUTINES + HUB_GUESTS);

	CHECK(h.chan != NULL);
	gort_waitgroup_add(&h.senders, HUB_GOROUTINES + HUB_GUESTS);
	gort_waitgroup_add(&h.receivers, HUB_GOROUTINES + HUB_GUESTS);
	for (int i = 0; i < HUB_GOROUTINES; i++) {
		CHECK_EQ(gort_go(hub_send, &h), 0);
		CHECK_EQ(gort_go(hub_recv, &h), 0);
	}
	for (int i = 0; i < HUB_GUESTS; i++) {
		guests[2 * i] = guest_start(hub_send, &h);
		guests[2 * i + 1] = guest_start(hub_recv, &h);
	}
	CHECK_EQ(gort_waitgroup_wait(&h.senders), 0);
	CHECK_EQ(gort_chan_close(h.chan), 0);
	CHECK_EQ(gort_waitgroup_wait(&h.receivers), 0);
	for (int i = 0; i < 2 * HUB_GUESTS; i++)
		guest_join(guests[i]);
	CHECK_EQ(atomic_load(&h.sent.count) + atomic_load(&h.timed_out), all);
	CHECK(atomic_load(&h.sent.count) > all / 16); /* a quarter goes by plain sends */
	CHECK_EQ(atomic_load(&h.received.count), atomic_load(&h.sent.count));
	CHECK_EQ(atomic_load(&h.received.sum), atomic_load(&h.sent.sum));
	CHECK_EQ(atomic_load(&h.received.mixed), atomic_load(&h.sent.mixed));
	CHECK_EQ(gort_chan_len(h.chan), 0);
	gort_chan_release(h.chan);
}

// variants: maxprocs
TEST(rendezvous_conserves_values_of_goroutines_and_guests)
{
	hammer(0, SCALE(5000));
}

// variants: maxprocs
TEST(one_slot_conserves_values_of_goroutines_and_guests)
{
	hammer(1, SCALE(5000));
}

// variants: maxprocs
TEST(buffer_conserves_values_of_goroutines_and_guests)
{
	hammer(64, SCALE(10000));
}

// label: full
// variants: maxprocs
TEST(channels_conserve_values_for_long)
{
	hammer(0, SCALE(100000));
	hammer(1, SCALE(100000));
	hammer(7, SCALE(100000));
}

/* ---- GOMAXPROCS flipped under work of every kind */
struct load {
	gort_chan *there, *back, *never, *from_guest;
	gort_mutex lock;
	int64_t locked; /* lock */
	gort_waitgroup all;
	int rounds;
	atomic_llong fans, tasks, sleeps;
};

static void load_ping(void *arg)
{
	struct load *l = arg;
	int64_t v = 0;

	for (int i = 0; i < l->rounds; i++) {
		CHECK_EQ(gort_chan_send(l->there, &v), 0);
		CHECK_EQ(gort_chan_recv(l->back, &v), 0);
		CHECK_EQ(v, i + 1);
	}
}

static void load_pong(void *arg)
{
	struct load *l = arg;
	int64_t v = 0;

	for (int i = 0; i < l->rounds; i++) {
		CHECK_EQ(gort_chan_recv(l->there, &v), 0);
		CHECK_EQ(v, i);
		v++;
		CHECK_EQ(gort_chan_send(l->back, &v), 0);
	}
}

static void load_lock(void *arg)
{
	struct load *l = arg;

	for (int i = 0; i < l->rounds; i++) {
		int64_t was;

		if (i % 4 || gort_mutex_lock_until(&l->lock, gort_in(50 * GORT_US)) < 0)
			gort_mutex_lock(&l->lock);
		was = l->locked;
		if (i % 16 == 0)
			gort_yield();
		l->locked = was + 1;
		gort_mutex_unlock(&l->lock);
	}
}

static void load_fan(void *arg)
{
	struct load *l = arg;

	for (int i = 0; i < l->rounds / 8; i++) {
		gort_waitgroup fan = { 0 };

		for (int k = 0; k < 8; k++)
			CHECK_EQ(gort_waitgroup_go(&fan, count_call, NULL), 0);
		CHECK_EQ(gort_waitgroup_wait(&fan), 0);
		atomic_fetch_add(&l->fans, 8);
	}
}

static int load_task(void *arg)
{
	int n = *(int *)arg;

	if (n % 3 == 0)
		gort_yield();
	return n * 2;
}

static void load_join(void *arg)
{
	struct load *l = arg;

	for (int i = 0; i < l->rounds / 4; i++) {
		gort_task *t = gort_spawn(load_task, &i, NULL);
		int got = -1;

		CHECK(t != NULL);
		CHECK_EQ(gort_join(t, &got), 0);
		CHECK_EQ(got, i * 2);
		atomic_fetch_add(&l->tasks, 1);
	}
}

static void load_sleep(void *arg)
{
	struct load *l = arg;

	for (int i = 0; i < l->rounds / 16; i++) {
		int64_t at = gort_in(i % 64 * GORT_US);

		if (i % 2)
			CHECK_EQ(gort_sleep_until(at), 0);
		else
			CHECK_EQ(gort_chan_recv_until(l->never, NULL, at), -ETIMEDOUT);
		CHECK(gort_now() >= at);
		atomic_fetch_add(&l->sleeps, 1);
	}
}

static void load_yield(void *arg)
{
	struct load *l = arg;

	for (int i = 0; i < l->rounds * 4; i++)
		gort_yield();
}

static void load_take(void *arg)
{
	struct load *l = arg;
	int64_t v = 0;

	for (int i = 0; i < l->rounds; i++) {
		CHECK_EQ(gort_chan_recv(l->from_guest, &v), 0);
		CHECK_EQ(v, i);
	}
	CHECK_EQ(gort_chan_recv(l->from_guest, &v), -EPIPE);
}

static void load_guest(void *arg)
{
	struct load *l = arg;

	for (int64_t i = 0; i < l->rounds; i++)
		CHECK_EQ(gort_chan_send(l->from_guest, &i), 0);
	CHECK_EQ(gort_chan_close(l->from_guest), 0);
}

static void flip_procs(int rounds)
{
	static const gort_func kinds[] = { load_ping,  load_pong,  load_lock,  load_lock,
					   load_fan,   load_join,  load_sleep, load_sleep,
					   load_yield, load_yield, load_take };
	struct load l = { .rounds = rounds };
	int now = gort_maxprocs(0), seen[9] = { 0 };
	uint32_t state = 12345;
	struct guest *g;

	l.there = gort_chan_make(sizeof(int64_t), 0);
	l.back = gort_chan_make(sizeof(int64_t), 0);
	l.never = gort_chan_make(0, 0);
	l.from_guest = gort_chan_make(sizeof(int64_t), 4);
	g = guest_start(load_guest, &l);
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		CHECK_EQ(gort_waitgroup_go(&l.all, kinds[i], &l), 0);
	do {
		int to = (int)(next_random(&state) % 8) + 1;

		CHECK_EQ(gort_maxprocs(to), now);
		now = to;
		seen[to]++;
	} while (gort_waitgroup_wait_until(&l.all, gort_in(next_random(&state) % 500 * GORT_US)) <
		 0);
	guest_join(g);
	CHECK_EQ(gort_maxprocs(0), now);
	CHECK_EQ(l.locked, 2 * rounds);
	CHECK_EQ(atomic_load(&called), rounds / 8 * 8);
	CHECK_EQ(atomic_load(&l.fans), rounds / 8 * 8);
	CHECK_EQ(atomic_load(&l.tasks), rounds / 4);
	CHECK_EQ(atomic_load(&l.sleeps), rounds / 16 * 2);
	gort_chan_release(l.there);
	gort_chan_release(l.back);
	gort_chan_release(l.never);
	gort_chan_release(l.from_guest);
}

// variants: maxprocs
TEST(maxprocs_flips_while_all_kinds_of_work_complete)
{
	flip_procs(SCALE(8000));
}

// label: full
TEST(maxprocs_flips_for_long)
{
	flip_procs(SCALE(400000));
}

/* ---- a fork-join tree does not have all its stacks at once */
#define TREE_WAYS 10

struct node {
	int64_t first, leaves;
	gort_chan *result;
};

static atomic_uint_least64_t alive, most_alive;
static atomic_llong nodes;

/* With several Ps gort_count sees ends late, and may show far too many: so it is done here. */
static void sample_alive(void)
{
	uint64_t n = gort_maxprocs(0) == 1 ? gort_count() : atomic_load(&alive);
	uint64_t most = atomic_load(&most_alive);

	while (n > most && !atomic_compare_exchange_weak(&most_alive, &most, n))
		;
}

static void tree_node(void *arg);

static void tree_start(struct node *n)
{
	atomic_fetch_add(&alive, 1);
	CHECK_EQ(gort_go_copy(tree_node, n, sizeof *n), 0);
}

static void tree_node(void *arg)
{
	struct node *n = arg;
	int64_t sum = n->first, part = 0;
	struct node child;

	sample_alive();
	atomic_fetch_add(&nodes, 1);
	if (n->leaves > 1) {
		child = (struct node){ n->first, n->leaves / TREE_WAYS, gort_chan_make(8, 0) };
		CHECK(child.result != NULL);
		for (int i = 0; i < TREE_WAYS; i++, child.first += child.leaves)
			tree_start(&child);
		sum = 0;
		for (int i = 0; i < TREE_WAYS; i++, sum += part)
			CHECK_EQ(gort_chan_recv(child.result, &part), 0);
		gort_chan_release(child.result);
	}
	gort_chan_retain(n->result); /* the receiver may be faster than our call's end */
	CHECK_EQ(gort_chan_send(n->result, &sum), 0);
	gort_chan_release(n->result);
	atomic_fetch_sub(&alive, 1);
}

// variants: maxprocs
// not: asan tsan valgrind qemu
TEST(tree_of_100000_leaves_keeps_few_goroutines_alive)
{
	int64_t leaves = 10000, sum = 0;
	struct node root = { 0, 0, gort_chan_make(8, 0) };

	if (SCALE(100000) == 100000)
		leaves = 100000;
	root.leaves = leaves;
	tree_start(&root);
	CHECK_EQ(gort_chan_recv(root.result, &sum), 0);
	CHECK_EQ(sum, leaves * (leaves - 1) / 2);
	CHECK_EQ(atomic_load(&nodes), (leaves * TREE_WAYS - 1) / (TREE_WAYS - 1));
	if (atomic_load(&most_alive) > (uint64_t)leaves / 5)
		test_fail_(__FILE__, __LINE__, "%llu goroutines were alive at once",
			   (unsigned long long)atomic_load(&most_alive));
	EVENTUALLY(gort_count() == 1);
	gort_chan_release(root.result);
}

/* ---- the oldest run, although others keep the only P busy */
#define OLDEST 8

static atomic_int oldest_ran;
static int64_t oldest_end;

static bool oldest_wait(void)
{
	CHECK(gort_now() < oldest_end);
	return atomic_load(&oldest_ran) < OLDEST;
}

static void be_oldest(void *arg)
{
	(void)arg;
	atomic_fetch_add(&oldest_ran, 1);
}

static void busy_ping(void *arg)
{
	gort_chan **c = arg;

	while (oldest_wait()) {
		CHECK_EQ(gort_chan_send(c[0], NULL), 0);
		CHECK_EQ(gort_chan_recv(c[1], NULL), 0);
	}
	CHECK_EQ(gort_chan_close(c[0]), 0);
}

static void busy_pong(void *arg)
{
	gort_chan **c = arg;

	while (gort_chan_recv(c[0], NULL) == 0)
		CHECK_EQ(gort_chan_send(c[1], NULL), 0);
}

static void busy_spawn_and_wait(void *arg)
{
	gort_waitgroup group = { 0 };

	(void)arg;
	while (oldest_wait()) {
		for (int i = 0; i < 3; i++)
			CHECK_EQ(gort_waitgroup_go(&group, count_call, NULL), 0);
		CHECK_EQ(gort_waitgroup_wait(&group), 0);
	}
}

/* The limit: how many pile up is another case's subject. */
static void busy_spawn_and_yield(void *arg)
{
	(void)arg;
	while (oldest_wait()) {
		if (gort_count() < 2000)
			CHECK_EQ(gort_go(count_call, NULL), 0);
		gort_yield();
	}
}

static void busy_yield(void *arg)
{
	(void)arg;
	while (oldest_wait())
		gort_yield();
}

static int spawn_busy(void *arg)
{
	const gort_func *fns = arg;
	gort_chan *c[2] = { gort_chan_make(0, 0), gort_chan_make(0, 0) };
	gort_waitgroup group = { 0 };

	oldest_end = gort_in(60 * GORT_SEC);
	atomic_store(&oldest_ran, 0);
	for (int i = 0; i < OLDEST; i++)
		CHECK_EQ(gort_go(be_oldest, NULL), 0);
	for (; *fns; fns++)
		CHECK_EQ(gort_waitgroup_go(&group, *fns, c), 0);
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
	CHECK_EQ(atomic_load(&oldest_ran), OLDEST);
	EVENTUALLY(gort_count() == 1);
	gort_chan_release(c[0]);
	gort_chan_release(c[1]);
	return 0;
}

static void oldest_beside(gort_func one, gort_func two)
{
	gort_func fns[] = { one, two, NULL };

	CHECK_EQ(gort_run(spawn_busy, fns, &(gort_options){ .maxprocs = 1 }), 0);
	CHECK_EQ(gort_run(spawn_busy, fns, &(gort_options){ .maxprocs = 2 }), 0);
}

TEST_PLAIN(oldest_run_beside_ping_pong)
{
	oldest_beside(busy_ping, busy_pong);
}

TEST_PLAIN(oldest_run_beside_a_spawner_that_waits)
{
	oldest_beside(busy_spawn_and_wait, NULL);
}

TEST_PLAIN(oldest_run_beside_spawners_that_yield)
{
	oldest_beside(busy_spawn_and_yield, busy_spawn_and_yield);
}

TEST_PLAIN(oldest_run_beside_yielders)
{
	oldest_beside(busy_yield, busy_yield);
}

/* Whoever yields after each spawn has about as many alive as it leaves others to run. */
static int spawn_and_yield(void *arg)
{
	uint64_t most = 0, n;

	(void)arg;
	for (int i = 0; i < SCALE(500000); i++) {
		CHECK_EQ(gort_go(count_call, NULL), 0);
		gort_yield();
		n = gort_count();
		most = n > most ? n : most;
	}
	if (most > 500)
		test_fail_(__FILE__, __LINE__, "%llu goroutines were alive at once",
			   (unsigned long long)most);
	EVENTUALLY(gort_count() == 1);
	return 0;
}

TEST_PLAIN(spawner_that_yields_piles_up_no_goroutines)
{
	CHECK_EQ(gort_run(spawn_and_yield, NULL, &(gort_options){ .maxprocs = 1 }), 0);
}

/* ---- many lives, each ended amid its work */
struct life {
	gort_chan *rendezvous, *buffer;
	gort_mutex lock;
	int64_t main_sleeps;
};

static void life_send(void *arg)
{
	struct life *l = arg;

	while (gort_chan_send(l->rendezvous, NULL) == 0)
		gort_chan_try_send(l->buffer, NULL);
}

static void life_recv(void *arg)
{
	struct life *l = arg;

	while (gort_chan_recv(l->rendezvous, NULL) == 0)
		gort_chan_recv_until(l->buffer, NULL, gort_in(20 * GORT_US));
}

static void life_lock(void *arg)
{
	struct life *l = arg;

	for (;;) {
		gort_mutex_lock(&l->lock);
		gort_yield();
		gort_mutex_unlock(&l->lock);
	}
}

static void life_spawn(void *arg)
{
	gort_waitgroup group = { 0 };

	(void)arg;
	for (;;) {
		CHECK_EQ(gort_waitgroup_go(&group, count_call, NULL), 0);
		CHECK_EQ(gort_waitgroup_go(&group, count_call, NULL), 0);
		gort_waitgroup_wait(&group);
	}
}

static void life_sleep(void *arg)
{
	(void)arg;
	for (;;)
		gort_sleep(30 * GORT_US);
}

static int live(void *arg)
{
	static const gort_func fns[] = { life_send, life_recv,  life_recv, life_lock,
					 life_lock, life_spawn, life_sleep };
	struct life *l = arg;

	for (size_t i = 0; i < 3 * sizeof fns / sizeof fns[0]; i++)
		CHECK_EQ(gort_go(fns[i / 3], l), 0);
	gort_sleep(l->main_sleeps);
	return 7;
}

static void life_make(struct life *l, uint32_t *state)
{
	*l = (struct life){ 0 };
	l->rendezvous = gort_chan_make(0, 0);
	l->buffer = gort_chan_make(0, 3);
	l->main_sleeps = next_random(state) % 300 * GORT_US;
}

/* Nobody waits in the channels any more, and they work. */
static void life_check(struct life *l)
{
	CHECK_EQ(gort_chan_try_send(l->rendezvous, NULL), -EAGAIN);
	CHECK_EQ(gort_chan_try_recv(l->rendezvous, NULL), -EAGAIN);
	while (gort_chan_try_recv(l->buffer, NULL) == 0)
		;
	for (int i = 0; i < 3; i++)
		CHECK_EQ(gort_chan_try_send(l->buffer, NULL), 0);
	CHECK_EQ(gort_chan_try_send(l->buffer, NULL), -EAGAIN);
	gort_chan_release(l->rendezvous);
	gort_chan_release(l->buffer);
}

TEST_PLAIN(runtime_runs_300_times_with_work_in_flight)
{
	uint32_t state = 4711;
	struct life l;
	int before;

	on_guest(count_call, NULL); /* sanitizers start a thread of their own with the first */
	before = count_threads();
	for (int i = 0; i < SCALE(300); i++) {
		life_make(&l, &state);
		CHECK_EQ(gort_run(live, &l, &(gort_options){ .maxprocs = i % 5 }), 7);
		life_check(&l);
	}
	EVENTUALLY(count_threads() <= before);
}

static void life_guest(void *arg)
{
	struct life *l = arg;
	int err;

	while ((err = gort_chan_send_until(l->buffer, NULL, gort_in(100 * GORT_US))) != -EPIPE) {
		CHECK(err == 0 || err == -ETIMEDOUT);
		err = gort_go(count_call, NULL);
		CHECK(err == 0 || err == -ESRCH);
	}
}

static void life_drain(void *arg)
{
	struct life *l = arg;

	while (gort_chan_recv(l->buffer, NULL) == 0)
		;
}

/* A guest sends and spawns all the while. */
TEST_PLAIN(runtime_starts_and_stops_300_times_under_a_guest)
{
	uint32_t state = 815;
	struct guest *g;
	struct life l;

	life_make(&l, &state);
	g = guest_start(life_guest, &l);
	for (int i = 0; i < SCALE(300); i++) {
		CHECK_EQ(gort_start(&(gort_options){ .maxprocs = i % 5 }), 0);
		for (int k = 0; k < 3; k++) {
			CHECK_EQ(gort_go(life_drain, &l), 0);
			CHECK_EQ(gort_go(life_spawn, &l), 0);
			CHECK_EQ(gort_go(life_sleep, &l), 0);
		}
		gort_sleep(next_random(&state) % 300 * GORT_US);
		CHECK_EQ(gort_stop(), 0);
	}
	CHECK_EQ(gort_chan_close(l.buffer), 0);
	guest_join(g);
	gort_chan_release(l.rendezvous);
	gort_chan_release(l.buffer);
}
