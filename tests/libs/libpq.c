/*
 * libpq.c - libpq in goroutines, with a real PostgreSQL on a unix socket: its blocking calls, and its
 * asynchronous ones, whose socket goroutines wait for. As root the server is run by "postgres".
 */
#include "hogs.h"
#include "threads.h"

#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENTS 100
#define ROUNDS SCALE(20)

struct server {
	char dir[64], data[96], conninfo[160], bin[256];
	pid_t pid;
	gort_waitgroup ended;
};

struct client {
	struct server *server;
	int number;
};

/* ---- the server */

static void find_programs(struct server *s)
{
	glob_t found;

	if (glob("/usr/lib/postgresql/*/bin", 0, NULL, &found) != 0)
		SKIP("no PostgreSQL");
	snprintf(s->bin, sizeof s->bin, "%s", found.gl_pathv[found.gl_pathc - 1]);
	globfree(&found);
}

/* NULL: we are not root. */
static const struct passwd *other_user(void)
{
	const struct passwd *user;

	if (geteuid() != 0)
		return NULL;
	user = getpwnam("postgres");
	if (!user)
		SKIP("root may not run PostgreSQL, and there is no user postgres");
	return user;
}

static pid_t spawn(const struct server *s, const struct passwd *user, char *const *argv)
{
	char path[300];
	pid_t pid;
	int null;

	snprintf(path, sizeof path, "%s/%s", s->bin, argv[0]);
	pid = fork();
	CHECK(pid >= 0);
	if (pid)
		return pid;
	null = open("/dev/null", O_RDWR);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	if (user && (setgroups(0, NULL) || setgid(user->pw_gid) || setuid(user->pw_uid)))
		_exit(126);
	prctl(PR_SET_PDEATHSIG, SIGQUIT);
	if (chdir(s->dir) == 0)
		execv(path, argv);
	_exit(127);
}

static bool is_up(const struct server *s)
{
	int status;

	CHECK_EQ(waitpid(s->pid, &status, WNOHANG), 0);
	return PQping(s->conninfo) == PQPING_OK;
}

static PGconn *dial(const struct server *s)
{
	PGconn *c = PQconnectdb(s->conninfo);

	if (PQstatus(c) != CONNECTION_OK)
		test_fail_(__FILE__, __LINE__, "PQconnectdb: %s", PQerrorMessage(c));
	return c;
}

static int result_number(PGresult *r)
{
	ExecStatusType status = PQresultStatus(r);
	int n = 0;

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		test_fail_(__FILE__, __LINE__, "%s", PQresultErrorMessage(r));
	if (PQntuples(r) > 0)
		n = atoi(PQgetvalue(r, 0, 0));
	PQclear(r);
	return n;
}

/* The number that comes first, or 0. */
static int sql(PGconn *c, const char *text)
{
	return result_number(PQexec(c, text));
}

static void server_start(struct server *s)
{
	char *init[] = { "initdb", "-N", "-A", "trust", "-U", "gort", "-D", s->data, NULL };
	char *serve[] = { "postgres",
			  "-D",
			  s->data,
			  "-k",
			  s->dir,
			  "-c",
			  "listen_addresses=",
			  "-c",
			  "fsync=off",
			  "-c",
			  "max_connections=130",
			  NULL };
	const struct passwd *user = other_user();
	int status;
	PGconn *c;

	memset(s, 0, sizeof *s);
	find_programs(s);
	strcpy(s->dir, "/tmp/gort-pg-XXXXXX");
	CHECK(mkdtemp(s->dir) != NULL);
	if (user)
		CHECK_EQ(chown(s->dir, user->pw_uid, user->pw_gid), 0);
	snprintf(s->data, sizeof s->data, "%s/data", s->dir);
	snprintf(s->conninfo, sizeof s->conninfo,
		 "host=%s user=gort dbname=postgres sslmode=disable gssencmode=disable", s->dir);
	gort_lock_thread(); /* the server dies with the thread that it came from */
	CHECK_EQ(waitpid(spawn(s, user, init), &status, 0) > 0, true);
	CHECK_EQ(status, 0);
	s->pid = spawn(s, user, serve);
	EVENTUALLY(is_up(s));
	c = dial(s);
	sql(c, "CREATE TABLE entries (client int, round int)");
	sql(c, "CREATE TABLE sum (n int)");
	sql(c, "INSERT INTO sum VALUES (0)");
	PQfinish(c);
}

static void server_stop(struct server *s)
{
	char command[100];
	int status;

	CHECK_EQ(kill(s->pid, SIGINT), 0);
	CHECK_EQ(waitpid(s->pid, &status, 0), s->pid);
	CHECK_EQ(status, 0);
	gort_unlock_thread();
	snprintf(command, sizeof command, "rm -rf %s", s->dir);
	CHECK_EQ(system(command), 0);
}

static void clients_start(struct server *s, gort_func fn)
{
	gort_waitgroup_add(&s->ended, CLIENTS);
	for (int i = 0; i < CLIENTS; i++) {
		struct client c = { s, i };

		CHECK_EQ(gort_go_copy(fn, &c, sizeof c), 0);
	}
}

static void check_sums(const struct server *s)
{
	PGconn *c = dial(s);

	CHECK_EQ(sql(c, "SELECT count(*) FROM (SELECT DISTINCT client, round FROM entries) e"),
		 CLIENTS * ROUNDS);
	CHECK_EQ(sql(c, "SELECT n FROM sum"), CLIENTS * ROUNDS);
	PQfinish(c);
}

/* ---- blocking */

static void blocking_client(void *arg)
{
	struct client me = *(struct client *)arg;
	PGconn *c = dial(me.server);
	char text[100];

	for (int i = 0; i < ROUNDS; i++) {
		sql(c, "BEGIN");
		snprintf(text, sizeof text, "INSERT INTO entries VALUES (%d, %d)", me.number, i);
		sql(c, text);
		sql(c, "UPDATE sum SET n = n + 1"); /* waits for all others that have done so */
		sql(c, "COMMIT");
	}
	PQfinish(c);
	gort_waitgroup_done(&me.server->ended);
}

// label: full
// variants: maxprocs
TEST(a_hundred_block_in_pqexec_beside_hogs)
{
	struct hogs hogs = { 0 };
	struct server s;

	server_start(&s);
	hogs_start(&hogs, 2);
	clients_start(&s, blocking_client);
	CHECK_EQ(gort_waitgroup_wait(&s.ended), 0);
	hogs_stop(&hogs);
	check_sums(&s);
	server_stop(&s);
}

static void lock_client(void *arg)
{
	struct client me = *(struct client *)arg;
	PGconn *c = dial(me.server);

	sql(c, "SELECT pg_advisory_lock(1)");
	sql(c, "SELECT pg_advisory_unlock(1)");
	PQfinish(c);
	gort_waitgroup_done(&me.server->ended);
}

/* For the lock that somebody holds. */
static bool all_wait(PGconn *c)
{
	return sql(c,
		   "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") ==
		CLIENTS;
}

// label: full
TEST(a_hundred_wait_in_pqexec_at_once)
{
	struct server s;
	PGconn *c;

	server_start(&s);
	c = dial(&s);
	sql(c, "SELECT pg_advisory_lock(1)");
	clients_start(&s, lock_client);
	EVENTUALLY(all_wait(c));
	sql(c, "SELECT pg_advisory_unlock(1)");
	CHECK_EQ(gort_waitgroup_wait(&s.ended), 0);
	PQfinish(c);
	server_stop(&s);
}

/* ---- asynchronous */

static PGconn *dial_without_blocking(const struct server *s)
{
	PGconn *c = PQconnectStart(s->conninfo);
	PostgresPollingStatusType want = PGRES_POLLING_WRITING;

	CHECK(c != NULL);
	while (want != PGRES_POLLING_OK) {
		if (want == PGRES_POLLING_FAILED)
			test_fail_(__FILE__, __LINE__, "PQconnectPoll: %s", PQerrorMessage(c));
		CHECK(gort_wait_fd(PQsocket(c), want == PGRES_POLLING_READING ? POLLIN : POLLOUT,
				   GORT_FOREVER) > 0);
		want = PQconnectPoll(c);
	}
	CHECK_EQ(PQsetnonblocking(c, 1), 0);
	return c;
}

/* Until a result is there; 0, or what ended the wait. */
static int await(PGconn *c)
{
	int unsent, ready;

	while ((unsent = PQflush(c)) || PQisBusy(c)) {
		CHECK(unsent >= 0);
		ready = gort_wait_fd(PQsocket(c), POLLIN | (unsent ? POLLOUT : 0), GORT_FOREVER);
		if (ready < 0)
			return ready;
		if (ready & POLLIN)
			CHECK_EQ(PQconsumeInput(c), 1);
	}
	return 0;
}

static int sql_without_blocking(PGconn *c, const char *text)
{
	PGresult *r;
	int n;

	CHECK_EQ(PQsendQuery(c, text), 1);
	CHECK_EQ(await(c), 0);
	n = result_number(PQgetResult(c));
	CHECK_EQ(await(c), 0);
	r = PQgetResult(c);
	CHECK(r == NULL);
	return n;
}

static void async_client(void *arg)
{
	struct client me = *(struct client *)arg;
	PGconn *c = dial_without_blocking(me.server);
	char text[100];

	for (int i = 0; i < ROUNDS; i++) {
		sql_without_blocking(c, "BEGIN");
		snprintf(text, sizeof text, "INSERT INTO entries VALUES (%d, %d)", me.number, i);
		sql_without_blocking(c, text);
		sql_without_blocking(c, "UPDATE sum SET n = n + 1");
		sql_without_blocking(c, "COMMIT");
	}
	CHECK_EQ(sql_without_blocking(c, "SELECT sum(n) FROM generate_series(1, 1000) n"), 500500);
	sql_without_blocking(c, "SELECT pg_advisory_lock(1)");
	sql_without_blocking(c, "SELECT pg_advisory_unlock(1)");
	PQfinish(c);
	gort_waitgroup_done(&me.server->ended);
}

// label: full
// variants: maxprocs
TEST(a_hundred_wait_for_sockets_without_threads)
{
	struct server s;

	PGconn *c;

	server_start(&s);
	c = dial(&s);
	sql(c, "SELECT pg_advisory_lock(1)");
	clients_start(&s, async_client);
	EVENTUALLY(all_wait(c));
	EVENTUALLY(no_thread_is_kept());
	sql(c, "SELECT pg_advisory_unlock(1)");
	CHECK_EQ(gort_waitgroup_wait(&s.ended), 0);
	PQfinish(c);
	check_sums(&s);
	server_stop(&s);
}

/* Cancelled in its wait, it has the server cancel the query, and the connection goes on. */
static int cancelled_client(void *arg)
{
	PGconn *c = dial_without_blocking(arg);
	char error[256] = "";
	gort_ctx *before;
	PGcancel *cancel;
	PGresult *r;
	int err;

	CHECK_EQ(PQsendQuery(c, "SELECT pg_sleep(600)"), 1);
	err = await(c);
	before = gort_ctx_enter(gort_ctx_background());
	CHECK((cancel = PQgetCancel(c)) != NULL);
	CHECK_EQ(PQcancel(cancel, error, sizeof error), 1);
	PQfreeCancel(cancel);
	CHECK_EQ(await(c), 0);
	r = PQgetResult(c);
	CHECK_STR(PQresultErrorField(r, PG_DIAG_SQLSTATE), "57014");
	PQclear(r);
	CHECK_EQ(await(c), 0);
	r = PQgetResult(c);
	CHECK(r == NULL);
	CHECK_EQ(sql_without_blocking(c, "SELECT 42"), 42);
	gort_ctx_leave(before);
	PQfinish(c);
	return err;
}

// label: full
TEST(cancelling_ends_the_wait_and_the_query)
{
	gort_scope *scope;
	struct server s;
	PGconn *c;

	server_start(&s);
	c = dial(&s);
	CHECK((scope = gort_scope_open(0)) != NULL);
	for (int i = 0; i < CLIENTS / 10; i++)
		CHECK_EQ(gort_scope_go(scope, cancelled_client, &s), 0);
	EVENTUALLY(sql(c, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") ==
		   CLIENTS / 10);
	gort_scope_cancel(scope, 0);
	CHECK_EQ(gort_scope_close(scope), -ECANCELED);
	PQfinish(c);
	server_stop(&s);
}
