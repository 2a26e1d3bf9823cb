/*
 * net_dial.c - dialling a name of both families, where one of them, or both, are dead: packets go, and
 * nothing ever comes back. wire.h is the network. No case is right by its timing alone: what the wire
 * has seen, and in which order, decides, and limits are generous.
 */
#include "io.h"
#include "wire.h"

#define FALLBACK (300 * GORT_MS) /* as gort.h promises it */
#define PATIENCE (60 * GORT_SEC) /* far below what TCP takes to give up: two minutes */

static const char *const far[FAMILIES] = { FAR4, FAR6 };

/* Of both families; listeners are not behind the wire. */
static gort_file *listen_anywhere(char *name, size_t size)
{
	gort_file *l = listen_at("tcp", ":0");
	char at[64];

	CHECK(gort_local_address(l, at, sizeof at) > 0);
	snprintf(name, size, "both.test%s", strrchr(at, ':'));
	return l;
}

static void check_echo(gort_file *f, gort_file *peer)
{
	char got[6] = "";

	CHECK_EQ(gort_write(f, "there", 5), 5);
	CHECK_EQ(gort_read_full(peer, got, 5), 5);
	CHECK_EQ(gort_write(peer, got, 5), 5);
	CHECK_EQ(gort_read_full(f, got, 5), 5);
	CHECK_STR(got, "there");
}

static int family_of_peer(gort_file *f)
{
	char text[64];

	CHECK(gort_peer_address(f, text, sizeof text) > 0);
	return text[0] == '[' ? V6 : V4;
}

static int64_t first_syn(int family)
{
	return atomic_load(&wire.line[family].first_syn);
}

/* The first address's family is dead. */
static int dial_beside_dead(void *arg)
{
	int dead = *(int *)arg, living = !dead;
	int64_t start;
	gort_file *l, *f;
	char name[80];

	l = listen_anywhere(name, sizeof name);
	wire_set_dead(dead, true);
	start = gort_now();
	CHECK_EQ(gort_dial(&f, "tcp", name), 0);
	CHECK(gort_now() - start < PATIENCE);
	CHECK_EQ(family_of_peer(f), living);
	CHECK(first_syn(dead) != 0 && first_syn(dead) < first_syn(living));
	CHECK(first_syn(living) - start >= FALLBACK); /* not before its time */
	{
		gort_file *p[2] = { f, accepted(l) };

		check_echo(p[0], p[1]);
		close_both(p);
	}
	return gort_close(l);
}

static void run_beside_dead(int dead)
{
	wire_start(dead);
	CHECK_EQ(gort_run(dial_beside_dead, &dead, NULL), 0);
	wire_stop();
}

// variants: maxprocs
TEST_PLAIN(the_first_family_is_dead_and_it_is_IPv6)
{
	run_beside_dead(V6);
}

TEST_PLAIN(the_first_family_is_dead_and_it_is_IPv4)
{
	run_beside_dead(V4);
}

/* The second is not asked, as long as the first is not late. */
static int dial_living(void *arg)
{
	int first = *(int *)arg;
	gort_file *l, *p[2];
	char name[80];

	l = listen_anywhere(name, sizeof name);
	wire_set_dead(!first, true);
	for (int i = 0; i < 10; i++) {
		CHECK_EQ(gort_dial(&p[0], "tcp", name), 0);
		CHECK_EQ(family_of_peer(p[0]), first);
		p[1] = accepted(l);
		check_echo(p[0], p[1]);
		close_both(p);
	}
	return gort_close(l);
}

TEST_PLAIN(the_second_family_is_dead)
{
	int first = V4;

	wire_start(first);
	CHECK_EQ(gort_run(dial_living, &first, NULL), 0);
	wire_stop();
}

static void dial_dead(const char *name, bool by_ctx, int64_t patience)
{
	int64_t end = gort_in(patience);
	gort_ctx *c = by_ctx ? gort_ctx_with_deadline(gort_ctx_current(), end) : NULL, *before;
	gort_file here, *f = &here;

	if (by_ctx) {
		before = gort_ctx_enter(c);
		CHECK_EQ(gort_dial(&f, "tcp", name), -ETIMEDOUT);
		gort_ctx_leave(before);
		gort_ctx_release(c);
	} else {
		gort_set_deadline(end);
		CHECK_EQ(gort_dial(&f, "tcp", name), -ETIMEDOUT);
		gort_set_deadline(GORT_FOREVER);
	}
	CHECK(gort_now() >= end && gort_now() - end < PATIENCE);
	CHECK(f == &here);
}

static int dial_both_dead(void *arg)
{
	char name[80];
	gort_file *l = listen_anywhere(name, sizeof name);

	(void)arg;
	wire_set_dead(V4, true);
	wire_set_dead(V6, true);
	for (int64_t patience = GORT_SEC; !first_syn(V4); patience *= 2) { /* here all is slow */
		CHECK(patience < PATIENCE);
		dial_dead(name, false, patience);
	}
	CHECK(first_syn(V6) != 0 && first_syn(V6) < first_syn(V4)); /* both were tried */
	dial_dead(name, true, GORT_SEC / 2);
	wire_set_dead(V4, false); /* and all is well when the network is */
	wire_set_dead(V6, false);
	{
		gort_file *p[2];

		CHECK_EQ(gort_dial(&p[0], "tcp", name), 0);
		p[1] = accepted(l);
		check_echo(p[0], p[1]);
		close_both(p);
	}
	return gort_close(l);
}

// variants: maxprocs
TEST_PLAIN(both_families_are_dead)
{
	wire_start(V6);
	CHECK_EQ(gort_run(dial_both_dead, NULL, NULL), 0);
	wire_stop();
}

static void dial_for_ever(void *arg)
{
	gort_file *f;

	CHECK_EQ(gort_dial(&f, "tcp", arg), -ECANCELED);
}

static int cancel_while_it_dials(void *arg)
{
	gort_ctx *c = gort_ctx_with_cancel(gort_ctx_current()), *before = gort_ctx_enter(c);
	gort_waitgroup dialers = { 0 };
	char name[80];
	gort_file *l = listen_anywhere(name, sizeof name);

	(void)arg;
	wire_set_dead(V4, true);
	wire_set_dead(V6, true);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(gort_waitgroup_go(&dialers, dial_for_ever, name), 0);
	gort_ctx_leave(before);
	EVENTUALLY(atomic_load(&wire.line[V4].syns) >= 10 &&
		   atomic_load(&wire.line[V6].syns) >= 10);
	gort_ctx_cancel(c, -ECANCELED);
	CHECK_EQ(gort_waitgroup_wait(&dialers), 0);
	gort_ctx_release(c);
	return gort_close(l);
}

// variants: maxprocs
TEST_PLAIN(cancelled_while_both_families_are_tried)
{
	wire_start(V6);
	CHECK_EQ(gort_run(cancel_while_it_dials, NULL, NULL), 0);
	wire_stop();
}

/* Slow, not dead: it is given up when the other has won. */
static int dial_beside_slow(void *arg)
{
	gort_file *l, *p[2];
	char name[80];

	(void)arg;
	l = listen_anywhere(name, sizeof name);
	wire_set_delay(V6, 10 * GORT_SEC);
	CHECK_EQ(gort_dial(&p[0], "tcp", name), 0);
	CHECK_EQ(family_of_peer(p[0]), V4);
	p[1] = accepted(l);
	check_echo(p[0], p[1]);
	close_both(p);
	return gort_close(l);
}

TEST_PLAIN(the_first_family_is_slow)
{
	wire_start(V6);
	CHECK_EQ(gort_run(dial_beside_slow, NULL, NULL), 0);
	wire_stop();
}

/* What is refused at once needs no patience: the other is tried then, and not after the delay. */
static int dial_beside_refused(void *arg)
{
	gort_file *l = listen_at("tcp4", ":0"), *p[2];
	char name[80], at[64];

	(void)arg;
	CHECK(gort_local_address(l, at, sizeof at) > 0);
	snprintf(name, sizeof name, "both.test%s", strrchr(at, ':'));
	CHECK_EQ(gort_dial(&p[0], "tcp", name), 0);
	CHECK_EQ(family_of_peer(p[0]), V4);
	CHECK(first_syn(V6) != 0 && first_syn(V6) < first_syn(V4));
	p[1] = accepted(l);
	check_echo(p[0], p[1]);
	close_both(p);
	CHECK_EQ(gort_close(l), 0);
	CHECK_EQ(gort_dial(&p[0], "tcp", name), -ECONNREFUSED); /* by both now */
	return 0;
}

TEST_PLAIN(the_first_family_refuses)
{
	wire_start(V6);
	CHECK_EQ(gort_run(dial_beside_refused, NULL, NULL), 0);
	wire_stop();
}

/* Numbers have one family: nobody comes to help. */
static int dial_dead_numbers(void *arg)
{
	char name[80], at[64];
	gort_file *l = listen_anywhere(name, sizeof name), *f;

	(void)arg;
	for (int i = 0; i < FAMILIES; i++) {
		wire_set_dead(i, true);
		snprintf(at, sizeof at, i == V6 ? "[%s]%s" : "%s%s", far[i], strrchr(name, ':'));
		gort_set_deadline(gort_in(100 * GORT_MS));
		CHECK_EQ(gort_dial(&f, "tcp", at), -ETIMEDOUT);
		gort_set_deadline(GORT_FOREVER);
		wire_set_dead(i, false);
	}
	return gort_close(l);
}

TEST_PLAIN(dead_addresses_by_number)
{
	wire_start(V6);
	CHECK_EQ(gort_run(dial_dead_numbers, NULL, NULL), 0);
	wire_stop();
}

/* There is one port, and nobody listens at it: TCP lets its only user meet itself (Go's selfConnect). The
 * port is not to be had for a while after that. */
static int dial_oneself(void *arg)
{
	gort_file here, *f = &here;
	int err;

	CHECK_EQ(gort_dial(&f, "tcp", arg), -ECONNREFUSED);
	for (int i = 0; i < 5; i++) {
		err = gort_dial(&f, "tcp", arg);
		CHECK(err == -ECONNREFUSED || err == -EADDRNOTAVAIL);
	}
	CHECK(f == &here);
	return 0;
}

TEST_PLAIN(nobody_meets_himself)
{
	wire_start(V6);
	wire_write("/proc/sys/net/ipv4/ip_local_port_range", "50000 50000");
	CHECK_EQ(gort_run(dial_oneself, "127.0.0.1:50000", NULL), 0);
	wire_write("/proc/sys/net/ipv4/ip_local_port_range", "50001 50001");
	CHECK_EQ(gort_run(dial_oneself, "[::1]:50001", NULL), 0);
	wire_stop();
}
