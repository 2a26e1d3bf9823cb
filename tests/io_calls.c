/*
 * io_calls.c - every call that waits for a descriptor, and all that ends such a wait: deadlines of
 * the file and of the caller, contexts, gort_close, the runtime's end. On goroutines and guests.
 */
#include "io.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/un.h>

/* ---- a world in which each call waits for ever ------------------------------------------------- */

enum { EMPTY, FULL, TCP, CRAMMED, BULK, PEER, LISTENER, FILES };

static struct world {
	gort_file *file[FILES]; /* that calls wait for */
	gort_file *other[2];    /* the other ends of pipes */
	gort_file *far[3];      /* and of sockets */
	gort_file *regular, *null;
	int own[2]; /* a pipe of somebody else's, empty */
	int deaf[4];
	char deaf_at[64]; /* a listener that has no place for another */
	gort_chan *silent;
	char buf[1 << 12]; /* read into */
	char out[1 << 12]; /* written: never changes */
} w;

static void make_deaf(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof a;

	w.deaf[0] = socket(AF_INET, SOCK_STREAM, 0);
	CHECK_EQ(bind(w.deaf[0], (struct sockaddr *)&a, sizeof a), 0);
	CHECK_EQ(listen(w.deaf[0], 0), 0);
	CHECK_EQ(getsockname(w.deaf[0], (struct sockaddr *)&a, &size), 0);
	for (int i = 1; i < 4; i++) {
		w.deaf[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)connect(w.deaf[i], (struct sockaddr *)&a, sizeof a);
		if (i == 1) /* the one that it has a place for takes it */
			EVENTUALLY(poll(&(struct pollfd){ w.deaf[0], POLLIN, 0 }, 1, 0) == 1);
	}
	snprintf(w.deaf_at, sizeof w.deaf_at, "127.0.0.1:%u", ntohs(a.sin_port));
}

static void make_world(void)
{
	gort_file *pair[2];

	pipe_pair(pair);
	w.file[EMPTY] = pair[0];
	w.other[0] = pair[1];
	pipe_pair(pair);
	w.file[FULL] = pair[1];
	w.other[1] = pair[0];
	tcp_pair(pair);
	w.file[TCP] = pair[0];
	w.far[0] = pair[1];
	socket_pair(SOCK_STREAM, pair);
	w.file[CRAMMED] = pair[0];
	w.far[1] = pair[1];
	tcp_pair(pair);
	w.file[BULK] = pair[0];
	w.far[2] = pair[1];
	socket_pair(SOCK_SEQPACKET, pair);
	w.file[PEER] = pair[0];
	w.null = pair[1];
	w.file[LISTENER] = listen_at("tcp", "127.0.0.1:0");
	w.regular = scratch_file();
	CHECK_EQ(gort_write(w.regular, w.buf, sizeof w.buf), sizeof w.buf);
	CHECK_EQ(gort_pread(w.regular, w.buf, sizeof w.buf, 0), sizeof w.buf);
	CHECK_EQ(lseek(gort_file_fd(w.regular), 0, SEEK_SET), 0);
	fill(w.file[FULL]);
	fill(w.file[CRAMMED]);
	CHECK_EQ(pipe(w.own), 0);
	w.silent = gort_chan_make(0, 0);
	make_deaf();
}

static void close_world(void)
{
	for (int i = 0; i < FILES; i++) {
		EVENTUALLY(is_at_rest(w.file[i]) ||
			   (load_relaxed(&w.file[i]->state) & 0xfffffffff) == 1);
		gort_close(w.file[i]);
	}
	close_both(w.other);
	close_both(w.far);
	CHECK_EQ(gort_close(w.far[2]), 0);
	CHECK_EQ(gort_close(w.null), 0);
	CHECK_EQ(gort_close(w.regular), 0);
	gort_chan_release(w.silent);
	close(w.own[0]);
	close(w.own[1]);
	for (int i = 0; i < 4; i++)
		close(w.deaf[i]);
}

/* ---- the calls --------------------------------------------------------------------------------- */

static ssize_t call_read(void)
{
	return gort_read(w.file[EMPTY], w.buf, sizeof w.buf);
}

static ssize_t call_read_full(void)
{
	char buf[8];

	return gort_read_full(w.file[TCP], buf, sizeof buf);
}

static ssize_t call_readv(void)
{
	char buf[8];
	struct iovec iov[2] = { { buf, 4 }, { buf + 4, 4 } };

	return gort_readv(w.file[TCP], iov, 2);
}

static ssize_t call_recvmsg(void)
{
	char buf[8];
	struct iovec iov = { buf, sizeof buf };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	return gort_recvmsg(w.file[PEER], &m, 0);
}

static ssize_t call_write(void)
{
	return gort_write(w.file[FULL], w.out, sizeof w.out);
}

/* More than there is room for. */
static ssize_t call_write_much(void)
{
	static char much[32 << 20];

	return gort_write(w.file[BULK], much, sizeof much);
}

static ssize_t call_write_some(void)
{
	return gort_write_some(w.file[CRAMMED], w.out, sizeof w.out);
}

static ssize_t call_writev(void)
{
	struct iovec iov[2] = { { w.out, 1000 }, { w.out, 1000 } };

	return gort_writev(w.file[FULL], iov, 2);
}

static ssize_t call_sendmsg(void)
{
	struct iovec iov = { w.out, 8 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	return gort_sendmsg(w.file[CRAMMED], &m, 0);
}

static ssize_t call_accept(void)
{
	gort_file *f;

	return gort_accept(w.file[LISTENER], &f);
}

static ssize_t call_copy_in(void)
{
	return gort_copy(w.regular, w.file[TCP], -1, NULL);
}

static ssize_t call_copy_pipe(void)
{
	return gort_copy(w.far[0], w.file[EMPTY], -1, NULL);
}

static ssize_t call_copy_packets(void)
{
	return gort_copy(w.far[0], w.file[PEER], -1, NULL);
}

static ssize_t call_copy_out(void)
{
	return gort_copy(w.file[CRAMMED], w.regular, -1, NULL);
}

static ssize_t call_copy_out_to_pipe(void)
{
	return gort_copy(w.file[FULL], w.regular, -1, NULL);
}

static ssize_t call_dial(void)
{
	gort_file *f;

	return gort_dial(&f, "tcp", w.deaf_at);
}

static ssize_t call_wait_fd(void)
{
	return gort_wait_fd(w.own[0], POLLIN, GORT_FOREVER);
}

static ssize_t call_wait_fd_of_file(void)
{
	return gort_wait_fd(gort_file_fd(w.file[TCP]), POLLIN, GORT_FOREVER);
}

static ssize_t call_select(void)
{
	gort_case cases[] = { GORT_CASE_FD(w.own[0], POLLIN), GORT_CASE_RECV(w.silent, NULL) };

	return gort_select(cases, 2, gort_in(LONG_TIME));
}

#define NO_FILE (-1)

static const struct blocked {
	const char *name;
	ssize_t (*make)(void);
	int file, side; /* that it waits for, or NO_FILE */
} calls[] = {
	{ "read", call_read, EMPTY, POLL_READ },
	{ "read_full", call_read_full, TCP, POLL_READ },
	{ "readv", call_readv, TCP, POLL_READ },
	{ "recvmsg", call_recvmsg, PEER, POLL_READ },
	{ "write", call_write, FULL, POLL_WRITE },
	{ "write of much", call_write_much, BULK, POLL_WRITE },
	{ "write_some", call_write_some, CRAMMED, POLL_WRITE },
	{ "writev", call_writev, FULL, POLL_WRITE },
	{ "sendmsg", call_sendmsg, CRAMMED, POLL_WRITE },
	{ "accept", call_accept, LISTENER, POLL_READ },
	{ "copy from a socket", call_copy_in, TCP, POLL_READ },
	{ "copy from a pipe", call_copy_pipe, EMPTY, POLL_READ },
	{ "copy of datagrams", call_copy_packets, PEER, POLL_READ },
	{ "copy to a socket", call_copy_out, CRAMMED, POLL_WRITE },
	{ "copy to a pipe", call_copy_out_to_pipe, FULL, POLL_WRITE },
	{ "dial", call_dial, NO_FILE, POLL_WRITE },
	{ "wait_fd", call_wait_fd, NO_FILE, 0 },
	{ "wait_fd of a file", call_wait_fd_of_file, NO_FILE, 0 },
	{ "select", call_select, NO_FILE, 0 },
};
#define CALLS (sizeof calls / sizeof calls[0])

/* ---- one that makes a call --------------------------------------------------------------------- */

static struct caller {
	const struct blocked *call;
	gort_ctx *ctx;
	int64_t own; /* deadline */
	ssize_t result;
	atomic_bool ended;
} one;

static void run_caller(void *arg)
{
	struct caller *c = arg;
	gort_ctx *before = NULL;

	if (c->ctx)
		before = gort_ctx_enter(c->ctx);
	gort_set_deadline(c->own);
	c->result = c->call->make();
	gort_set_deadline(GORT_FOREVER);
	if (c->ctx)
		gort_ctx_leave(before);
	atomic_store(&c->ended, true);
}

static bool waits(const struct blocked *call)
{
	return call->file == NO_FILE ? gort__netpoll_waits()
				     : waits_at(w.file[call->file], call->side);
}

static int soon(void)
{
	return (int)(2 * GORT_MS);
}

static void check_result(const char *how, int64_t expect)
{
	EVENTUALLY(atomic_load(&one.ended));
	if (one.result != expect)
		test_fail_(__FILE__, __LINE__, "%s, %s: %lld, not %lld", one.call->name, how,
			   (long long)one.result, (long long)expect);
}

enum how { BY_CLOSE, BY_FILE_DEADLINE, BY_PAST_DEADLINE, BY_CANCEL, BY_CTX_DEADLINE, BY_OWN, HOWS };
static const char *const how_names[] = { "close",  "deadline",           "past deadline",
					 "cancel", "context's deadline", "own deadline" };
static const int how_results[] = { -EBADF,     -ETIMEDOUT, -ETIMEDOUT,
				   -ECANCELED, -ETIMEDOUT, -ETIMEDOUT };

static void set_deadline(const struct blocked *call, int64_t deadline)
{
	gort_file *f = w.file[call->file];

	CHECK_EQ(call->side == POLL_READ ? gort_set_read_deadline(f, deadline)
					 : gort_set_write_deadline(f, deadline),
		 0);
}

static void end_it(enum how how)
{
	switch (how) {
	case BY_CLOSE: /* close_world is a holder, too */
		gort_file_retain(w.file[one.call->file]);
		CHECK_EQ(gort_close(w.file[one.call->file]), 0);
		break;
	case BY_FILE_DEADLINE:
		set_deadline(one.call, gort_in(soon()));
		break;
	case BY_PAST_DEADLINE:
		set_deadline(one.call, gort_now());
		break;
	case BY_CANCEL:
		gort_ctx_cancel(one.ctx, -EIO);
		break;
	default:
		break;
	}
}

/* Nothing is left of it, and the file is of use again. */
static void check_afterwards(enum how how)
{
	if (one.call->file == NO_FILE || how == BY_CLOSE)
		return;
	EVENTUALLY(is_at_rest(w.file[one.call->file]));
	if (how == BY_FILE_DEADLINE || how == BY_PAST_DEADLINE) {
		CHECK_EQ(one.call->make(), -ETIMEDOUT);
		set_deadline(one.call, GORT_FOREVER);
	}
	CHECK(!waits(one.call));
}

static void end_on_guest(void *arg)
{
	end_it((enum how)(intptr_t)arg);
}

static void try_one(const struct blocked *call, enum how how, bool guest, bool ender_is_guest)
{
	struct guest *g = NULL;

	if (call->file == NO_FILE && how <= BY_PAST_DEADLINE)
		return;
	one = (struct caller){ .call = call, .own = GORT_FOREVER };
	if (how == BY_CANCEL)
		one.ctx = gort_ctx_with_cancel(gort_ctx_background());
	else if (how == BY_CTX_DEADLINE)
		one.ctx = gort_ctx_with_deadline(gort_ctx_background(), gort_in(5 * soon()));
	else if (how == BY_OWN)
		one.own = gort_in(5 * soon());
	if (guest)
		g = guest_start(run_caller, &one);
	else
		CHECK_EQ(gort_go(run_caller, &one), 0);
	if (how < BY_CTX_DEADLINE)
		EVENTUALLY(waits(call));
	if (ender_is_guest)
		on_guest(end_on_guest, (void *)(intptr_t)how);
	else
		end_it(how);
	check_result(how_names[how], how_results[how]);
	if (g)
		guest_join(g);
	gort_ctx_release(one.ctx);
	check_afterwards(how);
}

static void try_all(enum how how)
{
	for (int guest = 0; guest < 2; guest++)
		for (int ender = 0; ender < 2; ender++) {
			if (how != BY_CLOSE)
				make_world();
			for (size_t i = 0; i < CALLS; i++) {
				if (how == BY_CLOSE)
					make_world();
				try_one(&calls[i], how, guest, ender);
				if (how == BY_CLOSE)
					close_world();
			}
			if (how != BY_CLOSE)
				close_world();
		}
}

// variants: maxprocs
TEST(close_ends_them)
{
	try_all(BY_CLOSE);
}

// variants: maxprocs
TEST(a_deadline_of_the_file_ends_them)
{
	try_all(BY_FILE_DEADLINE);
}

// variants: maxprocs
TEST(a_deadline_in_the_past_ends_them_at_once)
{
	try_all(BY_PAST_DEADLINE);
}

// variants: maxprocs
TEST(cancellation_ends_them)
{
	try_all(BY_CANCEL);
}

// variants: maxprocs
TEST(the_deadline_of_a_context_ends_them)
{
	try_all(BY_CTX_DEADLINE);
}

// variants: maxprocs
TEST(the_deadline_of_the_caller_ends_them)
{
	try_all(BY_OWN);
}

/* ---- before it begins --------------------------------------------------------------------------- */

static ssize_t make_under(const struct blocked *call, gort_ctx *ctx)
{
	gort_ctx *before = gort_ctx_enter(ctx);
	ssize_t result = call->make();

	gort_ctx_leave(before);
	return result;
}

static void check_ended_before(void *arg)
{
	gort_ctx *canceled = gort_ctx_with_cancel(gort_ctx_background());
	gort_ctx *late = gort_ctx_with_deadline(gort_ctx_background(), gort_now());

	(void)arg;
	gort_ctx_cancel(canceled, 0);
	for (size_t i = 0; i < CALLS; i++) {
		CHECK_EQ(make_under(&calls[i], canceled), -ECANCELED);
		CHECK_EQ(make_under(&calls[i], late), -ETIMEDOUT);
		gort_set_deadline(gort_now());
		CHECK_EQ(calls[i].make(), -ETIMEDOUT);
		gort_set_deadline(GORT_FOREVER);
	}
	gort_ctx_release(canceled);
	gort_ctx_release(late);
}

// variants: maxprocs
TEST(under_what_has_ended_nothing_begins)
{
	make_world();
	check_ended_before(NULL);
	on_guest(check_ended_before, NULL);
	close_world();
}

/* Even what could go on. */
static void check_ready_but_ended(void *arg)
{
	gort_ctx *canceled = gort_ctx_with_cancel(gort_ctx_background()), *before;
	gort_file *pair[2], *f;
	struct iovec iov = { w.buf, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	int64_t done = 77;

	(void)arg;
	tcp_pair(pair);
	CHECK_EQ(gort_write(pair[0], "x", 1), 1);
	EVENTUALLY(gort_wait_fd(gort_file_fd(pair[1]), POLLIN, GORT_NOW) == POLLIN);
	gort_ctx_cancel(canceled, 0);
	before = gort_ctx_enter(canceled);
	CHECK_EQ(gort_read(pair[1], w.buf, 1), -ECANCELED);
	CHECK_EQ(gort_read(pair[1], w.buf, 0), -ECANCELED);
	CHECK_EQ(gort_read_full(pair[1], w.buf, 1), -ECANCELED);
	CHECK_EQ(gort_readv(pair[1], &iov, 1), -ECANCELED);
	CHECK_EQ(gort_recvmsg(pair[1], &m, 0), -ECANCELED);
	CHECK_EQ(gort_write(pair[1], "y", 1), -ECANCELED);
	CHECK_EQ(gort_write(pair[1], "y", 0), -ECANCELED);
	CHECK_EQ(gort_writev(pair[1], &iov, 0), -ECANCELED);
	CHECK_EQ(gort_sendmsg(pair[1], &m, 0), -ECANCELED);
	CHECK_EQ(gort_pread(w.regular, w.buf, 1, 0), -ECANCELED);
	CHECK_EQ(gort_pwrite(w.regular, w.buf, 1, 0), -ECANCELED);
	CHECK_EQ(gort_fsync(w.regular), -ECANCELED);
	CHECK_EQ(gort_read(w.regular, w.buf, 1), -ECANCELED);
	CHECK_EQ(gort_copy(w.regular, pair[1], 1, &done), -ECANCELED);
	CHECK_EQ(done, 0);
	CHECK_EQ(gort_copy(w.regular, pair[1], 0, NULL), -ECANCELED);
	CHECK_EQ(gort_open(&f, "/dev/null", O_RDONLY, 0), -ECANCELED);
	CHECK_EQ(gort_wait_fd(gort_file_fd(pair[1]), POLLIN, GORT_NOW), -ECANCELED);
	CHECK_EQ(gort_shutdown(pair[0], SHUT_WR), 0);
	gort_ctx_leave(before);
	CHECK_EQ(gort_read_full(pair[1], w.buf, sizeof w.buf), 1);
	close_both(pair);
	gort_ctx_release(canceled);
}

TEST(nothing_is_done_under_what_has_ended_even_if_it_could)
{
	make_world();
	check_ready_but_ended(NULL);
	on_guest(check_ready_but_ended, NULL);
	close_world();
}

static void check_closed(void *arg)
{
	struct iovec iov = { w.buf, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	gort_file *f = arg, *other = w.regular, *none;
	char text[20];

	CHECK_EQ(gort_read(f, w.buf, 1), -EBADF);
	CHECK_EQ(gort_read(f, w.buf, 0), -EBADF);
	CHECK_EQ(gort_read_full(f, w.buf, 1), -EBADF);
	CHECK_EQ(gort_readv(f, &iov, 1), -EBADF);
	CHECK_EQ(gort_recvmsg(f, &m, 0), -EBADF);
	CHECK_EQ(gort_write(f, "y", 1), -EBADF);
	CHECK_EQ(gort_write_some(f, "y", 1), -EBADF);
	CHECK_EQ(gort_writev(f, &iov, 1), -EBADF);
	CHECK_EQ(gort_writev(f, &iov, 0), -EBADF);
	CHECK_EQ(gort_sendmsg(f, &m, 0), -EBADF);
	CHECK_EQ(gort_accept(f, &none), -EBADF);
	CHECK_EQ(gort_pread(f, w.buf, 1, 0), -EBADF);
	CHECK_EQ(gort_pwrite(f, w.buf, 1, 0), -EBADF);
	CHECK_EQ(gort_fsync(f), -EBADF);
	CHECK_EQ(gort_copy(f, other, -1, NULL), -EBADF);
	CHECK_EQ(gort_copy(other, f, -1, NULL), -EBADF);
	CHECK_EQ(gort_copy(other, f, 0, NULL), -EBADF);
	CHECK_EQ(gort_shutdown(f, SHUT_RDWR), -EBADF);
	CHECK_EQ(gort_set_read_deadline(f, GORT_FOREVER), -EBADF);
	CHECK_EQ(gort_set_write_deadline(f, gort_now()), -EBADF);
	CHECK_EQ(gort_local_address(f, text, sizeof text), -EBADF);
	CHECK_EQ(gort_peer_address(f, text, sizeof text), -EBADF);
	CHECK_EQ(gort_file_fd(f), -EBADF);
}

TEST(all_calls_on_what_is_closed)
{
	make_world();
	for (int i = 0; i < FILES; i++) {
		gort_file_retain(w.file[i]);
		CHECK_EQ(gort_close(w.file[i]), 0);
		check_closed(w.file[i]);
		on_guest(check_closed, w.file[i]);
		CHECK(is_at_rest(w.file[i]) ||
		      (load_relaxed(&w.file[i]->state) & 0xfffffffff) == 1);
	}
	for (int i = 0; i < FILES; i++) /* the last holder's, in close_world */
		CHECK_EQ(load_relaxed(&w.file[i]->state) >> 36, 1);
	close_world();
}

/* ---- at the gate: somebody else has the turn ----------------------------------------------------- */

static atomic_int gate_result;

static void read_behind(void *arg)
{
	char byte;

	atomic_store(&gate_result, (int)gort_read(arg, &byte, 1));
}

static void write_behind(void *arg)
{
	atomic_store(&gate_result, (int)gort_write(arg, "z", 1));
}

/* Somebody reads (writes), and somebody else wants to. */
static gort_file *make_gate(int side, bool guest, struct guest **g, gort_ctx *ctx)
{
	gort_func behind = side == POLL_READ ? read_behind : write_behind;
	gort_file *f = w.file[side == POLL_READ ? EMPTY : FULL];
	gort_ctx *before = gort_ctx_enter(ctx ? ctx : gort_ctx_background());

	one = (struct caller){ .call = &calls[side == POLL_READ ? 0 : 4], .own = GORT_FOREVER };
	atomic_store(&gate_result, 77);
	gort_ctx_leave(before);
	CHECK_EQ(gort_go(run_caller, &one), 0);
	EVENTUALLY(waits_at(f, side));
	before = gort_ctx_enter(ctx ? ctx : gort_ctx_background());
	if (guest)
		*g = guest_start(behind, f);
	else
		CHECK_EQ(gort_go(behind, f), 0);
	gort_ctx_leave(before);
	EVENTUALLY(waits_at_gate(f, side));
	return f;
}

static void release_first(int side)
{
	if (side == POLL_READ)
		CHECK_EQ(gort_write(w.other[0], "ab", 2), 2);
	else
		CHECK(gort_read(w.other[1], w.buf, sizeof w.buf) > 0);
}

static void check_gate(int side, bool guest)
{
	struct guest *g = NULL;
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background());
	gort_file *f;

	make_world(); /* canceled: the first does not notice */
	if (!guest) {
		f = make_gate(side, guest, &g, ctx);
		gort_ctx_cancel(ctx, 0);
		EVENTUALLY(atomic_load(&gate_result) == -ECANCELED);
		CHECK(!waits_at_gate(f, side));
		CHECK(waits_at(f, side));
		release_first(side);
		EVENTUALLY(is_at_rest(f));
		EVENTUALLY(atomic_load(&one.ended));
		CHECK(one.result > 0);
		close_world();
		make_world();
	}
	f = make_gate(side, guest, &g, NULL); /* a deadline: both */
	CHECK_EQ(side == POLL_READ ? gort_set_read_deadline(f, gort_in(LONG_TIME))
				   : gort_set_write_deadline(f, gort_in(LONG_TIME)),
		 0);
	EVENTUALLY(waits_at_gate(f, side) && waits_at(f, side));
	CHECK_EQ(side == POLL_READ ? gort_set_read_deadline(f, gort_in(GORT_MS))
				   : gort_set_write_deadline(f, gort_in(GORT_MS)),
		 0);
	EVENTUALLY(atomic_load(&gate_result) == -ETIMEDOUT);
	check_result("gate", -ETIMEDOUT);
	EVENTUALLY(is_at_rest(f));
	if (g)
		guest_join(g);
	close_world();
	make_world(); /* closed: both */
	f = make_gate(side, guest, &g, NULL);
	CHECK_EQ(gort_close(f), 0);
	EVENTUALLY(atomic_load(&gate_result) == -EBADF);
	check_result("gate", -EBADF);
	w.file[side == POLL_READ ? EMPTY : FULL] = scratch_file();
	if (g)
		guest_join(g);
	close_world();
	gort_ctx_release(ctx);
}

// variants: maxprocs
TEST(who_waits_for_the_turn)
{
	for (int i = 0; i < 4; i++)
		check_gate(i % 2, i / 2);
}

/* ---- the runtime's end ---------------------------------------------------------------------------- */

static struct caller many[CALLS * 2];

static void run_forever(void *arg)
{
	struct caller *c = arg;

	c->call->make();
	CHECK(false);
}

static int drop_them(void *arg)
{
	(void)arg;
	make_world();
	for (size_t i = 0; i < CALLS; i++) {
		many[i] = (struct caller){ .call = &calls[i], .own = GORT_FOREVER };
		CHECK_EQ(gort_go(run_forever, &many[i]), 0);
	}
	for (size_t i = 0; i < CALLS; i++)
		EVENTUALLY(waits(&calls[i]));
	EVENTUALLY(waits_at_gate(w.file[EMPTY], POLL_READ)); /* two read */
	EVENTUALLY(waits_at_gate(w.file[FULL], POLL_WRITE));
	EVENTUALLY(gate_length(w.file[TCP], POLL_READ) == 2);
	return 0;
}

static void drain(gort_file *f, int64_t n)
{
	static char buf[1 << 16];

	while (n > 0) {
		ssize_t got = gort_read(f, buf, n < (int64_t)sizeof buf ? (size_t)n : sizeof buf);

		CHECK(got > 0);
		n -= got;
	}
}

static void pass_byte(gort_file *to, gort_file *from)
{
	char byte = 0;

	CHECK_EQ(gort_write(to, "!", 1), 1);
	CHECK_EQ(gort_read(from, &byte, 1), 1);
	CHECK_EQ(byte, '!');
}

static int use_them_again(void *arg)
{
	gort_file *f;

	(void)arg;
	for (int i = 0; i < FILES; i++)
		CHECK(is_at_rest(w.file[i]));
	CHECK(is_at_rest(w.regular));
	CHECK(is_at_rest(w.far[0]));
	pass_byte(w.other[0], w.file[EMPTY]);
	pass_byte(w.far[0], w.file[TCP]);
	pass_byte(w.file[TCP], w.far[0]);
	pass_byte(w.null, w.file[PEER]);
	drain(w.other[1], 65536);
	pass_byte(w.file[FULL], w.other[1]);
	f = dial_to("tcp", w.file[LISTENER]);
	CHECK_EQ(gort_close(accepted(w.file[LISTENER])), 0);
	CHECK_EQ(gort_close(f), 0);
	close_world();
	return 0;
}

// variants: maxprocs
TEST_PLAIN(files_survive_goroutines_that_were_dropped_in_their_calls)
{
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(gort_run(drop_them, NULL, NULL), 0);
		CHECK_EQ(gort_run(use_them_again, NULL, NULL), 0);
	}
}

static int close_dropped(void *arg)
{
	(void)arg;
	close_world();
	return 0;
}

/* The descriptors go: the harness counts. */
// variants: maxprocs
TEST_PLAIN(descriptors_are_closed_after_goroutines_were_dropped)
{
	CHECK_EQ(gort_run(drop_them, NULL, NULL), 0);
	CHECK_EQ(gort_run(close_dropped, NULL, NULL), 0);
	CHECK_EQ(gort_run(drop_them, NULL, NULL), 0);
	close_world(); /* needs no runtime */
}

/* ---- guests when the runtime ends ------------------------------------------------------------------ */

static atomic_int guests_ended;

static void guest_until_the_end(void *arg)
{
	struct caller *c = arg;

	c->result = c->call->make();
	atomic_fetch_add(&guests_ended, 1);
}

// variants: maxprocs
TEST_PLAIN(guests_learn_that_the_runtime_has_ended)
{
	struct guest *g[CALLS];

	CHECK_EQ(gort_start(NULL), 0);
	make_world();
	for (size_t i = 0; i < CALLS; i++) {
		many[i] = (struct caller){ .call = &calls[i], .own = GORT_FOREVER };
		g[i] = guest_start(guest_until_the_end, &many[i]);
	}
	for (size_t i = 0; i < CALLS; i++)
		EVENTUALLY(waits(&calls[i]));
	EVENTUALLY(gate_length(w.file[TCP], POLL_READ) == 2);
	CHECK_EQ(gort_stop(), 0);
	for (size_t i = 0; i < CALLS; i++) {
		guest_join(g[i]);
		if (many[i].result != -ESRCH)
			test_fail_(__FILE__, __LINE__, "%s: %lld", many[i].call->name,
				   (long long)many[i].result);
	}
	CHECK_EQ(gort_read(w.file[EMPTY], w.buf, 1), -ESRCH);
	CHECK_EQ(gort_run(use_them_again, NULL, NULL), 0);
}
