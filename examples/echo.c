/*
 * echo - a server that sends back whatever comes, on any kind of socket, and a client that checks
 * that it does.
 *
 *     echo tcp 127.0.0.1:7777               echo --client tcp 127.0.0.1:7777
 *     echo udp :7777                        echo --client udp '[::1]:7777'
 *     echo unix /tmp/echo.sock              echo --client unix /tmp/echo.sock
 *
 * Connections (tcp, unix, unixpacket): a goroutine each, in a scope, as many as a semaphore lets in;
 * one that says nothing for long, or does not take its echo, is cut off.
 *
 * Datagrams (udp, unixgram): one goroutine. Where the answer does not go at once it is lost, as
 * datagrams are: who does not take his must not hold up the others. Ports below 1024, and our own,
 * get no answer: a forged sender could have two such services talk to each other for ever.
 *
 * SIGINT, SIGTERM: a goroutine turns the signal into the end of a context, under which the server
 * accepts and reads, but does not write: what has been read goes back first. A second signal
 * kills.
 */
#include <getopt.h>
#include <gort.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define BUFFER 16384             /* of a connection */
#define DATAGRAM 65536           /* longer ones are cut */
#define GRACE (5 * GORT_SEC)     /* for those who still take their echo */
#define TRIES 50                 /* datagrams get lost */
#define PATIENCE (200 * GORT_MS) /* till one is sent again */

struct options {
	bool client;
	int64_t idle;
	long most, connections, bytes, size;
	const char *network, *address;
};

struct server {
	const struct options *options;
	gort_file *socket;
	gort_ctx *stop; /* ends when a signal comes */
	gort_scope *connections;
	gort_sem places;
	gort_chan *signals;
};

struct connection { /* from malloc; freed by its goroutine */
	struct server *server;
	gort_file *socket;
	char buffer[BUFFER];
};

static int complain(const char *what, int err)
{
	fprintf(stderr, "echo: %s: %s\n", what, strerror(-err));
	return 1;
}

static bool starts_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

static bool has_datagrams(const char *network)
{
	return starts_with(network, "udp") || strcmp(network, "unixgram") == 0;
}

/* ---- connections ----------------------------------------------------------------------------- */

static ssize_t read_until_stop(struct connection *c)
{
	gort_ctx *before = gort_ctx_enter(c->server->stop);
	ssize_t n;

	gort_set_read_deadline(c->socket, gort_in(c->server->options->idle));
	n = gort_read(c->socket, c->buffer, sizeof c->buffer);
	gort_ctx_leave(before);
	return n;
}

/* A member of the scope: 0, come what may. One connection's end is no matter of the others'. */
static int echo(void *arg)
{
	struct connection *c = arg;
	ssize_t n;

	while ((n = read_until_stop(c)) > 0) {
		gort_set_write_deadline(c->socket, gort_in(c->server->options->idle));
		if (gort_write(c->socket, c->buffer, (size_t)n) < 0)
			break;
	}
	gort_close(c->socket);
	gort_sem_release(&c->server->places, 1);
	free(c);
	return 0;
}

static int serve_connection(struct server *s, gort_file *socket)
{
	struct connection *c = malloc(sizeof *c);
	int err = -ENOMEM;

	if (c) {
		c->server = s;
		c->socket = socket;
		err = gort_scope_go(s->connections, echo, c);
	}
	if (err < 0) {
		free(c);
		gort_close(socket);
		gort_sem_release(&s->places, 1);
	}
	return err;
}

/* Until the context ends: -ECANCELED. */
static int accept_all(struct server *s)
{
	gort_file *socket;
	int err;

	while ((err = gort_sem_acquire(&s->places, 1)) == 0) {
		err = gort_accept(s->socket, &socket);
		if (err == 0) {
			(void)serve_connection(s, socket); /* no memory: this one has bad luck */
			continue;
		}
		gort_sem_release(&s->places, 1);
		if (err != -EMFILE && err != -ENFILE && err != -ENOBUFS && err != -ENOMEM)
			break; /* those pass: accept has waited a little */
	}
	return err;
}

static int serve_connections(struct server *s)
{
	gort_ctx *before;
	int err;

	s->connections = gort_scope_open(0);
	if (!s->connections)
		return -ENOMEM;
	before = gort_ctx_enter(s->stop);
	err = accept_all(s);
	gort_ctx_leave(before);
	if (gort_scope_wait_until(s->connections, gort_in(GRACE)) == -ETIMEDOUT)
		gort_scope_cancel(s->connections, -ECANCELED);
	gort_scope_close(s->connections);
	return err;
}

/* ---- datagrams ------------------------------------------------------------------------------- */

/* -1: it has none. */
static int port_of(const struct sockaddr_storage *a)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	if (a->ss_family == AF_INET) {
		memcpy(&v4, a, sizeof v4);
		return ntohs(v4.sin_port);
	}
	if (a->ss_family == AF_INET6) {
		memcpy(&v6, a, sizeof v6);
		return ntohs(v6.sin6_port);
	}
	return -1;
}

static int own_port(int fd)
{
	struct sockaddr_storage a = { 0 };
	socklen_t size = sizeof a;

	return getsockname(fd, (struct sockaddr *)&a, &size) == 0 ? port_of(&a) : -1;
}

static bool may_answer(const struct sockaddr_storage *a, socklen_t size, int own)
{
	int port = port_of(a);

	if (size <= sizeof a->ss_family) /* a local socket without a name */
		return false;
	return port < 0 || (port >= 1024 && port != own);
}

/* Until the context ends: -ECANCELED. */
static int serve_datagrams(struct server *s)
{
	static char buffer[DATAGRAM];
	int fd = gort_file_fd(s->socket), own = own_port(fd);
	gort_ctx *before = gort_ctx_enter(s->stop);
	ssize_t n;

	for (;;) {
		struct sockaddr_storage peer = { 0 };
		struct iovec all = { buffer, sizeof buffer };
		struct msghdr m = { .msg_name = &peer,
				    .msg_namelen = sizeof peer,
				    .msg_iov = &all,
				    .msg_iovlen = 1 };

		n = gort_recvmsg(s->socket, &m, 0);
		if (n < 0)
			break;
		all.iov_len = (size_t)n;
		m.msg_flags = 0;
		if (may_answer(&peer, m.msg_namelen, own)) /* or it is lost, see above */
			(void)sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	gort_ctx_leave(before);
	return (int)n;
}

/* ---- the server ------------------------------------------------------------------------------ */

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
	int err;

	s->stop = gort_ctx_with_cancel(gort_ctx_current());
	s->signals = gort_chan_make(sizeof(int), 1);
	if (!s->stop || !s->signals)
		return -ENOMEM;
	err = gort_signal_notify(s->signals, SIGINT);
	if (err == 0)
		err = gort_signal_notify(s->signals, SIGTERM);
	return err < 0 ? err : gort_go(stop_on_signal, s);
}

static int tell_address(const struct server *s)
{
	char text[256];
	int err = gort_local_address(s->socket, text, sizeof text);

	if (err >= 0)
		printf("listening on %s\n", text);
	return err < 0 ? err : fflush(stdout) == 0 ? 0 : -EIO;
}

static int serve(const struct options *o)
{
	struct server s = { .options = o, .places = GORT_SEM_INIT(o->most) };
	int err = watch_signals(&s);

	if (err < 0)
		return complain("cannot watch signals", err);
	err = gort_listen(&s.socket, o->network, o->address, NULL);
	if (err < 0)
		return complain(o->address, err);
	err = tell_address(&s);
	if (err == 0)
		err = has_datagrams(o->network) ? serve_datagrams(&s) : serve_connections(&s);
	if (starts_with(o->network, "unix") && o->address[0] != '@')
		unlink(o->address);
	gort_close(s.socket);
	gort_ctx_release(s.stop);
	gort_chan_release(s.signals);
	return err == -ECANCELED ? 0 : complain(o->address, err);
}

/* ---- the client ------------------------------------------------------------------------------ */

struct client {
	const struct options *options;
	unsigned number; /* of the connection */
	gort_file *socket;
};

/* What stands at a place of a connection's data. */
static unsigned char at_place(unsigned connection, uint64_t place)
{
	return (unsigned char)((place * 2654435761U + connection * 40503U) >> 13);
}

static void fill(unsigned char *to, size_t n, unsigned connection, uint64_t place)
{
	for (size_t i = 0; i < n; i++)
		to[i] = at_place(connection, place + i);
}

static bool is_right(const unsigned char *p, size_t n, unsigned connection, uint64_t place)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != at_place(connection, place + i))
			return false;
	return true;
}

/* All of it, and then the end: the other side reads it, echoes it, and ends as well. */
static int send_stream(void *arg)
{
	struct client *c = arg;
	uint64_t all = (uint64_t)c->options->bytes, at = 0;
	unsigned char buffer[BUFFER];
	ssize_t n = 0;

	while (at < all && n >= 0) {
		size_t most = (size_t)c->options->size;

		if (all - at < most)
			most = (size_t)(all - at);
		fill(buffer, most, c->number, at);
		gort_set_write_deadline(c->socket, gort_in(c->options->idle));
		n = gort_write(c->socket, buffer, most);
		at += most;
	}
	return n < 0 ? (int)n : gort_shutdown(c->socket, SHUT_WR);
}

/* Exactly what was sent comes back. */
static int receive_stream(const struct client *c)
{
	unsigned char buffer[BUFFER];
	uint64_t at = 0;
	ssize_t n;

	for (;;) {
		gort_set_read_deadline(c->socket, gort_in(c->options->idle));
		n = gort_read(c->socket, buffer, sizeof buffer);
		if (n <= 0)
			break;
		if (!is_right(buffer, (size_t)n, c->number, at))
			return -EBADMSG;
		at += (uint64_t)n;
	}
	return n < 0 ? (int)n : at == (uint64_t)c->options->bytes ? 0 : -EBADMSG;
}

static int talk_by_stream(struct client *c)
{
	gort_task *sender = gort_spawn(send_stream, c, NULL);
	int received, sent = 0;

	if (!sender)
		return -ENOMEM;
	received = receive_stream(c);
	if (received < 0)
		gort_task_cancel(sender, received);
	gort_join(sender, &sent);
	return received < 0 ? received : sent;
}

/* The answer to the datagram at a place; what else comes is late, or somebody else's. */
static int receive_datagram(const struct client *c, unsigned char *buffer, size_t n, uint64_t at)
{
	ssize_t got;

	gort_set_read_deadline(c->socket, gort_in(PATIENCE));
	do
		got = gort_read(c->socket, buffer, DATAGRAM);
	while (got >= 0 && !((size_t)got == n && is_right(buffer, n, c->number, at)));
	return got < 0 ? (int)got : 0;
}

/* One at a time, again while no answer comes; nobody there yet (ECONNREFUSED) is as good as lost. */
static int exchange(const struct client *c, unsigned char *buffer, size_t n, uint64_t at)
{
	int err = -ETIMEDOUT;

	for (int i = 0; i < TRIES && (err == -ETIMEDOUT || err == -ECONNREFUSED); i++) {
		fill(buffer, n, c->number, at);
		gort_set_write_deadline(c->socket, gort_in(PATIENCE));
		err = (int)gort_write(c->socket, buffer, n);
		if (err >= 0)
			err = receive_datagram(c, buffer, n, at);
		else if (err == -ECONNREFUSED && gort_sleep(PATIENCE) < 0)
			break;
	}
	return err;
}

static int talk_by_datagrams(const struct client *c)
{
	uint64_t all = (uint64_t)c->options->bytes, size = (uint64_t)c->options->size;
	sa_family_t unix_socket = AF_UNIX;
	unsigned char *buffer = malloc(DATAGRAM);
	int err = 0;

	if (!buffer)
		return -ENOMEM;
	/* A local socket needs a name for the answer: the kernel picks one. */
	if (strcmp(c->options->network, "unixgram") == 0 &&
	    bind(gort_file_fd(c->socket), (struct sockaddr *)&unix_socket, sizeof unix_socket) < 0)
		err = -errno;
	for (uint64_t at = 0; at < all && err == 0; at += size) {
		size_t n = (size_t)(size < all - at ? size : all - at);

		err = exchange(c, buffer, n, at);
	}
	free(buffer);
	return err;
}

/* A member of the scope: the first that fails ends the others. */
static int talk(void *arg)
{
	struct client *c = arg;
	int err = gort_dial(&c->socket, c->options->network, c->options->address);

	if (err < 0)
		return err;
	err = has_datagrams(c->options->network) ? talk_by_datagrams(c) : talk_by_stream(c);
	gort_close(c->socket);
	return err;
}

static int talk_all(struct client *clients, const struct options *o)
{
	gort_scope *scope = gort_scope_open(0);
	int err = scope ? 0 : -ENOMEM, closed;

	for (long i = 0; i < o->connections && err == 0; i++) {
		clients[i] = (struct client){ .options = o, .number = (unsigned)i };
		err = gort_scope_go(scope, talk, &clients[i]);
	}
	closed = scope ? gort_scope_close(scope) : 0;
	return closed < 0 ? closed : err;
}

static int check(const struct options *o)
{
	struct client *clients = calloc((size_t)o->connections, sizeof *clients);
	int err = clients ? talk_all(clients, o) : -ENOMEM;

	free(clients);
	if (err == -EBADMSG)
		fprintf(stderr, "echo: %s: what came back is not what was sent\n", o->address);
	else if (err < 0)
		complain(o->address, err);
	else
		printf("%ld x %ld bytes came back\n", o->connections, o->bytes);
	return err < 0;
}

/* ---- arguments ------------------------------------------------------------------------------- */

static const char help[] =
	"Usage: echo [OPTION]... NETWORK ADDRESS\n"
	"Send back whatever comes to ADDRESS. NETWORK is tcp, tcp4, tcp6, udp, udp4, udp6, unix,\n"
	"unixgram or unixpacket; ADDRESS HOST:PORT (port 0: a free one), or a path, or @NAME.\n"
	"The address is printed first. SIGINT and SIGTERM end it, and remove the path.\n"
	"\n"
	"      --idle SECONDS     cut off who is silent, or takes nothing, for so long (60)\n"
	"      --most N           connections at a time (1000)\n"
	"      --client           be a client: send, and check what comes back\n"
	"      --connections N    the client's connections (1)\n"
	"      --bytes N          that each sends (1000000)\n"
	"      --size N           in pieces of so many (1000), at most 16384\n"
	"      --help             print this and exit\n"
	"\n"
	"Exit status: 0 all went well, 1 something failed, 2 wrong usage.\n";

static _Noreturn void usage_error(void)
{
	fputs("Try 'echo --help'.\n", stderr);
	exit(2);
}

static long parse_number(const char *text, long least, long most)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (end == text || *end || n < least || n > most) {
		fprintf(stderr, "echo: '%s' is not from %ld to %ld\n", text, least, most);
		usage_error();
	}
	return n;
}

static void parse_option(struct options *o, int c)
{
	switch (c) {
	case 'C':
		o->client = true;
		break;
	case 'i':
		o->idle = parse_number(optarg, 1, 1000000) * GORT_SEC;
		break;
	case 'm':
		o->most = parse_number(optarg, 1, 1000000);
		break;
	case 'c':
		o->connections = parse_number(optarg, 1, 1000000);
		break;
	case 'b':
		o->bytes = parse_number(optarg, 0, 1000000000000);
		break;
	case 's':
		o->size = parse_number(optarg, 1, BUFFER);
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
		{ "bytes", required_argument, NULL, 'b' },
		{ "client", no_argument, NULL, 'C' },
		{ "connections", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ "idle", required_argument, NULL, 'i' },
		{ "most", required_argument, NULL, 'm' },
		{ "size", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	struct options o = { .idle = 60 * GORT_SEC,
			     .most = 1000,
			     .connections = 1,
			     .bytes = 1000000,
			     .size = 1000 };
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1)
		parse_option(&o, c);
	if (argc - optind != 2)
		usage_error();
	o.network = argv[optind];
	o.address = argv[optind + 1];
	return o.client ? check(&o) : serve(&o);
}
