/*
 * flight.c - gort_flight: one call of a function at a time for a key, whose result all share who
 * ask meanwhile. Go's singleflight.
 *
 * The first to ask leads: it enters a struct call, runs fn, takes the call out again, and writes
 * the result to those who wait, on their stacks. So a call lives exactly as long as its leader
 * runs it, and needs no counting; a waiter that gives up takes its node out of the call's queue
 * before.
 *
 *  1. Everything is under the flight's lock, but what is fixed.
 *  2. Calls stand in a binary trie over the bits of their keys' hashes, a call at each node: any
 *     place whose path is the beginning of its hash. It grows and shrinks by one pointer, so nobody
 *     ever waits while a table is rebuilt. Equal hashes go one below the other.
 *  3. fn ends by return, panic or goexit: leader_ends runs in any case, by a defer.
 *  4. A leader that never ends, since the runtime stopped, is dropped: who waits gets -ECANCELED.
 *
 * Callers: goroutines and guests. The leader's fn runs without any lock of gort's.
 */
#include "sync/wake.h"

#include <errno.h>
#include <string.h>

struct call {
	struct call *child[2], **link; /* 2: below it, and what points to it */
	uint64_t hash;                 /* fixed */
	gort_flight *flight;           /* fixed */
	struct waitq waiters;
	int result;   /* the leader's; -EOWNERDEAD until fn has returned */
	bool *shared; /* the leader's, or NULL: is the result others' as well? */
	size_t size;  /* fixed: what it was allocated with */
	char key[];   /* fixed */
};

struct gort_flight {
	struct lock lock;
	struct call *root;
};

/* ---- the trie -------------------------------------------------------------------------------- */

static uint64_t hash_of(const char *key)
{
	uint64_t h =
		UINT64_C(0xcbf29ce484222325); /* FNV-1a, then mixed: paths begin at the top bits */

	for (; *key; key++)
		h = (h ^ (unsigned char)*key) * UINT64_C(0x100000001b3);
	return (h ^ h >> 32) * UINT64_C(0x9e3779b97f4a7c15);
}

/* The call, or where to hang one. */
static struct call **find(gort_flight *f, uint64_t hash, const char *key)
{
	struct call **link = &f->root, *c;

	for (uint64_t path = hash; (c = *link) != NULL; path <<= 1) {
		if (c->hash == hash && strcmp(c->key, key) == 0)
			break;
		link = &c->child[path >> 63];
	}
	return link;
}

static void hang(struct call *c, struct call **link)
{
	c->link = link;
	*link = c;
}

/* Any leaf below may take its place. */
static void unhang(struct call *c)
{
	struct call *leaf = c;

	while (leaf->child[0] || leaf->child[1])
		leaf = leaf->child[leaf->child[0] == NULL];
	*leaf->link = NULL;
	if (leaf == c)
		return;
	hang(leaf, c->link);
	for (int i = 0; i < 2; i++) {
		leaf->child[i] = c->child[i];
		if (leaf->child[i])
			leaf->child[i]->link = &leaf->child[i];
	}
}

/* ---- leading --------------------------------------------------------------------------------- */

static struct call *call_make(struct m *m, gort_flight *f, uint64_t hash, const char *key,
			      bool *shared)
{
	size_t length = strlen(key) + 1, size = sizeof(struct call) + length;
	struct call *c = mem_alloc(cache_of(m), size);

	if (!c)
		return NULL;
	*c = (struct call){
		.hash = hash, .flight = f, .result = -EOWNERDEAD, .shared = shared, .size = size
	};
	memcpy(c->key, key, length);
	return c;
}

/* Under the lock: a batch of those who wait. */
static unsigned take_waiters(struct call *c, struct waitq *told)
{
	struct waiter *w;
	unsigned n = 0;

	for (; n < WAKE_BATCH && (w = waitq_claim(&c->waiters)) != NULL; n++) {
		*(int *)w->elem = c->result;
		w->status = GOT_IT;
		waitq_push(told, w);
	}
	return n;
}

/* Nobody joins c once it is out of the trie, so this comes to an end. */
static void end_call(struct m *m, struct call *c)
{
	struct lock *lock = &c->flight->lock;
	struct waitq told = { 0 };
	bool shared = false, more;
	unsigned n;

	lock_acquire(lock);
	unhang(c);
	do {
		n = take_waiters(c, &told);
		more = c->waiters.head != NULL;
		lock_release(lock);
		wake_told(m, &told);
		shared |= n > 0;
		if (more)
			lock_acquire(lock);
	} while (more);
	if (c->shared)
		*c->shared = shared;
	mem_free(cache_of(m), c, c->size);
}

/* By the leader, even if the runtime stops: others wait. */
static void leader_ends(void *arg)
{
	struct m *m = rt_enter_midway();

	end_call(m, arg);
	rt_leave_midway(m);
}

/* The runtime has ended, and the leader never goes on. */
static void leader_drops(void *arg)
{
	struct call *c = arg;

	c->result = -ECANCELED;
	c->shared = NULL;
	end_call(NULL, c);
}

static int lead(struct call *c, int (*fn)(void *arg), void *arg)
{
	struct defer end;
	int result;

	gort__defer_push(gort__local(), &end, leader_ends, c);
	end.drop = leader_drops;
	result = c->result = fn(arg);
	gort__defer_end(gort__local(), &end);
	return result;
}

/* With the lock, which it releases. */
static int follow(gort_flight *f, struct call *c, bool *shared)
{
	int result = 0, err;
	struct waiter w = { .elem = &result };

	if (gort__defer_pending(gort__local(), leader_ends, c)) {
		lock_release(&f->lock);
		return -EDEADLK;
	}
	err = gort__wait(&w, &c->waiters, &f->lock, GORT_FOREVER, WHY_FLIGHT, WAIT_BACK);
	if (err < 0)
		return err;
	if (shared)
		*shared = true;
	return result;
}

/* ---- do, make, release ----------------------------------------------------------------------- */

GORT_API int gort_flight_do(gort_flight *f, const char *key, int (*fn)(void *arg), void *arg,
			    bool *shared)
{
	struct call **link, *c;
	struct m *m;
	uint64_t hash;
	int err;

	if (!f || !key || !fn)
		gort__misuse("gort_flight_do", !f ? "no flight" : key ? "no function" : "no key");
	hash = hash_of(key);
	m = rt_enter();
	lock_acquire(&f->lock);
	link = find(f, hash, key);
	if (*link) {
		err = follow(f, *link, shared);
		rt_leave(m);
		return err;
	}
	c = call_make(m, f, hash, key, shared);
	if (c)
		hang(c, link);
	lock_release(&f->lock);
	rt_leave(m);
	return c ? lead(c, fn, arg) : -ENOMEM;
}

GORT_API gort_flight *gort_flight_make(void)
{
	struct m *m = rt_enter();
	gort_flight *f = mem_alloc(cache_of(m), sizeof *f);

	if (f)
		*f = (gort_flight){ .lock = LOCK_INIT(RANK_OBJECT) };
	rt_leave(m);
	return f;
}

GORT_API void gort_flight_release(gort_flight *f)
{
	struct m *m;

	if (!f)
		return;
	if (f->root)
		gort__misuse("gort_flight_release", "a call of it still runs");
	m = rt_enter();
	mem_free(cache_of(m), f, sizeof *f);
	rt_leave(m);
}
