/*
 * netpoll.h - waiting for descriptors: what files (io/) and the scheduler ask of netpoll.c, where
 * the invariants stand.
 */
#ifndef GORT_SCHED_NETPOLL_H
#define GORT_SCHED_NETPOLL_H

#include "sched/park.h"

#define POLL_SLOT 192 /* bytes of a slot: its owner puts more behind the pollee */

enum { POLL_READ, POLL_WRITE };
enum { GATE_PASSED, GATE_LOOK_AGAIN }; /* what ends a wait at a gate */

struct pollside {
	struct waitq waiting; /* lock: for readiness */
	struct waitq gate;    /* lock: for their turn; io/file.c */
	int64_t deadline;     /* atomic, written under lock */
	uint32_t ready;       /* atomic: an event has come since it was cleared */
};

struct pollee {
	struct lock lock;
	uint32_t index;      /* fixed: of the slot */
	uint32_t generation; /* lock: changes when the slot is freed, or armed */
	uint32_t life;       /* atomic: of the runtime in which fd is registered, or 0 */
	uint32_t hung;       /* atomic: an end, an error or urgent data was told of */
	int fd;              /* fixed while in use */
	int32_t ended;       /* lock: what waits give from now on, or 0 */
	bool borrowed;       /* fixed while in use: somebody else's descriptor, told of once */
	struct pollee *next; /* net.lock: free ones */
	struct pollside side[2];
};

/* A slot of POLL_SLOT bytes, zeroed behind the pollee, with deadlines of GORT_FOREVER. NULL: out
 * of memory, or too many. It stays what it is for ever, so a late event, or a caller who should
 * have known better, finds a pollee there. */
struct pollee *gort__poll_new(int fd, bool borrowed);
void gort__poll_free(struct pollee *p);

/* Let fd be watched, once in each life of the runtime. 0, -EPERM (always ready), -errno. */
int gort__poll_register(struct pollee *p);
/* The same, where the number may be another descriptor's by now (dup2). */
int gort__poll_register_again(struct pollee *p);
void gort__poll_forget(struct pollee *p); /* fd is about to be closed */

/* Park until side may be ready (0: look again), its deadline or the caller's has passed, or the
 * caller's context has ended: -ETIMEDOUT, -ECANCELED; -ENOMEM, or p->ended. what: the waiter's since. */
int gort__poll_wait(struct pollee *p, int side, int64_t what, enum g_why why);
/* Until then, ready or not: 0, or as wait. */
int gort__poll_pause(struct pollee *p, int side, int64_t what, int64_t until, enum g_why why);
/* Who waits at side, or at its gate (GATE_LOOK_AGAIN), looks at it again. */
void gort__poll_deadline(struct pollee *p, int side, int64_t deadline);
/* Who waits at either side, or its gate, gives up: now and from now on. */
void gort__poll_end(struct pollee *p, int err);

/* The caller's context, or its own deadline, has ended: how, or 0. For calls that look at that
 * first. */
int gort__wait_over(struct m *m);

/* A call on it begins: who sees events later sets ready again. */
static inline void poll_begins(struct pollside *s)
{
	if (load_relaxed(&s->ready))
		swap_seq(&s->ready, 0);
}

/* ---- for the scheduler. netpoll_up and wake: sched.h */
/* Look for events without waiting; whom they wake goes to m's P, or to the global queue. True:
 * there were some. */
bool gort__netpoll(struct m *m);
/* Sleep until there are events, which wake goroutines, note is woken by gort__netpoll_wake, or until.
 * For who has the role. */
void gort__netpoll_sleep(struct note *note, uint32_t *polls, int64_t until, struct glist *woken);
bool gort__netpoll_waits(void); /* all Ps idle: some goroutine waits for a descriptor */
void gort__netpoll_end(void);   /* the runtime has ended */

/* ---- wait_fd.c, for select (sync/select.c) and netpoll.c */
/* What of events, or an error, is true of fd now; 0: nothing. -EINVAL, -EBADF. */
int gort__fd_look(int fd, int events);
/* Queue w for these events. 0; > 0: true already; -errno: not queued. */
int gort__fd_enlist(int fd, int events, struct waiter *w);
void gort__fd_delist(struct waiter *w); /* w is in no queue any more */
void gort__fd_event(struct pollee *p, uint32_t events, struct glist *woken);
void gort__fds_end(void);
/* For a borrowed one, under its lock: it is told of these once, and of nothing from before. 0, -EPERM
 * (always ready), -errno. */
int gort__poll_arm(struct pollee *p, uint32_t events);

/* The waits of w's goroutine, which never runs again, were for a file. io/file.c */
void gort__file_forsake(struct waiter *w);
/* io/uring.c. start: by the creator, whether or not it was asked to. end: no M is left, nor the creator:
 * wait for calls that are under way. */
void gort__uring_start(void);
void gort__uring_end(void);

#endif
