/*
 * curl.c - libcurl in goroutines: its blocking calls, each of which has a thread while it waits, and
 * its event-driven ones, by one goroutine and no thread.
 */
#include "hogs.h"
#include "http.h"
#include "threads.h"

#include <curl/curl.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#define MANY SCALE(1000)

/* A transfer, and what has come of its body. */
struct transfer {
	CURL *easy;
	char url[96];
	int number;
	size_t got;
	bool wrong, done;
	gort_waitgroup *ended;
};

static size_t body_came(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;

	for (size_t i = 0; i < size * n; i++, t->got++)
		t->wrong |= data[i] != body_byte(t->number, t->got);
	return size * n;
}

static void transfer_open(struct transfer *t, const struct http *server, const char *path)
{
	snprintf(t->url, sizeof t->url, "http://%s/%s", server->address, path);
	CHECK((t->easy = curl_easy_init()) != NULL);
	CHECK_EQ(curl_easy_setopt(t->easy, CURLOPT_URL, t->url), CURLE_OK);
	CHECK_EQ(curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L), CURLE_OK); /* it has threads */
	CHECK_EQ(curl_easy_setopt(t->easy, CURLOPT_NOPROXY, "*"), CURLE_OK);
	CHECK_EQ(curl_easy_setopt(t->easy, CURLOPT_TIMEOUT, 60L * TEST_SCALE), CURLE_OK);
	CHECK_EQ(curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, body_came), CURLE_OK);
	CHECK_EQ(curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t), CURLE_OK);
	CHECK_EQ(curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t), CURLE_OK);
}

static void transfer_number(struct transfer *t, const struct http *server, int number)
{
	char path[16];

	*t = (struct transfer){ .number = number };
	snprintf(path, sizeof path, "%d", number);
	transfer_open(t, server, path);
}

static void transfer_check(struct transfer *t, CURLcode result)
{
	long status = 0;

	if (result != CURLE_OK)
		test_fail_(__FILE__, __LINE__, "%s: %s", t->url, curl_easy_strerror(result));
	CHECK_EQ(curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status), CURLE_OK);
	CHECK_EQ(status, 200);
	CHECK_EQ(t->got, body_size(t->number));
	CHECK(!t->wrong);
	t->done = true;
}

/* So many connections, both ends of each here, and as many descriptors of curl's own. When the kernel
 * enlarges the table that threads share, all that open one meanwhile sleep for milliseconds, each with
 * a thread of its own: it is large from the start. */
static void need_descriptors(void)
{
	struct rlimit r;

	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &r), 0);
	if (r.rlim_cur < (rlim_t)MANY * 5 + 100) {
		r.rlim_cur = (rlim_t)MANY * 5 + 100;
		if (setrlimit(RLIMIT_NOFILE, &r) != 0)
			SKIP("too few descriptors");
	}
	CHECK_EQ(dup2(STDERR_FILENO, MANY * 5 + 50), MANY * 5 + 50);
	close(MANY * 5 + 50);
}

static struct transfer *curl_start(struct http *server, int hold)
{
	struct transfer *all = calloc((size_t)MANY, sizeof *all);

	CHECK(all != NULL);
	need_descriptors();
	CHECK_EQ(curl_global_init(CURL_GLOBAL_ALL), CURLE_OK);
	http_start(server, hold);
	return all;
}

static void curl_stop(struct http *server, struct transfer *all)
{
	http_stop(server);
	free(all);
	curl_global_cleanup();
}

/* ---- blocking */

static void perform(void *arg)
{
	struct transfer *t = arg;

	transfer_check(t, curl_easy_perform(t->easy));
	curl_easy_cleanup(t->easy);
}

static void perform_all(struct transfer *all, struct http *server)
{
	gort_waitgroup ended = { 0 };

	for (int i = 0; i < MANY; i++) {
		transfer_number(&all[i], server, i);
		CHECK_EQ(gort_waitgroup_go(&ended, perform, &all[i]), 0);
	}
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	for (int i = 0; i < MANY; i++)
		CHECK(all[i].done);
}

/* The server answers nobody before all have asked. */
TEST(a_thousand_block_in_easy_perform_at_once)
{
	struct http server;
	struct transfer *all = curl_start(&server, MANY);

	perform_all(all, &server);
	CHECK_EQ(server.requests, MANY);
	curl_stop(&server, all);
}

// variants: maxprocs
TEST(easy_perform_beside_hogs)
{
	struct http server;
	struct transfer *all = curl_start(&server, 0);
	struct hogs hogs = { 0 };

	hogs_start(&hogs, 2);
	for (int i = 0; i < MANY / 10; i++) {
		transfer_number(&all[i], &server, i);
		perform(&all[i]);
	}
	hogs_stop(&hogs);
	curl_stop(&server, all);
}

/* By name: curl has a thread of its own look it up, and waits for that. */
TEST(names_are_looked_up_by_threads_of_curl)
{
	struct http server;
	struct transfer *all = curl_start(&server, 0);
	const char *port = strrchr(server.address, ':');
	gort_waitgroup ended = { 0 };
	struct hogs hogs = { 0 };

	hogs_start(&hogs, 2);
	for (int i = 0; i < MANY / 10; i++) {
		transfer_number(&all[i], &server, i);
		snprintf(all[i].url, sizeof all[i].url, "http://localhost%s/%d", port, i);
		CHECK_EQ(curl_easy_setopt(all[i].easy, CURLOPT_URL, all[i].url), CURLE_OK);
		CHECK_EQ(curl_easy_setopt(all[i].easy, CURLOPT_IPRESOLVE, CURL_IPRESOLVE_V4),
			 CURLE_OK);
		CHECK_EQ(gort_waitgroup_go(&ended, perform, &all[i]), 0);
	}
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	hogs_stop(&hogs);
	CHECK_EQ(server.requests, MANY / 10);
	curl_stop(&server, all);
}

/* ---- by events: curl says which sockets it waits for, and until when */

struct loop {
	CURLM *multi;
	gort_case *cases; /* the first is the time */
	size_t n;
	size_t *place; /* by descriptor: which case; 0: none */
	int running, ended;
};

#define FDS 65536

static int events_of(int what)
{
	return (what & CURL_POLL_IN ? POLLIN : 0) | (what & CURL_POLL_OUT ? POLLOUT : 0);
}

static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct loop *l = arg;
	size_t *at = &l->place[fd];

	(void)easy, (void)socket_arg;
	if (what != CURL_POLL_REMOVE) {
		if (!*at)
			*at = l->n++;
		CHECK(l->n <= (size_t)MANY * 2 + 10);
		l->cases[*at] = GORT_CASE_FD(fd, events_of(what));
	} else if (*at) {
		l->cases[*at] = l->cases[--l->n];
		l->place[l->cases[*at].fd] = *at;
		*at = 0;
	}
	return 0;
}

static int timer_wanted(CURLM *multi, long ms, void *arg)
{
	struct loop *l = arg;

	(void)multi;
	l->cases[0] = GORT_CASE_TIME(ms < 0 ? GORT_FOREVER : gort_in(ms * GORT_MS));
	return 0;
}

static void loop_open(struct loop *l)
{
	*l = (struct loop){ .n = 1 };
	CHECK((l->multi = curl_multi_init()) != NULL);
	CHECK((l->cases = calloc((size_t)MANY * 2 + 10, sizeof *l->cases)) != NULL);
	CHECK((l->place = calloc(FDS, sizeof *l->place)) != NULL);
	l->cases[0] = GORT_CASE_TIME(GORT_FOREVER);
	CHECK_EQ(curl_multi_setopt(l->multi, CURLMOPT_SOCKETFUNCTION, socket_wanted), CURLM_OK);
	CHECK_EQ(curl_multi_setopt(l->multi, CURLMOPT_SOCKETDATA, l), CURLM_OK);
	CHECK_EQ(curl_multi_setopt(l->multi, CURLMOPT_TIMERFUNCTION, timer_wanted), CURLM_OK);
	CHECK_EQ(curl_multi_setopt(l->multi, CURLMOPT_TIMERDATA, l), CURLM_OK);
}

static void loop_close(struct loop *l)
{
	CHECK_EQ(curl_multi_cleanup(l->multi), CURLM_OK);
	free(l->cases);
	free(l->place);
}

/* What has ended leaves. */
static void loop_reap(struct loop *l)
{
	struct transfer *t;
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(l->multi, &left)) != NULL) {
		CURL *easy = msg->easy_handle;

		CHECK_EQ(msg->msg, CURLMSG_DONE);
		CHECK_EQ(curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t), CURLE_OK);
		transfer_check(t, msg->data.result);
		CHECK_EQ(curl_multi_remove_handle(l->multi, easy), CURLM_OK);
		curl_easy_cleanup(easy);
		l->ended++;
	}
}

/* A few, and one for each time that a thread slept in the kernel after all or had to wait for its turn:
 * where the machine is loaded, who opens a socket may have to wait for a lock there. */
static void check_few_threads(void)
{
	gort_stats s;

	gort_read_stats(&s, sizeof s);
	CHECK(s.threads <= s.procs + 8 + s.retakes + s.preemptions);
}

static void loop_act(struct loop *l, curl_socket_t fd, int status)
{
	int mask = (status & POLLIN ? CURL_CSELECT_IN : 0) |
		(status & POLLOUT ? CURL_CSELECT_OUT : 0) |
		(status & (POLLERR | POLLHUP) ? CURL_CSELECT_ERR : 0);

	CHECK_EQ(curl_multi_socket_action(l->multi, fd, mask, &l->running), CURLM_OK);
	loop_reap(l);
	check_few_threads();
}

/* Until no transfer is left: 0, or what ended the wait. */
static int loop_run(struct loop *l)
{
	loop_act(l, CURL_SOCKET_TIMEOUT, 0);
	while (l->running) {
		int i = gort_select(l->cases, l->n, GORT_FOREVER);

		if (i < 0)
			return i;
		if (i > 0) {
			loop_act(l, l->cases[i].fd, l->cases[i].status);
			continue;
		}
		l->cases[0] = GORT_CASE_TIME(GORT_FOREVER);
		loop_act(l, CURL_SOCKET_TIMEOUT, 0);
	}
	return 0;
}

static void loop_add(struct loop *l, struct transfer *t)
{
	CHECK_EQ(curl_multi_add_handle(l->multi, t->easy), CURLM_OK);
}

// variants: maxprocs
TEST(one_goroutine_drives_a_thousand_transfers)
{
	struct http server;
	struct transfer *all = curl_start(&server, MANY);
	struct loop loop;

	loop_open(&loop);
	for (int i = 0; i < MANY; i++) {
		transfer_number(&all[i], &server, i);
		loop_add(&loop, &all[i]);
	}
	CHECK_EQ(loop_run(&loop), 0);
	CHECK_EQ(loop.ended, MANY);
	CHECK_EQ(server.requests, MANY);
	loop_close(&loop);
	curl_stop(&server, all);
}

struct canceller {
	struct http *server;
	gort_ctx *ctx;
};

static void cancel_when_all_wait(void *arg)
{
	struct canceller *c = arg;

	EVENTUALLY(atomic_load(&c->server->requests) == MANY);
	EVENTUALLY(no_thread_is_kept());
	gort_ctx_cancel(c->ctx, -ESTALE);
}

/* Transfers that never end; afterwards the same handle goes on with others. */
TEST(a_context_ends_the_loop)
{
	struct http server;
	struct transfer *all = curl_start(&server, MANY);
	struct canceller c = { &server, gort_ctx_with_cancel(gort_ctx_background()) };
	gort_ctx *before = gort_ctx_enter(c.ctx);
	gort_waitgroup ended = { 0 };
	struct loop loop;

	loop_open(&loop);
	for (int i = 0; i < MANY; i++) {
		transfer_open(&all[i], &server, "never");
		loop_add(&loop, &all[i]);
	}
	gort_ctx *mine = gort_ctx_enter(gort_ctx_background());
	CHECK_EQ(gort_waitgroup_go(&ended, cancel_when_all_wait, &c), 0);
	gort_ctx_leave(mine);
	CHECK_EQ(loop_run(&loop), -ECANCELED);
	CHECK_EQ(gort_ctx_cause(c.ctx), -ESTALE);
	CHECK_EQ(loop.running, MANY);
	gort_ctx_leave(before);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);

	for (int i = 0; i < MANY; i++) {
		CHECK_EQ(curl_multi_remove_handle(loop.multi, all[i].easy), CURLM_OK);
		curl_easy_cleanup(all[i].easy);
	}
	transfer_number(&all[0], &server, 5);
	loop_add(&loop, &all[0]);
	CHECK_EQ(loop_run(&loop), 0);
	CHECK(all[0].done);
	loop_close(&loop);
	gort_ctx_release(c.ctx);
	curl_stop(&server, all);
}
