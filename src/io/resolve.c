/*
 * resolve.c - gort_resolve: names of hosts and services, looked up in goroutines of their own.
 *
 * Who does that is the build's choice: c-ares (resolve_ares.c), which parks, or libc's getaddrinfo
 * (resolve_libc.c), which blocks for as long as the network likes and knows no cancellation. Both
 * read files, take locks of libc's and want a large stack. So they are user code to gort: a goroutine
 * (the job's) calls them, loses its P while it sleeps there (sched/handoff.c), and whoever asked waits
 * for the task's end as for any other. Who is cancelled goes at once, and cancels the job: that ends
 * at once, too, where it parks, and when getaddrinfo does otherwise.
 *
 *  1. A job has two references, its goroutine's and its asker's; the last frees it and what it
 *     found. Giving one up is an atomic step and free, and calls nothing of gort's. So a thread that
 *     the runtime's end has left behind, in getaddrinfo, does it, too, before it meets the end at its
 *     next call into gort.
 *  2. Each reference stands among its goroutine's defers, for a goroutine that the end drops: one
 *     that was never started, that waits for a place, or asked. (There free may be called: no
 *     goroutine is off its thread any more, so malloc's lock is released soon whoever has it.)
 *  3. The result is written before the task ends, and read after. A guest whose job the end has
 *     dropped is told by the task, whose end that is (-ECANCELED), and reads nothing.
 *  4. MOST_CALLS at once, so that a dead name server does not take all threads or descriptors. Places
 *     are counted for one life of the runtime: those who still hold one at its end never give it
 *     back (rt_enter does not return for them), nor do those who were given one and never came to
 *     use it; the first of the next life finds all of them free. So the threads left behind come
 *     on top, and a runtime is never short of places because of an earlier one. Only
 *     goroutines wait for a place, never their askers: a guest would be left in the queue.
 *  5. Order: the job's reference is given up before the place, since giving back a place may not
 *     return.
 *
 * places.lock (RANK_OBJECT) protects the places. A job belongs to its goroutine until that ends.
 *
 * Rejected: gort_sem for the places, which knows no lives; gort_blocking, which would hold its
 * caller till getaddrinfo returns; getaddrinfo_a, which has a thread for each and cannot be left
 * either.
 *
 * Callers: goroutines and guests, outside rt_enter and rt_leave.
 */
#include "io/resolve.h"
#include "sync/task.h"

#include <stdlib.h>
#include <string.h>

#define MOST_CALLS 64
#define JOB_STACK ((size_t)512 << 10)

struct job {
	uint32_t refs;      /* atomic */
	struct defer hold;  /* its goroutine's */
	struct query query; /* fixed; the strings lie in text */
	int err;            /* by its goroutine, till it ends: what the asker is told */
	struct found found; /* likewise */
	char text[];
};

/* ---- places (4) ------------------------------------------------------------------------------ */

static struct {
	struct lock lock;
	uint32_t life;      /* lock: of the runtime that taken and waiters belong to */
	uint32_t taken;     /* lock */
	struct waitq queue; /* lock */
} places = { .lock = LOCK_INIT(RANK_OBJECT) };

/* By a job's goroutine, whose task is cancelled when nobody asks any more. */
static int place_take(void)
{
	struct m *m = rt_enter();
	struct waiter w;
	int err = 0;

	lock_acquire(&places.lock);
	if (places.life != load_relaxed(&gort__sched.life)) {
		places.life = load_relaxed(&gort__sched.life);
		places.taken = 0;
	}
	if (places.taken < MOST_CALLS) {
		places.taken++;
		lock_release(&places.lock);
	} else {
		err = gort__wait(&w, &places.queue, &places.lock, GORT_FOREVER, WHY_RESOLVER,
				 WAIT_BACK);
	}
	rt_leave(m);
	return err;
}

/* It goes to who has waited longest. */
static void place_leave(void)
{
	struct m *m = rt_enter();
	struct waiter *w;

	lock_acquire(&places.lock);
	w = waitq_claim(&places.queue);
	if (w)
		w->status = 0;
	else
		places.taken--;
	lock_release(&places.lock);
	if (w)
		waiter_wake(m, w);
	rt_leave(m);
}

/* ---- a job ----------------------------------------------------------------------------------- */

static char *keep(char *at, const char *text, const char **kept)
{
	size_t n = text ? strlen(text) + 1 : 0;

	*kept = text ? memcpy(at, text, n) : NULL;
	return at + n;
}

static struct job *job_make(const struct query *q)
{
	size_t size = sizeof(struct job) + (q->host ? strlen(q->host) + 1 : 0) +
		(q->service ? strlen(q->service) + 1 : 0);
	struct job *j = malloc(size);

	if (!j)
		return NULL;
	*j = (struct job){ .refs = 1, .query = *q };
	keep(keep(j->text, q->host, &j->query.host), q->service, &j->query.service);
	return j;
}

/* Rules 1 and 2. */
static void job_release(void *arg)
{
	struct job *j = arg;

	if (sub_acq_rel(&j->refs, 1) != 1)
		return;
	free(j->found.addr);
	free(j);
}

/* ---- what is found --------------------------------------------------------------------------- */

int gort__found_room(struct found *f, size_t most)
{
	f->addr = calloc(most ? most : 1, sizeof *f->addr);
	return f->addr ? 0 : -ENOMEM;
}

static bool is_known(const struct found *f, const struct sockaddr *a, size_t len)
{
	for (size_t i = 0; i < f->count; i++)
		if (f->addr[i].len == len && memcmp(&f->addr[i].addr, a, len) == 0)
			return true;
	return false;
}

void gort__found_add(struct found *f, const struct sockaddr *a, size_t len)
{
	if ((a->sa_family != AF_INET && a->sa_family != AF_INET6) || is_known(f, a, len))
		return;
	f->addr[f->count] = (gort_addr){ .len = (socklen_t)len };
	memcpy(&f->addr[f->count++].addr, a, len);
}

/* Its goroutine. Rule 5. */
static int job_main(void *arg)
{
	struct job *j = arg;
	bool placed;

	j->err = place_take();
	placed = j->err == 0;
	if (placed) {
		j->err = gort__look_up(&j->query, &j->found);
		if (j->err == 0 && j->found.count == 0)
			j->err = -ENXIO;
	}
	gort__defer_end(gort__local(), &j->hold);
	if (placed)
		place_leave();
	return 0;
}

/* ---- asking ---------------------------------------------------------------------------------- */

/* The caller's context, or its own deadline, has ended. */
static int is_canceled(void)
{
	int64_t own = gort__local()->deadline;

	if (own && deadline_passed(own))
		return -ETIMEDOUT;
	return gort_ctx_err(gort_ctx_current());
}

/* The asker is one of these, which lies on its stack. */
struct asker {
	struct job *job;
	struct gort_task *task; /* the job's, or NULL: none yet, or let go; changes inside only */
	struct defer end;
};

/* Rule 2. Its task's last reference may be this one. */
static void asker_drop(void *arg)
{
	struct asker *a = arg;

	if (a->task)
		gort__task_unref(NULL, a->task);
	job_release(a->job);
}

static void asker_end(void *arg)
{
	struct asker *a = arg;

	job_release(a->job);
}

/* What it waits for is not the bubble's, and takes real time: it is no member, and nor is its task. */
static void leave_bubble(struct m *m, struct gort_task *t)
{
	if (!in_bubble(m))
		return;
	gort__bubble_quit(m, t->g);
	t->bubble = 0;
}

/* The job's goroutine is under the background context, and ends by its own time or by cancel. */
static int job_start(struct asker *a)
{
	static const gort_attr attr = { .name = "resolver", .stack_size = JOB_STACK };
	struct m *m = rt_enter_to_start();
	struct job *j = a->job;
	int err = -ESRCH;

	if (gort__running()) {
		a->task = gort__task_new(m, job_main, j, &attr, NULL);
		err = -ENOMEM;
	}
	if (a->task) {
		struct g *g = a->task->g;

		j->refs = 2;
		leave_bubble(m, a->task);
		gort__defer_push(&g->local, &j->hold, job_release, j);
		j->hold.drop = job_release;
		g->spawned_at = __builtin_return_address(0);
		gort__g_start(m, g);
		err = 0;
	}
	rt_leave(m);
	return err;
}

/* As gort_join, or gort_detach if it has not ended; but a is never left with a task that is gone. */
static int task_let_go(struct asker *a)
{
	struct m *m = rt_enter();
	int err = gort__task_ended(a->task) ? a->task->err : 0;

	gort__task_unref(m, a->task);
	a->task = NULL;
	rt_leave(m);
	return err;
}

/* Rule 3. */
static int job_await(struct asker *a)
{
	gort_case ended;
	int err = job_start(a);

	if (err < 0)
		return err;
	ended = GORT_CASE_TASK(a->task);
	err = gort_select(&ended, 1, GORT_FOREVER);
	if (err < 0) {
		gort_task_cancel(a->task, 0);
		task_let_go(a);
		return err;
	}
	err = task_let_go(a);
	if (err < 0)
		return err == -ECANCELED ? err : -EREMOTEIO;
	return a->job->err;
}

static int look_up(const struct query *q, gort_addr **out, size_t *count)
{
	struct asker a = { .task = NULL };
	int err = gort__forked ? -ESRCH : is_canceled();

	if (err < 0)
		return err;
	a.job = job_make(q);
	if (!a.job)
		return -ENOMEM;
	gort__defer_push(gort__local(), &a.end, asker_end, &a);
	a.end.drop = asker_drop;
	err = job_await(&a);
	if (err == 0) {
		*out = a.job->found.addr;
		*count = a.job->found.count;
		a.job->found.addr = NULL;
	}
	gort__defer_end(gort__local(), &a.end);
	return err;
}

/* ---- what is known without asking ------------------------------------------------------------ */

struct known {
	gort_addr addr[2];
	size_t count; /* 0: the host is a name */
	uint32_t port;
	bool has_port; /* false: the service is a name */
};

static int know_host(struct known *k, const struct query *q)
{
	gort_addr all[2];
	int n;

	if (q->host && *q->host) {
		n = gort__literal(q->host, &all[0]);
	} else {
		n = 2;
		gort__literal("127.0.0.1", &all[0]);
		gort__literal("::1", &all[1]);
	}
	for (int i = 0; i < n; i++)
		if (q->family == AF_UNSPEC || q->family == all[i].addr.ss_family)
			k->addr[k->count++] = all[i];
	if (n <= 0)
		return n;
	return k->count ? 0 : -ENXIO;
}

/* strtoul, by which getaddrinfo reads numbers, takes blanks and signs as well. */
static int know_port(struct known *k, const char *service)
{
	int is = 1;

	if (service && *service) {
		if (strchr(" \t\n\v\f\r+-", *service) || strlen(service) > NAME_MOST)
			return -EINVAL;
		is = gort__number(service, UINT16_MAX, &k->port);
	}
	k->has_port = is == 1;
	return is < 0 ? is : 0;
}

static int give_known(const struct known *k, gort_addr **out, size_t *count)
{
	gort_addr *all = malloc(k->count * sizeof *all);

	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < k->count; i++) {
		all[i] = k->addr[i];
		gort__port_set(&all[i], (uint16_t)k->port);
	}
	*out = all;
	*count = k->count;
	return 0;
}

static int find_hosts(const struct query *q, const struct known *k, gort_addr **out, size_t *count)
{
	struct query names = *q;
	int err;

	if (k->has_port)
		names.service = NULL;
	err = look_up(&names, out, count);
	for (size_t i = 0; err == 0 && k->has_port && i < *count; i++)
		gort__port_set(&(*out)[i], (uint16_t)k->port);
	return err;
}

static int find_port(const struct query *q, struct known *k)
{
	struct query service = *q;
	gort_addr *all;
	size_t n;
	int err;

	service.host = NULL;
	err = look_up(&service, &all, &n);
	if (err != 0)
		return err;
	k->port = gort__port(&all[0]);
	free(all);
	return 0;
}

int gort__resolve(const struct query *q, gort_addr **out, size_t *count)
{
	struct known k = { .count = 0 };
	int err = know_port(&k, q->service);

	if (err == 0)
		err = know_host(&k, q);
	if (err < 0)
		return err;
	if (k.count == 0)
		return find_hosts(q, &k, out, count);
	if (!k.has_port)
		err = find_port(q, &k);
	return err < 0 ? err : give_known(&k, out, count);
}

GORT_API int gort_resolve(const char *host, const char *service, gort_addr **out, size_t *count)
{
	struct query q = { host, service, AF_UNSPEC, SOCK_STREAM };

	if (!out || !count)
		gort__misuse("gort_resolve", "no room for the addresses");
	if (!(host && *host) && !(service && *service))
		return -EINVAL;
	return gort__resolve(&q, out, count);
}
