/*
 * resolve_ares.c - gort_resolve by c-ares, with a name server of our own on 127.0.0.1: what it answers,
 * and what it does not; many at once, cancellation, guests, the runtime's end. (tests/resolve.c has
 * getaddrinfo, and what both have in common.)
 *
 * The linker sends gort's calls of c-ares through here (-Wl,--wrap, CMakeLists.txt): channels are
 * counted, and told of our name server, no search domains, and a file of hosts of ours. A host's
 * first label says what the server does:
 *
 *     both        two addresses of each family, each twice
 *     many        25 of IPv4, each twice: too long for a datagram, so it is asked by TCP again
 *     six         2001:db8::7 alone
 *     none        no addresses
 *     nx fail refused    NXDOMAIN, SERVFAIL, REFUSED
 *     broken      an answer cut short
 *     lost        the first question for each family is lost
 *     hangs       no answer till the gate is opened
 *     tcphangs    to be asked by TCP, which does not answer
 */
#include "harness.h"

#include "base/alloc.h"
#include "io/address.h"

#include <ares.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLACES 64 /* MOST_CALLS of resolve.c */
#define PACKET 4096
#define HELD 4096
#define PATIENT 9 /* tries: each waits twice as long as the one before */
#define TYPE_A 1
#define TYPE_AAAA 28

static struct {
	atomic_int channels; /* c-ares' that live */
	atomic_int blocks;   /* of memory, of c-ares' */
	atomic_int searches; /* ever */
	atomic_int libc;     /* calls of getaddrinfo */
	atomic_int questions;
	uint16_t port;
	int timeout_ms; /* of c-ares' first try */
	int tries;      /* 0: as many as c-ares likes */
	int stall[2];   /* a pipe: ares_getaddrinfo waits there first, if it is open */
	char hosts[40];
} x = { .timeout_ms = 30000, .stall = { -1, -1 } };

int harness_leaks(void)
{
	int left = atomic_load(&x.channels) + atomic_load(&x.blocks);

	return left ? left : (int)mem_in_use();
}

/* ---- c-ares ---------------------------------------------------------------------------------- */

static void *count_malloc(size_t size)
{
	void *p = malloc(size);

	if (p)
		atomic_fetch_add(&x.blocks, 1);
	return p;
}

static void count_free(void *p)
{
	if (p)
		atomic_fetch_sub(&x.blocks, 1);
	free(p);
}

static void *count_realloc(void *p, size_t size)
{
	if (!p)
		return count_malloc(size);
	return realloc(p, size);
}

__attribute__((constructor)) static void count_blocks(void)
{
	ares_library_init_mem(ARES_LIB_INIT_ALL, count_malloc, count_free, count_realloc);
}

int __real_ares_init_options(ares_channel *out, struct ares_options *options, int which);
int __wrap_ares_init_options(ares_channel *out, struct ares_options *options, int which);
void __real_ares_destroy(ares_channel channel);
void __wrap_ares_destroy(ares_channel channel);
void __real_ares_getaddrinfo(ares_channel channel, const char *host, const char *service,
			     const struct ares_addrinfo_hints *hints, ares_addrinfo_callback fn,
			     void *arg);
void __wrap_ares_getaddrinfo(ares_channel channel, const char *host, const char *service,
			     const struct ares_addrinfo_hints *hints, ares_addrinfo_callback fn,
			     void *arg);
int __real_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
		       struct addrinfo **out);
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
		       struct addrinfo **out);

int __wrap_ares_init_options(ares_channel *out, struct ares_options *options, int which)
{
	char lookups[] = "fb", server[40];
	int status;

	options->lookups = lookups;
	options->domains = NULL;
	options->ndomains = 0;
	options->timeout = x.timeout_ms;
	options->tries = x.tries;
	status = __real_ares_init_options(out, options,
					  which | ARES_OPT_LOOKUPS | ARES_OPT_DOMAINS |
						  ARES_OPT_TIMEOUTMS |
						  (x.tries ? ARES_OPT_TRIES : 0));
	if (status != ARES_SUCCESS)
		return status;
	snprintf(server, sizeof server, "127.0.0.1:%u", x.port);
	CHECK_EQ(ares_set_servers_ports_csv(*out, server), ARES_SUCCESS);
	atomic_fetch_add(&x.channels, 1);
	return status;
}

void __wrap_ares_destroy(ares_channel channel)
{
	__real_ares_destroy(channel);
	atomic_fetch_sub(&x.channels, 1);
}

void __wrap_ares_getaddrinfo(ares_channel channel, const char *host, const char *service,
			     const struct ares_addrinfo_hints *hints, ares_addrinfo_callback fn,
			     void *arg)
{
	struct ares_addrinfo_hints more = *hints;
	char c;

	more.ai_flags |= ARES_AI_ENVHOSTS;
	atomic_fetch_add(&x.searches, 1);
	if (x.stall[0] >= 0)
		CHECK(read(x.stall[0], &c, 1) >= 0);
	__real_ares_getaddrinfo(channel, host, service, &more, fn, arg);
}

int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
		       struct addrinfo **out)
{
	atomic_fetch_add(&x.libc, 1);
	return __real_getaddrinfo(host, service, hints, out);
}

/* ---- the name server: a plain thread, which outlives runtimes -------------------------------- */

struct answer {
	unsigned char data[PACKET];
	size_t size, asked; /* of all; of header and question */
	int count, type;
	char name[64]; /* the first label */
};

static struct {
	struct guest *thread;
	int udp, tcp, stop[2];
	int conn[64], conns; /* of TCP, that hang */
	bool open, lost[2];  /* by name: the gate; a question of either type was */
	atomic_bool opened;
	size_t held;
	struct held {
		struct answer answer;
		struct sockaddr_in to;
	} hold[HELD];
} server;

static bool is(const struct answer *a, const char *name)
{
	return strcmp(a->name, name) == 0;
}

static void put16(struct answer *a, unsigned v)
{
	a->data[a->size++] = (unsigned char)(v >> 8);
	a->data[a->size++] = (unsigned char)v;
}

/* Name, class, an hour to live, data. */
static void put_addr(struct answer *a, unsigned i)
{
	unsigned char four[4] = { 10, 0, 0, (unsigned char)i };
	unsigned char six[16] = { 0x20, 1, 0xd, 0xb8, [15] = (unsigned char)i };
	size_t size = a->type == TYPE_A ? sizeof four : sizeof six;

	put16(a, 0xc00c);
	put16(a, (unsigned)a->type);
	put16(a, 1);
	put16(a, 0);
	put16(a, 3600);
	put16(a, (unsigned)size);
	memcpy(a->data + a->size, a->type == TYPE_A ? four : six, size);
	a->size += size;
	a->count++;
}

static void put_all(struct answer *a)
{
	if (is(a, "both") || is(a, "hangs") || is(a, "lost") || is(a, "tcphangs"))
		for (unsigned i = 0; i < 4; i++)
			put_addr(a, 1 + i / 2);
	if (is(a, "many") && a->type == TYPE_A)
		for (unsigned i = 0; i < 50; i++)
			put_addr(a, 1 + i / 2);
	if (is(a, "six") && a->type == TYPE_AAAA)
		put_addr(a, 7);
}

static unsigned code_of(const struct answer *a)
{
	return is(a, "nx") ? 3 : is(a, "fail") ? 2 : is(a, "refused") ? 5 : 0;
}

/* What to say to a question. */
static void answer_to(struct answer *a, const unsigned char *question, size_t size)
{
	size_t label, at = 12;

	CHECK(size > 17 && size < PACKET);
	memcpy(a->data, question, size);
	label = question[12];
	CHECK(label < sizeof a->name);
	memcpy(a->name, question + 13, label);
	a->name[label] = 0;
	while (question[at])
		at += question[at] + 1u;
	a->type = question[at + 1] << 8 | question[at + 2];
	a->asked = a->size = at + 5;
	a->count = 0;
	put_all(a);
	a->data[2] = 0x85; /* it is an answer, we know, and recursion was wanted */
	a->data[3] = (unsigned char)(0x80 | code_of(a));
	memset(a->data + 6, 0, 6);
	a->data[7] = (unsigned char)a->count;
}

static void shorten(struct answer *a)
{
	if (is(a, "tcphangs") || a->size > 512) {
		a->data[2] |= 2;
		a->data[7] = 0;
		a->size = a->asked;
	} else if (is(a, "broken")) {
		a->data[7] = 3;
	}
}

static bool is_lost(const struct answer *a)
{
	bool *known = &server.lost[a->type == TYPE_A], lost = is(a, "lost") && !*known;

	*known = *known || lost;
	return lost;
}

static void send_to(const struct answer *a, const struct sockaddr_in *to)
{
	/* Who asked may have gone. */
	(void)!sendto(server.udp, a->data, a->size, 0, (const struct sockaddr *)to, sizeof *to);
}

static void serve_udp(void)
{
	static struct answer a;
	unsigned char question[PACKET];
	struct sockaddr_in from;
	socklen_t len = sizeof from;
	ssize_t n =
		recvfrom(server.udp, question, sizeof question, 0, (struct sockaddr *)&from, &len);

	if (n < 0)
		return;
	answer_to(&a, question, (size_t)n);
	shorten(&a);
	atomic_fetch_add(&x.questions, 1);
	if (is(&a, "hangs") && !server.open) {
		CHECK(server.held < HELD);
		server.hold[server.held++] = (struct held){ a, from };
	} else if (!is_lost(&a)) {
		send_to(&a, &from);
	}
}

static void open_all(void)
{
	server.open = true;
	while (server.held > 0) {
		server.held--;
		send_to(&server.hold[server.held].answer, &server.hold[server.held].to);
	}
}

/* One question a connection; one that hangs is kept until the server stops. */
static void serve_tcp(void)
{
	static struct answer a;
	unsigned char size[2], question[PACKET];
	int c = accept(server.tcp, NULL, NULL);

	if (c < 0)
		return;
	if (recv(c, size, 2, MSG_WAITALL) == 2 &&
	    recv(c, question, (size_t)(size[0] << 8 | size[1]), MSG_WAITALL) > 0) {
		answer_to(&a, question, (size_t)(size[0] << 8 | size[1]));
		if (is(&a, "tcphangs")) {
			CHECK(server.conns < 64);
			server.conn[server.conns++] = c;
			return;
		}
		size[0] = (unsigned char)(a.size >> 8);
		size[1] = (unsigned char)a.size;
		CHECK_EQ(send(c, size, 2, MSG_NOSIGNAL), 2);
		CHECK_EQ(send(c, a.data, a.size, MSG_NOSIGNAL), a.size);
	}
	close(c);
}

static void serve(void *arg)
{
	struct pollfd p[] = { { server.udp, POLLIN, 0 },
			      { server.tcp, POLLIN, 0 },
			      { server.stop[0], POLLIN, 0 } };
	char c;

	(void)arg;
	for (;;) {
		CHECK(poll(p, 3, -1) > 0);
		if (p[0].revents)
			serve_udp();
		if (p[1].revents)
			serve_tcp();
		if (!p[2].revents)
			continue;
		if (read(server.stop[0], &c, 1) != 1)
			return;
		open_all();
		atomic_store(&server.opened, true);
	}
}

static int bound(int type, uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0) {
		close(fd);
		return -1;
	}
	CHECK_EQ(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	x.port = ntohs(a.sin_port);
	return fd;
}

static void hosts_make(void)
{
	FILE *f;
	int fd;

	strcpy(x.hosts, "/tmp/gort-hosts-XXXXXX");
	fd = mkstemp(x.hosts);
	CHECK(fd >= 0);
	f = fdopen(fd, "w");
	CHECK(f &&
	      fputs("127.0.0.1 localhost\n::1 localhost\n"
		    "10.9.8.7 known alias # a comment\n2001:db8::9 known\n",
		    f) >= 0);
	CHECK_EQ(fclose(f), 0);
	setenv("CARES_HOSTS", x.hosts, 1);
}

static void server_start(void)
{
	server.tcp = -1;
	for (int i = 0; i < 100 && server.tcp < 0; i++) { /* another may have that port of TCP */
		if (i)
			close(server.udp);
		server.udp = bound(SOCK_DGRAM, 0);
		server.tcp = bound(SOCK_STREAM, x.port);
	}
	CHECK(server.tcp >= 0);
	CHECK_EQ(listen(server.tcp, 64), 0);
	CHECK_EQ(pipe(server.stop), 0);
	hosts_make();
	server.thread = guest_start(serve, NULL);
}

static void server_open(void)
{
	CHECK_EQ(write(server.stop[1], "o", 1), 1);
	EVENTUALLY(atomic_load(&server.opened));
}

static void server_stop(void)
{
	close(server.stop[1]);
	guest_join(server.thread);
	close(server.stop[0]);
	close(server.udp);
	close(server.tcp);
	while (server.conns > 0)
		close(server.conn[--server.conns]);
	unlink(x.hosts);
}

/* ---- what is found --------------------------------------------------------------------------- */

static const char *text_of(const gort_addr *a)
{
	static _Thread_local char text[80];

	gort__address_text((const struct sockaddr *)&a->addr, a->len, text, sizeof text);
	return text;
}

static bool holds(const gort_addr *all, size_t n, const char *text)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(text_of(&all[i]), text) == 0)
			return true;
	return false;
}

/* All of them, each once: one, or two. */
static void check(const char *host, const char *service, const char *a, const char *b)
{
	gort_addr *all = NULL;
	size_t n = 0;
	int err = gort_resolve(host, service, &all, &n);

	if (err != 0 || n != (b ? 2 : 1) || !holds(all, n, a) || (b && !holds(all, n, b)))
		test_fail_(__FILE__, __LINE__, "%s, %s: %d, %zu addresses, %s", host, service, err,
			   n, n ? text_of(all) : "");
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

static void check_both(void *host)
{
	gort_addr *all;
	size_t n;

	CHECK_EQ(gort_resolve(host, "80", &all, &n), 0);
	CHECK_EQ(n, 4);
	CHECK(holds(all, n, "10.0.0.1:80") && holds(all, n, "10.0.0.2:80"));
	CHECK(holds(all, n, "[2001:db8::1]:80") && holds(all, n, "[2001:db8::2]:80"));
	free(all);
}

// variants: maxprocs
TEST(addresses_of_both_families_each_once)
{
	static char host[] = "both.example";

	server_start();
	check_both(host);
	on_guest(check_both, host);
	check("six.example", "443", "[2001:db8::7]:443", NULL);
	server_stop();
	CHECK_EQ(atomic_load(&x.libc), 0);
}

TEST(hosts_of_the_file)
{
	server_start();
	check("known", "80", "10.9.8.7:80", "[2001:db8::9]:80");
	check("ALIAS", "80", "10.9.8.7:80", NULL);
	check("localhost", "80", "127.0.0.1:80", "[::1]:80");
	check("127.1", "80", "127.0.0.1:80", NULL);
	CHECK_EQ(atomic_load(&x.questions), 0);
	server_stop();
}

TEST(services_by_name)
{
	server_start();
	check("10.0.0.7", "https", "10.0.0.7:443", NULL);
	check(NULL, "https", "127.0.0.1:443", "[::1]:443");
	check("known", "https", "10.9.8.7:443", "[2001:db8::9]:443");
	check_fails("127.0.0.1", "no-such-service", -ENXIO);
	check_fails("known", "no-such-service", -ENXIO);
	check_fails("known", "0x50", -ENXIO);
	CHECK_EQ(atomic_load(&x.libc), 0);
	server_stop();
}

TEST(families_and_types)
{
	struct addresses out;

	server_start();
	CHECK_EQ(gort__addresses("udp4", "both.example:domain", false, &out), 0);
	CHECK_EQ(out.type, SOCK_DGRAM);
	CHECK_EQ(out.count, 2);
	CHECK(holds(out.addr, 2, "10.0.0.1:53") && holds(out.addr, 2, "10.0.0.2:53"));
	free(out.addr);
	CHECK_EQ(gort__addresses("udp", "known:tftp", false, &out), 0); /* there is none of TCP */
	CHECK_EQ(gort__port(&out.addr[0]), 69);
	free(out.addr);
	CHECK_EQ(gort__addresses("tcp", "known:tftp", false, &out), -ENXIO);
	CHECK_EQ(gort__addresses("tcp6", "both.example:80", false, &out), 0);
	CHECK_EQ(out.count, 2);
	CHECK_EQ(out.addr[0].addr.ss_family, AF_INET6);
	free(out.addr);
	CHECK_EQ(gort__addresses("tcp4", "six.example:80", false, &out), -ENXIO);
	CHECK_EQ(gort__addresses("tcp6", "127.1:80", false, &out), -ENXIO);
	server_stop();
}

TEST(long_answers_come_by_tcp)
{
	gort_addr *all;
	size_t n;

	server_start();
	CHECK_EQ(gort_resolve("many.example", "80", &all, &n), 0);
	CHECK_EQ(n, 25);
	CHECK(holds(all, n, "10.0.0.1:80") && holds(all, n, "10.0.0.25:80"));
	free(all);
	server_stop();
}

TEST(errors)
{
	char label[100] = "";

	server_start();
	check_fails("none.example", "80", -ENXIO);
	check_fails("nx.example", "80", -ENXIO);
	check_fails("a..b", "80", -ENXIO);
	memset(label, 'a', 70);
	check_fails(label, "80", -ENXIO);
	check_fails("fail.example", "80", -EREMOTEIO);
	check_fails("refused.example", "80", -EREMOTEIO);
	check_fails("broken.example", "80", -EREMOTEIO);
	server_stop();
}

TEST(what_is_lost_is_asked_again)
{
	static char host[] = "lost.example";

	x.timeout_ms = 100;
	x.tries = PATIENT;
	server_start();
	check_both(host);
	CHECK(atomic_load(&x.questions) >= 4); /* more, where the server is slow */
	server_stop();
}

TEST(no_answer_is_an_error_in_the_end)
{
	x.timeout_ms = 50;
	server_start();
	check_fails("hangs.example", "80", -EREMOTEIO);
	server_stop();
}

/* ---- cancellation ---------------------------------------------------------------------------- */

static void check_deadline(void *host)
{
	int64_t start = gort_now(), before = gort_set_deadline(gort_in(20 * GORT_MS));

	check_fails(host, "80", -ETIMEDOUT);
	CHECK(gort_now() - start < 10 * GORT_SEC);
	gort_set_deadline(before);
}

struct canceler {
	gort_ctx *ctx;
	int questions;
};

static void cancel_soon(void *arg)
{
	struct canceler *c = arg;

	EVENTUALLY(atomic_load(&x.questions) > c->questions);
	gort_ctx_cancel(c->ctx, 0);
	gort_ctx_release(c->ctx);
}

static void check_cancel(void *host)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background());
	struct canceler c = { gort_ctx_retain(ctx), atomic_load(&x.questions) };
	gort_ctx *before;

	CHECK_EQ(gort_go_copy(cancel_soon, &c, sizeof c), 0);
	before = gort_ctx_enter(ctx);
	check_fails(host, "80", -ECANCELED);
	gort_ctx_leave(before);
	gort_ctx_release(ctx);
}

static void nothing_is_left(void)
{
	EVENTUALLY(atomic_load(&x.channels) == 0 && atomic_load(&x.blocks) == 0);
	EVENTUALLY(gort_count() == 1);
}

static void check_leaving(void *host)
{
	check_deadline(host);
	check_cancel(host);
}

/* The job, too, though nobody answers, and the first time-out of c-ares is far away. */
// variants: maxprocs
TEST(who_is_canceled_leaves_nothing_behind)
{
	static char udp[] = "hangs.example", tcp[] = "tcphangs.example";

	server_start();
	for (int i = 0; i < 3; i++) {
		check_leaving(udp);
		nothing_is_left();
		check_leaving(tcp);
		nothing_is_left();
		on_guest(check_leaving, udp);
		nothing_is_left();
	}
	server_stop();
}

/* ---- many at once ---------------------------------------------------------------------------- */

static gort_waitgroup all;
static atomic_int found;

static void ask(void *host)
{
	check_both(host);
	atomic_fetch_add(&found, 1);
}

static void ask_many(char *host, int n)
{
	for (int i = 0; i < n; i++)
		CHECK_EQ(gort_waitgroup_go(&all, ask, host), 0);
}

// variants: maxprocs
TEST(a_thousand_ask_at_once)
{
	static char host[] = "both.example";

	server_start();
	ask_many(host, SCALE(1000));
	CHECK_EQ(gort_waitgroup_wait(&all), 0);
	CHECK_EQ(atomic_load(&found), SCALE(1000));
	CHECK_EQ(atomic_load(&x.searches), SCALE(1000));
	server_stop();
}

static gort_stats stats(void)
{
	gort_stats s;

	gort_read_stats(&s, sizeof s);
	return s;
}

static uint64_t waiting(void)
{
	return stats().waiting;
}

/* No thread waits: neither for the network nor for a place. */
// variants: maxprocs
TEST(so_many_are_looked_up_at_once_and_no_more)
{
	static char host[] = "hangs.example";

	server_start();
	ask_many(host, 200);
	EVENTUALLY(waiting() == 2 * 200);
	EVENTUALLY(atomic_load(&x.questions) == 2 * PLACES);
	CHECK_EQ(atomic_load(&x.channels), PLACES);
	EVENTUALLY(stats().threads_blocked == 0);
	server_open();
	CHECK_EQ(gort_waitgroup_wait(&all), 0);
	CHECK_EQ(atomic_load(&found), 200);
	server_stop();
}

/* Who is cancelled gives its place to another at once. */
TEST(places_of_the_canceled_go_to_others)
{
	static char hangs[] = "hangs.example", both[] = "both.example";
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background()), *before;
	gort_waitgroup gone = { 0 };

	server_start();
	before = gort_ctx_enter(ctx);
	for (int i = 0; i < 3 * PLACES; i++)
		CHECK_EQ(gort_waitgroup_go(&gone, check_cancel, hangs), 0);
	gort_ctx_leave(before);
	EVENTUALLY(atomic_load(&x.searches) > 0);
	check_both(both);
	gort_ctx_cancel(ctx, 0);
	gort_ctx_release(ctx);
	CHECK_EQ(gort_waitgroup_wait(&gone), 0);
	nothing_is_left();
	server_stop();
}

/* ---- the runtime's end ----------------------------------------------------------------------- */

static int hang_and_end(void *arg)
{
	static char host[] = "hangs.example";

	all = (gort_waitgroup){ 0 };
	ask_many(host, *(int *)arg);
	EVENTUALLY(waiting() == 2 * (uint64_t) * (int *)arg);
	return 0;
}

// variants: maxprocs
TEST_PLAIN(runtime_ends_while_names_are_looked_up)
{
	int n = PLACES + 20;

	server_start();
	for (int round = 1; round <= 3; round++) {
		CHECK_EQ(gort_run(hang_and_end, &n, NULL), 0);
		CHECK_EQ(harness_leaks(), 0);
	}
	server_stop();
}

static void ask_until_the_end(void *host)
{
	for (;;)
		check_both(host);
}

static int ask_and_end(void *arg)
{
	static char host[] = "both.example";

	for (int i = 0; i < 20; i++)
		CHECK_EQ(gort_go(ask_until_the_end, host), 0);
	return gort_sleep(*(int64_t *)arg);
}

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

static void all_is_freed(void)
{
	EVENTUALLY(atomic_load(&x.channels) == 0 && atomic_load(&x.blocks) == 0);
	EVENTUALLY(mem_in_use() == 0 || (gort_run(do_nothing, NULL, NULL), mem_in_use() == 0));
}

// variants: maxprocs
TEST_PLAIN(runtime_ends_at_any_moment)
{
	server_start();
	for (int64_t i = 0; i < SCALE(100); i++) {
		int64_t length = i * 50 * GORT_US;

		CHECK_EQ(gort_run(ask_and_end, &length, NULL), 0);
		all_is_freed();
	}
	server_stop();
}

static void ask_what_stalls(void *host)
{
	check_fails(host, "80", -ECANCELED);
}

static int stall_and_end(void *arg)
{
	static char host[] = "both.example";

	for (int i = 0; i < 5; i++)
		CHECK_EQ(gort_go(ask_what_stalls, host), 0);
	EVENTUALLY(atomic_load(&x.searches) == 5);
	(void)arg;
	return 0;
}

/* Inside of c-ares: by a slow disk, say. */
// variants: maxprocs
TEST_PLAIN(threads_left_behind_clean_up)
{
	server_start();
	CHECK_EQ(pipe(x.stall), 0);
	CHECK_EQ(gort_run(stall_and_end, NULL, NULL), 0);
	CHECK_EQ(atomic_load(&x.channels), 5);
	close(x.stall[1]);
	all_is_freed();
	close(x.stall[0]);
	server_stop();
}

static void guest_hangs(void *host)
{
	check_fails(host, "80", -ECANCELED);
}

// variants: maxprocs
TEST_PLAIN(runtime_ends_while_guests_ask)
{
	static char host[] = "hangs.example";
	struct guest *g[3];

	server_start();
	CHECK_EQ(gort_start(NULL), 0);
	for (int i = 0; i < 3; i++)
		g[i] = guest_start(guest_hangs, host);
	EVENTUALLY(atomic_load(&x.questions) == 6);
	CHECK_EQ(gort_stop(), 0);
	for (int i = 0; i < 3; i++)
		guest_join(g[i]);
	server_stop();
}

/* ---- bubbles --------------------------------------------------------------------------------- */

static int ask_in_a_bubble(void *arg)
{
	static char lost[] = "lost.example";
	int64_t before = gort_set_deadline(gort_in(GORT_SEC));

	x.tries = PATIENT;
	check_both(lost);
	x.tries = 0;
	check_fails("hangs.example", "80", -EREMOTEIO);
	CHECK_EQ(gort_now(), 0);
	gort_set_deadline(before);
	(void)arg;
	return 42;
}

/* c-ares' time-outs are real. */
// variants: maxprocs
TEST(in_a_bubble_it_takes_no_time)
{
	x.timeout_ms = 50;
	server_start();
	CHECK_EQ(gort_bubble(ask_in_a_bubble, NULL), 42);
	server_stop();
}
