/*
 * resolve.c - gort_resolve: numbers, names, errors; many at once, cancellation, guests, and the
 * runtime's end while getaddrinfo hangs. (tests/address.c has the forms of text.)
 *
 * The linker sends gort's calls of getaddrinfo through here (-Wl,--wrap, CMakeLists.txt). These
 * hosts are ours, all others the system's:
 *
 *     hangs       until somebody opens the gate
 *     many        50 addresses of both families, each twice
 *     none        an answer without addresses
 *     error N     EAI_* N; where that is EAI_SYSTEM, with errno EMFILE
 *
 * and so is the service "ours", port 4242. Blocks of malloc are counted in the same way.
 */
#include "harness.h"

#include "base/alloc.h"
#include "io/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLACES 64 /* MOST_CALLS of resolve.c */
#define OURS 4242

static struct {
	atomic_int calls, inside; /* of getaddrinfo: ever, now */
	atomic_int blocks;        /* of memory, of gort's and ours here */
	atomic_int lists;         /* of addresses, of ours */
	atomic_int fails;         /* calls of malloc until one fails; 0: none does */
	int gate[2];
} x;

/* A goroutine that ends leaves its stack to others: what is left is looked at by those who wait. */
int harness_leaks(void)
{
	int left = atomic_load(&x.blocks) + atomic_load(&x.lists);

	return left ? left : (int)mem_in_use();
}

/* ---- memory ---------------------------------------------------------------------------------- */

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void __real_free(void *p);
void __wrap_free(void *p);

static void *count(void *p)
{
	if (p)
		atomic_fetch_add(&x.blocks, 1);
	return p;
}

static bool fails(void)
{
	return atomic_load(&x.fails) && atomic_fetch_sub(&x.fails, 1) == 1;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : count(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : count(__real_calloc(n, size));
}

void __wrap_free(void *p)
{
	if (p)
		atomic_fetch_sub(&x.blocks, 1);
	__real_free(p);
}

/* ---- getaddrinfo ----------------------------------------------------------------------------- */

int __real_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
		       struct addrinfo **out);
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
		       struct addrinfo **out);
void __real_freeaddrinfo(struct addrinfo *a);
void __wrap_freeaddrinfo(struct addrinfo *a);

struct ours {
	struct addrinfo info;
	struct sockaddr_in6 addr;
};

/* Number i: 10.0.0.i, or where i is odd 2001:db8::i. */
static void fill(struct ours *o, unsigned i, uint16_t port)
{
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(port) };

	four.sin_addr.s_addr = htonl(10u << 24 | i);
	o->addr = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port) };
	inet_pton(AF_INET6, "2001:db8::", &o->addr.sin6_addr);
	o->addr.sin6_addr.s6_addr[15] = (uint8_t)i;
	if (i % 2 == 0)
		memcpy(&o->addr, &four, sizeof four);
	o->info.ai_family = i % 2 ? AF_INET6 : AF_INET;
	o->info.ai_addrlen = i % 2 ? sizeof o->addr : sizeof four;
	o->info.ai_addr = (struct sockaddr *)&o->addr;
	o->info.ai_canonname = (char *)o; /* it is ours */
}

static int list(unsigned n, unsigned different, uint16_t port, struct addrinfo **out)
{
	struct ours *o = __real_calloc(n, sizeof *o);

	CHECK(o != NULL);
	for (unsigned i = 0; i < n; i++) {
		fill(&o[i], i % different, port);
		o[i].info.ai_next = i + 1 < n ? &o[i + 1].info : NULL;
	}
	atomic_fetch_add(&x.lists, 1);
	*out = &o->info;
	return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *a)
{
	CHECK(a != NULL);
	if (a->ai_canonname == (char *)a) {
		atomic_fetch_sub(&x.lists, 1);
		__real_free(a);
	} else {
		__real_freeaddrinfo(a);
	}
}

static int hang(uint16_t port, struct addrinfo **out)
{
	char c;

	CHECK(read(x.gate[0], &c, 1) >= 0);
	return list(1, 1, port, out);
}

static int look_up(const char *host, const char *service, const struct addrinfo *hints,
		   struct addrinfo **out)
{
	uint16_t port = service && strcmp(service, "ours") == 0 ? OURS : 0;

	CHECK(hints->ai_socktype == SOCK_STREAM || hints->ai_socktype == SOCK_DGRAM);
	if (!host && port)
		return list(1, 1, port, out);
	if (host && strcmp(host, "hangs") == 0)
		return hang(port, out);
	if (host && strcmp(host, "many") == 0)
		return list(100, 50, port, out);
	if (host && strcmp(host, "none") == 0)
		return 0;
	if (host && strncmp(host, "error ", 6) == 0) {
		errno = EMFILE;
		return atoi(host + 6);
	}
	return __real_getaddrinfo(host, service, hints, out);
}

int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
		       struct addrinfo **out)
{
	int result;

	atomic_fetch_add(&x.calls, 1);
	atomic_fetch_add(&x.inside, 1);
	result = look_up(host, service, hints, out);
	atomic_fetch_sub(&x.inside, 1);
	return result;
}

static void close_gate(void)
{
	CHECK_EQ(pipe(x.gate), 0);
}

/* All who hang go on, also those who come later, till it is removed. */
static void open_gate(void)
{
	close(x.gate[1]);
}

static void remove_gate(void)
{
	EVENTUALLY(atomic_load(&x.inside) == 0);
	close(x.gate[0]);
}

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

/* Where threads were left behind: their stacks go when they have ended, and a runtime starts or ends. */
static void nothing_is_left(void)
{
	EVENTUALLY(atomic_load(&x.blocks) == 0 && atomic_load(&x.lists) == 0);
	EVENTUALLY(mem_in_use() == 0 || (gort_run(do_nothing, NULL, NULL), mem_in_use() == 0));
}

/* ---- what is found --------------------------------------------------------------------------- */

static const char *text_of(const gort_addr *a)
{
	static _Thread_local char text[80];

	gort__address_text((const struct sockaddr *)&a->addr, a->len, text, sizeof text);
	return text;
}

/* One address, as text. */
static void check(const char *host, const char *service, const char *expect)
{
	gort_addr *all = NULL;
	size_t n = 0;

	CHECK_EQ(gort_resolve(host, service, &all, &n), 0);
	CHECK_EQ(n, 1);
	CHECK_STR(text_of(&all[0]), expect);
	free(all);
}

static void check_fails(const char *host, const char *service, int err)
{
	gort_addr here, *all = &here;
	size_t n = 77;
	int got = gort_resolve(host, service, &all, &n);

	if (got != err)
		test_fail_(__FILE__, __LINE__, "%s, %s: %d, not %d", host, service, got, err);
	CHECK(all == &here && n == 77);
}

static void check_loopback(const char *host, const char *service, unsigned port)
{
	gort_addr *all;
	char expect[40];
	size_t n;

	CHECK_EQ(gort_resolve(host, service, &all, &n), 0);
	CHECK_EQ(n, 2);
	snprintf(expect, sizeof expect, "127.0.0.1:%u", port);
	CHECK_STR(text_of(&all[0]), expect);
	snprintf(expect, sizeof expect, "[::1]:%u", port);
	CHECK_STR(text_of(&all[1]), expect);
	free(all);
}

/* ---- numbers --------------------------------------------------------------------------------- */

static void check_numbers(void)
{
	check("127.0.0.1", "80", "127.0.0.1:80");
	check("::1", "65535", "[::1]:65535");
	check("2001:db8::1", NULL, "[2001:db8::1]:0");
	check("10.1.2.3", "", "10.1.2.3:0");
	check("fe80::1%4294967295", "0", "[fe80::1%4294967295]:0");
	check_loopback(NULL, "80", 80);
	check_loopback("", "80", 80);
	CHECK_EQ(atomic_load(&x.calls), 0);
}

TEST_PLAIN(numbers_need_no_runtime)
{
	check_numbers();
}

TEST(numbers_start_no_goroutine)
{
	gort_stats before, after;

	gort_read_stats(&before, sizeof before);
	check_numbers();
	gort_read_stats(&after, sizeof after);
	CHECK_EQ(after.created, before.created);
}

TEST_PLAIN(bad_text)
{
	char text[3000];

	check_fails(NULL, NULL, -EINVAL);
	check_fails("", "", -EINVAL);
	check_fails("127.0.0.1", "65536", -EINVAL);
	check_fails("name", "65536", -EINVAL);
	check_fails("name", "-1", -EINVAL);
	check_fails("127.0.0.1", "+80", -EINVAL);
	check_fails("127.0.0.1", " 80", -EINVAL);
	check_fails("a:b", "80", -EINVAL);
	check_fails("[::1]", "80", -EINVAL);
	check_fails("127.0.0.1%lo", "80", -EINVAL);
	check_fails("::1%", "80", -EINVAL);
	check_fails("::1%no-such-zone", "80", -ENXIO);
	memset(text, 'a', sizeof text);
	text[sizeof text - 1] = 0;
	check_fails(text, "80", -EINVAL);
	check_fails("127.0.0.1", text, -EINVAL);
	CHECK_EQ(atomic_load(&x.calls), 0);
}

TEST_PLAIN(names_need_a_runtime)
{
	check_fails("many", "80", -ESRCH);
	check_fails("127.0.0.1", "ours", -ESRCH);
	CHECK_EQ(atomic_load(&x.calls), 0);
}

/* ---- names ----------------------------------------------------------------------------------- */

static void check_localhost(void *arg)
{
	gort_addr *all;
	size_t n;

	(void)arg;
	CHECK_EQ(gort_resolve("localhost", "80", &all, &n), 0);
	CHECK(n >= 1);
	for (size_t i = 0; i < n; i++)
		CHECK(strcmp(text_of(&all[i]), "127.0.0.1:80") == 0 ||
		      strcmp(text_of(&all[i]), "[::1]:80") == 0);
	free(all);
}

// variants: maxprocs
TEST(localhost)
{
	check_localhost(NULL);
	on_guest(check_localhost, NULL);
	CHECK_EQ(atomic_load(&x.calls), 2);
}

/* An honest system knows that there is none; one without a network cannot tell. */
TEST(unknown_names)
{
	gort_addr *all;
	size_t n;
	int err = gort_resolve("name.invalid", "80", &all, &n);

	CHECK(err == -ENXIO || err == -EREMOTEIO);
	check_fails("127.0.0.1", "no-such-service", -ENXIO);
}

TEST(services_by_name)
{
	check("10.0.0.7", "ours", "10.0.0.7:4242");
	check("::1", "ours", "[::1]:4242");
	check_loopback(NULL, "ours", OURS);
	CHECK_EQ(atomic_load(&x.calls), 3);
}

static void check_many(const char *service, unsigned port)
{
	gort_addr *all;
	size_t n;
	char expect[60];

	CHECK_EQ(gort_resolve("many", service, &all, &n), 0);
	CHECK_EQ(n, 50);
	for (unsigned i = 0; i < n; i++) {
		if (i % 2 == 0)
			snprintf(expect, sizeof expect, "10.0.0.%u:%u", i, port);
		else
			snprintf(expect, sizeof expect, "[2001:db8::%x]:%u", i, port);
		CHECK_STR(text_of(&all[i]), expect);
	}
	free(all);
}

TEST(many_addresses_in_their_order_and_each_once)
{
	check_many("80", 80);
	check_many(NULL, 0);
	check_many("ours", OURS);
}

TEST(families_and_types)
{
	struct addresses out;

	CHECK_EQ(gort__addresses("udp", "many:ours", false, &out), 0);
	CHECK_EQ(out.type, SOCK_DGRAM);
	CHECK_EQ(out.count, 50);
	free(out.addr);
	CHECK_EQ(gort__addresses("tcp", "localhost:1", true, &out), 0);
	CHECK(out.count >= 1);
	free(out.addr);
	CHECK_EQ(gort__addresses("tcp", "error -2:1", true, &out), -ENXIO);
}

TEST(errors)
{
	static const struct {
		int eai, err;
	} known[] = {
		{ EAI_NONAME, -ENXIO },    { EAI_NODATA, -ENXIO },    { EAI_ADDRFAMILY, -ENXIO },
		{ EAI_SERVICE, -ENXIO },   { EAI_AGAIN, -EREMOTEIO }, { EAI_FAIL, -EREMOTEIO },
		{ EAI_MEMORY, -ENOMEM },   { EAI_SYSTEM, -EMFILE },   { EAI_FAMILY, -EINVAL },
		{ EAI_OVERFLOW, -EINVAL }, { -12345, -EREMOTEIO },
	};
	char host[40];

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
		snprintf(host, sizeof host, "error %d", known[i].eai);
		check_fails(host, "80", known[i].err);
	}
	check_fails("none", "80", -ENXIO);
}

/* ---- many at once ---------------------------------------------------------------------------- */

static gort_waitgroup all;
static atomic_int found;

static void ask_localhost(void *arg)
{
	check_localhost(arg);
	atomic_fetch_add(&found, 1);
}

// variants: maxprocs
TEST(two_hundred_ask_for_localhost)
{
	for (int i = 0; i < 200; i++)
		CHECK_EQ(gort_waitgroup_go(&all, ask_localhost, NULL), 0);
	CHECK_EQ(gort_waitgroup_wait(&all), 0);
	CHECK_EQ(atomic_load(&found), 200);
	CHECK_EQ(atomic_load(&x.calls), 200);
}

static void ask_for_what_hangs(void *arg)
{
	check("hangs", "80", "10.0.0.0:80");
	atomic_fetch_add(&found, 1);
	(void)arg;
}

static uint64_t waiting(void)
{
	gort_stats s;

	gort_read_stats(&s, sizeof s);
	return s.waiting;
}

/* All who ask wait, and those of their jobs that have no place. */
static void hang_with(int n)
{
	int jobs = n > PLACES ? n - PLACES : 0, before = atomic_load(&x.inside);

	for (int i = 0; i < n; i++)
		CHECK_EQ(gort_waitgroup_go(&all, ask_for_what_hangs, NULL), 0);
	EVENTUALLY(waiting() == (uint64_t)(n + jobs));
	EVENTUALLY(atomic_load(&x.inside) == before + n - jobs);
}

// variants: maxprocs
TEST(so_many_are_looked_up_at_once_and_no_more)
{
	close_gate();
	hang_with(200);
	CHECK_EQ(atomic_load(&x.calls), PLACES);
	CHECK_EQ(gort_count(), 1 + 2 * 200);
	CHECK_EQ(write(x.gate[1], "0123456789", 10), 10); /* places go to others */
	EVENTUALLY(atomic_load(&found) == 10 && atomic_load(&x.inside) == PLACES);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(gort_waitgroup_go(&all, ask_for_what_hangs, NULL), 0);
	EVENTUALLY(waiting() == 2 * 200 - PLACES);
	CHECK_EQ(atomic_load(&x.inside), PLACES);
	open_gate();
	CHECK_EQ(gort_waitgroup_wait(&all), 0);
	remove_gate();
	CHECK_EQ(atomic_load(&found), 210);
	CHECK_EQ(atomic_load(&x.calls), 210);
}

/* ---- cancellation ---------------------------------------------------------------------------- */

static uint64_t created(void)
{
	gort_stats s;

	gort_read_stats(&s, sizeof s);
	return s.created;
}

/* Nothing is begun for who is over already; what needs no waiting is done. */
static void check_over(const char *host, int err)
{
	uint64_t before = created();

	check_fails(host, "80", err);
	check_loopback(NULL, "80", 80);
	CHECK_EQ(created(), before);
}

static void check_deadline(void *host)
{
	int64_t start = gort_now(), before = gort_set_deadline(gort_in(GORT_MS));

	check_fails(host, "80", -ETIMEDOUT);
	CHECK(gort_now() - start >= GORT_MS);
	check_over(host, -ETIMEDOUT);
	gort_set_deadline(before);
}

struct canceler {
	gort_ctx *ctx;
	int inside;
};

/* Once the call has begun: its job is inside, or waits for a place. */
static void cancel_soon(void *arg)
{
	struct canceler *c = arg;

	EVENTUALLY(atomic_load(&x.inside) > c->inside || waiting() > PLACES);
	gort_ctx_cancel(c->ctx, 0);
	gort_ctx_release(c->ctx);
}

static void check_cancel(void *host)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background());
	struct canceler c = { gort_ctx_retain(ctx), atomic_load(&x.inside) };
	gort_ctx *before;

	CHECK_EQ(gort_go_copy(cancel_soon, &c, sizeof c), 0);
	before = gort_ctx_enter(ctx);
	check_fails(host, "80", -ECANCELED);
	check_over(host, -ECANCELED);
	gort_ctx_leave(before);
	gort_ctx_release(ctx);
}

static void check_both(void *host)
{
	check_deadline(host);
	check_cancel(host);
}

// variants: maxprocs
TEST(who_is_canceled_goes_at_once)
{
	static char host[] = "hangs";

	close_gate();
	check_both(host);
	on_guest(check_both, host);
	EVENTUALLY(gort_count() == 1 + (uint64_t)atomic_load(&x.inside)); /* they go on alone */
	CHECK(atomic_load(&x.inside) >=
	      2); /* a deadline of 1 ms may pass before anything is begun */
	open_gate();
	remove_gate();
}

/* The job goes, too, and the places that become free go to others. */
// variants: maxprocs
TEST(who_waits_for_a_place_is_canceled)
{
	static char host[] = "hangs";

	close_gate();
	hang_with(PLACES);
	check_both(host);
	on_guest(check_both, host);
	EVENTUALLY(gort_count() == 1 + 2 * PLACES);
	CHECK_EQ(atomic_load(&x.calls), PLACES);
	open_gate();
	CHECK_EQ(gort_waitgroup_wait(&all), 0);
	remove_gate();
	CHECK_EQ(atomic_load(&found), PLACES);
	close_gate();
	hang_with(PLACES + 1);
	open_gate();
	CHECK_EQ(gort_waitgroup_wait(&all), 0);
	remove_gate();
}

/* ---- the runtime's end ----------------------------------------------------------------------- */

static int hang_and_end(void *arg)
{
	hang_with(*(int *)arg);
	return 0;
}

/* As many hang as there are places, and others wait for one; and the next runtime has them all. */
// variants: maxprocs
TEST_PLAIN(runtime_ends_while_names_are_looked_up)
{
	int n = PLACES + 20;

	close_gate();
	for (int round = 1; round <= 3; round++) {
		all = (gort_waitgroup){ 0 };
		CHECK_EQ(gort_run(hang_and_end, &n, NULL), 0);
		CHECK_EQ(atomic_load(&x.inside), round * PLACES);
	}
	open_gate();
	remove_gate();
	nothing_is_left();
	CHECK_EQ(atomic_load(&found), 0);
}

/* Those who hang come back in the next runtime, and are no part of it. */
static int open_and_hang(void *arg)
{
	(void)arg;
	hang_with(PLACES);
	open_gate();
	CHECK_EQ(gort_waitgroup_wait(&all), 0);
	remove_gate();
	close_gate();
	hang_with(PLACES + 1);
	CHECK_EQ(atomic_load(&x.inside), PLACES);
	open_gate();
	CHECK_EQ(gort_waitgroup_wait(&all), 0);
	remove_gate();
	return 0;
}

// variants: maxprocs
TEST_PLAIN(names_are_found_in_the_next_runtime)
{
	int n = PLACES + 20;

	close_gate();
	CHECK_EQ(gort_run(hang_and_end, &n, NULL), 0);
	all = (gort_waitgroup){ 0 };
	CHECK_EQ(gort_run(open_and_hang, NULL, NULL), 0);
	CHECK_EQ(atomic_load(&found), 2 * PLACES + 1);
	nothing_is_left();
}

static void ask_until_the_end(void *arg)
{
	(void)arg;
	for (;;)
		check_many("80", 80);
}

static int ask_and_end(void *arg)
{
	for (int i = 0; i < 20; i++)
		CHECK_EQ(gort_go(ask_until_the_end, NULL), 0);
	return gort_sleep(*(int64_t *)arg);
}

/* In all states: before the job has started, while it runs, when it has ended. */
// variants: maxprocs
TEST_PLAIN(runtime_ends_at_any_moment)
{
	for (int64_t i = 0; i < SCALE(100); i++) {
		int64_t length = i * 20 * GORT_US;

		CHECK_EQ(gort_run(ask_and_end, &length, NULL), 0);
		nothing_is_left();
	}
}

static void guest_hangs(void *arg)
{
	atomic_fetch_add(&found, 1);
	check_fails("hangs", "80", -ECANCELED);
	(void)arg;
}

static int wait_for_the_guest(void *arg)
{
	EVENTUALLY(atomic_load(&x.inside) == *(int *)arg);
	return 0;
}

// variants: maxprocs
TEST_PLAIN(runtime_ends_while_guests_ask)
{
	struct guest *g[3];
	int n = 3;

	close_gate();
	CHECK_EQ(gort_start(NULL), 0);
	for (int i = 0; i < 3; i++)
		g[i] = guest_start(guest_hangs, NULL);
	CHECK_EQ(wait_for_the_guest(&n), 0);
	CHECK_EQ(gort_stop(), 0);
	for (int i = 0; i < 3; i++)
		guest_join(g[i]);
	open_gate();
	remove_gate();
	nothing_is_left();
}

/* A guest whose job waits for a place. */
static int let_a_guest_wait(void *arg)
{
	hang_with(PLACES);
	*(struct guest **)arg = guest_start(guest_hangs, NULL);
	EVENTUALLY(waiting() == PLACES + 1);
	return 0;
}

TEST_PLAIN(runtime_ends_while_a_guest_waits_for_a_place)
{
	struct guest *g;

	close_gate();
	CHECK_EQ(gort_run(let_a_guest_wait, &g, NULL), 0);
	guest_join(g);
	open_gate();
	remove_gate();
	nothing_is_left();
}

/* Where nothing runs, nothing is begun; numbers are numbers. */
TEST(forked_children_find_no_names)
{
	gort_addr *a;
	size_t n;
	int status;
	pid_t child = fork();

	CHECK(child >= 0);
	if (child == 0)
		_exit(gort_resolve("many", "80", &a, &n) != -ESRCH ||
		      gort_resolve("10.0.0.1", "80", &a, &n) != 0);
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* The n-th block cannot be had. True: there were not so many. */
static bool fails_at(int n, const char *host, const char *service)
{
	gort_addr *a;
	size_t count;
	int err;

	atomic_store(&x.fails, n);
	err = gort_resolve(host, service, &a, &count);
	if (atomic_exchange(&x.fails, 0) > 0) {
		CHECK_EQ(err, 0);
		free(a);
		return true;
	}
	CHECK_EQ(err, -ENOMEM);
	return false;
}

static int count_fails(const char *host, const char *service)
{
	int n = 1;

	while (!fails_at(n, host, service))
		n++;
	return n - 1;
}

TEST(out_of_memory)
{
	CHECK_EQ(count_fails("10.0.0.1", "80"), 1);
	CHECK_EQ(count_fails("many", "80"), 2);
	CHECK_EQ(count_fails("10.0.0.1", "ours"), 3);
}

/* Of gort's own memory: some may be had of a cache. */
TEST(out_of_memory_for_the_task)
{
	gort_addr *a;
	size_t n;
	int err;

	for (uint32_t i = 1; i < 10; i++) {
		mem_fail_after(i);
		err = gort_resolve("many", "80", &a, &n);
		mem_fail_after(0);
		CHECK(err == 0 || err == -ENOMEM);
		if (err == 0)
			free(a);
	}
	check_many("80", 80);
}

/* ---- bubbles --------------------------------------------------------------------------------- */

static int ask_in_a_bubble(void *arg)
{
	int64_t before = gort_set_deadline(gort_in(GORT_SEC));

	check_many("80", 80);
	CHECK_EQ(gort_now(), 0);
	gort_set_deadline(before);
	(void)arg;
	return 42;
}

static void open_soon(void *arg)
{
	(void)arg;
	usleep(20000);
	open_gate();
}

/* Neither getaddrinfo nor the wait for a place takes any of a bubble's time. */
// variants: maxprocs
TEST(in_a_bubble_it_takes_no_time)
{
	struct guest *g;

	CHECK_EQ(gort_bubble(ask_in_a_bubble, NULL), 42);
	close_gate();
	hang_with(PLACES);
	g = guest_start(open_soon, NULL);
	CHECK_EQ(gort_bubble(ask_in_a_bubble, NULL), 42);
	guest_join(g);
	CHECK_EQ(gort_waitgroup_wait(&all), 0);
	remove_gate();
}

static int give_up_in_a_bubble(void *arg)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background()), *before;
	struct canceler c = { gort_ctx_retain(ctx), 0 };
	struct guest *g = guest_start(cancel_soon, &c); /* its time goes on */

	before = gort_ctx_enter(ctx);
	check_fails("hangs", "80", -ECANCELED);
	gort_ctx_leave(before);
	guest_join(g);
	gort_ctx_release(ctx);
	(void)arg;
	return 42;
}

/* One who looks up is no member. */
// variants: maxprocs
TEST(a_bubble_ends_before_what_was_begun_in_it)
{
	close_gate();
	CHECK_EQ(gort_bubble(give_up_in_a_bubble, NULL), 42);
	CHECK_EQ(atomic_load(&x.inside), 1);
	open_gate();
	remove_gate();
}

/* ---- misuse ---------------------------------------------------------------------------------- */

TEST_DIES(no_room_for_the_addresses, "gort_resolve: no room")
{
	size_t n;

	gort_resolve("::1", "80", NULL, &n);
}

TEST_PLAIN_DIES(no_room_for_their_number, "gort_resolve: no room")
{
	gort_addr *a;

	gort_resolve("::1", "80", &a, NULL);
}
