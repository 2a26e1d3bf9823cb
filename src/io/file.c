/*
 * file.c - gort_file: who may use a descriptor, whose turn it is, and when it is closed.
 *
 * state, one word, changed by CAS:
 *
 *     63 ........ 36 35 ......... 8   4       3        2      1      0
 *     holders        uses             CROWD_W CROWD_R  TURN_W TURN_R CLOSED
 *
 *  1. Every call is a use. The descriptor is open as long as there is one, or until CLOSED is set:
 *     so its number is nobody else's while a call uses it. No use begins once CLOSED is set; who
 *     ends the last one then closes the descriptor, and only that one does.
 *  2. At each side, reading and writing, one call has the turn, from its first step to its last,
 *     waits in between included: whole writes do not mix, and netpoll's ready speaks to one. Who
 *     finds the turn taken sets CROWD and waits at the gate, both under the lock; who ends a turn
 *     and finds CROWD passes it on to the first there, under the lock.
 *  3. The slot is freed when CLOSED is set and neither holders nor uses are left.
 *  4. Closing sets CLOSED, then ends all waits and gates (gort__poll_end): who waits gets -EBADF,
 *     who is about to is told by poll.ended under the lock.
 *
 * The descriptor itself is closed outside gort: close(2) may take its time (SO_LINGER, NFS).
 *
 * Calls on sockets and pipes are made inside gort: they do not sleep. Others are made as user code: they
 * may sleep in the kernel, and their P is taken meanwhile (handoff.c), or wait for a disk (plain.c); then
 * neither closing nor a deadline ends them. Of terminals, and of what gort_std lends, one asks first (poll), so that
 * they sleep only if somebody else was faster.
 *
 * A short read of a TCP socket has got all there was (epoll(7) says so): the next one waits for an
 * event at once (dry), without asking in vain. What ends a stream, or lies beside it, sets hung, and
 * then it is asked always. Where others know the descriptor it might be anything (kernel TLS):
 * not there.
 *
 * Callers: goroutines and guests, from user code.
 */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLOSED UINT64_C(1)
#define TURN(side) (UINT64_C(2) << (side))
#define CROWD(side) (UINT64_C(8) << (side))
#define USE (UINT64_C(1) << 8)
#define USES UINT64_C(0xfffffff00) /* 268 million: more stacks than there is memory for */
#define HOLDER (UINT64_C(1) << 36)

/* A waiter's since: its call, and in the bits below the side, and whether it is at the gate, or elsewhere
 * without a turn. */
#define SIDE 1
#define AT_GATE 2

/* ---- uses and turns -------------------------------------------------------------------------- */

static inline uint64_t bit_of_turn(int side)
{
	return side < 0 ? 0 : TURN(side);
}

/* The caller's is the last use, and there will be no other (1): the descriptor is the caller's. */
static inline bool is_last(uint64_t state)
{
	return state & CLOSED && (state & USES) == USE;
}

/* Give a use up, which is not the last, and the turn with it. False: it must not be done so. */
static inline bool leave(struct gort_file *f, uint64_t turn)
{
	uint64_t s = load_relaxed(&f->state), crowd = turn << 2;

	while (likely(!(s & crowd)) && likely(!is_last(s)))
		if (likely(cas_acq_rel(&f->state, &s, (s & ~turn) - USE)))
			return true;
	return false;
}

/* Rule 2. */
static void pass_turn(struct m *m, struct gort_file *f, int side)
{
	struct waitq *gate = &f->poll.side[side].gate;
	struct glist woken = { 0 };
	struct waiter *w;

	lock_acquire(&f->poll.lock);
	w = waitq_claim(gate);
	if (!gate->head)
		and_acq_rel(&f->state, ~(CROWD(side) | (w ? 0 : TURN(side))));
	if (w)
		waiter_end(w, GATE_PASSED, &woken);
	lock_release(&f->poll.lock);
	gort__ready_list(m, &woken);
}

/* As rt_leave_here; who may only finish does that, and stops when it comes again. */
static void leave_gort(struct m *m)
{
	if (likely(!m_stops(m))) {
		rt_leave_here(m);
		return;
	}
	gort__guest_leave();
	store_release(&m_self()->in_rt, 0);
}

/* Who is in user code when the runtime ends has to give its use back: so it is not preempted there, and
 * comes back as one who may only finish (rt_enter_midway). */
void gort__file_step_out(struct m *m)
{
	if (m_self())
		m_self()->g->preempt_off++;
	leave_gort(m);
}

struct m *gort__file_step_in(void)
{
	struct m *m = rt_enter_midway();

	if (m_self())
		m_self()->g->preempt_off--;
	return m;
}

/* After the descriptor was closed, the last use ends, and the turn that it has. */
static void finish(struct gort_file *f, uint64_t turn)
{
	if (sub_acq_rel(&f->state, USE + turn) - (USE + turn) == CLOSED)
		gort__poll_free(&f->poll);
}

/* As leave, and who waits for the turn gets it: then *side < 0. False: it is the last use. */
static bool leave_or_pass(struct m *m, struct gort_file *f, int *side)
{
	while (!leave(f, bit_of_turn(*side))) {
		uint64_t s = load_acquire(
			&f->state); /* of all other uses, if they have ended: meets leave */

		if (*side < 0 || !(s & CROWD(*side)))
			return false;
		pass_turn(m, f, *side);
		*side = -1;
	}
	return true;
}

/* In gort, on m (NULL also: midway); out of it on return. side < 0: no turn. */
static noinline void leave_slowly(struct m *m, struct gort_file *f, int side)
{
	int fd = f->poll.fd;

	if (leave_or_pass(m, f, &side)) {
		leave_gort(m);
		return;
	}
	gort__poll_forget(&f->poll);
	gort__file_step_out(m);
	os_fd_close(fd);
	m = gort__file_step_in();
	finish(f, bit_of_turn(side));
	leave_gort(m);
}

static int begin_use(struct gort_file *f)
{
	uint64_t s = load_relaxed(&f->state);

	do
		if (s & CLOSED)
			return -EBADF;
	while (!cas_acquire(&f->state, &s, s + USE));
	return 0;
}

/* Under the lock, with a use: 0, it is the caller's turn; -EAGAIN: the gate knows that one waits. */
static int take_turn(struct gort_file *f, int side)
{
	uint64_t s = load_relaxed(&f->state), to;

	do {
		if (s & CLOSED)
			return -EBADF;
		to = s | (s & TURN(side) ? CROWD(side) : TURN(side));
	} while (!cas_acq_rel(&f->state, &s, to));
	return s & TURN(side) ? -EAGAIN : 0;
}

int64_t gort__file_waits(const struct call *c)
{
	return (int64_t)(uintptr_t)c | (c->side < 0 ? AT_GATE : c->side);
}

static int wait_for_turn(struct gort_file *f, const struct call *c)
{
	struct pollside *s = &f->poll.side[c->side];
	struct waiter w = { .elem = f, .since = gort__file_waits(c) | AT_GATE };
	int64_t deadline;
	int err;

	do {
		lock_acquire(&f->poll.lock);
		deadline = load_relaxed(&s->deadline);
		err = take_turn(f, c->side);
		if (err == -EAGAIN)
			err = gort__wait(&w, &s->gate, &f->poll.lock, deadline, c->why, WAIT_BACK);
		else
			lock_release(&f->poll.lock);
	} while (err == GATE_LOOK_AGAIN);
	return err;
}

/* Out of gort if it fails. m: as rt_enter gave it. */
static noinline int begin_slowly(struct m *m, struct gort_file *f, const struct call *c)
{
	int err = begin_use(f);

	if (err < 0) {
		rt_leave_here(m);
		return err;
	}
	err = wait_for_turn(f, c);
	if (err < 0)
		leave_slowly(m_self(), f, -1);
	return err;
}

static noinline struct m *enter_or_drop(const struct call *c)
{
	struct m *m = rt_enter_midway();

	if (m_stops(m)) {
		c->drop(c->of);
		rt_leave_midway(m); /* does not come back */
	}
	return m;
}

static inline int may_begin(struct m *m)
{
	return likely(gort__running()) ? gort__wait_over(m) : -ESRCH;
}

int gort__file_begin(struct gort_file *f, struct call *c, const char *name)
{
	struct m *m;
	uint64_t s;
	int err;

	if (unlikely(!f))
		gort__misuse(name, "no file");
	m = likely(!c->drop) ? rt_enter() : enter_or_drop(c);
	err = may_begin(m);
	if (unlikely(err < 0)) {
		rt_leave_here(m);
		return err;
	}
	s = load_relaxed(&f->state);
	if (unlikely(s & (CLOSED | TURN(c->side))) ||
	    unlikely(!cas_acquire(&f->state, &s, (s | TURN(c->side)) + USE)))
		return begin_slowly(m, f, c);
	return 0;
}

ssize_t gort__file_end(struct gort_file *f, int side, ssize_t result)
{
	struct m *m = m_self();

	if (likely(leave(f, TURN(side))))
		rt_leave_here(m);
	else
		leave_slowly(m, f, side);
	return result;
}

static inline ssize_t try_quietly(struct gort_file *f, struct call *c)
{
	struct quiet q;
	ssize_t result;

	if (likely(!c->sigpipe))
		return c->try(f, c);
	gort__quiet_begin(&q);
	result = c->try(f, c);
	gort__quiet_end(&q, result == -EPIPE || (result >= 0 && (size_t)result < c->n));
	return result;
}

/* As user code: it may sleep. */
static noinline ssize_t try_outside(struct gort_file *f, struct call *c)
{
	struct m *m = m_self();
	ssize_t result;

	gort__file_step_out(m);
	result = try_quietly(f, c);
	m = gort__file_step_in();
	if (m_stops(m)) {
		if (c->drop)
			c->drop(c->of);
		leave_slowly(m, f, c->side);
		rt_enter(); /* does not come back */
	}
	return result;
}

static inline ssize_t try_now(struct gort_file *f, struct call *c)
{
	return likely(f->kind <= FILE_OTHER && !c->outside) ? try_quietly(f, c) : try_outside(f, c);
}

/* A plain thread may be cancelled where it calls the system (pthread_cancel): not here, with a turn. */
static noinline ssize_t try_as_guest(struct gort_file *f, struct call *c)
{
	int cancel = os_cancel_off();
	ssize_t result = try_now(f, c);

	os_cancel_back(cancel);
	return result;
}

static int wait_until_ready(struct gort_file *f, struct call *c)
{
	int err = unlikely(f->lent) ? gort__poll_register_again(&f->poll)
				    : gort__poll_register(&f->poll);

	if (err == 0)
		err = gort__poll_wait(&f->poll, c->side, gort__file_waits(c), c->why);
	return err == -EPERM ? -EAGAIN : err; /* always ready, and yet it said so */
}

/* It would wait, as the one before has found. */
static inline bool is_dry(struct gort_file *f, const struct call *c)
{
	return c->side == POLL_READ && c->n && f->dry &&
		!load_relaxed(&f->poll.side[POLL_READ].ready) && !load_relaxed(&f->poll.hung);
}

ssize_t gort__file_perform(struct gort_file *f, struct call *c)
{
	struct pollside *s = &f->poll.side[c->side];
	ssize_t result;
	int64_t deadline;

	do {
		if (unlikely(load_relaxed(&f->state) & CLOSED))
			return -EBADF;
		deadline = load_relaxed(&s->deadline);
		if (unlikely(deadline != GORT_FOREVER) && deadline <= rt_now())
			return -ETIMEDOUT;
		if (!is_dry(f, c)) {
			poll_begins(s);
			result = likely(m_self() != NULL) ? try_now(f, c) : try_as_guest(f, c);
			if (result != -EAGAIN)
				return result;
		}
		result = wait_until_ready(f, c);
	} while (result == 0);
	return result;
}

ssize_t gort__file_call(struct gort_file *f, struct call *c, const char *name)
{
	int err = gort__file_begin(f, c, name);

	return err < 0 ? err : gort__file_end(f, c->side, gort__file_perform(f, c));
}

int gort__file_use_first(struct gort_file *f, const char *name)
{
	struct m *m;
	int err;

	if (unlikely(!f))
		gort__misuse(name, "no file");
	m = rt_enter();
	err = may_begin(m);
	if (likely(err == 0))
		err = begin_use(f);
	if (likely(err == 0))
		gort__file_step_out(m);
	else
		rt_leave_here(m);
	return err;
}

int gort__file_use(struct gort_file *f, const char *name)
{
	struct m *m;
	int err;

	if (unlikely(!f))
		gort__misuse(name, "no file");
	m = rt_enter_midway(); /* it may be inside another call */
	err = begin_use(f);
	if (err == 0)
		gort__file_step_out(m);
	else
		leave_gort(m);
	return err;
}

void gort__file_unuse(struct gort_file *f)
{
	struct m *m = gort__file_step_in();

	if (leave(f, 0))
		leave_gort(m);
	else
		leave_slowly(m, f, -1);
}

int gort__file_may_begin(void)
{
	struct m *m = rt_enter();
	int err = may_begin(m);

	rt_leave_here(m);
	return err;
}

/* No M and no guest is inside: guests alone wait at gates. */
void gort__file_forsake(struct waiter *w)
{
	const struct call *c = (const struct call *)(uintptr_t)(w->since & ~(SIDE | AT_GATE));
	struct gort_file *f = w->elem;
	int side = w->since & SIDE;

	if (c->drop)
		c->drop(c->of);
	if (w->since & AT_GATE && w->status != GATE_PASSED)
		side = -1; /* it had no turn */
	if (leave_or_pass(NULL, f, &side))
		return;
	gort__poll_forget(&f->poll);
	os_fd_close(f->poll.fd);
	finish(f, bit_of_turn(side));
}

/* Its only holder is gone, in a call. */
void gort__file_abandon(void *file)
{
	struct gort_file *f = file;

	if ((add_acq_rel(&f->state, CLOSED - HOLDER) & USES) != 0)
		return; /* the call's use ends later */
	gort__poll_forget(&f->poll);
	os_fd_close(f->poll.fd);
	gort__poll_free(&f->poll);
}

/* ---- making and closing ---------------------------------------------------------------------- */

int gort__file_make(struct gort_file **out, int fd, enum file_kind kind)
{
	struct m *m = rt_enter();
	bool running = gort__running();
	struct gort_file *f = running ? (struct gort_file *)gort__poll_new(fd, false) : NULL;

	if (f) {
		f->kind = (uint8_t)kind;
		store_relaxed(&f->state, HOLDER);
		*out = f;
	}
	rt_leave_here(m);
	return f ? 0 : running ? -ENOMEM : -ESRCH;
}

void gort__file_unmake(struct gort_file *f)
{
	struct m *m = rt_enter();

	gort__poll_forget(&f->poll);
	gort__poll_free(&f->poll);
	rt_leave_here(m);
}

GORT_API gort_file *gort_file_retain(gort_file *f)
{
	if (unlikely(!f))
		gort__misuse("gort_file_retain", "no file");
	add_relaxed(&f->state, HOLDER);
	return f;
}

/* Give a holder up, and close if nobody has: then with a use. */
static int close_state(struct gort_file *f, uint64_t *now)
{
	uint64_t s = load_relaxed(&f->state), to;

	do {
		if (unlikely(s < HOLDER))
			gort__misuse("gort_close", "a file that its holders have closed");
		to = s & CLOSED ? s - HOLDER : (s | CLOSED) - HOLDER + USE;
	} while (!cas_acq_rel(&f->state, &s, to));
	*now = to;
	return s & CLOSED ? -EBADF : 0;
}

GORT_API int gort_close(gort_file *f)
{
	uint64_t now;
	struct m *m;
	int err;

	if (unlikely(!f))
		gort__misuse("gort_close", "no file");
	if (f->lent)
		return -EINVAL;
	m = rt_enter();
	err = close_state(f, &now);
	if (err == 0) {
		gort__poll_end(&f->poll, -EBADF);
		leave_slowly(m, f, -1);
		return 0;
	}
	if (now == CLOSED)
		gort__poll_free(&f->poll);
	rt_leave_here(m);
	return err;
}

static int set_flag(int fd, int get, int set, int flag)
{
	int flags = fcntl(fd, get);

	if (flags < 0 || (!(flags & flag) && fcntl(fd, set, flags | flag) < 0))
		return -errno;
	return 0;
}

static bool is_plain(mode_t mode)
{
	return S_ISREG(mode) || S_ISDIR(mode) || S_ISBLK(mode);
}

/* Not known to anybody yet. What epoll does not take is plain. */
static int watch(struct gort_file *f)
{
	struct m *m = rt_enter();
	int err = gort__poll_register(&f->poll);

	if (err == -EPERM)
		f->kind = FILE_PLAIN;
	rt_leave_here(m);
	return err == -EPERM ? 0 : err;
}

static int from_fd(gort_file **out, int fd, bool own_flags)
{
	struct gort_file *f;
	struct stat st;
	int err;

	if (fstat(fd, &st) < 0)
		return -errno;
	err = gort__file_make(&f, fd,
			      is_plain(st.st_mode) ? FILE_PLAIN
				      : !own_flags || (S_ISCHR(st.st_mode) && isatty(fd))
				      ? FILE_SHARED
				      : S_ISSOCK(st.st_mode) ? FILE_SOCKET
							     : FILE_OTHER);
	if (err < 0)
		return err;
	f->exposed = true;
	if (f->kind == FILE_PLAIN)
		gort__plain_begin(f);
	err = f->kind == FILE_PLAIN || !own_flags ? 0 : watch(f);
	if (err == 0 && own_flags)
		err = set_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC);
	if (err == 0 && f->kind <= FILE_OTHER)
		err = set_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK);
	if (err == 0)
		*out = f;
	else
		gort__file_unmake(f);
	return err;
}

GORT_API int gort_file_from_fd(gort_file **out, int fd)
{
	return from_fd(out, fd, true);
}

GORT_API int gort_open(gort_file **out, const char *path, int flags, mode_t mode)
{
	int err = gort__file_may_begin(), fd;

	if (err < 0)
		return err;
	fd = (int)RESULT_OF(open(path, flags | O_CLOEXEC, mode));
	if (fd < 0)
		return fd;
	err = gort_file_from_fd(out, fd);
	if (err < 0)
		close(fd);
	return err;
}

GORT_API int gort_pipe(gort_file **reader, gort_file **writer)
{
	gort_file *r;
	int fds[2], err;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	err = gort__file_make(&r, fds[0], FILE_OTHER);
	if (err < 0) {
		close(fds[0]);
		close(fds[1]);
		return err;
	}
	err = gort__file_make(writer, fds[1], FILE_OTHER);
	if (err < 0) {
		close(fds[1]);
		gort_close(r);
		return err;
	}
	*reader = r;
	return 0;
}

/* Registered when somebody waits: by then all have the same file. What epoll does not take never makes
 * anybody wait. */
GORT_API gort_file *gort_std(int fd)
{
	static gort_file *std[3]; /* atomic; never change once set */
	gort_file *f, *before = NULL;

	if (fd < 0 || fd > 2)
		return NULL;
	f = load_acquire(&std[fd]);
	if (f)
		return f;
	if (from_fd(&f, fd, false) < 0)
		return NULL;
	f->lent = true;
	if (cas_acq_rel(&std[fd], &before, f))
		return f;
	gort__file_unmake(f);
	return before;
}

GORT_API int gort_file_fd(const gort_file *f)
{
	gort_file *file = (gort_file *)(uintptr_t)f;

	if (unlikely(!f))
		gort__misuse("gort_file_fd", "no file");
	if (!load_relaxed(&f->exposed))
		store_relaxed(&file->exposed, true);
	return load_relaxed(&f->state) & CLOSED ? -EBADF : f->poll.fd;
}

/* ---- deadlines ------------------------------------------------------------------------------- */

static int set_deadline(gort_file *f, int side, int64_t deadline, const char *name)
{
	struct m *m;
	int err;

	if (unlikely(!f))
		gort__misuse(name, "no file");
	m = rt_enter();
	err = load_relaxed(&f->state) & CLOSED ? -EBADF : 0;
	if (err == 0)
		gort__poll_deadline(&f->poll, side, deadline);
	rt_leave_here(m);
	return err;
}

GORT_API int gort_set_read_deadline(gort_file *f, int64_t deadline)
{
	return set_deadline(f, POLL_READ, deadline, "gort_set_read_deadline");
}

GORT_API int gort_set_write_deadline(gort_file *f, int64_t deadline)
{
	return set_deadline(f, POLL_WRITE, deadline, "gort_set_write_deadline");
}
