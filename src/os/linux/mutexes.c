/*
 * mutexes.c - pthread mutexes that the program locks and unlocks, told to whoever watches them
 * (debug/mutexes.c). Only in builds that check that; see os.h.
 *
 * The functions below stand in the way of libc's: the program, and the libraries that it is linked
 * to, find ours first. libc's own calls do not come here, so a wait for a condition, which unlocks
 * and locks again inside libc, changes nothing.
 *
 *  1. Who has called goes on to the next definition, as the loader has it: libc's, or that of
 *     somebody else who stands in the way. It is looked up once, in a constructor; a constructor that
 *     comes earlier and locks a mutex looks for itself. dlsym calls neither us nor malloc if it finds
 *     what it looks for.
 *  2. A program without a loader, fully static, has no next one: ours are weak, and libc's names are
 *     weak as well, so that the linker takes what it meets first, us. We call what is behind libc's
 *     name there, by its other name, and tell nobody. C11's functions, which call that, have it
 *     linked in.
 *  3. Told is what has succeeded; an unlock, too, since it may fail. EOWNERDEAD is a success.
 *
 * Lookups by several threads find the same. Nothing here is called by gort itself.
 */
#include "base/atomic.h"
#include "os/linux/linux.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <threads.h>

#define WEAK __attribute__((weak))

typedef int call(pthread_mutex_t *m);
typedef int call_until(pthread_mutex_t *m, const struct timespec *when);
typedef int call_clock(pthread_mutex_t *m, clockid_t clock, const struct timespec *when);

WEAK void *dlsym(void *restrict handle, const char *restrict name);
WEAK call __pthread_mutex_lock, __pthread_mutex_trylock, __pthread_mutex_unlock;
WEAK call_until __pthread_mutex_timedlock;
WEAK call_clock __pthread_mutex_clocklock;

/* 2 */
__attribute__((used)) static int (*const linked_in[])(mtx_t *) = { mtx_lock, mtx_trylock,
								   mtx_unlock };
__attribute__((used)) static int (*const linked_in_too)(
	mtx_t *restrict, const struct timespec *restrict) = mtx_timedlock;

static void (*watcher)(const void *mutex, bool locked); /* atomic */

/* A function, by whichever type. */
union any {
	void *p;
	call *call;
	call_until *until;
	call_clock *clock;
};

/* atomic; NULL: not looked up yet, or there is none */
static struct {
	void *lock, *trylock, *unlock, *timedlock, *clocklock;
} next;

static union any find(void **at, const char *name, union any in_static)
{
	union any found = { load_acquire(at) };

	if (found.p || !dlsym)
		return found.p ? found : in_static;
	found.p = dlsym(RTLD_NEXT, name);
	if (!found.p)
		return in_static;
	store_release(at, found.p); /* meets the acquire above */
	return found;
}

static union any next_lock(void)
{
	return find(&next.lock, "pthread_mutex_lock", (union any){ .call = __pthread_mutex_lock });
}

static union any next_trylock(void)
{
	return find(&next.trylock, "pthread_mutex_trylock",
		    (union any){ .call = __pthread_mutex_trylock });
}

static union any next_unlock(void)
{
	return find(&next.unlock, "pthread_mutex_unlock",
		    (union any){ .call = __pthread_mutex_unlock });
}

static union any next_timedlock(void)
{
	return find(&next.timedlock, "pthread_mutex_timedlock",
		    (union any){ .until = __pthread_mutex_timedlock });
}

static union any next_clocklock(void)
{
	return find(&next.clocklock, "pthread_mutex_clocklock",
		    (union any){ .clock = __pthread_mutex_clocklock });
}

__attribute__((constructor(101))) static void find_all(void)
{
	next_lock();
	next_trylock();
	next_unlock();
	next_timedlock();
	next_clocklock();
}

void os_mutexes_watch(void (*fn)(const void *mutex, bool locked))
{
	if (load_acquire(&next.unlock)) /* 2 */
		store_release(&watcher, fn);
}

static int told(const pthread_mutex_t *m, bool locked, int err)
{
	void (*fn)(const void *, bool) = load_acquire(&watcher);

	if (fn && (err == 0 || err == EOWNERDEAD))
		fn(m, locked);
	return err;
}

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): libc's names are reserved */
WEAK GORT_API int pthread_mutex_lock(pthread_mutex_t *m)
{
	return told(m, true, next_lock().call(m));
}

WEAK GORT_API int pthread_mutex_trylock(pthread_mutex_t *m)
{
	return told(m, true, next_trylock().call(m));
}

WEAK GORT_API int pthread_mutex_unlock(pthread_mutex_t *m)
{
	return told(m, false, next_unlock().call(m));
}

WEAK GORT_API int pthread_mutex_timedlock(pthread_mutex_t *restrict m,
					  const struct timespec *restrict when)
{
	return told(m, true, next_timedlock().until(m, when));
}

/* Older libcs have none, but then no program calls it. */
WEAK GORT_API int pthread_mutex_clocklock(pthread_mutex_t *restrict m, clockid_t clock,
					  const struct timespec *restrict when)
{
	union any to = next_clocklock();

	return to.p ? told(m, true, to.clock(m, clock, when)) : ENOSYS;
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
