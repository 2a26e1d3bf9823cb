/*
 * sim.h - what a scenario may say. A scenario is a few lines in tests/sim/<subject>.c that run
 * again and again, each time under another schedule:
 *
 *     SCENARIO(name, "what holds")               the main goroutine of a gort_run
 *     SCENARIO_PLAIN(name, "what holds")         a plain thread, without a runtime
 *     SCENARIO_TINY(name, "what holds")          plain, and small enough for --strategy dfs
 *     SCENARIO_FAILS(name, "what fails", "text") must fail some time, its report containing text
 *
 * All of a scenario's variables are as at the program's start each time, statics too. It asks for
 * numbers by pick(), never libc's random, clock or malloc. What fails, fails by check() or in the
 * runtime; the engine adds its own checks (check.c).
 *
 * The memory that faults take away shows in results (-ENOMEM, NULL) only where a scenario has
 * asked for that by faults_welcome().
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <gort.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum scenario_kind { SIM_RUN, SIM_PLAIN, SIM_TINY, SIM_FAILS };

struct scenario {
	const char *name, *about;
	void (*body)(void);
	enum scenario_kind kind;
	const char *fails;
	struct scenario *next;
};

void sim_register(struct scenario *s);

#define SCENARIO(name, about) SIM_SCENARIO_(name, about, SIM_RUN, NULL)
#define SCENARIO_PLAIN(name, about) SIM_SCENARIO_(name, about, SIM_PLAIN, NULL)
#define SCENARIO_TINY(name, about) SIM_SCENARIO_(name, about, SIM_TINY, NULL)
#define SCENARIO_FAILS(name, about, text) SIM_SCENARIO_(name, about, SIM_FAILS, text)

#define SIM_SCENARIO_(name, about, kind, fails) \
	static void scenario_##name(void); \
	__attribute__((constructor)) static void register_##name(void) \
	{ \
		static struct scenario s_ = { #name, about, scenario_##name, kind, fails, NULL }; \
		sim_register(&s_); \
	} \
	static void scenario_##name(void)

/* End the schedule: it has failed. */
_Noreturn void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define check(cond) \
	do { \
		if (!(cond)) \
			sim_fail("%s:%d: check(%s)", __FILE__, __LINE__, #cond); \
	} while (0)
#define check_eq(a, b) \
	do { \
		long long a_ = (long long)(a), b_ = (long long)(b); \
		if (a_ != b_) \
			sim_fail("%s:%d: %s is %lld, %s is %lld", __FILE__, __LINE__, #a, a_, #b, \
				 b_); \
	} while (0)

/* A number below n, by the seed. */
unsigned pick(unsigned n);
int sim_procs(void); /* the GOMAXPROCS that the seed chose for a SCENARIO: 1 to 4 */
/* The options that a SCENARIO's gort_run gets, for those that call it themselves. */
gort_options sim_options(void);
/* From here on os_map may fail, if the seed has chosen that. Gives whether it has. */
bool faults_welcome(void);
void faults_over(void);
/* Threads may be refused in this schedule. */
bool threads_may_fail(void);

/* Memory and mappings may be left at the end of this schedule. */
void leftovers_welcome(void);

/* Plain threads. join blocks the calling thread, not the goroutine alone. */
struct guest_thread;
struct guest_thread *guest_start(void (*fn)(void *), void *arg);
void guest_join(struct guest_thread *t);
/* Block the calling thread for a while, as a system call would. */
void thread_sleep(int64_t ns);
void thread_wait(uint32_t *word, uint32_t while_it_is);
void thread_wake(uint32_t *word);

/* In loops that wait for others: gives way, and tells the explorer that nothing will come of
 * running this on. */
void give_way(void);
/* Work of so many ns that shares nothing. */
void compute(int64_t ns);

/* Memory by the engine: a use after scrap is caught as gort's own is. At most 64 KiB. */
void *scratch(size_t size);
void scrap(void *p, size_t size);

/* Of gort_chan_pollfd: what poll(2) would say now. No point. */
bool sim_readable(int fd);

/* A line in the trace. */
void note(const char *text, uint64_t a, uint64_t b);

/* handler is called on any M, between any two steps, from now on until NULL is set: as a signal's
 * handler would be. It is not called inside itself. */
void on_signals(void (*handler)(void));
/* As if signo were sent to the calling thread; in a handler, to the one that it runs on. */
void sim_raise(int signo);

#endif
