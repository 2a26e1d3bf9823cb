/*
 * timeout - a tree of contexts: a time limit for all of a search, an end for parts of it.
 *
 * A journey is looked for by air, rail and road at once, half a second at most. For each, two
 * agencies are asked, the first answer counts, and the other agency is told that nobody waits any
 * more. The limit and those ends need not be passed along: goroutines inherit the context of who
 * starts them, and what they wait for obeys it.
 */
#include <gort.h>
#include <stdio.h>

#define WAYS 3
#define AGENCIES 2

struct agency {
	const char *name;
	int64_t takes;
};

static const struct way {
	const char *name;
	struct agency agencies[AGENCIES];
} ways[WAYS] = {
	{ "air", { { "Swift", 0 }, { "Albatross", 3600 * GORT_SEC } } },
	{ "rail", { { "Steam", 3600 * GORT_SEC }, { "Diesel", GORT_US } } },
	{ "road", { { "Ox", 3600 * GORT_SEC }, { "Mule", 3600 * GORT_SEC } } },
};

/* Those that were given up. */
static _Atomic int in_vain;
static gort_waitgroup asked;

struct question {
	const struct agency *agency;
	gort_chan *answers; /* released by who is asked */
};

static void ask(void *arg)
{
	struct question *q = arg;

	if (gort_sleep(q->agency->takes) == 0)
		gort_chan_send(q->answers, &q->agency->name);
	else
		in_vain++; /* -ECANCELED, or -ETIMEDOUT */
	gort_chan_release(q->answers);
	gort_waitgroup_done(&asked);
}

/* Both agencies, under a context that ends with the first answer. */
static const char *first_answer(const struct way *w)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_current());
	gort_ctx *before = gort_ctx_enter(ctx);
	gort_chan *answers = gort_chan_make(sizeof(char *), AGENCIES);
	const char *answer = NULL;

	for (int i = 0; i < AGENCIES; i++) {
		gort_waitgroup_add(&asked, 1);
		gort_go_with(ask, struct question, .agency = &w->agencies[i],
			     .answers = gort_chan_retain(answers));
	}
	gort_chan_recv(answers, &answer); /* or the time is over */
	gort_ctx_cancel(ctx, 0);
	gort_ctx_leave(before);
	gort_ctx_release(ctx);
	gort_chan_release(answers);
	return answer;
}

struct search {
	const struct way *way;
	const char *found;
};

static int search(void *arg)
{
	struct search *s = arg;

	s->found = first_answer(s->way);
	return 0;
}

GORT_MAIN(argc, argv)
{
	gort_ctx *limit = gort_ctx_with_deadline(gort_ctx_background(), gort_in(500 * GORT_MS));
	struct search searches[WAYS];
	gort_task *tasks[WAYS];

	for (int i = 0; i < WAYS; i++) {
		searches[i].way = &ways[i];
		tasks[i] = gort_spawn(search, &searches[i], &(gort_attr){ .ctx = limit });
	}
	for (int i = 0; i < WAYS; i++) {
		gort_join(tasks[i], NULL);
		printf("by %s: %s\n", ways[i].name,
		       searches[i].found ? searches[i].found : "no answer in time");
	}
	printf("the limit has passed: %s\n", gort_ctx_err(limit) == -ETIMEDOUT ? "yes" : "no");
	gort_waitgroup_wait(&asked);
	printf("asked in vain: %d\n", in_vain);
	gort_ctx_release(limit);
	return 0;
}
