/*
 * campaign.h - many schedules, one after the other. See campaign.c.
 */
#ifndef SIM_CAMPAIGN_H
#define SIM_CAMPAIGN_H

#include "engine.h"

struct campaign {
	const struct scenario *scenario;
	struct plan options; /* what is fixed */
	uint64_t seed, count;
	size_t trace; /* print so many steps of each schedule */
	unsigned bound;
};

extern struct scenario *scenarios;

/* Each gives the exit status: 0, or 1 if a schedule has failed that should not have. */
int campaign(const struct campaign *c);
int smoke(uint64_t seconds, uint64_t seed);
int long_run(uint64_t points, uint64_t seed);
int selftest(void);

#endif
