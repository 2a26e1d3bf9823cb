/*
 * net_crowd.c - 10,000 connections at once, a goroutine reading from each end of each. Both ends are in
 * this process where it may have 20,000 descriptors; else a forked one, with a runtime of its own, has
 * the servers'. The two sides tell each other by a pipe how far they are, in either case.
 */
#include "io.h"

#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define CONNECTIONS SCALE(10000)
#define SPARE 200 /* descriptors of others */
#define DIALING 64

static gort_file *servers[10000]; /* as many as CONNECTIONS */
static gort_waitgroup serving, asking;
static gort_sem dialing = GORT_SEM_INIT(DIALING);
static atomic_int answered, ended, echoed;
static gort_chan *start, *finish; /* closed when all may go on */
static char address[64];
static int told[2]; /* the pipe: by the servers */

/* ---- the servers */

/* The client resets it in the end. */
static void echo(void *arg)
{
	char buf[64];
	ssize_t n;

	while ((n = gort_read(arg, buf, sizeof buf)) > 0) {
		CHECK_EQ(gort_write(arg, buf, (size_t)n), n);
		atomic_fetch_add(&answered, 1);
	}
	CHECK_EQ(n, -ECONNRESET);
	CHECK_EQ(gort_close(arg), 0);
	atomic_fetch_add(&ended, 1);
}

static bool all_wait(void)
{
	for (int i = 0; i < CONNECTIONS; i++)
		if (!waits_at(servers[i], POLL_READ))
			return false;
	return true;
}

static void tell(const char *text, size_t n)
{
	CHECK_EQ(write(told[1], text, n), n);
}

static int serve(void *arg)
{
	gort_file *l = listen_at("tcp", "127.0.0.1:0");

	(void)arg;
	CHECK(gort_local_address(l, address, sizeof address) > 0);
	tell(address, sizeof address);
	for (int i = 0; i < CONNECTIONS; i++) {
		servers[i] = accepted(l);
		CHECK_EQ(gort_waitgroup_go(&serving, echo, servers[i]), 0);
	}
	EVENTUALLY(all_wait());
	CHECK_EQ(atomic_load(&answered), 0); /* all are there, and silent */
	tell("!", 1);
	EVENTUALLY(atomic_load(&answered) == CONNECTIONS && all_wait());
	CHECK_EQ(atomic_load(&ended), 0);
	tell("!", 1);
	CHECK_EQ(gort_waitgroup_wait(&serving), 0);
	CHECK_EQ(atomic_load(&ended), CONNECTIONS);
	return gort_close(l);
}

/* ---- the clients */

/* As a peer that vanishes; and no port is kept for a minute. */
static void reset(gort_file *f)
{
	struct linger hard = { .l_onoff = 1 };

	CHECK_EQ(setsockopt(gort_file_fd(f), SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
	CHECK_EQ(gort_close(f), 0);
}

static void ask(gort_file *f)
{
	char text[32], got[32];
	int n = snprintf(text, sizeof text, "%p", (void *)f);

	CHECK_EQ(gort_write(f, text, (size_t)n), n);
	CHECK_EQ(gort_read_full(f, got, (size_t)n), n);
	CHECK(memcmp(text, got, (size_t)n) == 0);
	atomic_fetch_add(&echoed, 1);
}

static void client(void *arg)
{
	gort_file *f;

	(void)arg;
	CHECK_EQ(gort_sem_acquire(&dialing, 1), 0);
	CHECK_EQ(gort_dial(&f, "tcp", address), 0);
	gort_sem_release(&dialing, 1);
	CHECK_EQ(gort_chan_recv(start, NULL), -EPIPE);
	ask(f);
	CHECK_EQ(gort_chan_recv(finish, NULL), -EPIPE);
	reset(f);
}

static void hear(gort_file *f, void *buf, size_t n)
{
	CHECK_EQ(gort_read_full(f, buf, n), n); /* fewer: the servers have failed */
}

static int ask_all(void *arg)
{
	gort_file *f;
	char byte;

	(void)arg;
	start = gort_chan_make(0, 0);
	finish = gort_chan_make(0, 0);
	CHECK_EQ(gort_file_from_fd(&f, told[0]), 0);
	hear(f, address, sizeof address);
	for (int i = 0; i < CONNECTIONS; i++)
		CHECK_EQ(gort_waitgroup_go(&asking, client, NULL), 0);
	hear(f, &byte, 1);
	CHECK_EQ(gort_chan_close(start), 0);
	hear(f, &byte, 1);
	EVENTUALLY(atomic_load(&echoed) == CONNECTIONS);
	CHECK_EQ(gort_chan_close(finish), 0);
	CHECK_EQ(gort_waitgroup_wait(&asking), 0);
	gort_chan_release(start);
	gort_chan_release(finish);
	return gort_close(f);
}

/* ---- where they are */

static int both_here(void *arg)
{
	gort_task *t = gort_spawn(serve, NULL, NULL);
	int result;

	CHECK(t != NULL);
	CHECK_EQ(ask_all(arg), 0);
	CHECK_EQ(gort_join(t, &result), 0);
	return result;
}

static void run_apart(void)
{
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (pid == 0) {
		close(told[0]);
		_exit(gort_run(serve, NULL, NULL));
	}
	CHECK_EQ(close(told[1]), 0);
	CHECK_EQ(gort_run(ask_all, NULL, NULL), 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
}

/* The hard limit, too, where we may. */
static bool raise_descriptors(rlim_t need)
{
	struct rlimit r, more;

	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &r), 0);
	more = (struct rlimit){ need, r.rlim_max > need ? r.rlim_max : need };
	return r.rlim_cur >= need || setrlimit(RLIMIT_NOFILE, &more) == 0;
}

/* Each connection needs one of its own, and others are about. */
static int count_ports(void)
{
	FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
	int low, high, n = 0;

	if (f) {
		n = fscanf(f, "%d %d", &low, &high) == 2 ? high - low : 0;
		fclose(f);
	}
	return n;
}

// variants: maxprocs
TEST_PLAIN(ten_thousand_connections_at_once)
{
	if (count_ports() < CONNECTIONS * 3 / 2)
		SKIP("not as many ports as that are to be had");
	CHECK_EQ(pipe(told), 0);
	if (raise_descriptors(2 * CONNECTIONS + SPARE)) {
		CHECK_EQ(gort_run(both_here, NULL, NULL), 0);
		CHECK_EQ(close(told[1]), 0);
	} else if (raise_descriptors(CONNECTIONS + SPARE)) {
		run_apart();
	} else {
		SKIP("not as many descriptors as that are to be had");
	}
}
