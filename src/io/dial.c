/*
 * dial.c - gort_dial and gort_listen: names and addresses to sockets.
 *
 * Dialling tries the addresses of both families (RFC 8305; as Go does): those of the first one's
 * family in turn; when that has failed, or has not come to an end after FALLBACK_DELAY, those of
 * the other beside them. The first connection wins, the other attempts end with the scope that they
 * run in. Where there is a deadline, each address has its share of the time that is left,
 * SHARE_LEAST at least.
 *
 * Callers: goroutines and guests, from user code.
 */
#include "io/address.h"
#include "io/socket.h"

#include <errno.h>
#include <stdlib.h>

#define FALLBACK_DELAY (300 * GORT_MS) /* Go's; the RFC recommends 250 */
#define FEW 8
#define SHARE_LEAST (2 * GORT_SEC)

/* Addresses that are tried one after the other. */
struct row {
	const gort_addr *addr;
	size_t count;
	int type;
	int64_t deadline;
};

/* ---- dialling -------------------------------------------------------------------------------- */

/* The earliest that the caller has. */
static int64_t own_deadline(void)
{
	int64_t own = gort_set_deadline(GORT_FOREVER), of_ctx;

	gort_set_deadline(own);
	of_ctx = gort_ctx_deadline(gort_ctx_current());
	return own < of_ctx ? own : of_ctx;
}

/* For the next of so many. */
static int64_t share_of(int64_t deadline, size_t left)
{
	int64_t now = gort_now(), share;

	if (deadline == GORT_FOREVER || deadline <= now)
		return deadline;
	share = (deadline - now) / (int64_t)left;
	share = share < SHARE_LEAST ? SHARE_LEAST : share;
	return share < deadline - now ? now + share : deadline;
}

/* The first error tells most: the others follow from it as often as not. */
static int dial_row(gort_file **out, const struct row *r)
{
	int first = 0, err;

	for (size_t i = 0; i < r->count; i++) {
		err = gort__connect(out, &r->addr[i], r->type, share_of(r->deadline, r->count - i));
		if (err == 0 || err == -ECANCELED)
			return err;
		first = first ? first : err;
	}
	return first;
}

struct race {
	struct row first, second;
	gort_scope *scope;
	gort_chan *failed; /* closed when the first row has */
	gort_mutex lock;
	gort_file *winner; /* lock */
	int err;           /* of the first row */
};

static void finish(struct race *r, gort_file *f)
{
	gort_mutex_lock(&r->lock);
	if (!r->winner) {
		r->winner = f;
		f = NULL;
	}
	gort_mutex_unlock(&r->lock);
	if (f)
		gort_close(f);
	gort_scope_cancel(r->scope, -ECANCELED);
}

static int run_first(void *arg)
{
	struct race *r = arg;
	gort_file *f;

	r->err = dial_row(&f, &r->first);
	if (r->err == 0)
		finish(r, f);
	else
		gort_chan_close(r->failed);
	return 0;
}

static int run_second(void *arg)
{
	struct race *r = arg;
	gort_file *f;
	int err = gort_chan_recv_until(r->failed, NULL, gort_in(FALLBACK_DELAY));

	if (err != -ECANCELED && dial_row(&f, &r->second) == 0)
		finish(r, f);
	return 0;
}

/* What has won before the second begins has ended the scope: that is no failure. */
static int start(struct race *r)
{
	int err = gort_scope_go(r->scope, run_first, r);

	if (err == 0)
		err = gort_scope_go(r->scope, run_second, r);
	if (err < 0)
		gort_scope_cancel(r->scope, err);
	return err;
}

static int dial_both(gort_file **out, const struct row *first, const struct row *second)
{
	struct race r = { .first = *first, .second = *second };
	int err = -ENOMEM, closed;

	r.failed = gort_chan_make(0, 0);
	r.scope = gort_scope_open(0);
	if (r.failed && r.scope)
		err = start(&r);
	if (r.scope) {
		closed = gort_scope_close(r.scope);
		err = err < 0 ? err : closed;
	}
	gort_chan_release(r.failed);
	if (r.winner) {
		*out = r.winner;
		return 0;
	}
	return err < 0 ? err : r.err;
}

static int family_of(const gort_addr *a)
{
	return a->addr.ss_family;
}

/* Those of the first one's family to the front, in their order. How many. */
static size_t part(gort_addr *a, size_t n)
{
	size_t front = 0;

	for (size_t i = 0; i < n; i++) {
		gort_addr one = a[i];

		if (family_of(&one) != family_of(&a[0]))
			continue;
		for (size_t k = i; k > front; k--)
			a[k] = a[k - 1];
		a[front++] = one;
	}
	return front;
}

/* Those of a: on the caller's stack, if they are few, so that nothing is left of them should it never
 * run again. */
static void keep_few(struct addresses *a, gort_addr few[FEW])
{
	if (a->count > FEW)
		return;
	for (size_t i = 0; i < a->count; i++)
		few[i] = a->addr[i];
	free(a->addr);
	a->addr = few;
}

GORT_API int gort_dial(gort_file **out, const char *network, const char *address)
{
	struct addresses a;
	gort_addr few[FEW];
	struct row first, second;
	int err = gort__addresses(network, address, false, &a);

	if (err < 0)
		return err;
	keep_few(&a, few);
	first = (struct row){ a.addr, part(a.addr, a.count), a.type, own_deadline() };
	second = first;
	second.addr += first.count;
	second.count = a.count - first.count;
	err = second.count ? dial_both(out, &first, &second) : dial_row(out, &first);
	if (a.addr != few)
		free(a.addr);
	return err;
}

/* ---- listening ------------------------------------------------------------------------------- */

GORT_API int gort_listen(gort_file **out, const char *network, const char *address,
			 const gort_listen_options *options)
{
	struct addresses a;
	int err = gort__addresses(network, address, true, &a), first = 0;

	if (err < 0)
		return err;
	for (size_t i = 0; i < a.count; i++) {
		err = gort__listen(out, &a.addr[i], a.type, options);
		if (err == 0)
			break;
		first = first ? first : err;
	}
	free(a.addr);
	return err < 0 ? first : 0;
}
