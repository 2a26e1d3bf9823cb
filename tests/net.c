/*
 * net.c - sockets: connections and their ends, peers that vanish, deadlines, addresses and options,
 * datagrams, descriptors that are passed, urgent data, accepting when there are no descriptors. Much
 * of it is what Go's tests of package net mean. What ends a wait in each call: io_calls.c.
 */
#include "io.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/un.h>

static gort_waitgroup group;

static void wait_for_group(void)
{
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
}

static bool has_ipv6(void)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	bool has = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0;

	close(fd);
	return has;
}

static void put(gort_file *f, const char *text)
{
	CHECK_EQ(gort_write(f, text, strlen(text)), strlen(text));
}

static void expect(gort_file *f, const char *text)
{
	char buf[256] = "";

	CHECK_EQ(gort_read_full(f, buf, strlen(text)), strlen(text));
	CHECK_STR(buf, text);
}

static void expect_end(gort_file *f)
{
	char byte;

	CHECK_EQ(gort_read(f, &byte, 1), 0);
}

static int option(gort_file *f, int level, int name)
{
	int value = -1;
	socklen_t size = sizeof value;

	CHECK_EQ(getsockopt(gort_file_fd(f), level, name, &value, &size), 0);
	return value;
}

static void set_option(gort_file *f, int level, int name, int value)
{
	CHECK_EQ(setsockopt(gort_file_fd(f), level, name, &value, sizeof value), 0);
}

/* close sends a reset. */
static void close_hard(gort_file *f)
{
	struct linger l = { .l_onoff = 1 };

	CHECK_EQ(setsockopt(gort_file_fd(f), SOL_SOCKET, SO_LINGER, &l, sizeof l), 0);
	CHECK_EQ(gort_close(f), 0);
}

/* ---- connections --------------------------------------------------------------------------------- */

static void echo(void *arg)
{
	char buf[1000];
	ssize_t n;

	while ((n = gort_read(arg, buf, sizeof buf)) > 0)
		CHECK_EQ(gort_write(arg, buf, (size_t)n), n);
	CHECK_EQ(n, 0);
	CHECK_EQ(gort_close(arg), 0);
}

static void serve(void *arg)
{
	gort_file *f;
	int err;

	while ((err = gort_accept(arg, &f)) == 0)
		CHECK_EQ(gort_waitgroup_go(&group, echo, f), 0);
	CHECK_EQ(err, -EBADF);
}

struct place {
	const char *network, *address;
};

static void talk(void *arg)
{
	gort_file *f = dial_to("tcp", arg);

	for (int i = 0; i < 20; i++) {
		put(f, "a line of text\n");
		expect(f, "a line of text\n");
	}
	CHECK_EQ(gort_shutdown(f, SHUT_WR), 0);
	expect_end(f);
	CHECK_EQ(gort_close(f), 0);
}

static void talk_unix(void *arg)
{
	gort_file *f = dial_to("unix", arg);

	put(f, "hello");
	expect(f, "hello");
	CHECK_EQ(gort_shutdown(f, SHUT_WR), 0);
	expect_end(f);
	CHECK_EQ(gort_close(f), 0);
}

static void check_server(const char *network, const char *address)
{
	gort_file *l = listen_at(network, address);
	gort_waitgroup talkers = { 0 };
	gort_func talker = strcmp(network, "unix") == 0 ? talk_unix : talk;

	CHECK_EQ(gort_waitgroup_go(&group, serve, l), 0);
	talker(l);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(gort_waitgroup_go(&talkers, talker, l), 0);
	on_guest(talker, l);
	CHECK_EQ(gort_waitgroup_wait(&talkers), 0);
	CHECK_EQ(gort_close(l), 0);
	wait_for_group();
}

// variants: maxprocs
TEST(servers_of_all_kinds)
{
	check_server("tcp", "127.0.0.1:0");
	check_server("tcp4", "127.0.0.1:0");
	check_server("unix", local_name("server"));
	if (has_ipv6()) {
		check_server("tcp", "[::1]:0");
		check_server("tcp6", "[::1]:0");
	}
}

TEST(options_of_tcp)
{
	gort_file *p[2];

	tcp_pair(p);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(option(p[i], IPPROTO_TCP, TCP_NODELAY), 1);
		CHECK_EQ(option(p[i], SOL_SOCKET, SO_KEEPALIVE), 1);
		CHECK_EQ(option(p[i], IPPROTO_TCP, TCP_KEEPIDLE), 15);
		CHECK_EQ(option(p[i], IPPROTO_TCP, TCP_KEEPINTVL), 15);
		CHECK(fcntl(gort_file_fd(p[i]), F_GETFD) & FD_CLOEXEC);
		CHECK(fcntl(gort_file_fd(p[i]), F_GETFL) & O_NONBLOCK);
	}
	close_both(p);
}

TEST(addresses_of_both_ends)
{
	gort_file *p[2];
	char a[64], b[64];

	tcp_pair(p);
	CHECK(gort_local_address(p[0], a, sizeof a) > 0);
	CHECK_EQ(gort_peer_address(p[1], b, sizeof b), strlen(a));
	CHECK_STR(a, b);
	CHECK(strncmp(a, "127.0.0.1:", 10) == 0);
	CHECK(gort_local_address(p[1], a, sizeof a) > 0);
	CHECK_EQ(gort_peer_address(p[0], b, sizeof b), strlen(a));
	CHECK_STR(a, b);
	CHECK_EQ(gort_peer_address(p[0], b, 4), (int)strlen(a));
	CHECK_STR(b, "127");
	close_both(p);
	pipe_pair(p);
	CHECK_EQ(gort_local_address(p[0], a, sizeof a), -ENOTSOCK);
	close_both(p);
	p[0] = listen_at("tcp", "127.0.0.1:0");
	CHECK_EQ(gort_peer_address(p[0], a, sizeof a), -ENOTCONN);
	CHECK_EQ(gort_close(p[0]), 0);
}

/* ---- the ends of a connection ----------------------------------------------------------------------- */

static void check_half_close(const char *network, const char *address)
{
	gort_file *p[2];

	net_pair(network, address, p);
	put(p[0], "the last words");
	CHECK_EQ(gort_shutdown(p[0], SHUT_WR), 0);
	CHECK_EQ(gort_write(p[0], "x", 1), -EPIPE);
	expect(p[1], "the last words");
	expect_end(p[1]);
	expect_end(p[1]);
	put(p[1], "an answer");
	expect(p[0], "an answer");
	CHECK_EQ(gort_shutdown(p[0], SHUT_RD), 0);
	expect_end(p[0]);
	close_both(p);
}

// variants: maxprocs
TEST(half_close)
{
	check_half_close("tcp", "127.0.0.1:0");
	check_half_close("unix", local_name("half"));
}

static atomic_int result;

static void read_one(void *arg)
{
	char byte;

	atomic_store(&result, (int)gort_read(arg, &byte, 1));
}

static void write_much(void *arg)
{
	static char much[32 << 20];

	atomic_store(&result, (int)gort_write(arg, much, sizeof much));
}

// variants: maxprocs
TEST(shutdown_while_somebody_waits)
{
	gort_file *p[2];

	tcp_pair(p);
	CHECK_EQ(gort_waitgroup_go(&group, read_one, p[0]), 0);
	EVENTUALLY(waits_at(p[0], POLL_READ));
	CHECK_EQ(gort_shutdown(p[0], SHUT_RD), 0);
	wait_for_group();
	CHECK_EQ(atomic_load(&result), 0);
	CHECK_EQ(gort_waitgroup_go(&group, write_much, p[0]), 0);
	EVENTUALLY(waits_at(p[0], POLL_WRITE));
	CHECK_EQ(gort_shutdown(p[0], SHUT_WR), 0);
	wait_for_group();
	CHECK_EQ(atomic_load(&result), -EPIPE);
	close_both(p);
}

// variants: maxprocs
TEST(shutdown_right_before_close)
{
	for (int i = 0; i < 100; i++) {
		gort_file *p[2];

		tcp_pair(p);
		CHECK_EQ(gort_waitgroup_go(&group, read_one, p[0]), 0);
		CHECK_EQ(gort_waitgroup_go(&group, read_one, p[1]), 0);
		if (i % 2)
			EVENTUALLY(waits_at(p[0], POLL_READ));
		CHECK_EQ(gort_shutdown(p[0], SHUT_RDWR), 0);
		CHECK_EQ(gort_close(p[0]), 0);
		wait_for_group();
		CHECK_EQ(gort_close(p[1]), 0);
	}
}

// variants: maxprocs
TEST(peers_that_reset)
{
	gort_file *p[2];
	char byte;

	for (int i = 0; i < 20; i++) {
		tcp_pair(p); /* who reads */
		CHECK_EQ(gort_waitgroup_go(&group, read_one, p[0]), 0);
		EVENTUALLY(waits_at(p[0], POLL_READ));
		close_hard(p[1]);
		wait_for_group();
		CHECK_EQ(atomic_load(&result), -ECONNRESET);
		CHECK_EQ(gort_read(p[0], &byte, 1), 0);
		CHECK_EQ(gort_write(p[0], "x", 1), -EPIPE);
		CHECK_EQ(gort_close(p[0]), 0);

		tcp_pair(p); /* who writes */
		CHECK_EQ(gort_waitgroup_go(&group, write_much, p[0]), 0);
		EVENTUALLY(waits_at(p[0], POLL_WRITE));
		close_hard(p[1]);
		wait_for_group();
		CHECK_EQ(atomic_load(&result), -ECONNRESET);
		CHECK_EQ(gort_close(p[0]), 0);

		tcp_pair(p); /* both, and unread data does the same as SO_LINGER */
		put(p[0], "unread");
		CHECK_EQ(gort_waitgroup_go(&group, read_one, p[0]), 0);
		EVENTUALLY(waits_at(p[0], POLL_READ) &&
			   gort_wait_fd(gort_file_fd(p[1]), POLLIN, GORT_NOW) == POLLIN);
		CHECK_EQ(gort_close(p[1]), 0);
		wait_for_group();
		CHECK_EQ(atomic_load(&result), -ECONNRESET);
		CHECK_EQ(gort_close(p[0]), 0);
	}
}

static void close_it(void *arg)
{
	CHECK_EQ(gort_close(arg), 0);
}

/* TestCloseUnblocksRead, and by a plain thread: the peer learns at once. */
// variants: maxprocs
TEST(close_while_others_read_and_write)
{
	for (int i = 0; i < 20; i++) {
		gort_file *p[2];

		tcp_pair(p);
		CHECK_EQ(gort_waitgroup_go(&group, read_one, p[0]), 0);
		CHECK_EQ(gort_waitgroup_go(&group, read_one, p[0]), 0);
		CHECK_EQ(gort_waitgroup_go(&group, write_much, p[0]), 0);
		EVENTUALLY(waits_at(p[0], POLL_READ) && waits_at(p[0], POLL_WRITE) &&
			   waits_at_gate(p[0], POLL_READ));
		if (i % 2)
			on_guest(close_it, p[0]);
		else
			close_it(p[0]);
		wait_for_group();
		CHECK_EQ(atomic_load(&result), -EBADF);
		EVENTUALLY(gort_write(p[1], "x", 1) < 0);
		CHECK_EQ(gort_close(p[1]), 0);
	}
}

/* ---- listeners ----------------------------------------------------------------------------------------- */

TEST(connections_that_are_refused)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	int s = socket(AF_INET, SOCK_STREAM, 0); /* it has a port to itself, and does not listen */
	socklen_t len = sizeof a;
	gort_file here, *f = &here;
	char at[64];

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK_EQ(bind(s, (struct sockaddr *)&a, sizeof a), 0);
	CHECK_EQ(getsockname(s, (struct sockaddr *)&a, &len), 0);
	snprintf(at, sizeof at, "127.0.0.1:%d", ntohs(a.sin_port));
	CHECK_EQ(gort_dial(&f, "tcp", at), -ECONNREFUSED);
	close(s);
	CHECK_EQ(gort_dial(&f, "unix", "/no/such/socket"), -ENOENT);
	CHECK_EQ(gort_dial(&f, "unix", local_name("nobody")), -ECONNREFUSED);
	CHECK_EQ(gort_dial(&f, "unixgram", local_name("nobody")), -ECONNREFUSED);
	CHECK_EQ(gort_dial(&f, "bogus", "127.0.0.1:80"), -EINVAL);
	CHECK_EQ(gort_dial(&f, "tcp", "127.0.0.1"), -EINVAL);
	CHECK_EQ(gort_listen(&f, "tcp", "8.8.8.8:0", NULL), -EADDRNOTAVAIL);
	CHECK(f == &here);
}

TEST(an_address_in_use)
{
	gort_file *l = listen_at("tcp", "127.0.0.1:0"), here, *f = &here;
	gort_listen_options shared = { .reuse_port = true };
	char at[64];

	CHECK(gort_local_address(l, at, sizeof at) > 0);
	CHECK_EQ(gort_listen(&f, "tcp", at, NULL), -EADDRINUSE);
	CHECK_EQ(gort_listen(&f, "tcp", at, &shared), -EADDRINUSE);
	CHECK(f == &here);
	CHECK_EQ(gort_close(l), 0);
	CHECK_EQ(gort_listen(&l, "tcp", at, &shared), 0); /* at once, too */
	CHECK_EQ(gort_listen(&f, "tcp", at, &shared), 0);
	CHECK_EQ(gort_close(l), 0);
	CHECK_EQ(gort_close(f), 0);
	l = listen_at("unix", local_name("used"));
	CHECK_EQ(gort_listen(&f, "unix", local_name("used"), NULL), -EADDRINUSE);
	CHECK_EQ(gort_close(l), 0);
}

/* The address is free at once after connections have ended there. */
TEST(a_listener_that_comes_back)
{
	gort_file *l = listen_at("tcp", "127.0.0.1:0"), *p[2];
	char at[64];

	CHECK(gort_local_address(l, at, sizeof at) > 0);
	for (int i = 0; i < 10; i++) {
		p[0] = dial_to("tcp", l);
		p[1] = accepted(l);
		CHECK_EQ(gort_close(l), 0);
		CHECK_EQ(gort_close(p[1]), 0); /* TIME_WAIT is ours */
		CHECK_EQ(gort_close(p[0]), 0);
		l = listen_at("tcp", at);
	}
	CHECK_EQ(gort_close(l), 0);
}

static void dial_port(const char *network, const char *format, const char *at, int result_wanted)
{
	char there[64];
	gort_file *f;
	int err;

	snprintf(there, sizeof there, format, strrchr(at, ':'));
	err = gort_dial(&f, network, there);
	CHECK_EQ(err, result_wanted);
	if (err == 0)
		CHECK_EQ(gort_close(f), 0);
}

TEST(listeners_of_both_families)
{
	gort_listen_options only = { .only_v6 = true };
	gort_file *l;
	char at[64];

	if (!has_ipv6())
		SKIP("no IPv6");
	l = listen_at("tcp", ":0");
	CHECK(gort_local_address(l, at, sizeof at) > 0);
	dial_port("tcp", "127.0.0.1%s", at, 0);
	dial_port("tcp", "[::1]%s", at, 0);
	dial_port("tcp", "%s", at, 0);
	CHECK_EQ(gort_close(l), 0);
	l = listen_at("tcp4", ":0");
	CHECK(gort_local_address(l, at, sizeof at) > 0);
	dial_port("tcp", "127.0.0.1%s", at, 0);
	dial_port("tcp", "[::1]%s", at, -ECONNREFUSED);
	dial_port("tcp", "%s", at, 0); /* it tries both */
	dial_port("tcp", "localhost%s", at, 0);
	CHECK_EQ(gort_close(l), 0);
	CHECK_EQ(gort_listen(&l, "tcp", "[::]:0", &only), 0);
	CHECK(gort_local_address(l, at, sizeof at) > 0);
	dial_port("tcp", "[::1]%s", at, 0);
	dial_port("tcp", "127.0.0.1%s", at, -ECONNREFUSED);
	CHECK_EQ(gort_close(l), 0);
}

/* The first family connects before, or while, the other begins. */
// variants: maxprocs
TEST(dialling_both_families_again_and_again)
{
	gort_file *l, *f;
	char at[64];

	if (!has_ipv6())
		SKIP("no IPv6");
	l = listen_at("tcp", ":0");
	CHECK(gort_local_address(l, at, sizeof at) > 0);
	for (int i = 0; i < SCALE(2000); i++) {
		CHECK_EQ(gort_dial(&f, "tcp", strrchr(at, ':')), 0);
		CHECK_EQ(gort_close(f), 0);
		CHECK_EQ(gort_accept(l, &f), 0);
		CHECK_EQ(gort_close(f), 0);
	}
	CHECK_EQ(gort_close(l), 0);
}

/* What nobody has accepted goes with the listener. */
// variants: maxprocs
TEST(a_listener_is_closed_with_connections_in_its_queue)
{
	gort_file *l = listen_at("tcp", "127.0.0.1:0"), *f[10];
	char byte;
	ssize_t n;

	for (int i = 0; i < 10; i++)
		f[i] = dial_to("tcp", l);
	CHECK_EQ(gort_close(l), 0);
	for (int i = 0; i < 10; i++) {
		n = gort_read(f[i], &byte, 1);
		CHECK(n == 0 || n == -ECONNRESET);
		CHECK_EQ(gort_close(f[i]), 0);
	}
}

/* TestAcceptIgnoreAbortedConnRequest. */
// variants: maxprocs
TEST(connections_that_are_gone_before_they_are_accepted)
{
	gort_file *l = listen_at("tcp", "127.0.0.1:0"), *f;
	char byte;

	for (int i = 0; i < 20; i++)
		close_hard(dial_to("tcp", l));
	f = dial_to("tcp", l);
	put(f, "!");
	for (;;) {
		gort_file *one = accepted(l);
		ssize_t n = gort_read(one, &byte, 1);

		CHECK_EQ(gort_close(one), 0);
		if (n == 1)
			break;
		CHECK(n == 0 || n == -ECONNRESET);
	}
	CHECK_EQ(gort_close(f), 0);
	CHECK_EQ(gort_close(l), 0);
}

/* TestAcceptTimeout. */
// variants: maxprocs
TEST(deadlines_of_a_listener)
{
	gort_file *l = listen_at("tcp", "127.0.0.1:0"), *f, *p[2];

	CHECK_EQ(gort_set_read_deadline(l, gort_in(-5 * GORT_SEC)), 0);
	p[0] = dial_to("tcp", l);
	CHECK_EQ(gort_accept(l, &f), -ETIMEDOUT); /* even if there is one */
	CHECK_EQ(gort_set_read_deadline(l, gort_in(LONG_TIME)), 0);
	CHECK_EQ(gort_accept(l, &p[1]), 0);
	CHECK_EQ(gort_set_read_deadline(l, gort_in(50 * GORT_MS)), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(gort_accept(l, &f), -ETIMEDOUT);
	CHECK_EQ(gort_set_read_deadline(l, GORT_FOREVER), 0);
	close_both(p);
	p[0] = dial_to("tcp", l);
	p[1] = accepted(l);
	close_both(p);
	CHECK_EQ(gort_close(l), 0);
}

TEST(what_is_no_listener)
{
	gort_file *p[2], *f;

	tcp_pair(p);
	CHECK_EQ(gort_accept(p[0], &f), -EINVAL);
	close_both(p);
	CHECK_EQ(gort_listen(&p[0], "udp", "127.0.0.1:0", NULL), 0);
	CHECK_EQ(gort_accept(p[0], &f), -EOPNOTSUPP);
	CHECK_EQ(gort_close(p[0]), 0);
}

/* ---- dialling -------------------------------------------------------------------------------------------- */

static void dial_many(void *arg)
{
	for (int i = 0; i < SCALE(100); i++) {
		gort_file *f = dial_to("tcp", arg);

		put(f, "x");
		expect(f, "x");
		close_hard(f);
	}
}

static void echo_rudely(void *arg)
{
	char byte;

	while (gort_read(arg, &byte, 1) > 0)
		if (gort_write(arg, &byte, 1) < 0)
			break;
	CHECK_EQ(gort_close(arg), 0);
}

static void serve_rudely(void *arg)
{
	gort_file *f;

	while (gort_accept(arg, &f) == 0)
		CHECK_EQ(gort_waitgroup_go(&group, echo_rudely, f), 0);
}

// variants: maxprocs
TEST(many_dial_at_once)
{
	gort_file *l = listen_at("tcp", "127.0.0.1:0");
	gort_waitgroup dialers = { 0 };

	CHECK_EQ(gort_waitgroup_go(&group, serve_rudely, l), 0);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(gort_waitgroup_go(&dialers, dial_many, l), 0);
	CHECK_EQ(gort_waitgroup_wait(&dialers), 0);
	CHECK_EQ(gort_close(l), 0);
	wait_for_group();
}

static void dial_under(void *arg)
{
	gort_file *l = arg, *f;
	char at[64];

	CHECK(gort_local_address(l, at, sizeof at) > 0);
	for (int i = 0; i < SCALE(300); i++) {
		int err;

		gort_set_deadline(gort_in(i * 200));
		err = gort_dial(&f, "tcp", at);
		gort_set_deadline(GORT_FOREVER);
		CHECK(err == 0 || err == -ETIMEDOUT);
		if (err == 0) { /* no deadline stays behind */
			put(f, "x");
			expect(f, "x");
			close_hard(f);
		}
	}
}

// variants: maxprocs
TEST(deadlines_that_pass_while_it_dials)
{
	gort_file *l = listen_at("tcp", "127.0.0.1:0");

	CHECK_EQ(gort_waitgroup_go(&group, serve_rudely, l), 0);
	dial_under(l);
	on_guest(dial_under, l);
	CHECK_EQ(gort_close(l), 0);
	wait_for_group();
}

static char full_at[80];

/* Connections that nobody accepts, until no more go in: so many. */
static int fill_queue(int *fds, int most)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(full_at));
	int n = 0;

	memcpy(a.sun_path, full_at, strlen(full_at));
	a.sun_path[0] = 0;
	for (;; n++) {
		CHECK(n < most);
		fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (connect(fds[n], (struct sockaddr *)&a, len) != 0)
			break;
	}
	CHECK_EQ(errno, EAGAIN);
	close(fds[n]);
	return n;
}

/* A local listener whose queue is full: dialling waits until there is room. */
static void dial_full(void *arg)
{
	gort_file *f;
	int err = gort_dial(&f, "unix", full_at);

	CHECK_EQ(err, 0);
	expect_end(f);
	CHECK_EQ(gort_close(f), 0);
	atomic_fetch_add((atomic_int *)arg, 1);
}

// variants: maxprocs
TEST(local_listener_with_a_full_queue)
{
	gort_listen_options one = { .backlog = 1 };
	static atomic_int through;
	gort_file *l, *f;
	int in_queue[8], n;

	snprintf(full_at, sizeof full_at, "%s", local_name("full"));
	CHECK_EQ(gort_listen(&l, "unix", full_at, &one), 0);
	n = fill_queue(in_queue, 8);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(gort_waitgroup_go(&group, dial_full, &through), 0);
	gort_set_deadline(gort_in(10 * GORT_MS));
	CHECK_EQ(gort_dial(&f, "unix", full_at), -ETIMEDOUT);
	gort_set_deadline(GORT_FOREVER);
	gort_sleep(10 * GORT_MS); /* most of them wait by now */
	CHECK_EQ(atomic_load(&through), 0);
	for (int i = 0; i < 8 + n; i++)
		CHECK_EQ(gort_close(accepted(l)), 0);
	for (int i = 0; i < n; i++)
		close(in_queue[i]);
	wait_for_group();
	CHECK_EQ(atomic_load(&through), 8);
	CHECK_EQ(gort_close(l), 0);
}

/* ---- local sockets ---------------------------------------------------------------------------------------- */

TEST(local_names)
{
	gort_file *p[2];
	char path[64], text[128];

	snprintf(path, sizeof path, "/tmp/gort-test-%d.sock", (int)getpid());
	net_pair("unix", path, p);
	CHECK_EQ(gort_peer_address(p[0], text, sizeof text), (int)strlen(path));
	CHECK_STR(text, path);
	CHECK_EQ(gort_local_address(p[1], text, sizeof text), (int)strlen(path));
	CHECK_EQ(gort_local_address(p[0], text, sizeof text), 0);
	CHECK_STR(text, "");
	close_both(p);
	CHECK_EQ(gort_listen(&p[0], "unix", path, NULL), -EADDRINUSE); /* it is still there */
	CHECK_EQ(unlink(path), 0);
	net_pair("unixpacket", local_name("packets"), p);
	CHECK(gort_peer_address(p[0], text, sizeof text) > 0);
	CHECK_STR(text, local_name("packets"));
	close_both(p);
}

// variants: maxprocs
TEST(local_packets_keep_their_bounds)
{
	gort_file *p[2];
	char buf[100];

	net_pair("unixpacket", local_name("packets"), p);
	put(p[0], "one");
	put(p[0], "second");
	CHECK_EQ(gort_writev(p[0], (struct iovec[]){ { "th", 2 }, { "ird", 3 } }, 2), 5);
	CHECK_EQ(gort_read(p[1], buf, sizeof buf), 3);
	CHECK_EQ(gort_read(p[1], buf, 2), 2); /* the rest is lost */
	CHECK_EQ(gort_read(p[1], buf, sizeof buf), 5);
	CHECK(memcmp(buf, "third", 5) == 0);
	CHECK_EQ(gort_close(p[0]), 0);
	CHECK_EQ(gort_read(p[1], buf, sizeof buf), 0);
	CHECK_EQ(gort_write(p[1], "x", 1), -EPIPE);
	CHECK_EQ(gort_close(p[1]), 0);
}

/* TestUnixgramZeroBytePayload, TestUnixgramWrite. */
// variants: maxprocs
TEST(local_datagrams)
{
	gort_file *l = listen_at("unixgram", local_name("grams")), *f = dial_to("unixgram", l);
	char buf[100];

	CHECK_EQ(gort_write(f, "", 0), 0);
	CHECK_EQ(gort_read(l, buf, sizeof buf), 0);
	put(f, "datagram");
	CHECK_EQ(gort_read(l, buf, sizeof buf), 8);
	CHECK_EQ(gort_waitgroup_go(&group, read_one, l), 0);
	EVENTUALLY(waits_at(l, POLL_READ));
	put(f, "another");
	wait_for_group();
	CHECK_EQ(atomic_load(&result), 1);
	while (gort_set_write_deadline(f, gort_in(20 * GORT_MS)) == 0 &&
	       gort_write(f, "much", 4) == 4)
		continue; /* nobody reads: it waits */
	CHECK_EQ(gort_write(f, "much", 4), -ETIMEDOUT);
	CHECK_EQ(gort_set_write_deadline(f, GORT_FOREVER), 0);
	CHECK_EQ(gort_close(l), 0);
	CHECK_EQ(gort_write(f, "x", 1), -ECONNREFUSED);
	CHECK_EQ(gort_close(f), 0);
}

/* ---- UDP ----------------------------------------------------------------------------------------------------- */

static void check_udp(const char *network, const char *address)
{
	gort_file *l = listen_at(network, address), *f = dial_to(network, l);
	struct sockaddr_storage from;
	char buf[100] = "", text[128], own[128];
	struct iovec iov = { buf, sizeof buf };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_name = &from, .msg_namelen = sizeof from
	};

	CHECK_EQ(gort_write(f, "", 0), 0); /* TestUDPZeroBytePayload */
	CHECK_EQ(gort_read(l, buf, sizeof buf), 0);
	put(f, "question");
	CHECK_EQ(gort_recvmsg(l, &m, 0), 8);
	CHECK_EQ(m.msg_flags & MSG_TRUNC, 0);
	iov.iov_len = 8;
	CHECK_EQ(gort_sendmsg(l, &m, 0), 8); /* back to where it came from */
	CHECK_EQ(gort_read(f, buf, 4), 4);   /* TestUDPReadSizeError: the rest is lost */
	CHECK(gort_local_address(f, own, sizeof own) > 0);
	CHECK(gort_peer_address(f, text, sizeof text) > 0);
	CHECK(gort_peer_address(l, text, sizeof text) == -ENOTCONN);
	CHECK_EQ(gort_write(l, "x", 1), -EDESTADDRREQ);
	CHECK_EQ(gort_set_read_deadline(f, gort_in(GORT_MS)), 0);
	CHECK_EQ(gort_read(f, buf, 1), -ETIMEDOUT);
	CHECK_EQ(gort_set_read_deadline(f, GORT_FOREVER), 0);
	CHECK_EQ(gort_waitgroup_go(&group, read_one, l), 0); /* TestCloseUnblocksReadUDP */
	EVENTUALLY(waits_at(l, POLL_READ));
	CHECK_EQ(gort_close(l), 0);
	wait_for_group();
	CHECK_EQ(atomic_load(&result), -EBADF);
	CHECK_EQ(gort_waitgroup_go(&group, read_one, f), 0); /* and whom nobody hears, learns it */
	EVENTUALLY(waits_at(f, POLL_READ));
	put(f, "nobody hears");
	wait_for_group();
	CHECK_EQ(atomic_load(&result), -ECONNREFUSED);
	CHECK_EQ(gort_close(f), 0);
}

// variants: maxprocs
TEST(udp)
{
	check_udp("udp", "127.0.0.1:0");
	check_udp("udp4", "127.0.0.1:0");
	if (has_ipv6())
		check_udp("udp6", "[::1]:0");
}

TEST(udp_of_both_families)
{
	gort_file *l, *f;
	char at[64], there[64];

	if (!has_ipv6())
		SKIP("no IPv6");
	l = listen_at("udp", ":0");
	CHECK(gort_local_address(l, at, sizeof at) > 0);
	for (int i = 0; i < 2; i++) {
		char byte;

		snprintf(there, sizeof there, i ? "127.0.0.1%s" : "[::1]%s", strrchr(at, ':'));
		CHECK_EQ(gort_dial(&f, "udp", there), 0);
		put(f, "x");
		CHECK_EQ(gort_read(l, &byte, 1), 1);
		CHECK_EQ(gort_close(f), 0);
	}
	CHECK_EQ(gort_close(l), 0);
}

/* ---- descriptors that are passed -------------------------------------------------------------------------------- */

static void send_descriptor(gort_file *f, int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u = { 0 };
	struct iovec iov = { "!", 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = u.buf,
			    .msg_controllen = sizeof u.buf };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	CHECK_EQ(gort_sendmsg(f, &m, 0), 1);
}

static int receive_descriptor(gort_file *f)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u;
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = u.buf,
			    .msg_controllen = sizeof u.buf };
	int fd;

	CHECK_EQ(gort_recvmsg(f, &m, 0), 1);
	CHECK(CMSG_FIRSTHDR(&m) != NULL);
	CHECK_EQ(CMSG_FIRSTHDR(&m)->cmsg_type, SCM_RIGHTS);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
	return fd;
}

static void pass_descriptor(void *arg)
{
	int fds[2];

	CHECK_EQ(pipe(fds), 0);
	send_descriptor(arg, fds[0]);
	CHECK_EQ(write(fds[1], "passed", 6), 6);
	close(fds[0]);
	close(fds[1]);
}

// variants: maxprocs
TEST(descriptors_that_come_are_closed_by_exec)
{
	gort_file *p[2], *f;
	int fd;

	socket_pair(SOCK_STREAM, p);
	CHECK_EQ(gort_waitgroup_go(&group, pass_descriptor, p[0]), 0);
	fd = receive_descriptor(p[1]);
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CHECK_EQ(gort_file_from_fd(&f, fd), 0);
	expect(f, "passed");
	CHECK_EQ(gort_close(f), 0);
	wait_for_group();
	close_both(p);
}

/* ---- reading what there is ---------------------------------------------------------------------------------------- */

/* TestZeroByteRead, also where a read has just got all there was. */
// variants: maxprocs
TEST(zero_bytes)
{
	gort_file *p[2];
	char buf[100];

	tcp_pair(p);
	CHECK_EQ(gort_read(p[0], buf, 0), 0);
	CHECK_EQ(gort_write(p[0], buf, 0), 0);
	put(p[1], "abc");
	CHECK_EQ(gort_read(p[0], buf, sizeof buf), 3);
	CHECK_EQ(gort_read(p[0], buf, 0), 0);
	CHECK_EQ(gort_read(p[0], buf, 0), 0);
	put(p[1], "def");
	expect(p[0], "def");
	close_both(p);
}

/* After a short read the next waits for an event: the end must be one, however it comes. */
static void say_and_end(void *arg)
{
	gort_file *f = arg;

	put(f, "bye");
	if ((uintptr_t)f % 128)
		gort_yield();
	CHECK_EQ(gort_close(f), 0);
}

static void check_end_after(gort_file *f, size_t most)
{
	char buf[100];
	size_t got = 0;
	ssize_t n;

	while ((n = gort_read(f, buf, most)) > 0)
		got += (size_t)n;
	CHECK_EQ(n, 0);
	CHECK_EQ(got, 3);
	CHECK_EQ(gort_read(f, buf, most), 0);
}

// variants: maxprocs
TEST(the_end_comes_with_the_last_bytes)
{
	gort_file *l = listen_at("tcp", "127.0.0.1:0"), *p[2];

	for (int i = 0; i < SCALE(1000); i++) {
		p[0] = dial_to("tcp", l);
		p[1] = accepted(l);
		if (i % 2) { /* it is registered before */
			CHECK_EQ(gort_set_read_deadline(p[1], gort_in(10 * GORT_US)), 0);
			CHECK_EQ(gort_read(p[1], &i, 1), -ETIMEDOUT);
			CHECK_EQ(gort_set_read_deadline(p[1], GORT_FOREVER), 0);
		}
		if (i % 3)
			CHECK_EQ(gort_waitgroup_go(&group, say_and_end, p[0]), 0);
		else
			say_and_end(p[0]);
		if (i % 5 == 0)
			gort_sleep(50 * GORT_US);
		check_end_after(p[1], (size_t)(i % 4 + 1));
		CHECK_EQ(gort_close(p[1]), 0);
		wait_for_group();
	}
	CHECK_EQ(gort_close(l), 0);
}

static void send_random(void *arg)
{
	static unsigned char all[100000];
	size_t at = 0, n;

	fill_pattern(all, sizeof all, 0);
	for (unsigned i = 1; at < sizeof all; i = i * 1103515245 + 12345) {
		n = i / 65536 % 300 + 1;
		n = n < sizeof all - at ? n : sizeof all - at;
		CHECK_EQ(gort_write(arg, all + at, n), n);
		at += n;
		if (i / 4096 % 8 == 0)
			gort_yield();
	}
	CHECK_EQ(gort_close(arg), 0);
}

// variants: maxprocs
TEST(reads_of_all_sizes)
{
	for (size_t most = 1; most < 100000; most = most * 5 / 2 + 1) {
		gort_file *p[2];
		unsigned char buf[100000];
		int64_t at = 0;
		ssize_t n;

		tcp_pair(p);
		CHECK_EQ(gort_waitgroup_go(&group, send_random, p[0]), 0);
		while ((n = gort_read(p[1], buf, most)) > 0) {
			check_pattern(buf, (size_t)n, at);
			at += n;
		}
		CHECK_EQ(n, 0);
		CHECK_EQ(at, 100000);
		wait_for_group();
		CHECK_EQ(gort_close(p[1]), 0);
	}
}

/* ---- urgent data ------------------------------------------------------------------------------------------------------ */

static void send_urgent(gort_file *f)
{
	struct iovec iov = { "!", 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	CHECK_EQ(gort_sendmsg(f, &m, MSG_OOB), 1);
}

static void send_around_urgent(void *arg)
{
	uintptr_t how = (uintptr_t)arg & 15;
	gort_file *f = (gort_file *)((uintptr_t)arg & ~(uintptr_t)15);

	if (how & 1)
		put(f, "before");
	if (how & 2)
		gort_sleep(100 * GORT_US);
	send_urgent(f);
	if (how & 4)
		gort_sleep(100 * GORT_US);
	put(f, how & 1 ? "after" : "beforeafter");
	expect(f, "got it"); /* the reader hangs, if it waits for more */
	CHECK_EQ(gort_close(f), 0);
}

// variants: maxprocs
TEST(urgent_data_beside_others)
{
	for (int i = 0; i < SCALE(400); i++) {
		gort_file *p[2];
		char got[64];
		size_t n = 0;

		tcp_pair(p);
		CHECK_EQ((uintptr_t)p[0] % 16, 0);
		CHECK_EQ(gort_waitgroup_go(&group, send_around_urgent,
					   (void *)((uintptr_t)p[0] | (unsigned)i % 8)),
			 0);
		if (i % 16 >= 8)
			gort_sleep(500 * GORT_US);
		while (n < 11) {
			ssize_t some = gort_read(p[1], got + n, sizeof got - n);

			CHECK(some > 0);
			n += (size_t)some;
		}
		CHECK(n == 11 && memcmp(got, "beforeafter", 11) == 0);
		put(p[1], "got it");
		expect_end(p[1]);
		wait_for_group();
		CHECK_EQ(gort_close(p[1]), 0);
	}
}

TEST(urgent_data_can_be_read)
{
	gort_file *p[2];
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	tcp_pair(p);
	send_urgent(p[0]);
	CHECK_EQ(gort_wait_fd(gort_file_fd(p[1]), POLLPRI, GORT_FOREVER), POLLPRI);
	CHECK_EQ(gort_recvmsg(p[1], &m, MSG_OOB), 1);
	CHECK_EQ(byte, '!');
	close_both(p);
}

/* ---- small buffers ------------------------------------------------------------------------------------------------------- */

#define MUCH 1000000

static void write_pattern(void *arg)
{
	unsigned char *all = malloc(MUCH);

	fill_pattern(all, MUCH, 0);
	CHECK_EQ(gort_write(arg, all, MUCH), MUCH);
	CHECK_EQ(gort_shutdown(arg, SHUT_WR), 0);
	free(all);
}

static void read_pattern(void *arg)
{
	unsigned char buf[777];
	int64_t at = 0;
	ssize_t n;

	while ((n = gort_read(arg, buf, sizeof buf)) > 0) {
		check_pattern(buf, (size_t)n, at);
		at += n;
	}
	CHECK_EQ(n, 0);
	CHECK_EQ(at, MUCH);
}

static void check_small_buffers(gort_file *p[2])
{
	for (int i = 0; i < 2; i++) {
		set_option(p[i], SOL_SOCKET, SO_SNDBUF, 1);
		set_option(p[i], SOL_SOCKET, SO_RCVBUF, 1);
	}
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(gort_waitgroup_go(&group, write_pattern, p[i]), 0);
		CHECK_EQ(gort_waitgroup_go(&group, read_pattern, p[i]), 0);
	}
	wait_for_group();
	close_both(p);
}

// variants: maxprocs
TEST(large_writes_through_small_buffers_in_both_directions)
{
	gort_file *p[2];

	socket_pair(SOCK_STREAM, p);
	check_small_buffers(p);
	tcp_pair(p);
	for (int i = 0; i < 2; i++)
		set_option(p[i], SOL_SOCKET, SO_SNDBUF, 1);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(gort_waitgroup_go(&group, write_pattern, p[i]), 0);
		CHECK_EQ(gort_waitgroup_go(&group, read_pattern, p[i]), 0);
	}
	wait_for_group();
	close_both(p);
}

/* ---- deadlines -------------------------------------------------------------------------------------------------------------- */

/* TestReadTimeoutFluctuation: never early. */
// variants: maxprocs
TEST(deadlines_do_not_come_early)
{
	gort_file *p[2];
	char byte;

	tcp_pair(p);
	for (int64_t d = 1; d < 20 * GORT_MS; d *= 2) {
		int64_t end = gort_in(d);

		CHECK_EQ(gort_set_read_deadline(p[0], end), 0);
		CHECK_EQ(gort_read(p[0], &byte, 1), -ETIMEDOUT);
		CHECK(gort_now() >= end);
	}
	close_both(p);
}

static void write_until_it_is_late(void *arg)
{
	char block[4096] = "";
	ssize_t n;

	do
		n = gort_write(arg, block, sizeof block);
	while (n > 0);
	CHECK_EQ(n, -ETIMEDOUT);
}

/* TestWriteTimeout; and the bytes that went come. */
// variants: maxprocs
TEST(deadlines_of_writers)
{
	gort_file *p[2];

	tcp_pair(p);
	CHECK_EQ(gort_set_write_deadline(p[0], gort_in(20 * GORT_MS)), 0);
	write_until_it_is_late(p[0]);
	CHECK_EQ(gort_set_write_deadline(p[0], GORT_FOREVER), 0);
	CHECK_EQ(gort_waitgroup_go(&group, write_until_it_is_late, p[0]), 0);
	EVENTUALLY(waits_at(p[0], POLL_WRITE));
	CHECK_EQ(gort_set_write_deadline(p[0], gort_in(LONG_TIME)), 0);
	EVENTUALLY(waits_at(p[0], POLL_WRITE));
	CHECK_EQ(gort_set_write_deadline(p[0], GORT_NOW), 0);
	wait_for_group();
	close_both(p);
}

static atomic_bool race_ends;

static void race_deadlines(void *arg)
{
	while (!atomic_load(&race_ends)) {
		gort_set_read_deadline(arg, gort_in(50 * GORT_US));
		gort_set_write_deadline(arg, gort_in(50 * GORT_US));
		gort_yield();
	}
}

static void race_reads(void *arg)
{
	char buf[100];

	while (!atomic_load(&race_ends)) {
		ssize_t n = gort_read(arg, buf, sizeof buf);

		CHECK(n > 0 || n == -ETIMEDOUT);
		if (n > 0)
			gort_write(arg, buf, (size_t)n);
		gort_yield();
	}
}

/* TestReadWriteDeadlineRace, TestConcurrentSetDeadline. */
// variants: maxprocs
TEST(deadlines_in_a_race)
{
	gort_file *p[2];
	struct guest *g;

	tcp_pair(p);
	atomic_store(&race_ends, false);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(gort_waitgroup_go(&group, race_deadlines, p[i]), 0);
		CHECK_EQ(gort_waitgroup_go(&group, race_reads, p[i]), 0);
		CHECK_EQ(gort_waitgroup_go(&group, race_reads, p[i]), 0);
	}
	g = guest_start(race_deadlines, p[0]);
	for (int i = 0; i < 100; i++) {
		gort_write(p[0], "hello", 5);
		gort_sleep(GORT_MS);
	}
	atomic_store(&race_ends, true);
	guest_join(g);
	wait_for_group();
	close_both(p);
}

/* ---- no descriptors left ------------------------------------------------------------------------------------------------------ */

static struct rlimit limit_before;

/* By the limit alone: whatever closes meanwhile, sysmon's looks into /proc too, gives no number back that
 * may be had. */
static void take_all_descriptors(void)
{
	struct rlimit none;

	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit_before), 0);
	none = limit_before;
	none.rlim_cur = 1;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	CHECK_EQ(dup(0), -1);
	CHECK_EQ(errno, EMFILE);
}

static void give_descriptors_back(void)
{
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit_before), 0);
}

static void accept_one(void *arg)
{
	gort_file *f;

	atomic_store(&result, gort_accept(arg, &f));
}

/* Somebody accepts, and is in a long pause, or its pause has passed already. */
static void start_to_pause(gort_file *l)
{
	atomic_store(&result, 77);
	CHECK_EQ(gort_waitgroup_go(&group, accept_one, l), 0);
	EVENTUALLY(waits_at(l, POLL_READ) || atomic_load(&result) != 77);
}

/* What it came to, where a connection waits at l, which is closed meanwhile. */
static int close_in_a_pause(gort_file *l)
{
	gort_file *f;

	take_all_descriptors();
	for (int i = 0; i < 7; i++)
		CHECK_EQ(gort_accept(l, &f), -EMFILE); /* short again, and longer and longer */
	start_to_pause(l);
	CHECK_EQ(gort_close(l), 0);
	wait_for_group();
	give_descriptors_back();
	return atomic_load(&result);
}

// Where Valgrind says EMFILE, it has taken the connection, and closed it.
// variants: maxprocs
// not: valgrind
TEST(accept_without_descriptors_pauses_and_goes_on)
{
	gort_file *l = listen_at("tcp", "127.0.0.1:0"), *peer = dial_to("tcp", l), *f;
	int64_t start, pause = 0;
	int err;

	take_all_descriptors();
	for (int64_t least = 5 * GORT_MS; least <= 320 * GORT_MS;
	     least *= 2) { /* longer and longer */
		start = gort_now();
		CHECK_EQ(gort_accept(l, &f), -EMFILE);
		pause = gort_now() - start;
		CHECK(pause >= least);
	}
	do { /* a deadline ends the pause, unless that has passed before */
		start_to_pause(l);
		CHECK_EQ(gort_set_read_deadline(l, gort_now()), 0);
		wait_for_group();
		CHECK_EQ(gort_set_read_deadline(l, GORT_FOREVER), 0);
	} while (atomic_load(&result) == -EMFILE);
	CHECK_EQ(atomic_load(&result), -ETIMEDOUT);
	give_descriptors_back();
	f = accepted(l); /* it was not lost */
	put(peer, "hello");
	expect(f, "hello");
	CHECK_EQ(gort_close(f), 0);
	CHECK_EQ(gort_close(peer), 0);

	for (;;) { /* and close ends it */
		peer = dial_to("tcp", l);
		err = close_in_a_pause(l);
		CHECK_EQ(gort_close(peer), 0);
		if (err != -EMFILE)
			break;
		l = listen_at("tcp", "127.0.0.1:0");
	}
	CHECK_EQ(err, -EBADF);
}
