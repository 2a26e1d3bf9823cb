/*
 * ring.h - a P's queue of woken goroutines: fixed, FIFO, one owner, many thieves. Go's runq.
 *
 *  1. Items are at [head, tail), indices modulo RING_SIZE. Only the owner writes tail. head moves by
 *     CAS, by the owner (pop) or a thief (grab), so each item is taken once.
 *  2. The owner publishes an item by the release store of tail (p2), which thieves acquire (g2).
 *  3. A thief copies items before its CAS (g3, g4). Between, the owner may have taken them and put
 *     others in their places: then head has moved, the CAS fails, and the copies are forgotten. head
 *     cannot come back to the same value meanwhile: it is 32 bits wide and only grows.
 *  4. The owner reuses a place only after it has seen head pass it (p1, acquire), that is after the
 *     thief's CAS (g4, release), which comes after its reads.
 *
 * Places are atomic (relaxed): a thief that loses reads what the owner writes.
 */
#ifndef GORT_BASE_RING_H
#define GORT_BASE_RING_H

#include "base/atomic.h"
#include "base/base.h"

#define RING_SIZE 256u

struct ring {
	uint32_t head; /* atomic */
	uint32_t tail; /* atomic, written by the owner */
	void *item[RING_SIZE];
};

static inline uint32_t ring_head(const struct ring *r)
{
	return load_relaxed(&r->head);
}

/* Exact for the owner while there are no thieves; else a hint. */
static inline uint32_t ring_len(const struct ring *r)
{
	uint32_t head = load_relaxed(&r->head);
	uint32_t len = load_relaxed(&r->tail) - head;

	return len <= RING_SIZE ? len : 0;
}

/* Owner. False: full. */
static inline bool ring_push(struct ring *r, void *item)
{
	uint32_t head = load_acquire(&r->head); /* p1 */
	uint32_t tail = load_relaxed(&r->tail);

	if (unlikely(tail - head >= RING_SIZE))
		return false;
	store_relaxed(&r->item[tail % RING_SIZE], item);
	store_release(&r->tail, tail + 1); /* p2 */
	return true;
}

/* Owner. NULL: empty. */
static inline void *ring_pop(struct ring *r)
{
	uint32_t head = load_relaxed(&r->head);
	uint32_t tail = load_relaxed(&r->tail);
	void *item;

	for (;;) {
		if (tail == head)
			return NULL;
		item = load_relaxed(&r->item[head % RING_SIZE]);
		if (likely(cas_acq_rel(&r->head, &head, head + 1)))
			return item;
	}
}

/* Owner: take half of a full ring out, to make room. Returns how many. */
static inline unsigned ring_pop_half(struct ring *r, void *out[RING_SIZE / 2])
{
	uint32_t head = load_relaxed(&r->head);
	uint32_t n = (load_relaxed(&r->tail) - head) / 2;

	for (uint32_t i = 0; i < n; i++)
		out[i] = load_relaxed(&r->item[(head + i) % RING_SIZE]);
	return cas_acq_rel(&r->head, &head, head + n) ? n : 0; /* a thief has made room */
}

/* Thief: half of what is there, rounded up. */
static inline unsigned ring_grab(struct ring *r, void *out[RING_SIZE / 2])
{
	uint32_t head = load_acquire(&r->head), tail, n; /* g1 */

	for (;;) {
		tail = load_acquire(&r->tail); /* g2 */
		n = tail - head;
		n -= n / 2;
		if (n == 0)
			return 0;
		if (n > RING_SIZE / 2) { /* head and tail were not of one moment */
			head = load_acquire(&r->head);
			continue;
		}
		for (uint32_t i = 0; i < n; i++)
			out[i] = load_relaxed(&r->item[(head + i) % RING_SIZE]); /* g3 */
		if (cas_acq_rel(&r->head, &head, head + n)) /* g4 */
			return n;
	}
}

#endif
