/*
 * local.c - what belongs to one goroutine, or to one plain thread: defers, tries and panics, and
 * goroutine-local values.
 *
 * Panics. gort_try marks its place with _setjmp; a panic runs the defers registered since, then
 * comes back there by _longjmp, always on the same stack, downwards: frames are not unwound. A
 * defer is taken off the list before it runs, so that a panic inside one goes on with the rest.
 *
 * Values. A key is an index and a version; deleting one raises the version, so that values of an
 * earlier life are not seen. The table of keys is under keys_lock; a goroutine's values are its
 * own.
 *
 * struct local is the G's, or a thread-local of a plain thread (gort__local: never inlined, so that
 * no compiler keeps the address of the thread-local across a switch).
 *
 * Callers: goroutines and guests, on their own stack.
 */
#include "sched/sched.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_SIZE 512

struct try_frame {
	struct try_frame *outer;
	struct defer *defers; /* those that are not ours */
	char *message;
	size_t size;
	jmp_buf back;
};

static __thread struct local thread_local;
static __thread bool thread_hooked;

noinline struct local *gort__local(void)
{
	struct m *m = m_self();

	return m ? &m->g->local : &thread_local;
}

/* ---- defers -------------------------------------------------------------------------------- */

void gort__defer_push(struct local *l, struct defer *d, gort_func fn, void *arg)
{
	*d = (struct defer){ .next = l->defers, .fn = fn, .arg = arg, .embedded = true };
	l->defers = d;
}

/* d need not be the newest: what fn registered with gort_defer stays for the goroutine's end. */
void gort__defer_end(struct local *l, struct defer *d)
{
	struct defer **link = &l->defers;

	if (unlikely(gort__forked != NULL)) /* it is not there any more */
		gort__fatal_forked("the return into a call of gort");
	while (*link != d)
		link = &(*link)->next;
	*link = d->next;
	d->fn(d->arg);
}

bool gort__defer_pending(const struct local *l, gort_func fn, const void *arg)
{
	for (const struct defer *d = l->defers; d; d = d->next)
		if (d->fn == fn && d->arg == arg)
			return true;
	return false;
}

static void defer_pop(struct local *l)
{
	struct defer d = *l->defers, *at = l->defers;
	struct m *m;

	l->defers = d.next;
	if (!d.embedded) {
		m = rt_enter();
		mem_free(cache_of(m), at, sizeof *at);
		rt_leave(m);
	}
	d.fn(d.arg);
}

static void run_defers(struct local *l, struct defer *until)
{
	while (l->defers != until)
		defer_pop(l);
}

GORT_API int gort_defer(gort_func fn, void *arg)
{
	struct m *m = rt_enter();
	struct local *l = gort__local();
	struct defer *d = NULL;
	int err = 0;

	if (!fn)
		gort__misuse("gort_defer", "no function");
	if (!m && !l->tries)
		err = -EPERM;
	else if (!(d = mem_alloc(cache_of(m), sizeof *d)))
		err = -ENOMEM;
	if (d) {
		*d = (struct defer){ .next = l->defers, .fn = fn, .arg = arg };
		l->defers = d;
	}
	rt_leave(m);
	return err;
}

/* ---- panics --------------------------------------------------------------------------------- */

GORT_API int gort_try(gort_func fn, void *arg, char *message, size_t size)
{
	struct local *l = gort__local();
	struct try_frame frame;

	if (!fn)
		gort__misuse("gort_try", "no function");
	frame.outer = l->tries;
	frame.defers = l->defers;
	frame.message = message;
	frame.size = size;
	l->tries = &frame;
	if (_setjmp(frame.back) != 0)
		return -EOWNERDEAD; /* the panic has taken the frame off */
	fn(arg);
	l = gort__local();
	run_defers(l, frame.defers);
	l->tries = frame.outer;
	return 0;
}

static _Noreturn void panic_to_try(struct local *l, const char *text)
{
	struct try_frame *frame = l->tries;
	size_t n = strlen(text);

	if (frame->size > 0) {
		n = n < frame->size - 1 ? n : frame->size - 1;
		memcpy(frame->message, text, n);
		frame->message[n] = 0;
	}
	run_defers(l, frame->defers); /* one that panics comes here again, and goes on */
	l->tries = frame->outer;
	_longjmp(frame->back, 1);
}

static _Noreturn void panic_uncaught(struct m *m, struct local *l, const char *text)
{
	struct g *g = m->g;
	char label[LABEL_SIZE];

	run_defers(l, NULL);
	if (!gort__sched.on_panic)
		gort__fatal("panic: %s [goroutine %s]", text, g_label(g, label));
	gort__sched.on_panic(text, g->id);
	l->panicked = true;
	gort__g_finish(g);
}

GORT_API void gort_panic(const char *format, ...)
{
	struct local *l = gort__local();
	struct m *m;
	char text[MESSAGE_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (l->tries)
		panic_to_try(l, text);
	m = m_self();
	if (!m) {
		rt_enter();
		gort__fatal("panic: %s [thread %d]", text, (int64_t)os_thread_id());
	}
	panic_uncaught(m, l, text);
}

/* ---- keys ------------------------------------------------------------------------------------ */

#define KEYS_MAX 1024u
#define KEY_ROUNDS 4 /* as PTHREAD_DESTRUCTOR_ITERATIONS */

struct local_value {
	void *value;
	uint32_t version;
};

static struct lock keys_lock = LOCK_INIT(RANK_KEYS);
static struct {
	uint32_t version; /* odd: in use */
	void (*destructor)(void *);
} key_table[KEYS_MAX]; /* under keys_lock */

static uint32_t key_index(gort_key key)
{
	return key % KEYS_MAX;
}

static uint32_t key_version(gort_key key)
{
	return key / KEYS_MAX;
}

#define VERSIONS (UINT32_MAX / KEYS_MAX + 1)

GORT_API int gort_key_create(gort_key *key, void (*destructor)(void *value))
{
	struct m *m = rt_enter();
	int err = -EAGAIN;

	lock_acquire(&keys_lock);
	for (uint32_t i = 0; i < KEYS_MAX; i++) {
		if (key_table[i].version & 1)
			continue;
		key_table[i].version = (key_table[i].version + 1) % VERSIONS;
		key_table[i].destructor = destructor;
		*key = key_table[i].version * KEYS_MAX + i;
		err = 0;
		break;
	}
	lock_release(&keys_lock);
	rt_leave_here(m);
	return err;
}

GORT_API void gort_key_delete(gort_key key)
{
	uint32_t i = key_index(key);
	struct m *m = rt_enter();

	lock_acquire(&keys_lock);
	if (key_table[i].version == key_version(key) && key_version(key) & 1)
		key_table[i].version = (key_table[i].version + 1) % VERSIONS;
	lock_release(&keys_lock);
	rt_leave_here(m);
}

static bool key_exists(gort_key key, void (**destructor)(void *))
{
	uint32_t i = key_index(key);
	bool exists;

	lock_acquire(&keys_lock);
	exists = key_table[i].version == key_version(key) && key_version(key) & 1;
	*destructor = exists ? key_table[i].destructor : NULL;
	lock_release(&keys_lock);
	return exists;
}

/* A value whose key was deleted, and whose index another key has, is dropped by the version. */
GORT_API void *gort_key_get(gort_key key)
{
	struct local *l = gort__local();
	uint32_t i = key_index(key);
	void (*destructor)(void *);
	struct m *m;
	bool exists;

	if (i >= l->value_count || l->values[i].version != key_version(key) || !l->values[i].value)
		return NULL;
	m = rt_enter();
	exists = key_exists(key, &destructor);
	rt_leave_here(m);
	return exists ? l->values[i].value : NULL;
}

static bool values_grow(struct m *m, struct local *l, uint32_t index)
{
	uint32_t count = l->value_count ? l->value_count : 8;
	struct local_value *values;

	while (count <= index)
		count *= 2;
	values = mem_alloc(cache_of(m), count * sizeof *values);
	if (!values)
		return false;
	memset(values, 0, count * sizeof *values);
	if (l->value_count) {
		memcpy(values, l->values, l->value_count * sizeof *values);
		mem_free(cache_of(m), l->values, l->value_count * sizeof *values);
	}
	l->values = values;
	l->value_count = count;
	return true;
}

static void run_destructors(struct local *l)
{
	for (uint32_t i = 0; i < l->value_count; i++) {
		void *value = l->values[i].value;
		void (*destructor)(void *);
		struct m *m;

		if (!value)
			continue;
		l->values[i].value = NULL;
		m = rt_enter();
		if (!key_exists(l->values[i].version * KEYS_MAX + i, &destructor))
			destructor = NULL;
		rt_leave_here(m);
		if (destructor)
			destructor(value);
	}
}

static bool has_values(const struct local *l)
{
	for (uint32_t i = 0; i < l->value_count; i++)
		if (l->values[i].value)
			return true;
	return false;
}

static rare void values_end(struct local *l)
{
	struct m *m;

	for (int round = 0; round < KEY_ROUNDS && has_values(l); round++)
		run_destructors(l);
	m = rt_enter();
	mem_free(cache_of(m), l->values, l->value_count * sizeof *l->values);
	rt_leave(m);
	l->values = NULL;
	l->value_count = 0;
}

static void thread_ends(void)
{
	if (thread_local.values)
		values_end(&thread_local);
	gort__guest_enter();
	gort__under_end(NULL, gort__under(NULL));
	gort__guest_leave();
	thread_hooked = false;
}

/* What a plain thread has is given back when it ends. */
void gort__thread_hook(void)
{
	if (!thread_hooked)
		thread_hooked = os_thread_on_exit(thread_ends) == 0;
}

GORT_API int gort_key_set(gort_key key, void *value)
{
	struct m *m = rt_enter();
	struct local *l = gort__local();
	uint32_t i = key_index(key);
	void (*destructor)(void *);
	int err = 0;

	if (!key_exists(key, &destructor))
		err = -EINVAL;
	else if (i >= l->value_count && !values_grow(m, l, i))
		err = -ENOMEM;
	else
		l->values[i] = (struct local_value){ value, key_version(key) };
	if (!m && !err)
		gort__thread_hook();
	rt_leave(m);
	return err;
}

/* Of one that will never run again: nothing of it is called. */
void gort__local_drop(struct local *l)
{
	struct defer *d;

	while ((d = l->defers) != NULL) {
		l->defers = d->next;
		if (!d->embedded)
			mem_free(NULL, d, sizeof *d);
		else if (d->drop)
			d->drop(d->arg);
	}
	if (l->values)
		mem_free(NULL, l->values, l->value_count * sizeof *l->values);
	l->values = NULL;
}

/* The end of a goroutine. A panic in a defer runs the rest, and ends in gort__g_finish again. */
void gort__local_end(struct local *l)
{
	l->tries = NULL;
	run_defers(l, NULL);
	if (unlikely(l->values != NULL))
		values_end(l);
}
