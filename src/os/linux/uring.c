/*
 * uring.c - calls on files that the kernel makes by itself, in one io_uring. See os.h.
 *
 * By hand, and with the kernel's structures written down here: liburing, and on some systems libc
 * without the kernel's headers, would be one thing more to have. One thread does all but ring: so
 * the ring can put off the end of each call till that thread looks (DEFER_TASKRUN, Linux 6.1), and no
 * other thread is ever interrupted for it.
 *
 * Both queues are rings of the kernel's, with free-running indices: we write the tail of one (release,
 * which the kernel acquires), and the head of the other.
 */
#include "base/atomic.h"
#include "base/base.h"
#include "os/linux/linux.h"

#include <errno.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#define SYS_io_uring_enter 426
#endif

#define ENTRIES 128
#define SETUP_SINGLE_ISSUER (1u << 12)
#define SETUP_DEFER_TASKRUN (1u << 13)
#define FEATURES \
	0xbu /* SINGLE_MMAP, NODROP, RW_CUR_POS, with which READ and WRITE came: Linux 5.6 */
#define ENTER_GETEVENTS 1u
#define OFFSET_SQES 0x10000000
#define OP_FSYNC 3
#define OP_POLL_ADD 6
#define OP_READ 22
#define OP_WRITE 23
#define BELL UINT64_MAX

struct sq_offsets {
	uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, unused;
	uint64_t user_addr;
};

struct cq_offsets {
	uint32_t head, tail, ring_mask, ring_entries, overflow, cqes, flags, unused;
	uint64_t user_addr;
};

struct params {
	uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd;
	uint32_t unused[3];
	struct sq_offsets sq;
	struct cq_offsets cq;
};

struct os_uring_submission {
	uint8_t op, flags;
	uint16_t priority;
	int32_t fd;
	uint64_t at, address;
	uint32_t size, op_flags;
	uint64_t data;
	uint64_t unused[3];
};

struct os_uring_completion {
	uint64_t data;
	int32_t result;
	uint32_t flags;
};

_Static_assert(sizeof(struct params) == 120 && sizeof(struct os_uring_submission) == 64 &&
		       sizeof(struct os_uring_completion) == 16,
	       "the kernel's");

static int setup(struct params *p)
{
	int fd;

	*p = (struct params){ .flags = SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN };
	fd = (int)syscall(SYS_io_uring_setup, ENTRIES, p);
	if (fd < 0 && errno == EINVAL) {
		*p = (struct params){ 0 };
		fd = (int)syscall(SYS_io_uring_setup, ENTRIES, p);
	}
	return fd < 0 ? -errno : fd;
}

static void *map(int fd, size_t size, off_t at)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, at);

	if (p == MAP_FAILED)
		return NULL;
	(void)madvise(p, size, MADV_DONTFORK); /* the parent's alone */
	return p;
}

static int map_rings(struct os_uring *r, const struct params *p)
{
	size_t sq = p->sq.array + p->sq_entries * sizeof(uint32_t);
	size_t cq = p->cq.cqes + p->cq_entries * sizeof(struct os_uring_completion);
	char *rings;

	r->rings_size = sq > cq ? sq : cq;
	r->rings = rings = map(r->fd, r->rings_size, 0);
	if (!rings)
		return -ENOMEM;
	r->submissions = map(r->fd, p->sq_entries * sizeof *r->submissions, OFFSET_SQES);
	if (!r->submissions) {
		munmap(rings, r->rings_size);
		return -ENOMEM;
	}
	r->sq_entries = p->sq_entries;
	r->sq_head = (uint32_t *)(void *)(rings + p->sq.head);
	r->sq_tail = (uint32_t *)(void *)(rings + p->sq.tail);
	r->cq_mask = p->cq_entries - 1;
	r->cq_head = (uint32_t *)(void *)(rings + p->cq.head);
	r->cq_tail = (uint32_t *)(void *)(rings + p->cq.tail);
	r->completions = (struct os_uring_completion *)(void *)(rings + p->cq.cqes);
	for (uint32_t i = 0; i < p->sq_entries; i++)
		((uint32_t *)(void *)(rings + p->sq.array))[i] = i;
	return 0;
}

static uint32_t waiting_submissions(const struct os_uring *r)
{
	return *r->sq_tail - load_acquire(r->sq_head); /* meets the kernel's: it has read them */
}

static void submit(struct os_uring *r, const struct os_uring_submission *s)
{
	uint32_t tail = *r->sq_tail;

	r->submissions[tail & (r->sq_entries - 1)] = *s;
	store_release(r->sq_tail, tail + 1);
}

static int hand_over(struct os_uring *r, bool sleeps)
{
	if (r->bell_heard) {
		r->bell_heard = false;
		submit(r,
		       &(struct os_uring_submission){ .op = OP_POLL_ADD,
						      .fd = r->bell,
						      .op_flags = POLLIN,
						      .data = BELL });
	}
	if (syscall(SYS_io_uring_enter, r->fd, waiting_submissions(r), sleeps ? 1 : 0,
		    ENTER_GETEVENTS, NULL, 0) < 0 &&
	    errno != EINTR)
		return -errno;
	return 0;
}

void os_uring_close(struct os_uring *r)
{
	munmap(r->submissions, r->sq_entries * sizeof *r->submissions);
	munmap(r->rings, r->rings_size);
	os_event_close(r->bell);
	os_fd_close(r->fd);
}

int os_uring_open(struct os_uring *r)
{
	struct params p;
	int err;

	r->fd = setup(&p);
	if (r->fd < 0)
		return r->fd;
	err = (p.features & FEATURES) == FEATURES ? os_event_make() : -ENOSYS;
	r->bell = err;
	if (err >= 0) {
		err = map_rings(r, &p);
		if (err < 0)
			os_event_close(r->bell);
	}
	if (err < 0) {
		os_fd_close(r->fd);
		return err;
	}
	r->bell_heard = true;
	err = hand_over(r, false); /* a sandbox may forbid this call only */
	if (err < 0)
		os_uring_close(r);
	return err;
}

bool os_uring_put(struct os_uring *r, const struct os_uring_call *c)
{
	static const uint8_t op[] = {
		[OS_URING_READ] = OP_READ, [OS_URING_WRITE] = OP_WRITE, [OS_URING_FSYNC] = OP_FSYNC
	};

	if (waiting_submissions(r) >= r->sq_entries - 1) /* one for the bell */
		return false;
	submit(r,
	       &(struct os_uring_submission){ .op = op[c->what],
					      .fd = c->fd,
					      .at = (uint64_t)c->at,
					      .address = (uintptr_t)c->buf,
					      .size = c->n,
					      .data = (uintptr_t)c });
	return true;
}

bool os_uring_wait(struct os_uring *r, bool sleeps)
{
	switch (hand_over(r, sleeps)) {
	case 0:
		return true;
	case -EAGAIN:
	case -EBUSY:
	case -ENOMEM:
		os_yield_thread(); /* short of memory: what has ended makes room */
		return true;
	default:
		return false;
	}
}

struct os_uring_call *os_uring_take_back(struct os_uring *r)
{
	uint64_t data;

	while (waiting_submissions(r)) {
		uint32_t tail = *r->sq_tail - 1;

		data = r->submissions[tail & (r->sq_entries - 1)].data;
		store_release(r->sq_tail, tail);
		if (data != BELL)
			return (struct os_uring_call *)(uintptr_t)data;
	}
	return NULL;
}

struct os_uring_call *os_uring_take(struct os_uring *r)
{
	uint32_t head = *r->cq_head;
	struct os_uring_completion c;

	while (head != load_acquire(r->cq_tail)) { /* meets the kernel's: it has written them */
		c = r->completions[head & r->cq_mask];
		store_release(r->cq_head, ++head);
		if (c.data != BELL) {
			struct os_uring_call *call = (struct os_uring_call *)(uintptr_t)c.data;

			call->result = c.result;
			return call;
		}
		os_event_clear(r->bell);
		r->bell_heard = true;
	}
	return NULL;
}

void os_uring_ring(const struct os_uring *r)
{
	os_event_set(r->bell);
}
