/*
 * hiredis.c - hiredis in goroutines, with a real redis-server on a unix socket: its blocking calls,
 * and its asynchronous ones, whose events goroutines wait for.
 */
#include "hogs.h"
#include "threads.h"

#include <fcntl.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENTS SCALE(200)
#define ROUNDS 50

struct server {
	char dir[64], path[96];
	pid_t pid;
	gort_waitgroup ended;
};

/* A goroutine with a connection of its own. */
struct client {
	struct server *server;
	int number;
};

static void server_exec(const struct server *s)
{
	int null = open("/dev/null", O_RDWR);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", s->path, "--dir",
	       s->dir, "--save", "", "--appendonly", "no", "--daemonize", "no", (char *)NULL);
	_exit(127);
}

static bool is_up(struct server *s)
{
	redisContext *c = redisConnectUnix(s->path);
	bool up = c && !c->err;
	int status;

	redisFree(c);
	if (!up && waitpid(s->pid, &status, WNOHANG) == s->pid) {
		if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
			rmdir(s->dir);
			SKIP("no redis-server");
		}
		test_fail_(__FILE__, __LINE__, "redis-server: status 0x%x", status);
	}
	return up;
}

static void server_start(struct server *s)
{
	memset(s, 0, sizeof *s);
	strcpy(s->dir, "/tmp/gort-redis-XXXXXX");
	CHECK(mkdtemp(s->dir) != NULL);
	snprintf(s->path, sizeof s->path, "%s/socket", s->dir);
	gort_lock_thread(); /* the server dies with the thread that it came from */
	s->pid = fork();
	if (s->pid == 0)
		server_exec(s);
	CHECK(s->pid > 0);
	EVENTUALLY(is_up(s));
}

static void server_stop(struct server *s)
{
	int status;

	CHECK_EQ(kill(s->pid, SIGTERM), 0);
	CHECK_EQ(waitpid(s->pid, &status, 0), s->pid);
	gort_unlock_thread();
	unlink(s->path);
	CHECK_EQ(rmdir(s->dir), 0);
}

static void clients_start(struct server *s, int n, gort_func fn)
{
	gort_waitgroup_add(&s->ended, n);
	for (int i = 0; i < n; i++) {
		struct client c = { s, i };

		CHECK_EQ(gort_go_copy(fn, &c, sizeof c), 0);
	}
}

/* ---- blocking */

static redisContext *dial(const struct server *s)
{
	redisContext *c = redisConnectUnix(s->path);

	CHECK(c != NULL);
	if (c->err)
		test_fail_(__FILE__, __LINE__, "redisConnectUnix: %s", c->errstr);
	return c;
}

static redisReply *checked(redisContext *c, redisReply *r, int type)
{
	if (!r)
		test_fail_(__FILE__, __LINE__, "no reply: %s", c->errstr);
	if (r->type != type)
		test_fail_(__FILE__, __LINE__, "a reply of type %d, not %d: %s", r->type, type,
			   r->str ? r->str : "");
	return r;
}

static int64_t integer(redisContext *c, const char *command)
{
	redisReply *r = checked(c, redisCommand(c, command), REDIS_REPLY_INTEGER);
	int64_t n = r->integer;

	freeReplyObject(r);
	return n;
}

static void set_and_get(redisContext *c, int number, int round)
{
	char text[64];
	redisReply *r;

	snprintf(text, sizeof text, "%d of %d", round, number);
	r = checked(c, redisCommand(c, "SET key-%d %s", number, text), REDIS_REPLY_STATUS);
	freeReplyObject(r);
	r = checked(c, redisCommand(c, "GET key-%d", number), REDIS_REPLY_STRING);
	CHECK_STR(r->str, text);
	freeReplyObject(r);
}

static void blocking_client(void *arg)
{
	struct client me = *(struct client *)arg;
	redisContext *c = dial(me.server);

	for (int i = 0; i < ROUNDS; i++) {
		set_and_get(c, me.number, i);
		CHECK(integer(c, "INCR count") > 0);
	}
	redisFree(c);
	gort_waitgroup_done(&me.server->ended);
}

static void block_beside_hogs(int n)
{
	struct hogs hogs = { 0 };
	struct server s;
	redisContext *c;

	server_start(&s);
	c = dial(&s);
	hogs_start(&hogs, n);
	clients_start(&s, CLIENTS, blocking_client);
	CHECK_EQ(gort_waitgroup_wait(&s.ended), 0);
	hogs_stop(&hogs);
	CHECK_EQ(integer(c, "DECR count"), CLIENTS * ROUNDS - 1);
	CHECK_EQ(integer(c, "DBSIZE"), CLIENTS + 1);
	redisFree(c);
	server_stop(&s);
}

// variants: maxprocs
TEST(each_goroutine_has_a_blocking_connection)
{
	block_beside_hogs(0);
}

// variants: maxprocs
TEST(blocking_connections_beside_hogs)
{
	block_beside_hogs(2);
}

/* It waits in the server for what another pushes. */
static void popper(void *arg)
{
	struct client me = *(struct client *)arg;
	redisContext *c = dial(me.server);
	redisReply *r = checked(c, redisCommand(c, "BLPOP queue 0"), REDIS_REPLY_ARRAY);

	CHECK_EQ(r->elements, 2);
	freeReplyObject(checked(c, redisCommand(c, "SADD popped %s", r->element[1]->str),
				REDIS_REPLY_INTEGER));
	freeReplyObject(r);
	redisFree(c);
	gort_waitgroup_done(&me.server->ended);
}

static bool all_wait(redisContext *c)
{
	redisReply *r = checked(c, redisCommand(c, "INFO clients"), REDIS_REPLY_STRING);
	const char *at = strstr(r->str, "blocked_clients:");
	bool all;

	CHECK(at != NULL);
	all = atoi(at + strlen("blocked_clients:")) == CLIENTS;
	freeReplyObject(r);
	return all;
}

static void push_to_all(redisContext *c)
{
	for (int i = 0; i < CLIENTS; i++)
		freeReplyObject(
			checked(c, redisCommand(c, "RPUSH queue %d", i), REDIS_REPLY_INTEGER));
}

// variants: maxprocs
TEST(all_wait_in_the_server_at_once)
{
	struct server s;
	redisContext *c;

	server_start(&s);
	c = dial(&s);
	clients_start(&s, CLIENTS, popper);
	EVENTUALLY(all_wait(c));
	push_to_all(c);
	CHECK_EQ(gort_waitgroup_wait(&s.ended), 0);
	CHECK_EQ(integer(c, "SCARD popped"), CLIENTS);
	redisFree(c);
	server_stop(&s);
}

/* SO_RCVTIMEO: such a receive is not restarted after a signal. */
TEST(a_timeout_of_hiredis_is_kept_beside_hogs)
{
	const struct timeval limit = { 0, 200000 };
	struct hogs hogs = { 0 };
	struct server s;
	redisContext *c;

	server_start(&s);
	hogs_start(&hogs, 2);
	for (int i = 0; i < 5; i++) {
		int64_t start = gort_now();

		CHECK((c = redisConnectUnixWithTimeout(s.path, limit)) != NULL);
		CHECK_EQ(c->err, 0);
		CHECK_EQ(redisSetTimeout(c, limit), REDIS_OK);
		CHECK(redisCommand(c, "BLPOP nothing 0") == NULL);
		CHECK_EQ(c->err, REDIS_ERR_IO);
		CHECK(gort_now() - start >= 150 * GORT_MS);
		redisFree(c);
	}
	hogs_stop(&hogs);
	server_stop(&s);
}

/* ---- asynchronous: hiredis says what it waits for */

struct async {
	redisAsyncContext *c;
	int events, number, replies, pushed, failed;
	bool connected, gone;
};

static void add_read(void *p)
{
	((struct async *)p)->events |= POLLIN;
}

static void del_read(void *p)
{
	((struct async *)p)->events &= ~POLLIN;
}

static void add_write(void *p)
{
	((struct async *)p)->events |= POLLOUT;
}

static void del_write(void *p)
{
	((struct async *)p)->events &= ~POLLOUT;
}

static void cleanup(void *p)
{
	((struct async *)p)->gone = true;
}

static void on_connect(const redisAsyncContext *c, int status)
{
	struct async *a = c->data;

	CHECK_EQ(status, REDIS_OK);
	a->connected = true;
}

static void async_open(struct async *a, const struct server *s, int number)
{
	*a = (struct async){ .number = number };
	CHECK((a->c = redisAsyncConnectUnix(s->path)) != NULL);
	CHECK_EQ(a->c->err, 0);
	a->c->data = a;
	a->c->ev.data = a;
	a->c->ev.addRead = add_read;
	a->c->ev.delRead = del_read;
	a->c->ev.addWrite = add_write;
	a->c->ev.delWrite = del_write;
	a->c->ev.cleanup = cleanup;
	CHECK_EQ(redisAsyncSetConnectCallback(a->c, on_connect), REDIS_OK);
}

static void async_act(struct async *a, int ready)
{
	if (ready & (POLLIN | POLLHUP | POLLERR) && a->events & POLLIN)
		redisAsyncHandleRead(a->c);
	if (!a->gone && ready & (POLLOUT | POLLHUP | POLLERR) && a->events & POLLOUT)
		redisAsyncHandleWrite(a->c);
}

/* Until hiredis has freed the connection, or so many replies have come: 0, or what ended the wait. */
static int async_run(struct async *a, int replies)
{
	while (!a->gone && a->replies < replies) {
		int ready = gort_wait_fd(a->c->c.fd, a->events, GORT_FOREVER);

		if (ready < 0)
			return ready;
		async_act(a, ready);
	}
	return 0;
}

/* Replies come in the order of the commands. */
static void on_count(redisAsyncContext *c, void *reply, void *arg)
{
	struct async *a = arg;
	redisReply *r = reply;

	(void)c;
	if (!r) {
		a->failed++;
		return;
	}
	CHECK_EQ(r->type, REDIS_REPLY_INTEGER);
	CHECK_EQ(r->integer, ++a->replies);
}

static void ask(struct async *a, int n)
{
	for (int i = 0; i < n; i++)
		CHECK_EQ(redisAsyncCommand(a->c, on_count, a, "INCR own-%d", a->number), REDIS_OK);
}

static void on_pushed(redisAsyncContext *c, void *reply, void *arg)
{
	redisReply *r = reply;

	(void)c;
	CHECK(r != NULL);
	CHECK_EQ(r->type, REDIS_REPLY_ARRAY);
	((struct async *)arg)->pushed++;
}

/* It waits in the end for what another pushes. */
static void async_client(void *arg)
{
	struct client me = *(struct client *)arg;
	struct async a;

	async_open(&a, me.server, me.number);
	ask(&a, ROUNDS);
	CHECK_EQ(async_run(&a, ROUNDS), 0);
	CHECK(a.connected);
	CHECK_EQ(redisAsyncCommand(a.c, on_pushed, &a, "BLPOP queue 0"), REDIS_OK);
	redisAsyncDisconnect(a.c); /* once all have been answered */
	CHECK_EQ(async_run(&a, INT32_MAX), 0);
	CHECK(a.gone);
	CHECK_EQ(a.replies, ROUNDS);
	CHECK_EQ(a.pushed, 1);
	gort_waitgroup_done(&me.server->ended);
}

// variants: maxprocs
TEST(asynchronous_connections_need_no_threads)
{
	struct server s;
	redisContext *c;

	server_start(&s);
	c = dial(&s);
	clients_start(&s, CLIENTS, async_client);
	EVENTUALLY(all_wait(c));
	EVENTUALLY(no_thread_is_kept());
	push_to_all(c);
	CHECK_EQ(gort_waitgroup_wait(&s.ended), 0);
	redisFree(c);
	server_stop(&s);
}

/* All connections by one goroutine. */
TEST(one_goroutine_selects_over_connections)
{
	struct async *all = calloc((size_t)CLIENTS, sizeof *all);
	gort_case *cases = calloc((size_t)CLIENTS, sizeof *cases);
	struct server s;
	int left = CLIENTS;

	CHECK(all && cases);
	server_start(&s);
	for (int i = 0; i < CLIENTS; i++) {
		async_open(&all[i], &s, i);
		ask(&all[i], ROUNDS);
		redisAsyncDisconnect(all[i].c);
	}
	while (left) {
		size_t n = 0;
		int i;

		for (int k = 0; k < CLIENTS; k++)
			if (!all[k].gone) {
				cases[n] = GORT_CASE_FD(all[k].c->c.fd, all[k].events);
				cases[n++].elem = &all[k];
			}
		i = gort_select(cases, n, gort_in(60 * GORT_SEC));
		CHECK(i >= 0);
		async_act(cases[i].elem, cases[i].status);
		left -= ((struct async *)cases[i].elem)->gone;
	}
	for (int i = 0; i < CLIENTS; i++)
		CHECK_EQ(all[i].replies, ROUNDS);
	free(cases);
	free(all);
	server_stop(&s);
}

static void on_pop(redisAsyncContext *c, void *reply, void *arg)
{
	struct async *a = arg;

	(void)c;
	CHECK(reply == NULL);
	a->failed++;
}

static int cancelled_client(void *arg)
{
	struct client *me = arg;
	struct async a;
	int err;

	async_open(&a, me->server, me->number);
	CHECK_EQ(redisAsyncCommand(a.c, on_pop, &a, "BLPOP nothing 0"), REDIS_OK);
	err = async_run(&a, INT32_MAX);
	CHECK(!a.gone);
	CHECK_EQ(a.failed, 0);
	redisAsyncFree(a.c);
	CHECK(a.gone);
	CHECK_EQ(a.failed, 1);
	return err;
}

// variants: maxprocs
TEST(cancelling_ends_asynchronous_waits)
{
	struct server s;
	struct client me = { &s, 0 };
	gort_scope *scope;
	redisContext *c;

	server_start(&s);
	c = dial(&s);
	CHECK((scope = gort_scope_open(0)) != NULL);
	for (int i = 0; i < CLIENTS; i++)
		CHECK_EQ(gort_scope_go(scope, cancelled_client, &me), 0);
	EVENTUALLY(all_wait(c));
	gort_scope_cancel(scope, 0);
	CHECK_EQ(gort_scope_close(scope), -ECANCELED);
	redisFree(c);
	server_stop(&s);
}
