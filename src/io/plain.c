/*
 * plain.c - regular files: from the page cache at once, from the disk by io_uring, and where neither
 * is to be had as user code that blocks.
 *
 *  1. Reading asks the page cache first (RWF_NOWAIT). What is not there, the disk brings while the
 *     goroutine is parked (uring.c). As read(2) does, it goes on until it has all n bytes, or the file
 *     ends: a part that happens to be cached is no result. Where nothing is cached (4) a short read may
 *     be all that there is (/proc/kmsg), and is one.
 *  2. At a place (pread) the disk's bytes are the result. Where the file stands (read) they are not: the
 *     kernel moves that only for its own read calls so that others who read and write through the
 *     same description agree about it. So they are brought into the cache, and read from there. What is
 *     thrown out again before that, twice, is read by a call that blocks; and so is what is never there
 *     (O_DIRECT).
 *  3. Writing fills the page cache, which may block as writes do. At a place of a file that writes
 *     through to the disk (O_DIRECT, O_SYNC, O_DSYNC) io_uring does it, and fsync.
 *  4. The runtime's end waits for the disk (uring.c, 4), but not for a file server. File systems that
 *     cannot say what they have cached (network, FUSE, /proc) say that: from then on all calls block.
 *     Where that is not asked, is_remote tells: of files that write through once, else at fsync.
 *  5. To ask costs a tenth of a short read. When a file has had WARM answers running, of reads at a
 *     place only one page in PROBE is asked for, and all others are read by a call that may block; till
 *     one is missed.
 *  6. Guests block, as plain threads do.
 *
 * Callers: goroutines and guests, from user code, with a use of the file.
 */
#include "io/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define RWF_NOWAIT_ 0x8 /* not every libc has it */
#define PIECE ((size_t)1 << 30)
#define TRIES 2
#define WARM 64
#define PROBE 16

/* gort_file.plain: atomic */
#define CACHED 1  /* it may be asked what it has cached */
#define DIRECT 2  /* it has no cache */
#define THROUGH 4 /* a write comes back when the disk has it */

/* Of a file system that may wait for somebody else's machine or program: <linux/magic.h>, which is
 * not everywhere. */
static bool is_remote(const struct gort_file *f)
{
	static const uint32_t remote[] = {
		0x6969 /* NFS */,        0x517b /* SMB */,      0xff534d42 /* CIFS */,
		0xfe534d42 /* SMB2 */,   0x65735546 /* FUSE */, 0x00c36400 /* Ceph */,
		0x01021997 /* 9P */,     0x5346414f /* AFS */,  0x6b414653 /* kAFS */,
		0x0bd00bd0 /* Lustre */, 0x73757245 /* Coda */,
	};
	struct statfs s;

	if (fstatfs(f->poll.fd, &s) < 0)
		return true;
	for (size_t i = 0; i < sizeof remote / sizeof remote[0]; i++)
		if ((uint32_t)s.f_type == remote[i])
			return true;
	return false;
}

void gort__plain_begin(struct gort_file *f)
{
	int flags = fcntl(f->poll.fd, F_GETFL);
	bool through = flags & (O_DIRECT | O_SYNC | O_DSYNC);

	if (flags < 0 || (through && is_remote(f))) /* 4 */
		return;
	f->plain = CACHED;
	if (flags & O_DIRECT)
		f->plain = CACHED | DIRECT | THROUGH;
	else if (through)
		f->plain = CACHED | THROUGH;
}

static bool is(const struct gort_file *f, uint8_t what)
{
	return (load_relaxed(&f->plain) & what) == what;
}

/* ---- reading --------------------------------------------------------------------------------- */

static ssize_t read_blocking(const struct gort_file *f, const struct call *c)
{
	return RESULT_OF(c->at < 0 ? read(f->poll.fd, c->buf, c->n)
				   : pread(f->poll.fd, c->buf, c->n, c->at));
}

static ssize_t read_cached(struct gort_file *f, const struct call *c)
{
	struct iovec one = { c->buf, c->n };
	ssize_t n = RESULT_OF(
		syscall(SYS_preadv2, f->poll.fd, &one, 1L, (long)c->at, 0L, (long)RWF_NOWAIT_));

	if (n == -EAGAIN) {
		store_relaxed(&f->warm, 0);
	} else if (n == -EOPNOTSUPP || n == -ENOSYS || n == -EPERM) { /* 4; a sandbox */
		store_relaxed(&f->plain, 0);
		n = read_blocking(f, c);
	} else if (n > 0) {
		fiber_touched(c->buf, (size_t)n, true);
	}
	return n;
}

/* By io_uring, at a place. What it gave; -EAGAIN: not done. */
static ssize_t ask_disk(struct gort_file *f, const struct call *c, enum os_uring_what what,
			int64_t at)
{
	bool reads = what == OS_URING_READ;
	struct uring_op op = { .call = { .what = what,
					 .buf = c->buf,
					 .n = (uint32_t)(c->n < PIECE ? c->n : PIECE),
					 .at = at } };

	if (!gort__uring_does(&op, f, gort__file_waits(c), reads ? WHY_READ : WHY_WRITE))
		return -EAGAIN;
	if (op.call.result > 0)
		fiber_touched(c->buf, (size_t)op.call.result, reads);
	return op.call.result;
}

static ssize_t read_missed_place(struct gort_file *f, const struct call *c)
{
	ssize_t n = ask_disk(f, c, OS_URING_READ, c->at);

	return n == -EAGAIN ? read_blocking(f, c) : n;
}

/* Rule 2. */
static ssize_t read_missed_here(struct gort_file *f, const struct call *c)
{
	ssize_t n = -EAGAIN;
	off_t at;

	for (int i = 0; i < TRIES && n == -EAGAIN; i++) {
		at = lseek(f->poll.fd, 0, SEEK_CUR);
		if (at < 0 || ask_disk(f, c, OS_URING_READ, at) < 0)
			break;
		n = read_cached(f, c);
	}
	return n == -EAGAIN ? read_blocking(f, c) : n;
}

/* Rule 5. */
static bool may_sleep(struct gort_file *f, int64_t at)
{
	uint8_t warm = load_relaxed(&f->warm);

	if (warm < WARM) {
		store_relaxed(&f->warm, (uint8_t)(warm + 1)); /* read_cached takes it back */
		return false;
	}
	return at >= 0 && ((uint64_t)at >> 12) * UINT64_C(0x9e3779b97f4a7c15) >> 60 != PROBE - 1;
}

static ssize_t read_some(struct gort_file *f, const struct call *c)
{
	ssize_t n = -EAGAIN;

	if (!is(f, CACHED) || (is(f, DIRECT) ? c->at < 0 : may_sleep(f, c->at)))
		return read_blocking(f, c);
	if (!is(f, DIRECT))
		n = read_cached(f, c);
	if (n != -EAGAIN)
		return n;
	return c->at < 0 ? read_missed_here(f, c) : read_missed_place(f, c);
}

/* After some of it has been read. */
static noinline ssize_t read_rest(struct gort_file *f, const struct call *c, size_t got)
{
	struct call rest = *c;
	ssize_t n;

	do {
		rest.buf = (char *)c->buf + got;
		rest.n = c->n - got;
		rest.at = c->at < 0 ? c->at : c->at + (int64_t)got;
		n = read_some(f, &rest);
		got += n > 0 ? (size_t)n : 0;
	} while (n > 0 && got < c->n);
	return (ssize_t)got;
}

ssize_t gort__plain_read(struct gort_file *f, struct call *c)
{
	ssize_t n;

	if (!is(f, CACHED) || !m_self())
		return read_blocking(f, c);
	n = read_some(f, c);
	return n > 0 && (size_t)n < c->n && is(f, CACHED) ? read_rest(f, c, (size_t)n) : n;
}

/* ---- writing (3) ------------------------------------------------------------------------------ */

ssize_t gort__plain_write(struct gort_file *f, struct call *c)
{
	ssize_t n = -EAGAIN;

	if (is(f, CACHED | THROUGH) && m_self())
		n = ask_disk(f, c, OS_URING_WRITE, c->at);
	return n == -EAGAIN ? RESULT_OF(pwrite(f->poll.fd, c->buf, c->n, c->at)) : n;
}

ssize_t gort__plain_sync(struct gort_file *f, struct call *c)
{
	ssize_t n = -EAGAIN;

	if (is(f, CACHED) && m_self() && !is_remote(f))
		n = ask_disk(f, c, OS_URING_FSYNC, 0);
	return n == -EAGAIN ? RESULT_OF(fsync(f->poll.fd)) : n;
}
