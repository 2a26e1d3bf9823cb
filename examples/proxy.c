/*
 * proxy - takes TCP connections, and passes each on to another address.
 *
 *     proxy :8080 backend.example:80
 *
 * Two goroutines for each connection, one for each direction, in a scope of the connection's own:
 *
 *     client ---- gort_copy (splice) ----> upstream     by the goroutine that dialled
 *     client <--- gort_copy (splice) ----- upstream     by a member of the scope
 *
 *  - The end of one direction is passed on as such (half close), and the other goes on.
 *  - The first error of either ends both: the member's result cancels the scope, under whose
 *    context both run. Both sides then see a reset, and not an end that might be taken for that of
 *    complete data.
 *  - Idle: a copy runs under a read deadline. When that has passed, what both directions have
 *    moved is looked at: something, and it goes on with a new deadline. Nothing that was read is
 *    lost by that: gort_copy writes what it has read. The write deadline is later by as much
 *    again, so it passes only for who has not taken even one pipe's contents in that time.
 *  - As many connections as a semaphore lets in; beyond that they wait in the listener's queue.
 *  - SIGINT, SIGTERM: no more are accepted; those that run have a while to end.
 */
#include <getopt.h>
#include <gort.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
	int64_t idle, dial, grace;
	long most;
	const char *listen, *upstream;
};

struct proxy {
	const struct options *options;
	gort_file *listener;
	gort_ctx *stop; /* ends when a signal comes */
	gort_scope *connections;
	gort_sem places;
	gort_chan *signals;
};

struct connection { /* on the stack of the goroutine that dials */
	struct proxy *proxy;
	gort_file *client, *upstream;
	atomic_uint_least64_t moved; /* bytes, both ways */
};

struct arrival {
	struct proxy *proxy;
	gort_file *client;
};

static int complain(const char *what, int err)
{
	fprintf(stderr, "proxy: %s: %s\n", what, strerror(-err));
	return 1;
}

/* ---- one connection -------------------------------------------------------------------------- */

/* Until from's end, which is passed on: 0. -ETIMEDOUT: nothing has moved for too long. Twice must
 * nothing have moved: what the other direction has may be told just after the first look. */
static int pass(struct connection *c, gort_file *to, gort_file *from)
{
	int64_t period = c->proxy->options->idle / 2, until, done;
	uint64_t before, now = atomic_load(&c->moved);
	int silent = 0, rc;

	do {
		before = now;
		until = gort_in(period);
		gort_set_read_deadline(from, until);
		gort_set_write_deadline(to, until + period);
		rc = gort_copy(to, from, -1, &done);
		now = atomic_fetch_add(&c->moved, (uint64_t)done) + (uint64_t)done;
		silent = now == before ? silent + 1 : 0;
	} while (rc == -ETIMEDOUT && gort_now() < until + period && silent < 2);
	return rc < 0 ? rc : gort_shutdown(to, SHUT_WR);
}

static int pass_down(void *arg)
{
	struct connection *c = arg;

	return pass(c, c->client, c->upstream);
}

static int pass_both(struct connection *c)
{
	gort_scope *scope = gort_scope_open(0);
	gort_ctx *before;
	int up, down;

	if (!scope)
		return -ENOMEM;
	before = gort_ctx_enter(gort_scope_ctx(scope)); /* so that either ends the other */
	up = gort_scope_go(scope, pass_down, c);
	if (up == 0)
		up = pass(c, c->upstream, c->client);
	gort_ctx_leave(before);
	if (up < 0)
		gort_scope_cancel(scope, up);
	down = gort_scope_close(scope);
	return up < 0 ? up : down;
}

/* Closing it then resets the connection. */
static void forsake(gort_file *f)
{
	struct linger at_once = { .l_onoff = 1 };

	(void)setsockopt(gort_file_fd(f), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

static int dial(const struct options *o, gort_file **upstream)
{
	int64_t before = gort_set_deadline(gort_in(o->dial));
	int err = gort_dial(upstream, "tcp", o->upstream);

	gort_set_deadline(before);
	return err;
}

/* A member of the proxy's scope: 0, come what may. One connection's end is no matter of the others'. */
static int serve(void *arg)
{
	struct arrival *a = arg;
	struct connection c = { .proxy = a->proxy, .client = a->client };
	int err = dial(c.proxy->options, &c.upstream);

	free(a);
	if (err < 0) {
		if (err != -ECANCELED)
			complain(c.proxy->options->upstream, err);
		forsake(c.client);
	} else {
		if (pass_both(&c) < 0) {
			forsake(c.client);
			forsake(c.upstream);
		}
		gort_close(c.upstream);
	}
	gort_close(c.client);
	gort_sem_release(&c.proxy->places, 1);
	return 0;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static void start_serving(struct proxy *p, gort_file *client)
{
	struct arrival *a = malloc(sizeof *a);
	int err = -ENOMEM;

	if (a) {
		*a = (struct arrival){ p, client };
		err = gort_scope_go(p->connections, serve, a);
	}
	if (err < 0) { /* no memory: this one has bad luck */
		free(a);
		gort_close(client);
		gort_sem_release(&p->places, 1);
	}
}

/* Until the context ends: -ECANCELED. */
static int accept_all(struct proxy *p)
{
	gort_file *client;
	int err;

	while ((err = gort_sem_acquire(&p->places, 1)) == 0) {
		err = gort_accept(p->listener, &client);
		if (err == 0) {
			start_serving(p, client);
			continue;
		}
		gort_sem_release(&p->places, 1);
		if (err != -EMFILE && err != -ENFILE && err != -ENOBUFS && err != -ENOMEM)
			break; /* those pass: accept has waited a little */
	}
	return err;
}

static int run(struct proxy *p)
{
	gort_ctx *before;
	int err;

	p->connections = gort_scope_open(0);
	if (!p->connections)
		return -ENOMEM;
	before = gort_ctx_enter(p->stop);
	err = accept_all(p);
	gort_ctx_leave(before);
	gort_close(p->listener); /* who comes now is refused, and does not wait in vain */
	p->listener = NULL;
	if (gort_scope_wait_until(p->connections, gort_in(p->options->grace)) == -ETIMEDOUT)
		gort_scope_cancel(p->connections, -ECANCELED);
	gort_scope_close(p->connections);
	return err;
}

static void stop_on_signal(void *arg)
{
	struct proxy *p = arg;

	if (gort_chan_recv(p->signals, NULL) == 0) {
		gort_signal_stop(p->signals); /* a second one kills */
		gort_ctx_cancel(p->stop, -ECANCELED);
	}
}

static int watch_signals(struct proxy *p)
{
	int err;

	p->stop = gort_ctx_with_cancel(gort_ctx_current());
	p->signals = gort_chan_make(sizeof(int), 1);
	if (!p->stop || !p->signals)
		return -ENOMEM;
	err = gort_signal_notify(p->signals, SIGINT);
	if (err == 0)
		err = gort_signal_notify(p->signals, SIGTERM);
	return err < 0 ? err : gort_go(stop_on_signal, p);
}

static int proxy(const struct options *o)
{
	struct proxy p = { .options = o, .places = GORT_SEM_INIT(o->most) };
	char text[64];
	int err = watch_signals(&p);

	if (err < 0)
		return complain("cannot watch signals", err);
	err = gort_listen(&p.listener, "tcp", o->listen, NULL);
	if (err == 0)
		err = gort_local_address(p.listener, text, sizeof text);
	if (err < 0)
		return complain(o->listen, err);
	printf("listening on %s\n", text);
	fflush(stdout);
	err = run(&p);
	if (p.listener)
		gort_close(p.listener);
	gort_ctx_release(p.stop);
	gort_chan_release(p.signals);
	return err == -ECANCELED ? 0 : complain(o->listen, err);
}

/* ---- arguments ------------------------------------------------------------------------------- */

static const char help[] =
	"Usage: proxy [OPTION]... LISTEN UPSTREAM\n"
	"Pass TCP connections that come to LISTEN on to UPSTREAM, both HOST:PORT. The address is\n"
	"printed first (port 0: a free one). SIGINT and SIGTERM end it.\n"
	"\n"
	"      --idle SECONDS     cut a connection on which nothing moves for so long, give or\n"
	"                         take a half (300)\n"
	"      --dial SECONDS     give up dialling after so long (10)\n"
	"      --grace SECONDS    that connections have to end after a signal (10)\n"
	"      --most N           connections at a time (1000)\n"
	"      --help             print this and exit\n"
	"\n"
	"Exit status: 0 ended by a signal, 1 something failed, 2 wrong usage.\n";

static _Noreturn void usage_error(void)
{
	fputs("Try 'proxy --help'.\n", stderr);
	exit(2);
}

static long parse_number(const char *text, long least)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (end == text || *end || n < least || n > 1000000) {
		fprintf(stderr, "proxy: '%s' is not from %ld to 1000000\n", text, least);
		usage_error();
	}
	return n;
}

static void parse_option(struct options *o, int c)
{
	switch (c) {
	case 'i':
		o->idle = parse_number(optarg, 1) * GORT_SEC;
		break;
	case 'd':
		o->dial = parse_number(optarg, 1) * GORT_SEC;
		break;
	case 'g':
		o->grace = parse_number(optarg, 0) * GORT_SEC;
		break;
	case 'm':
		o->most = parse_number(optarg, 1);
		break;
	case 'h':
		exit(fputs(help, stdout) < 0);
	default:
		usage_error();
	}
}

GORT_MAIN(argc, argv)
{
	static const struct option known[] = {
		{ "dial", required_argument, NULL, 'd' }, { "grace", required_argument, NULL, 'g' },
		{ "help", no_argument, NULL, 'h' },       { "idle", required_argument, NULL, 'i' },
		{ "most", required_argument, NULL, 'm' }, { NULL, 0, NULL, 0 },
	};
	struct options o = {
		.idle = 300 * GORT_SEC, .dial = 10 * GORT_SEC, .grace = 10 * GORT_SEC, .most = 1000
	};
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1)
		parse_option(&o, c);
	if (argc - optind != 2)
		usage_error();
	o.listen = argv[optind];
	o.upstream = argv[optind + 1];
	return proxy(&o);
}
