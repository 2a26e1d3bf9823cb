/*
 * load.h - the parts of the load generator: its modes, and what they measure with.
 *
 * One thread. A mode prints lines
 *
 *	FIGURE VALUE UNIT
 *
 * of the timed window alone, which the warm-up precedes. A "request" of storm's is a connection.
 */
#ifndef LOAD_H
#define LOAD_H

#include "net.h"

#include <stdint.h>
#include <sys/types.h>

#define NS_PER_SEC 1000000000LL
#define ANSWER_MS 5000 /* a server that is silent for longer has failed */

struct load { /* what the command line says */
	int port;
	pid_t server;
	int connections;
	size_t size;             /* of a message */
	int64_t warm_up, length; /* ns */
};

/* load_echo.c, load_idle.c, load_storm.c, load_stream.c */
void load_echo(const struct load *l);
void load_idle(const struct load *l);
void load_storm(const struct load *l);
void load_stream(const struct load *l);

_Noreturn void serve_sink(void); /* sink.c: where a proxy takes load_stream's bytes */

/* load.c */
int64_t now(void);
int dial(const struct load *l, int number);
void make_message(char *message, size_t size);
void figure(const char *name, double value, const char *unit);

/* Of each mode's window: cpu, the server's CPU time for a request in us, and their rate. */
struct window {
	int64_t start, cpu_start;
};
struct window window_begin(const struct load *l);
void window_end(const struct window *w, const struct load *l, uint64_t requests, bool by_minute);
void window_end_bytes(const struct window *w, const struct load *l,
		      uint64_t bytes); /* cpu: ms/GB */

/* watch.c: how the server does, seen from outside. */
int64_t server_cpu(pid_t server); /* ns, user and system, of all threads that ever were */
double server_rss(pid_t server);  /* bytes */

/* latency.c: a histogram. A value is kept to within 1/64 of itself. */
#define LATENCY_BITS 6
struct latencies {
	uint64_t count;
	int64_t most;
	uint32_t bucket[(64 - LATENCY_BITS + 1) << LATENCY_BITS];
};
void latency_add(struct latencies *all, int64_t ns);
void latency_report(const struct latencies *all); /* p50, p99, max */

#endif
