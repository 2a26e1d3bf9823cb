/*
 * main.c - the server: what it needs, connections that come, a signal that ends it; arguments.
 */
#include "httpd.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static int complain(const char *what, int err)
{
	fprintf(stderr, "httpd: %s: %s\n", what, strerror(-err));
	return 1;
}

static void *conn_new(void *arg)
{
	(void)arg;
	return malloc(sizeof(struct conn));
}

/* A member of the scope: 0, come what may. One connection's end is no matter of the others'. */
static int serve(void *arg)
{
	struct conn *c = arg;
	struct server *s = c->server;

	conn_serve(c);
	gort_pool_put(s->pool, c);
	gort_sem_release(&s->places, 1);
	return 0;
}

static void start_serving(struct server *s, gort_file *socket)
{
	struct conn *c = gort_pool_get(s->pool);
	int err = -ENOMEM;

	if (c) {
		conn_begin(c, s, socket);
		err = gort_scope_go(s->connections, serve, c);
	}
	if (err < 0) { /* no memory: this one has bad luck */
		gort_close(socket);
		if (c)
			gort_pool_put(s->pool, c);
		gort_sem_release(&s->places, 1);
	}
}

/* Until the context ends: -ECANCELED. */
static int accept_all(struct server *s)
{
	gort_file *socket;
	int err;

	while ((err = gort_sem_acquire(&s->places, 1)) == 0) {
		err = gort_accept(s->listener, &socket);
		if (err == 0) {
			start_serving(s, socket);
			continue;
		}
		gort_sem_release(&s->places, 1);
		if (err != -EMFILE && err != -ENFILE && err != -ENOBUFS && err != -ENOMEM)
			break; /* those pass: accept has waited a little */
	}
	return err;
}

static int run(struct server *s)
{
	gort_ctx *before = gort_ctx_enter(s->stop);
	int err = accept_all(s);

	gort_ctx_leave(before);
	gort_close(s->listener); /* who comes now is refused, and does not wait in vain */
	s->listener = NULL;
	if (gort_scope_wait_until(s->connections, gort_in(s->options->grace)) == -ETIMEDOUT)
		gort_scope_cancel(s->connections, -ECANCELED);
	return err;
}

static void stop_on_signal(void *arg)
{
	struct server *s = arg;

	if (gort_chan_recv(s->signals, NULL) == 0) {
		gort_signal_stop(s->signals);
		gort_ctx_cancel(s->stop, -ECANCELED);
	}
}

static int watch_signals(struct server *s)
{
	int err = gort_signal_notify(s->signals, SIGINT);

	if (err == 0)
		err = gort_signal_notify(s->signals, SIGTERM);
	return err < 0 ? err : gort_go(stop_on_signal, s);
}

/* Each connection takes a descriptor, and a file that it sends. */
static void raise_files(long most)
{
	struct rlimit limit;
	rlim_t need = 2 * (rlim_t)most + 64;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= need)
		return;
	limit.rlim_cur = limit.rlim_max < need ? limit.rlim_max : need;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int open_log(struct server *s)
{
	const char *path = s->options->log;

	if (!path)
		return 0;
	if (strcmp(path, "-") != 0)
		return gort_open(&s->log, path, O_WRONLY | O_APPEND | O_CREAT, 0666);
	s->log = gort_std(2);
	return s->log ? 0 : -EBADF;
}

static int listen_and_tell(struct server *s)
{
	char text[64];
	int err = gort_listen(&s->listener, "tcp", s->options->address, NULL);

	if (err == 0)
		err = gort_local_address(s->listener, text, sizeof text);
	if (err < 0)
		return err;
	printf("listening on %s\n", text);
	return fflush(stdout) == 0 ? 0 : -EIO;
}

/* What it needs. 0; else what failed has been told. */
static int set_up(struct server *s)
{
	int err;

	s->root = open(s->options->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->root < 0)
		return complain(s->options->root, -errno);
	s->pool = gort_pool_make(conn_new, free, NULL);
	s->stop = gort_ctx_with_cancel(gort_ctx_current());
	s->signals = gort_chan_make(sizeof(int), 1);
	s->connections = gort_scope_open(0);
	if (!s->pool || !s->stop || !s->signals || !s->connections)
		return complain("no memory to start with", -ENOMEM);
	err = watch_signals(s);
	if (err < 0)
		return complain("cannot watch signals", err);
	err = open_log(s);
	if (err < 0)
		return complain(s->options->log, err);
	err = listen_and_tell(s);
	return err < 0 ? complain(s->options->address, err) : 0;
}

static int httpd(const struct options *o)
{
	struct server s = { .options = o, .root = -1, .places = GORT_SEM_INIT(o->most) };
	int failed = set_up(&s), err;

	if (!failed) {
		err = run(&s);
		failed = err == -ECANCELED ? 0 : complain(o->address, err);
	}
	if (s.connections)
		gort_scope_close(s.connections); /* all have returned */
	if (s.listener)
		gort_close(s.listener);
	if (s.log)
		gort_close(s.log);
	gort_chan_release(s.signals);
	gort_ctx_release(s.stop);
	if (s.pool)
		gort_pool_release(s.pool);
	if (s.root >= 0)
		close(s.root);
	return failed;
}

/* ---- arguments ------------------------------------------------------------------------------- */

static const char help[] =
	"Usage: httpd [OPTION]... ADDRESS ROOT\n"
	"Serve the files of the directory ROOT by HTTP on ADDRESS, HOST:PORT (\":8080\": all\n"
	"addresses of this machine; port 0: a free one). The address is printed first. /json answers\n"
	"by itself. SIGINT and SIGTERM end it.\n"
	"\n"
	"      --idle SECONDS       close connections that ask nothing for so long (60)\n"
	"      --request SECONDS    that a client may take to send a request (10)\n"
	"      --write SECONDS      that it may take to accept each 256 KiB of an answer (30)\n"
	"      --grace SECONDS      that running requests have to end after a signal (10)\n"
	"      --most N             connections at a time (10000)\n"
	"      --log FILE           append a line for each request; -: to standard error\n"
	"      --help               print this and exit\n"
	"\n"
	"Exit status: 0 ended by a signal, 1 something failed, 2 wrong usage.\n";

static _Noreturn void usage_error(void)
{
	fputs("Try 'httpd --help'.\n", stderr);
	exit(2);
}

static long parse_argument(const char *text, long least)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (end == text || *end || n < least || n > 1000000) {
		fprintf(stderr, "httpd: '%s' is not from %ld to 1000000\n", text, least);
		usage_error();
	}
	return n;
}

static void parse_option(struct options *o, int c)
{
	switch (c) {
	case 'i':
		o->idle = parse_argument(optarg, 1) * GORT_SEC;
		break;
	case 'r':
		o->request = parse_argument(optarg, 1) * GORT_SEC;
		break;
	case 'w':
		o->write = parse_argument(optarg, 1) * GORT_SEC;
		break;
	case 'g':
		o->grace = parse_argument(optarg, 0) * GORT_SEC;
		break;
	case 'm':
		o->most = parse_argument(optarg, 1);
		break;
	case 'l':
		o->log = optarg;
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
		{ "grace", required_argument, NULL, 'g' },
		{ "help", no_argument, NULL, 'h' },
		{ "idle", required_argument, NULL, 'i' },
		{ "log", required_argument, NULL, 'l' },
		{ "most", required_argument, NULL, 'm' },
		{ "request", required_argument, NULL, 'r' },
		{ "write", required_argument, NULL, 'w' },
		{ NULL, 0, NULL, 0 },
	};
	struct options o = { .idle = 60 * GORT_SEC,
			     .request = 10 * GORT_SEC,
			     .write = 30 * GORT_SEC,
			     .grace = 10 * GORT_SEC,
			     .most = 10000 };
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1)
		parse_option(&o, c);
	if (argc - optind != 2)
		usage_error();
	o.address = argv[optind];
	o.root = argv[optind + 1];
	raise_files(o.most);
	return httpd(&o);
}
