/*
 * file.h - a gort_file's inside, for the files of io/. The invariants stand in file.c.
 */
#ifndef GORT_IO_FILE_H
#define GORT_IO_FILE_H

#include "sched/netpoll.h"

#include <errno.h>
#include <signal.h>
#include <sys/uio.h>

/* A system call, made again as long as a signal ends it: what it gives, or -errno. */
#define RESULT_OF(call) \
	__extension__({ \
		ssize_t result_; \
		do \
			result_ = (call); \
		while (unlikely(result_ < 0) && errno == EINTR); \
		likely(result_ >= 0) ? result_ : (ssize_t)-errno; \
	})

enum file_kind {
	FILE_SOCKET, /* its descriptor does not block, as that of ... */
	FILE_OTHER,  /* ... pipes and what else epoll takes, but a SIGPIPE may come from it */
	FILE_SHARED, /* terminals, and gort_std's: its flags are not ours: it may block */
	FILE_PLAIN,  /* regular files, and what else epoll does not take: it blocks */
};

struct gort_file {
	struct pollee poll;
	uint64_t state;  /* atomic: see file.c */
	uint8_t kind;    /* fixed: enum file_kind */
	bool lent;       /* fixed: gort_std's, which nobody closes */
	bool exposed;    /* atomic: others know its descriptor, and may do with it what they like */
	bool stream;     /* fixed: TCP, made by us */
	uint8_t plain;   /* atomic: plain.c: what is known of a regular file */
	uint8_t warm;    /* atomic: the same: reads that found all in the page cache */
	bool dry;        /* whose turn it is to read: the last read has got all there was */
	int64_t backoff; /* whose turn it is to accept: how long it waited at -EMFILE last */
};

_Static_assert(sizeof(struct gort_file) <= POLL_SLOT, "a slot");

/* One call on a file. try makes it without waiting: its result, -EAGAIN, or another -errno; inside
 * gort (FILE_SOCKET, FILE_OTHER), or as user code. */
struct call {
	ssize_t (*try)(struct gort_file *f, struct call *c);
	int side;
	enum g_why why;
	bool outside; /* as user code in any case: it may sleep */
	bool sigpipe; /* it may raise SIGPIPE: see to that */
	void *buf;
	size_t n;
	int64_t at; /* of a regular file; < 0: where it stands */
	int flags;
	int count;
	const struct iovec *iov;
	struct msghdr *msg;
	void (*drop)(void *of); /* if given: the call's goroutine never runs again */
	void *of;
};

/* Takes fd over. -ENOMEM: it has not. */
int gort__file_make(struct gort_file **out, int fd, enum file_kind kind);
void gort__file_unmake(struct gort_file *f); /* nobody else knows it; fd stays open */

/* A turn at c's side, in which the call is made until it need not wait. */
ssize_t gort__file_call(struct gort_file *f, struct call *c, const char *name);

/* The parts of it. begin: from user code, to gort; end: back. */
int gort__file_begin(struct gort_file *f, struct call *c, const char *name);
ssize_t gort__file_perform(struct gort_file *f, struct call *c);
ssize_t gort__file_end(struct gort_file *f, int side, ssize_t result);

/* From gort to user code and back, with a use, not preempted meanwhile. NULL: a guest, or one who may
 * only finish (m_stops). */
void gort__file_step_out(struct m *m);
struct m *gort__file_step_in(void);

/* plain.c: a call's try, from user code, with a use: of a file that blocks (FILE_PLAIN), or at a place of
 * any. */
void gort__plain_begin(struct gort_file *f);
ssize_t gort__plain_read(struct gort_file *f, struct call *c);
ssize_t gort__plain_write(struct gort_file *f, struct call *c);
ssize_t gort__plain_sync(struct gort_file *f, struct call *c);

/* rw.c: SIGPIPE is blocked on this thread, and taken back if it has come in between. raised: it may
 * have: at EPIPE, and where a part was written: the kernel goes on from one piece to the next, raises
 * it at one that fails, and tells what went before that. */
struct quiet {
	sigset_t before;
	bool pending;
};
void gort__quiet_begin(struct quiet *q);
void gort__quiet_end(struct quiet *q, bool raised);

int64_t gort__file_waits(const struct call *c); /* what, for gort__poll_pause; side < 0: no turn */
void gort__file_abandon(void *file);            /* for drop: nobody else knows it */

/* From user code, for calls without a turn: 0, or why nothing is to be done. */
int gort__file_may_begin(void);

/* Its type (SOCK_STREAM, ...); 0: it is no socket of a kind that does not block. */
int gort__file_socket_type(const struct gort_file *f);

/* rw.c: what gort_read and gort_write do; *put is what went, after an error, too. */
struct call gort__call_to_read(void *buf, size_t n);
struct call gort__call_to_write(const void *buf, size_t n);
ssize_t gort__write_counted(struct gort_file *f, struct call *c, size_t *put);

/* A use of f without a turn: its descriptor stays open until the end of it. -EBADF. */
int gort__file_use(struct gort_file *f, const char *name); /* not preempted until unuse */
int gort__file_use_first(struct gort_file *f,
			 const char *name); /* if the call may begin: see there */
void gort__file_unuse(struct gort_file *f);

#endif
