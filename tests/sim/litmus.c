/*
 * litmus.c - the simulator's own tests: what it must show, and what it must never show.
 *
 * The classic shapes of memory models, and planted faults of each kind that the engine says it
 * finds. A SCENARIO_FAILS that does not fail is a fault of the simulator's.
 */
#include "sim.h"

#include "base/atomic.h"
#include "base/lock.h"
#include "os/os.h"

static uint32_t x, y, seen_x, seen_y;

static void two(void (*a)(void *), void (*b)(void *))
{
	struct guest_thread *t = guest_start(a, NULL), *u = guest_start(b, NULL);

	guest_join(t);
	guest_join(u);
}

/* ---- store buffering ------------------------------------------------------------------------- */

static void sb_x(void *arg)
{
	(void)arg;
	store_relaxed(&x, 1);
	seen_y = load_relaxed(&y);
}

static void sb_y(void *arg)
{
	(void)arg;
	store_relaxed(&y, 1);
	seen_x = load_relaxed(&x);
}

SCENARIO_FAILS(litmus_sb, "two store, then look at the other's: neither sees it", "neither")
{
	two(sb_x, sb_y);
	if (!seen_x && !seen_y)
		sim_fail("neither saw the other");
}

static void sb_x_fence(void *arg)
{
	(void)arg;
	store_relaxed(&x, 1);
	fence_seq();
	seen_y = load_relaxed(&y);
}

static void sb_y_fence(void *arg)
{
	(void)arg;
	store_relaxed(&y, 1);
	fence_seq();
	seen_x = load_relaxed(&x);
}

SCENARIO_TINY(litmus_sb_fence, "the same with fences: one sees the other")
{
	two(sb_x_fence, sb_y_fence);
	check(seen_x || seen_y);
}

static void sb_light(void *arg)
{
	(void)arg;
	store_relaxed(&x, 1);
	fence_light();
	seen_y = load_relaxed(&y);
}

static void sb_heavy(void *arg)
{
	(void)arg;
	store_relaxed(&y, 1);
	os_membarrier();
	seen_x = load_relaxed(&x);
}

SCENARIO_TINY(litmus_asymmetric, "a light fence meets a membarrier: one sees the other")
{
	two(sb_light, sb_heavy);
	check(seen_x || seen_y);
}

SCENARIO_FAILS(litmus_two_light, "two light fences do not order anything", "neither")
{
	two(sb_light, sb_y);
	if (!seen_x && !seen_y)
		sim_fail("neither saw the other");
}

static void sb_x_seq(void *arg)
{
	(void)arg;
	store_seq(&x, 1);
	seen_y = load_seq(&y);
}

static void sb_y_seq(void *arg)
{
	(void)arg;
	store_seq(&y, 1);
	seen_x = load_seq(&x);
}

SCENARIO_TINY(litmus_sb_seq, "seq_cst stores and loads: one sees the other")
{
	two(sb_x_seq, sb_y_seq);
	check(seen_x || seen_y);
}

/* ---- message passing ------------------------------------------------------------------------- */

static void mp_send(void *arg)
{
	(void)arg;
	store_relaxed(&x, 1);
	store_relaxed(&y, 1);
}

static void mp_send_release(void *arg)
{
	(void)arg;
	store_relaxed(&x, 1);
	store_release(&y, 1);
}

static void mp_receive(void *arg)
{
	(void)arg;
	seen_y = load_acquire(&y);
	seen_x = load_relaxed(&x);
}

SCENARIO_FAILS(litmus_mp, "two relaxed stores are seen in the other order", "message")
{
	two(mp_send, mp_receive);
	if (seen_y && !seen_x)
		sim_fail("the flag came before the message");
}

SCENARIO_TINY(litmus_mp_release, "a release store comes after what was stored before")
{
	two(mp_send_release, mp_receive);
	check(!seen_y || seen_x);
}

static void coherent(void *arg)
{
	(void)arg;
	store_relaxed(&x, 1);
	store_relaxed(&x, 2);
	check_eq(load_relaxed(&x), 2);
}

static void watch(void *arg)
{
	(void)arg;
	seen_x = load_relaxed(&x);
	check(load_relaxed(&x) >= seen_x);
}

SCENARIO_TINY(litmus_coherence, "stores to one word are seen in order, the own at once")
{
	two(coherent, watch);
	check_eq(x, 2);
}

/* ---- planted faults -------------------------------------------------------------------------- */

static struct note note_;

static void sleep_on_flag(void *arg)
{
	(void)arg;
	if (load_acquire(&x) == 0)
		os_futex_wait(&y, 0, OS_FOREVER); /* y never changes: a wake before is lost */
}

static void flag_and_wake(void *arg)
{
	(void)arg;
	store_release(&x, 1);
	os_futex_wake(&y, 1);
}

SCENARIO_FAILS(finds_lost_wake, "a wake before the sleep is lost", "lost wakeup")
{
	two(sleep_on_flag, flag_and_wake);
}

static void add_slowly(void *arg)
{
	(void)arg;
	store_relaxed(&x, load_relaxed(&x) + 1);
}

SCENARIO_FAILS(finds_lost_add, "load and store instead of an atomic step", "x is 1")
{
	two(add_slowly, add_slowly);
	check_eq(x, 2);
}

static void use(void *p)
{
	lock_acquire(p);
	lock_release(p);
}

SCENARIO_FAILS(finds_freed, "an atomic step on freed memory", "touches freed memory")
{
	struct lock *l = scratch(64);
	struct guest_thread *t;

	*l = (struct lock){ 0 };
	t = guest_start(use, l);
	lock_acquire(l);
	lock_release(l);
	scrap(l, 64);
	guest_join(t);
}

/* In an AddressSanitizer build, too, the engine is to find it. */
__attribute__((no_sanitize("address"))) static void write_late(void *p)
{
	note_wake(&note_);
	((char *)p)[20] = 1;
}

SCENARIO_FAILS(finds_damage, "a plain store to freed memory", "freed memory was written")
{
	char *p = scratch(64);
	struct guest_thread *t = guest_start(write_late, p);

	note_sleep(&note_, OS_FOREVER);
	scrap(p, 64);
	guest_join(t);
}

static void spin(void *arg)
{
	(void)arg;
	while (load_relaxed(&x) == 0)
		;
}

SCENARIO_FAILS(finds_no_progress, "a loop whose end never comes", "no progress")
{
	guest_join(guest_start(spin, NULL));
}

static struct lock low = LOCK_INIT(RANK_OBJECT), high = LOCK_INIT(RANK_ALLOC);

SCENARIO_FAILS(finds_ranks, "locks taken in the wrong order", "taken under rank")
{
	lock_acquire(&high);
	lock_acquire(&low);
	lock_release(&low);
	lock_release(&high);
}

SCENARIO_FAILS(finds_leaks, "a channel that nobody releases", "memory are left")
{
	gort_chan_make(8, 1);
}

SCENARIO_FAILS(finds_crashes, "a wild pointer", "signal 11")
{
	*(volatile int *)(uintptr_t)(x + 64) = 1;
}
