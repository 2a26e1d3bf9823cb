/*
 * config.c - gort_options and the GORT_* variables, checked and filled in.
 *
 * An option that is set wins over the variable, the variable over the default. Nonsense in either
 * gives -EINVAL, also in a variable that an option overrides: whoever set it should know.
 *
 * Callers: gort_run, gort_start, gort_maxprocs, on any thread.
 */
#include "sched/config.h"

#include "sched/stack.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#define THREADS_DEFAULT 10000
#define SLICE_DEFAULT (10 * GORT_MS)

static uint32_t maxprocs_set; /* atomic: by gort_maxprocs without a runtime; 0: not */

/* A positive decimal number, with K, M or G behind it if units, up to the end or a comma; *end is
 * there. -EINVAL, also beyond most. */
static int64_t number(const char *text, bool units, int64_t most, const char **end)
{
	int64_t n = 0;
	int shift = 0;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	for (; *text >= '0' && *text <= '9'; text++) {
		n = n * 10 + (*text - '0');
		if (n > most)
			return -EINVAL;
	}
	if (units && *text) {
		shift = (*text | 32) == 'k'   ? 10
			: (*text | 32) == 'm' ? 20
			: (*text | 32) == 'g' ? 30
					      : 0;
		text += shift != 0;
	}
	if ((*text && *text != ',') || n == 0 || n > most >> shift)
		return -EINVAL;
	*end = text;
	return n << shift;
}

/* The variable's number; otherwise if it is unset or empty; -EINVAL. */
static int64_t variable(const char *name, bool units, int64_t most, int64_t otherwise)
{
	const char *text = os_getenv(name);
	int64_t n;

	if (!text || !*text)
		return otherwise;
	n = number(text, units, most, &text);
	return n > 0 && *text ? -EINVAL : n;
}

/* "1", or "0"; 0 if it is unset or empty; -EINVAL. */
static int64_t flag(const char *name)
{
	const char *text = os_getenv(name);

	if (!text || !*text)
		return 0;
	return text[1] || (*text != '0' && *text != '1') ? -EINVAL : *text - '0';
}

/* The text behind key=, or NULL. */
static const char *value_of(const char *text, const char *key)
{
	size_t n = strlen(key);

	return strncmp(text, key, n) == 0 && text[n] == '=' ? text + n + 1 : NULL;
}

/* One setting: the time between two lines, OS_FOREVER: none; whether io_uring may be used. *end is
 * there. False: nonsense. */
static bool debug_setting(const char *text, struct config *c, const char **end)
{
	const char *value;
	int64_t n;

	if ((value = value_of(text, "sched")) != NULL) {
		n = number(value, false, INT32_MAX, end);
		c->trace = n * GORT_MS;
		return n > 0;
	}
	value = value_of(text, "uring");
	if (!value || (*value != '0' && *value != '1'))
		return false;
	c->uring = *value == '1';
	*end = value + 1;
	return !value[1] || value[1] == ',';
}

/* GORT_DEBUG: sched=MS, uring=0, with commas between, or nothing. */
static bool debug_settings(struct config *c)
{
	const char *text = os_getenv("GORT_DEBUG");

	c->trace = OS_FOREVER;
	c->uring = true;
	if (!text || !*text)
		return true;
	do
		if (!debug_setting(text, c, &text))
			return false;
	while (*text++ == ',');
	return true;
}

static size_t main_stack_default(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_STACK, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return (size_t)8 << 20;
	if (limit.rlim_cur < STACK_DEFAULT)
		return STACK_DEFAULT;
	return limit.rlim_cur < STACK_MAX ? limit.rlim_cur : STACK_MAX;
}

static bool stack_ok(int64_t size)
{
	return size >= (int64_t)STACK_MIN && size <= (int64_t)STACK_MAX;
}

static int capped(int64_t n)
{
	return n < MAX_PROCS ? (int)n : MAX_PROCS;
}

int gort__config_maxprocs(int n)
{
	int64_t set = load_relaxed(&maxprocs_set);
	int64_t was = set ? set : variable("GORT_MAXPROCS", false, INT32_MAX, 0);

	if (n > 0)
		store_relaxed(&maxprocs_set, (uint32_t)capped(n));
	return capped(was > 0 ? was : os_cpus());
}

/* Rounded up to a power of two: stacks come in such sizes, and P's lists hold one of them. */
static size_t stack_class(size_t size)
{
	size_t class = STACK_MIN;

	while (class < size)
		class *= 2;
	return class;
}

int gort__config(struct config *c, const gort_options *options)
{
	static const gort_options none;
	const gort_options *o = options ? options : &none;
	int64_t procs = variable("GORT_MAXPROCS", false, INT32_MAX, 0);
	int64_t threads = variable("GORT_MAXTHREADS", false, INT32_MAX, THREADS_DEFAULT);
	int64_t stack = variable("GORT_STACK", true, (int64_t)STACK_MAX, (int64_t)STACK_DEFAULT);
	int64_t quit = flag("GORT_SIGQUIT");

	if (!debug_settings(c) || quit < 0 || procs < 0 || threads < 0 || !stack_ok(stack) ||
	    o->maxprocs < 0 || o->max_threads < 0)
		return -EINVAL;
	if (o->on_deadlock != GORT_DEADLOCK_EXIT && o->on_deadlock != GORT_DEADLOCK_RETURN)
		return -EINVAL;
	if ((o->stack_size && !stack_ok((int64_t)o->stack_size)) ||
	    (o->main_stack_size && !stack_ok((int64_t)o->main_stack_size)))
		return -EINVAL;
	for (size_t i = 0; i < sizeof o->reserved_ / sizeof o->reserved_[0]; i++)
		if (o->reserved_[i])
			return -EINVAL;
	c->maxprocs = o->maxprocs ? capped(o->maxprocs) : gort__config_maxprocs(0);
	c->stack_size = stack_class(o->stack_size ? o->stack_size : (size_t)stack);
	c->main_stack_size = o->main_stack_size ? o->main_stack_size : main_stack_default();
	c->on_panic = o->on_panic;
	c->max_threads = (uint32_t)(o->max_threads ? o->max_threads : threads);
	c->slice = o->preempt_slice_us < 0 ? OS_FOREVER
		: o->preempt_slice_us      ? o->preempt_slice_us * GORT_US
					   : SLICE_DEFAULT;
	c->deadlock_returns = o->on_deadlock == GORT_DEADLOCK_RETURN;
	c->sigquit = quit != 0;
	return 0;
}
