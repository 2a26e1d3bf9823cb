/*
 * sqlite.c - SQLite in goroutines: its mutexes, its file locks, its sleeps (busy_timeout), beside
 * goroutines that compute.
 */
#include "hogs.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WRITERS 50
#define READERS 5
#define ROUNDS SCALE(40)

struct base {
	char dir[64], path[96];
	atomic_bool written;
	gort_waitgroup writers, readers;
};

struct client {
	struct base *base;
	int number;
};

static sqlite3 *open_base(const struct base *b)
{
	sqlite3 *db = NULL;

	CHECK_EQ(sqlite3_open(b->path, &db), SQLITE_OK);
	CHECK_EQ(sqlite3_busy_timeout(db, 60000), SQLITE_OK);
	return db;
}

static void sql(sqlite3 *db, const char *text)
{
	char *error = NULL;
	int rc = sqlite3_exec(db, text, NULL, NULL, &error);

	if (rc != SQLITE_OK)
		test_fail_(__FILE__, __LINE__, "%s: %d, %s", text, rc, error ? error : "");
}

static int64_t number_of(sqlite3 *db, const char *text)
{
	sqlite3_stmt *query;
	int64_t n;

	CHECK_EQ(sqlite3_prepare_v2(db, text, -1, &query, NULL), SQLITE_OK);
	CHECK_EQ(sqlite3_step(query), SQLITE_ROW);
	n = sqlite3_column_int64(query, 0);
	CHECK_EQ(sqlite3_finalize(query), SQLITE_OK);
	return n;
}

static void base_make(struct base *b, const char *journal)
{
	char pragma[64];
	sqlite3 *db;

	memset(b, 0, sizeof *b);
	strcpy(b->dir, "/tmp/gort-sqlite-XXXXXX");
	CHECK(mkdtemp(b->dir) != NULL);
	snprintf(b->path, sizeof b->path, "%s/base", b->dir);
	db = open_base(b);
	snprintf(pragma, sizeof pragma, "PRAGMA journal_mode=%s", journal);
	sql(db, pragma);
	sql(db, "CREATE TABLE entries (writer INTEGER, round INTEGER, text TEXT)");
	sql(db, "CREATE TABLE sum (n INTEGER)");
	sql(db, "INSERT INTO sum VALUES (0)");
	CHECK_EQ(sqlite3_close(db), SQLITE_OK);
}

static void base_remove(struct base *b)
{
	static const char *const ends[] = { "", "-journal", "-wal", "-shm" };
	char path[128];

	for (size_t i = 0; i < 4; i++) {
		snprintf(path, sizeof path, "%s%s", b->path, ends[i]);
		unlink(path);
	}
	CHECK_EQ(rmdir(b->dir), 0);
}

static void insert(sqlite3_stmt *put, int writer, int round)
{
	CHECK_EQ(sqlite3_bind_int(put, 1, writer), SQLITE_OK);
	CHECK_EQ(sqlite3_bind_int(put, 2, round), SQLITE_OK);
	CHECK_EQ(sqlite3_step(put), SQLITE_DONE);
	CHECK_EQ(sqlite3_reset(put), SQLITE_OK);
}

/* Two tables in one transaction: a reader sees both changed, or none. */
static void writer(void *arg)
{
	struct client c = *(struct client *)arg;
	sqlite3 *db = open_base(c.base);
	sqlite3_stmt *put;

	sql(db, "PRAGMA synchronous=OFF");
	CHECK_EQ(sqlite3_prepare_v2(db, "INSERT INTO entries VALUES (?, ?, hex(randomblob(50)))",
				    -1, &put, NULL),
		 SQLITE_OK);
	for (int i = 0; i < ROUNDS; i++) {
		sql(db, "BEGIN IMMEDIATE");
		insert(put, c.number, i);
		sql(db, "UPDATE sum SET n = n + 1");
		sql(db, "COMMIT");
	}
	CHECK_EQ(sqlite3_finalize(put), SQLITE_OK);
	CHECK_EQ(sqlite3_close(db), SQLITE_OK);
	gort_waitgroup_done(&c.base->writers);
}

static void reader(void *arg)
{
	struct client c = *(struct client *)arg;
	sqlite3 *db = open_base(c.base);
	int64_t last = 0;

	while (!atomic_load(&c.base->written)) {
		sql(db, "BEGIN");
		int64_t entries = number_of(db, "SELECT count(*) FROM entries");
		CHECK_EQ(number_of(db, "SELECT n FROM sum"), entries);
		sql(db, "COMMIT");
		CHECK(entries >= last);
		last = entries;
		gort_sleep(GORT_MS);
	}
	CHECK_EQ(sqlite3_close(db), SQLITE_OK);
	gort_waitgroup_done(&c.base->readers);
}

static void clients_start(struct base *b, int n, gort_waitgroup *ended, gort_func fn)
{
	gort_waitgroup_add(ended, n);
	for (int i = 0; i < n; i++) {
		struct client c = { b, i };

		CHECK_EQ(gort_go_copy(fn, &c, sizeof c), 0);
	}
}

static void check_base(const struct base *b)
{
	sqlite3 *db = open_base(b);

	CHECK_EQ(number_of(db, "SELECT count(*) FROM entries"), WRITERS * ROUNDS);
	CHECK_EQ(number_of(db, "SELECT n FROM sum"), WRITERS * ROUNDS);
	CHECK_EQ(number_of(db, "SELECT count(*) FROM (SELECT DISTINCT writer, round FROM entries)"),
		 WRITERS * ROUNDS);
	CHECK_EQ(number_of(db, "SELECT min(length(text)) FROM entries"), 100);
	CHECK_EQ(number_of(db,
			   "SELECT count(*) FROM pragma_integrity_check "
			   "WHERE integrity_check = 'ok'"),
		 1);
	CHECK_EQ(sqlite3_close(db), SQLITE_OK);
}

static void write_and_read(const char *journal, int n)
{
	struct hogs hogs = { 0 };
	struct base b;

	base_make(&b, journal);
	hogs_start(&hogs, n);
	clients_start(&b, READERS, &b.readers, reader);
	clients_start(&b, WRITERS, &b.writers, writer);
	CHECK_EQ(gort_waitgroup_wait(&b.writers), 0);
	atomic_store(&b.written, true);
	CHECK_EQ(gort_waitgroup_wait(&b.readers), 0);
	hogs_stop(&hogs);
	check_base(&b);
	base_remove(&b);
	sqlite3_shutdown();
}

// variants: maxprocs
TEST(fifty_write_a_rollback_journal)
{
	write_and_read("DELETE", 0);
}

// variants: maxprocs
TEST(fifty_write_a_wal)
{
	write_and_read("WAL", 0);
}

// variants: maxprocs
TEST(fifty_write_a_rollback_journal_beside_hogs)
{
	write_and_read("DELETE", 2);
}

// variants: maxprocs
TEST(fifty_write_a_wal_beside_hogs)
{
	write_and_read("WAL", 2);
}

/* One connection for all: its own recursive mutex is what keeps them apart. */
static void share(void *arg)
{
	sqlite3 *db = arg;

	for (int i = 0; i < ROUNDS * 10; i++) {
		sqlite3_mutex_enter(sqlite3_db_mutex(db));
		sql(db, "UPDATE sum SET n = n + 1");
		sqlite3_mutex_leave(sqlite3_db_mutex(db));
	}
}

// variants: maxprocs
TEST(goroutines_share_a_connection_beside_hogs)
{
	gort_waitgroup ended = { 0 };
	struct hogs hogs = { 0 };
	sqlite3 *db;

	CHECK_EQ(sqlite3_open(":memory:", &db), SQLITE_OK);
	sql(db, "CREATE TABLE sum (n INTEGER)");
	sql(db, "INSERT INTO sum VALUES (0)");
	hogs_start(&hogs, 2);
	for (int i = 0; i < WRITERS; i++)
		CHECK_EQ(gort_waitgroup_go(&ended, share, db), 0);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	hogs_stop(&hogs);
	CHECK_EQ(number_of(db, "SELECT n FROM sum"), WRITERS * ROUNDS * 10);
	CHECK_EQ(sqlite3_close(db), SQLITE_OK);
	sqlite3_shutdown();
}
