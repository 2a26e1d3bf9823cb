/*
 * ring.h - a P's queue of woken goroutines: FIFO, bounded, one owner, many thieves. Go's runq.
 *
 * head and tail only grow (and wrap at 2^32); entry i lies in slots[i % RING_SIZE]. The owner
 * pushes at tail and pops at head; thieves take from head, up to half at once. The zero value is
 * an empty ring.
 *
 *  1. Only the owner stores tail, so it reads it relaxed. head moves by CAS alone, from whatever
 *     the taker read: entries head..n were the taker's if and only if nobody moved head meanwhile.
 *  2. push: the slot is stored before tail (release), which thieves load (acquire) before they read
 *     slots: whoever sees tail sees the entries below it, and what they point at.
 *  3. take: slots are read before the CAS of head (release), which push loads (acquire) before it
 *     overwrites a slot: a slot is not overwritten before who took it has read it.
 *  4. A thief that is late reads slots that the owner overwrites: so they are atomic. What it read
 *     is thrown away, since head has moved and its CAS fails. (Only 2^32 takes within one grab
 *     could fool it.)
 *  5. A thief's head and tail are read at different times: more than the ring holds means that head
 *     is old, and it looks again.
 *
 * The owner may not pop at tail: with half-steals a goroutine could run twice. Hence the deque.
 */
#ifndef GORT_BASE_RING_H
#define GORT_BASE_RING_H

#include "base/atomic.h"
#include "base/base.h"

#define RING_SIZE 256u

struct ring {
	aligned_line uint32_t head; /* atomic: CAS by anyone; release meets acquire in ring_push */
	aligned_line uint32_t tail; /* atomic: owner stores; release meets acquire in ring_grab */
	void *slots[RING_SIZE];     /* atomic, relaxed: ordered by head and tail */
};

/* Owner. False: full. */
static inline bool ring_push(struct ring *r, void *item)
{
	uint32_t tail = load_relaxed(&r->tail);

	if (unlikely(tail - load_acquire(&r->head) >= RING_SIZE)) /* step 3 */
		return false;
	store_relaxed(&r->slots[tail % RING_SIZE], item);
	store_release(&r->tail, tail + 1); /* step 2 */
	return true;
}

/* Owner: the oldest; NULL: empty. */
static inline void *ring_pop(struct ring *r)
{
	uint32_t head = load_relaxed(&r->head), tail = load_relaxed(&r->tail);
	void *item;

	do {
		if (head == tail)
			return NULL;
		item = load_relaxed(&r->slots[head % RING_SIZE]);
	} while (unlikely(!cas_release(&r->head, &head, head + 1))); /* steps 1, 3 */
	return item;
}

static inline bool ring_take(struct ring *r, uint32_t head, void **out, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		out[i] = load_relaxed(&r->slots[(head + i) % RING_SIZE]);
	return cas_release(&r->head, &head, head + n); /* steps 1, 3 */
}

/* Thief: up to half, rounded up, the oldest first. How many; 0: empty. */
static inline unsigned ring_grab(struct ring *from, void **out, unsigned max)
{
	for (;;) {
		uint32_t head = load_acquire(&from->head);     /* before tail */
		uint32_t n = load_acquire(&from->tail) - head; /* step 2 */

		n -= n / 2;
		if (n > RING_SIZE / 2)
			continue; /* step 5 */
		n = n < max ? n : max;
		if (n == 0 || ring_take(from, head, out, n))
			return n;
	}
}

/* Owner of a full ring: the older half, into out[RING_SIZE / 2]. 0: thieves have made room. */
static inline unsigned ring_pop_half(struct ring *r, void **out)
{
	uint32_t head = load_relaxed(&r->head);
	uint32_t n = (load_relaxed(&r->tail) - head) / 2;

	return n && ring_take(r, head, out, n) ? n : 0;
}

/* 0 only if it was empty at some moment during the call. Exact for the owner, but for thieves. */
static inline uint32_t ring_len(struct ring *r)
{
	uint32_t head = load_acquire(&r->head); /* before tail: tail only grows */
	uint32_t n = load_relaxed(&r->tail) - head;

	return n < RING_SIZE ? n : RING_SIZE;
}

/* To see later whether the oldest entry has been taken. */
static inline uint32_t ring_head(struct ring *r)
{
	return load_relaxed(&r->head);
}

#endif
