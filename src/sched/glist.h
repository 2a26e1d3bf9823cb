/*
 * glist.h - a queue of Gs, FIFO, of any length, without memory of its own.
 *
 * A million goroutines lie on as many pages, and most likely in no cache. A list linked from one to
 * the next would cost a memory access each, one after the other. So they stand in rows: the first G
 * of a row holds pointers to the ROW that follow it, and to the next row's first. The list itself
 * holds the front, up to a row, so that a short list touches no G at all.
 *
 *   first[at..n)   the front
 *   head .. tail   rows behind it, linked by next; NULL: none. Only tail grows.
 *
 * Included by sched.h. Callers: whoever owns the list.
 */
#ifndef GORT_SCHED_GLIST_H
#define GORT_SCHED_GLIST_H

struct glist {
	struct g *head, *tail;
	uint32_t count, at, n;
	struct g *first[1 + ROW];
};

/* All that an empty one needs; the rest may hold anything. */
static inline void glist_init(struct glist *l)
{
	l->head = l->tail = NULL;
	l->count = l->at = l->n = 0;
}

static inline void glist_push(struct glist *l, struct g *g)
{
	l->count++;
	if (!l->tail && l->n < 1 + ROW) {
		l->first[l->n++] = g;
	} else if (l->tail && l->tail->row_count < ROW) {
		l->tail->row[l->tail->row_count++] = g;
	} else {
		g->next = NULL;
		g->row_count = 0;
		if (l->tail)
			l->tail->next = g;
		else
			l->head = g;
		l->tail = g;
	}
}

/* The first row becomes the front. */
static inline void glist_refill(struct glist *l)
{
	struct g *g = l->head;

	l->at = l->n = 0;
	if (!g)
		return;
	l->first[0] = g;
	for (uint32_t i = 0; i < g->row_count; i++)
		l->first[1 + i] = g->row[i];
	l->n = 1 + g->row_count;
	l->head = g->next;
	if (!l->head)
		l->tail = NULL;
	else
		__builtin_prefetch(&l->head->row_count);
}

static inline struct g *glist_pop(struct glist *l)
{
	struct g *g;

	if (l->count == 0)
		return NULL;
	g = l->first[l->at++];
	if (l->at == l->n)
		glist_refill(l);
	l->count--;
	return g;
}

/* All of from to the end of l; from is empty then. */
static inline void glist_append(struct glist *l, struct glist *from)
{
	uint32_t count = l->count + from->count;

	while (from->at < from->n)
		glist_push(l, from->first[from->at++]);
	if (from->head) {
		if (l->tail)
			l->tail->next = from->head;
		else
			l->head = from->head;
		l->tail = from->tail;
	}
	l->count = count;
	glist_init(from);
}

#endif
