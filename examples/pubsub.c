/*
 * pubsub - publishers and subscribers that do not know each other, and a broker that nobody can
 * hold up.
 *
 * A subscriber has a channel of its own with room for a few messages. Publishing never waits: who
 * does not keep up misses messages, and is told how many. The rwmutex lets all publish at a time;
 * only coming and going excludes them. The end is the channel's: the broker closes it, and the
 * subscriber's loop ends.
 *
 * All of it runs in a bubble, whose clock only moves when everybody waits: so an hour takes no
 * time, and the output is the same each time.
 */
#include <errno.h>
#include <gort.h>
#include <stdio.h>
#include <stdlib.h>

#define ROOM 4
#define SUBSCRIBERS 3
#define PUBLISHERS 2

struct message {
	const char *from;
	int number;
};

typedef gort_chan_of(struct message) inbox;

struct subscriber {
	inbox in;
	unsigned missed; /* atomic: publishers run together */
};

struct broker {
	gort_rwmutex lock;
	struct subscriber *subscribers[SUBSCRIBERS]; /* lock */
	int count;                                   /* lock */
};

static struct subscriber *subscribe(struct broker *b)
{
	struct subscriber *s = calloc(1, sizeof *s);

	if (!s)
		abort();
	s->in = GORT_MAKE(inbox, ROOM);
	gort_rwmutex_lock(&b->lock);
	if (b->count == SUBSCRIBERS)
		abort();
	b->subscribers[b->count++] = s;
	gort_rwmutex_unlock(&b->lock);
	return s;
}

static void publish(struct broker *b, struct message m)
{
	gort_rwmutex_rlock(&b->lock);
	for (int i = 0; i < b->count; i++)
		if (gort_try_send(b->subscribers[i]->in, m) == -EAGAIN)
			__atomic_add_fetch(&b->subscribers[i]->missed, 1, __ATOMIC_RELAXED);
	gort_rwmutex_runlock(&b->lock);
}

static void close_all(struct broker *b)
{
	gort_rwmutex_lock(&b->lock);
	for (int i = 0; i < b->count; i++)
		gort_chan_close(b->subscribers[i]->in.chan);
	b->count = 0;
	gort_rwmutex_unlock(&b->lock);
}

/* ---- who uses it */

struct publisher {
	struct broker *broker;
	const char *name;
	int messages;
	int64_t pause;
};

static int write_messages(void *arg)
{
	struct publisher *p = arg;

	for (int i = 1; i <= p->messages; i++) {
		gort_sleep(p->pause);
		publish(p->broker, (struct message){ p->name, i });
	}
	return 0;
}

struct reader {
	struct subscriber *s;
	const char *name;
	int64_t takes; /* for each message */
};

static int read_messages(void *arg)
{
	struct reader *r = arg;
	struct message m = { "nobody", 0 }, last = m;
	int n = 0;

	while (gort_recv(r->s->in, &m) == 0) {
		gort_sleep(r->takes);
		last = m;
		n++;
	}
	printf("%2d min  %s has read %d, missed %u; the last was number %d of the %s\n",
	       (int)(gort_now() / (60 * GORT_SEC)), r->name, n, r->s->missed, last.number,
	       last.from);
	gort_chan_release(r->s->in.chan);
	free(r->s);
	return 0;
}

static int one_hour(void *arg)
{
	struct broker broker = { .count = 0 };
	struct reader readers[SUBSCRIBERS] = { { .name = "the lawyer", .takes = 0 },
					       { .name = "the clerk", .takes = 50 * GORT_SEC },
					       { .name = "the idler", .takes = 1000 * GORT_SEC } };
	struct publisher publishers[PUBLISHERS] = { { &broker, "gazette", 60, 59 * GORT_SEC },
						    { &broker, "tribune", 4, 800 * GORT_SEC } };
	gort_task *reading[SUBSCRIBERS], *writing[PUBLISHERS];

	(void)arg;
	for (int i = 0; i < SUBSCRIBERS; i++) {
		readers[i].s = subscribe(&broker);
		reading[i] = gort_spawn(read_messages, &readers[i], NULL);
	}
	for (int i = 0; i < PUBLISHERS; i++)
		writing[i] = gort_spawn(write_messages, &publishers[i], NULL);
	for (int i = 0; i < PUBLISHERS; i++)
		gort_join(writing[i], NULL);
	close_all(&broker);
	for (int i = 0; i < SUBSCRIBERS; i++)
		gort_join(reading[i], NULL);
	return 0;
}

GORT_MAIN(argc, argv)
{
	return gort_bubble(one_hour, NULL);
}
