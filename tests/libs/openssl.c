/*
 * openssl.c - OpenSSL in goroutines: gort-openssl (extra/openssl), whose connections need no threads;
 * and OpenSSL alone, unchanged, on sockets that block.
 */
#include "certs.h"
#include "gort_openssl.h"
#include "hogs.h"
#include "threads.h"

#include <openssl/err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAIRS 100
#define BIG ((size_t)SCALE(8) * 1024 * 1024)

/* What all cases need. */
struct world {
	struct cert authority, stranger, server, client;
	SSL_CTX *serving, *strict, *trusting, *known, *wary; /* strict: wants the client's, too */
};

static void world_make(struct world *w)
{
	w->authority = cert_make("authority", NULL, NULL);
	w->stranger = cert_make("stranger", NULL, NULL);
	w->server = cert_make("server", "DNS:server.test,IP:127.0.0.1", &w->authority);
	w->client = cert_make("client", NULL, &w->authority);
	w->serving = cert_side(TLS_server_method(), &w->server, NULL);
	w->strict = cert_side(TLS_server_method(), &w->server, &w->authority);
	w->trusting = cert_side(TLS_client_method(), NULL, &w->authority);
	w->known = cert_side(TLS_client_method(), &w->client, &w->authority);
	w->wary = cert_side(TLS_client_method(), NULL, &w->stranger);
}

static void world_free(struct world *w)
{
	SSL_CTX_free(w->serving);
	SSL_CTX_free(w->strict);
	SSL_CTX_free(w->trusting);
	SSL_CTX_free(w->known);
	SSL_CTX_free(w->wary);
	cert_free(&w->authority);
	cert_free(&w->stranger);
	cert_free(&w->server);
	cert_free(&w->client);
}

static void tcp_pair(gort_file *f[2])
{
	gort_file *listener;
	char address[64];

	CHECK_EQ(gort_listen(&listener, "tcp", "127.0.0.1:0", NULL), 0);
	CHECK(gort_local_address(listener, address, sizeof address) > 0);
	CHECK_EQ(gort_dial(&f[0], "tcp", address), 0);
	CHECK_EQ(gort_accept(listener, &f[1]), 0);
	CHECK_EQ(gort_close(listener), 0);
}

static void is_broken(gort_tls *t, ssize_t err, int expected, const char *text)
{
	char byte;

	if (err != expected || !strstr(gort_tls_error(t), text))
		test_fail_(__FILE__, __LINE__, "%zd (%s), not %d (%s)", err, gort_tls_error(t),
			   expected, text);
	CHECK_EQ(gort_tls_handshake(t), expected);
	CHECK_EQ(gort_tls_read(t, &byte, 1), expected);
	CHECK_EQ(gort_tls_write(t, "x", 1), expected);
	CHECK_EQ(gort_tls_close(t), expected);
}

/* ---- good handshakes beside those that fail */

enum kind { GOOD, GOOD_BOTH, STRANGER, OTHER_HOST, OTHER_ADDRESS, NO_CLIENT, PLAIN, GONE, KINDS };

struct end {
	struct world *world;
	enum kind kind;
	int number;
	gort_file *file;
	gort_waitgroup *ended;
};

static void converse(gort_tls *t, const struct end *e, bool first)
{
	char text[64], back[64];
	int n;

	for (int i = 0; i < 10; i++) {
		n = snprintf(text, sizeof text, "%d of %d", i, e->number);
		if (first)
			CHECK_EQ(gort_tls_write(t, text, (size_t)n), n);
		CHECK_EQ(gort_tls_read(t, back, sizeof back), n);
		back[n] = '\0';
		CHECK_STR(back, text);
		if (!first)
			CHECK_EQ(gort_tls_write(t, text, (size_t)n), n);
	}
	CHECK_EQ(gort_tls_close(t), 0);
	CHECK_EQ(gort_tls_read(t, back, sizeof back), 0);
	CHECK_EQ(gort_tls_read(t, back, sizeof back), 0);
	CHECK_STR(gort_tls_error(t), "");
}

static void good_client(gort_tls *t, const struct end *e)
{
	CHECK_EQ(gort_tls_handshake(t), 0);
	converse(t, e, true);
}

static void refusing_client(gort_tls *t, const char *text)
{
	is_broken(t, gort_tls_handshake(t), -EKEYREJECTED, text);
}

/* TLS 1.3 tells it late. */
static void refused_client(gort_tls *t)
{
	int err = gort_tls_handshake(t);
	char byte;

	is_broken(t, err ? err : gort_tls_read(t, &byte, 1), -EPROTO, "certificate required");
}

static void plain_client(gort_file *f)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: server.test\r\n\r\n";
	char answer[64];

	CHECK_EQ(gort_write(f, text, sizeof text - 1), (ssize_t)sizeof text - 1);
	while (gort_read(f, answer, sizeof answer) > 0)
		continue;
}

static gort_tls *client_of(const struct end *e)
{
	static const char *const hosts[KINDS] = {
		[OTHER_HOST] = "other.test",
		[OTHER_ADDRESS] = "127.0.0.2",
		[GOOD_BOTH] = "127.0.0.1",
	};
	SSL_CTX *ctx = e->kind == STRANGER ? e->world->wary
		: e->kind == GOOD_BOTH     ? e->world->known
					   : e->world->trusting;
	gort_tls *t;

	t = gort_tls_client(ctx, e->file, hosts[e->kind] ? hosts[e->kind] : "server.test");
	CHECK(t != NULL);
	return t;
}

static int client(void *arg)
{
	struct end e = *(struct end *)arg;
	gort_tls *t = client_of(&e);

	switch (e.kind) {
	case GOOD:
	case GOOD_BOTH:
		good_client(t, &e);
		break;
	case STRANGER:
		refusing_client(t, "unable to get local issuer certificate");
		break;
	case OTHER_HOST:
		refusing_client(t, "hostname mismatch");
		break;
	case OTHER_ADDRESS:
		refusing_client(t, "IP address mismatch");
		break;
	case NO_CLIENT:
		refused_client(t);
		break;
	case PLAIN:
		plain_client(e.file);
		break;
	default:
		break;
	}
	gort_tls_free(t);
	CHECK_EQ(gort_close(e.file), 0);
	gort_waitgroup_done(e.ended);
	return 0;
}

static int server(void *arg)
{
	struct end e = *(struct end *)arg;
	bool strict = e.kind == NO_CLIENT || e.kind == GOOD_BOTH;
	gort_tls *t = gort_tls_server(strict ? e.world->strict : e.world->serving, e.file);
	int err;

	CHECK(t != NULL);
	err = gort_tls_handshake(t);
	switch (e.kind) {
	case GOOD:
	case GOOD_BOTH:
		CHECK_EQ(err, 0);
		converse(t, &e, false);
		break;
	case STRANGER:
		is_broken(t, err, -EPROTO, "unknown ca");
		break;
	case OTHER_HOST:
	case OTHER_ADDRESS:
		is_broken(t, err, -EPROTO, "bad certificate");
		break;
	case NO_CLIENT:
		is_broken(t, err, -EPROTO, "did not return a certificate");
		break;
	case PLAIN:
		is_broken(t, err, -EPROTO, "http request");
		break;
	default:
		is_broken(t, err, -ECONNRESET, "without close_notify");
		break;
	}
	gort_tls_free(t);
	CHECK_EQ(gort_close(e.file), 0);
	gort_waitgroup_done(e.ended);
	return 0;
}

static void end_start(int (*fn)(void *arg), const struct end *e, int preempt)
{
	gort_attr attr = { .copy = sizeof *e, .preempt = preempt };
	gort_task *t = gort_spawn(fn, (void *)(uintptr_t)e, &attr);

	CHECK(t != NULL);
	gort_detach(t);
}

static void pairs_run(int preempt, int hog_count)
{
	gort_waitgroup ended = { 0 };
	struct hogs hogs = { 0 };
	struct world world;

	world_make(&world);
	hogs_start(&hogs, hog_count);
	for (int i = 0; i < PAIRS; i++) {
		struct end e = { &world, (enum kind)(i % KINDS), i, NULL, &ended };
		gort_file *f[2];

		tcp_pair(f);
		gort_waitgroup_add(&ended, 2);
		e.file = f[0];
		end_start(client, &e, preempt);
		e.file = f[1];
		end_start(server, &e, preempt);
	}
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	hogs_stop(&hogs);
	world_free(&world);
}

// variants: maxprocs
TEST(each_failure_is_told_to_its_own_goroutine)
{
	pairs_run(GORT_PREEMPT_THREAD, 0);
}

// variants: maxprocs
TEST(each_failure_is_told_to_its_own_beside_hogs)
{
	pairs_run(GORT_PREEMPT_THREAD, 2);
}

// variants: maxprocs
TEST(each_failure_is_told_to_its_own_where_goroutines_switch)
{
	pairs_run(GORT_PREEMPT_SWITCH, 2);
}

/* ---- two ends, both in this goroutine's hands */

struct ends {
	struct world world;
	gort_file *file[2];
	gort_tls *tls[2]; /* client, server */
};

static int shake_hands(void *t)
{
	return gort_tls_handshake(t);
}

static void ends_open(struct ends *e)
{
	world_make(&e->world);
	tcp_pair(e->file);
	CHECK((e->tls[0] = gort_tls_client(e->world.trusting, e->file[0], "server.test")) != NULL);
	CHECK((e->tls[1] = gort_tls_server(e->world.serving, e->file[1])) != NULL);
}

static void ends_meet(struct ends *e)
{
	gort_task *task = gort_spawn(shake_hands, e->tls[0], NULL);
	int result = -1;

	CHECK(task != NULL);
	CHECK_EQ(gort_tls_handshake(e->tls[1]), 0);
	CHECK_EQ(gort_join(task, &result), 0);
	CHECK_EQ(result, 0);
}

static void ends_close(struct ends *e)
{
	for (int i = 0; i < 2; i++) {
		gort_tls_free(e->tls[i]);
		if (e->file[i])
			CHECK_EQ(gort_close(e->file[i]), 0);
	}
	world_free(&e->world);
}

static char byte_at(size_t at, int stream)
{
	return (char)(at * 13 + at / 251 + at / 65536 + (size_t)stream * 101);
}

struct stream {
	gort_tls *t;
	int number;
};

/* In pieces of all sizes. */
static void send_big(void *arg)
{
	struct stream s = *(struct stream *)arg;
	char *piece = malloc(100000);
	size_t size;

	CHECK(piece != NULL);
	for (size_t at = 0; at < BIG; at += size) {
		size = 1 + at * 7919 % 100000;
		size = size < BIG - at ? size : BIG - at;
		for (size_t i = 0; i < size; i++)
			piece[i] = byte_at(at + i, s.number);
		CHECK_EQ(gort_tls_write(s.t, piece, size), (ssize_t)size);
	}
	CHECK_EQ(gort_tls_close(s.t), 0);
	CHECK_EQ(gort_tls_write(s.t, "x", 1), -EPIPE);
	free(piece);
}

static void receive_big(void *arg)
{
	struct stream s = *(struct stream *)arg;
	char piece[5000];
	size_t at = 0;
	ssize_t n;

	while ((n = gort_tls_read(s.t, piece, 1 + at * 31 % sizeof piece)) > 0)
		for (ssize_t i = 0; i < n; i++, at++)
			CHECK_EQ(piece[i], byte_at(at, s.number));
	CHECK_EQ(n, 0);
	CHECK_EQ(at, BIG);
}

/* Nobody shakes hands first: the four of them see to that. */
static void transfer_both_ways(int hog_count)
{
	gort_waitgroup ended = { 0 };
	struct hogs hogs = { 0 };
	struct ends e;

	ends_open(&e);
	hogs_start(&hogs, hog_count);
	struct stream all[4] = {
		{ e.tls[0], 0 }, { e.tls[1], 0 }, { e.tls[1], 1 }, { e.tls[0], 1 }
	};
	for (int i = 0; i < 4; i++)
		CHECK_EQ(gort_waitgroup_go(&ended, i % 2 ? receive_big : send_big, &all[i]), 0);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	hogs_stop(&hogs);
	ends_close(&e);
}

// variants: maxprocs
TEST(big_transfers_both_ways_at_once)
{
	transfer_both_ways(0);
}

// variants: maxprocs
TEST(big_transfers_beside_hogs)
{
	transfer_both_ways(2);
}

/* Each write in one piece: a letter, many times. */
#define PIECE 50000

struct letter {
	gort_tls *t;
	char letter;
};

static void write_letters(void *arg)
{
	struct letter l = *(struct letter *)arg;
	char *text = malloc(PIECE);

	CHECK(text != NULL);
	memset(text, l.letter, PIECE);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(gort_tls_write(l.t, text, PIECE), PIECE);
	free(text);
}

// variants: maxprocs
TEST(writes_stay_in_one_piece)
{
	gort_waitgroup ended = { 0 };
	struct letter letters[10];
	char *text = malloc(PIECE);
	int count[10] = { 0 };
	struct ends e;

	CHECK(text != NULL);
	ends_open(&e);
	ends_meet(&e);
	for (int i = 0; i < 10; i++) {
		letters[i] = (struct letter){ e.tls[0], (char)('0' + i) };
		CHECK_EQ(gort_waitgroup_go(&ended, write_letters, &letters[i]), 0);
	}
	for (int i = 0; i < 50; i++) {
		for (ssize_t at = 0, n; at < PIECE; at += n)
			CHECK((n = gort_tls_read(e.tls[1], text + at, (size_t)(PIECE - at))) > 0);
		for (int k = 1; k < PIECE; k++)
			CHECK_EQ(text[k], text[0]);
		count[text[0] - '0']++;
	}
	for (int i = 0; i < 10; i++)
		CHECK_EQ(count[i], 5);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	free(text);
	ends_close(&e);
}

static void drain(void *t)
{
	char text[4096];

	while (gort_tls_read(t, text, sizeof text) > 0)
		continue;
}

#define UPDATES SCALE(200)

static void write_pieces(void *t)
{
	char *text = malloc(PIECE);

	CHECK(text != NULL);
	for (int i = 0; i < UPDATES; i++) {
		memset(text, 'a' + i % 26, PIECE);
		CHECK_EQ(gort_tls_write(t, text, PIECE), PIECE);
	}
	CHECK_EQ(gort_tls_close(t), 0);
	free(text);
}

/* The client's reader has to answer while its writer is at it; both have something to send. */
// variants: maxprocs
TEST(key_updates_are_answered_beside_a_writer)
{
	gort_waitgroup ended = { 0 };
	size_t got = 0;
	char text[20000];
	struct ends e;
	ssize_t n;

	ends_open(&e);
	ends_meet(&e);
	CHECK_EQ(gort_waitgroup_go(&ended, write_pieces, e.tls[0]), 0);
	CHECK_EQ(gort_waitgroup_go(&ended, drain, e.tls[0]), 0);
	for (int i = 0; (n = gort_tls_read(e.tls[1], text, sizeof text)) > 0; i++) {
		for (ssize_t k = 0; k < n; k++, got++)
			CHECK_EQ(text[k], (char)('a' + got / PIECE % 26));
		if (i < UPDATES) {
			CHECK_EQ(SSL_key_update(gort_tls_ssl(e.tls[1]), SSL_KEY_UPDATE_REQUESTED),
				 1);
			CHECK_EQ(gort_tls_write(e.tls[1], "x", 1), 1);
		}
	}
	CHECK_EQ(n, 0);
	CHECK_EQ(got, (size_t)UPDATES * PIECE);
	CHECK_EQ(gort_tls_close(e.tls[1]), 0);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	CHECK_STR(gort_tls_error(e.tls[0]), "");
	ends_close(&e);
}

/* ---- deadlines, cancellation, ends */

TEST(a_handshake_obeys_a_deadline_and_goes_on)
{
	struct ends e;

	ends_open(&e);
	CHECK_EQ(gort_set_read_deadline(e.file[0], gort_in(20 * GORT_MS)), 0);
	CHECK_EQ(gort_tls_handshake(e.tls[0]), -ETIMEDOUT);
	CHECK_EQ(gort_tls_handshake(e.tls[0]), -ETIMEDOUT);
	CHECK_STR(gort_tls_error(e.tls[0]), "");
	CHECK_EQ(gort_set_read_deadline(e.file[0], GORT_FOREVER), 0);
	ends_meet(&e);
	ends_close(&e);
}

TEST(a_read_obeys_deadlines_and_goes_on)
{
	struct ends e;
	int64_t old;
	char text[8];

	ends_open(&e);
	ends_meet(&e);
	CHECK_EQ(gort_set_read_deadline(e.file[0], gort_in(10 * GORT_MS)), 0);
	CHECK_EQ(gort_tls_read(e.tls[0], text, sizeof text), -ETIMEDOUT);
	CHECK_EQ(gort_tls_write(e.tls[0], "there", 5), 5);
	CHECK_EQ(gort_set_read_deadline(e.file[0], GORT_FOREVER), 0);
	old = gort_set_deadline(gort_in(10 * GORT_MS));
	CHECK_EQ(gort_tls_read(e.tls[0], text, sizeof text), -ETIMEDOUT);
	gort_set_deadline(old);
	CHECK_EQ(gort_tls_write(e.tls[1], "back", 4), 4);
	CHECK_EQ(gort_tls_read(e.tls[0], text, sizeof text), 4);
	CHECK_EQ(gort_tls_read(e.tls[1], text, sizeof text), 5);
	ends_close(&e);
}

/* The peer reads nothing. Its side still can be read, and what was left goes before what comes. */
TEST(a_write_obeys_a_deadline_and_spoils_nothing)
{
	char *text = calloc(1, 1 << 20), byte;
	gort_waitgroup ended = { 0 };
	struct ends e;
	ssize_t n;

	CHECK(text != NULL);
	ends_open(&e);
	ends_meet(&e);
	CHECK_EQ(gort_set_write_deadline(e.file[0], gort_in(50 * GORT_MS)), 0);
	while ((n = gort_tls_write(e.tls[0], text, 1 << 20)) > 0)
		continue;
	CHECK_EQ(n, -ETIMEDOUT);
	CHECK_EQ(gort_tls_write(e.tls[1], "x", 1), 1);
	CHECK_EQ(gort_tls_read(e.tls[0], &byte, 1), 1);
	CHECK_EQ(byte, 'x');
	CHECK_EQ(gort_set_write_deadline(e.file[0], GORT_FOREVER), 0);
	CHECK_EQ(gort_waitgroup_go(&ended, drain, e.tls[1]), 0);
	CHECK_EQ(gort_tls_write(e.tls[0], text, 1 << 20), 1 << 20);
	CHECK_EQ(gort_tls_close(e.tls[0]), 0);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	CHECK_STR(gort_tls_error(e.tls[1]), "");
	free(text);
	ends_close(&e);
}

static int read_one(void *t)
{
	char byte;

	return (int)gort_tls_read(t, &byte, 1);
}

// variants: maxprocs
TEST(cancelling_a_read_leaves_the_connection_alone)
{
	struct ends e;
	int result = 0;
	char text[8];

	ends_open(&e);
	ends_meet(&e);
	for (int i = 0; i < 20; i++) {
		gort_task *task = gort_spawn(read_one, e.tls[0], NULL);

		CHECK(task != NULL);
		CHECK_EQ(gort_tls_write(e.tls[0], "on", 2), 2);
		CHECK_EQ(gort_tls_read(e.tls[1], text, sizeof text), 2);
		gort_task_cancel(task, 0);
		CHECK_EQ(gort_join(task, &result), 0);
		CHECK_EQ(result, -ECANCELED);
	}
	CHECK_EQ(gort_tls_write(e.tls[1], "back", 4), 4);
	CHECK_EQ(gort_tls_read(e.tls[0], text, sizeof text), 4);
	ends_close(&e);
}

/* Of several that wait, one has the network; when it goes, another takes its place. */
// variants: maxprocs
TEST(a_cancelled_reader_hands_over)
{
	gort_task *task[10];
	struct ends e;
	int result = 0;

	ends_open(&e);
	ends_meet(&e);
	for (int i = 0; i < 10; i++)
		CHECK((task[i] = gort_spawn(read_one, e.tls[0], NULL)) != NULL);
	gort_sleep(GORT_MS);
	for (int i = 0; i < 10; i += 2) {
		gort_task_cancel(task[i], 0);
		CHECK_EQ(gort_join(task[i], &result), 0);
		CHECK_EQ(result, -ECANCELED);
	}
	CHECK_EQ(gort_tls_write(e.tls[1], "12345", 5), 5);
	for (int i = 1; i < 10; i += 2) {
		CHECK_EQ(gort_join(task[i], &result), 0);
		CHECK_EQ(result, 1);
	}
	ends_close(&e);
}

TEST(closing_ends_one_direction)
{
	struct ends e;
	char text[8];

	ends_open(&e);
	CHECK_EQ(gort_tls_close(e.tls[0]), 0); /* nothing to end yet */
	ends_meet(&e);
	CHECK_EQ(gort_tls_close(e.tls[0]), 0);
	CHECK_EQ(gort_tls_close(e.tls[0]), 0);
	CHECK_EQ(gort_tls_write(e.tls[0], "x", 1), -EPIPE);
	CHECK_EQ(gort_tls_read(e.tls[1], text, sizeof text), 0);
	CHECK_EQ(gort_tls_write(e.tls[1], "back", 4), 4);
	CHECK_EQ(gort_tls_read(e.tls[0], text, sizeof text), 4);
	ends_close(&e);
}

TEST(what_is_cut_off_is_told)
{
	struct ends e;
	char text[8];

	ends_open(&e);
	ends_meet(&e);
	CHECK_EQ(gort_tls_write(e.tls[0], "half", 4), 4);
	CHECK_EQ(gort_close(e.file[0]), 0);
	e.file[0] = NULL;
	CHECK_EQ(gort_tls_read(e.tls[1], text, sizeof text), 4);
	is_broken(e.tls[1], gort_tls_read(e.tls[1], text, sizeof text), -ECONNRESET,
		  "without close_notify");
	ends_close(&e);
}

/* Bytes that are no TLS, in the midst of it. */
TEST(what_is_forged_is_told)
{
	struct ends e;
	char text[8];

	ends_open(&e);
	ends_meet(&e);
	CHECK_EQ(gort_write(e.file[0], "\x17\x03\x03\0\x20 0123456789abcdef0123456789abcde", 37),
		 37);
	is_broken(e.tls[1], gort_tls_read(e.tls[1], text, sizeof text), -EPROTO, "bad record mac");
	CHECK_EQ(gort_tls_read(e.tls[0], text, sizeof text), -EPROTO); /* it was told why */
	CHECK(strstr(gort_tls_error(e.tls[0]), "bad record mac") != NULL);
	ends_close(&e);
}

static void meet(void *e)
{
	CHECK_EQ(gort_tls_handshake(((struct ends *)e)->tls[0]), 0);
	CHECK_EQ(gort_tls_write(((struct ends *)e)->tls[0], "guest", 5), 5);
}

TEST(guests_may_call)
{
	struct guest *g;
	struct ends e;
	char text[8];

	ends_open(&e);
	g = guest_start(meet, &e);
	CHECK_EQ(gort_tls_read(e.tls[1], text, sizeof text), 5);
	guest_join(g);
	ends_close(&e);
}

/* What somebody else has left in the thread's queue of errors is not taken for an error here. */
static void meet_with_an_error(void *e)
{
	char text[8];

	meet(e);
	ERR_raise(ERR_LIB_USER, ERR_R_INTERNAL_ERROR);
	CHECK_EQ(gort_tls_read(((struct ends *)e)->tls[0], text, sizeof text), 4);
	CHECK_STR(gort_tls_error(((struct ends *)e)->tls[0]), "");
}

TEST(errors_of_others_are_not_ours)
{
	struct guest *g;
	struct ends e;
	char text[8];

	ends_open(&e);
	g = guest_start(meet_with_an_error, &e);
	CHECK_EQ(gort_tls_read(e.tls[1], text, sizeof text), 5);
	CHECK_EQ(gort_tls_write(e.tls[1], "back", 4), 4);
	guest_join(g);
	ends_close(&e);
}

/* ---- connections that wait */

static void wait_for_byte(void *arg)
{
	struct ends *e = arg;
	gort_tls *server = gort_tls_server(e->world.serving, e->file[1]);
	char byte;

	CHECK(server != NULL);
	CHECK_EQ(gort_tls_read(server, &byte, 1), 1);
	CHECK_EQ(gort_tls_write(server, &byte, 1), 1);
	gort_tls_free(server);
}

TEST(connections_that_wait_need_no_threads)
{
	struct ends *all = calloc(PAIRS, sizeof *all);
	gort_waitgroup ended = { 0 };
	struct world world;
	char byte;

	CHECK(all != NULL);
	world_make(&world);
	for (int i = 0; i < PAIRS; i++) {
		all[i].world = world;
		tcp_pair(all[i].file);
		all[i].tls[0] = gort_tls_client(world.trusting, all[i].file[0], NULL);
		CHECK(all[i].tls[0] != NULL);
		CHECK_EQ(gort_waitgroup_go(&ended, wait_for_byte, &all[i]), 0);
		CHECK_EQ(gort_tls_handshake(all[i].tls[0]), 0);
	}
	EVENTUALLY(no_thread_is_kept());
	for (int i = 0; i < PAIRS; i++)
		CHECK_EQ(gort_tls_write(all[i].tls[0], "x", 1), 1);
	for (int i = 0; i < PAIRS; i++)
		CHECK_EQ(gort_tls_read(all[i].tls[0], &byte, 1), 1);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	for (int i = 0; i < PAIRS; i++) {
		gort_tls_free(all[i].tls[0]);
		CHECK_EQ(gort_close(all[i].file[0]), 0);
		CHECK_EQ(gort_close(all[i].file[1]), 0);
	}
	free(all);
	world_free(&world);
}

/* ---- OpenSSL alone: each connection blocks its thread */

struct plain {
	SSL_CTX *ctx;
	int fd;
	bool fails; /* it must, and the reason must be there, in this thread's queue */
	gort_waitgroup *ended;
};

static SSL *plain_open(const struct plain *p)
{
	SSL *ssl = SSL_new(p->ctx);

	CHECK(ssl != NULL);
	CHECK_EQ(SSL_set_fd(ssl, p->fd), 1);
	ERR_clear_error();
	return ssl;
}

static void plain_close(SSL *ssl, const struct plain *p)
{
	if (!p->fails)
		SSL_shutdown(ssl); /* the peer may have gone already */
	SSL_free(ssl);
	CHECK_EQ(close(p->fd), 0);
	gort_waitgroup_done(p->ended);
}

static void plain_client_blocks(void *arg)
{
	struct plain p = *(struct plain *)arg;
	SSL *ssl = plain_open(&p);
	char text[32];
	int n;

	CHECK_EQ(SSL_set1_host(ssl, "server.test"), 1);
	if (p.fails) {
		CHECK_EQ(SSL_connect(ssl), -1);
		CHECK_EQ(ERR_GET_REASON(ERR_peek_error()), SSL_R_CERTIFICATE_VERIFY_FAILED);
	} else {
		CHECK_EQ(SSL_connect(ssl), 1);
	}
	for (int i = 0; i < 20 && !p.fails; i++) {
		n = snprintf(text, sizeof text, "%d by %d", i, p.fd);
		CHECK_EQ(SSL_write(ssl, text, n), n);
		CHECK_EQ(SSL_read(ssl, text, sizeof text), n);
		CHECK_EQ(atoi(text), i);
		CHECK_EQ(ERR_peek_error(), 0);
	}
	plain_close(ssl, &p);
}

static void plain_server_blocks(void *arg)
{
	struct plain p = *(struct plain *)arg;
	SSL *ssl = plain_open(&p);
	char text[32];
	int n;

	if (p.fails) {
		CHECK(SSL_accept(ssl) <= 0);
		CHECK_EQ(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV1_ALERT_UNKNOWN_CA);
	} else {
		CHECK_EQ(SSL_accept(ssl), 1);
		while ((n = SSL_read(ssl, text, sizeof text)) > 0)
			CHECK_EQ(SSL_write(ssl, text, n), n);
		CHECK_EQ(SSL_get_error(ssl, n), SSL_ERROR_ZERO_RETURN);
	}
	plain_close(ssl, &p);
}

// variants: maxprocs
TEST(openssl_alone_blocks_beside_hogs)
{
	gort_waitgroup ended = { 0 };
	struct hogs hogs = { 0 };
	struct world world;

	signal(SIGPIPE, SIG_IGN); /* OpenSSL's own writes raise it */
	world_make(&world);
	hogs_start(&hogs, 2);
	gort_waitgroup_add(&ended, 2 * PAIRS);
	for (int i = 0; i < PAIRS; i++) {
		bool fails = i % 4 == 3;
		int fds[2];

		CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
		struct plain c = { fails ? world.wary : world.trusting, fds[0], fails, &ended };
		struct plain s = { world.serving, fds[1], fails, &ended };
		CHECK_EQ(gort_go_copy(plain_client_blocks, &c, sizeof c), 0);
		CHECK_EQ(gort_go_copy(plain_server_blocks, &s, sizeof s), 0);
	}
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	hogs_stop(&hogs);
	world_free(&world);
}
