/*
 * mutex.h - what mutex.c does for cond.c, which gives a mutex up while it holds a lock of its own,
 * and for rwmutex.c.
 */
#ifndef GORT_SYNC_MUTEX_H
#define GORT_SYNC_MUTEX_H

#include "sched/park.h"

/* By one step, if nobody must be woken. Takes no lock. */
bool gort__mutex_try_unlock(gort_mutex *m);
/* Under its lot's lock: always. Gives whom to wake, or NULL. call: for the message if it is not
 * locked. */
struct waiter *gort__mutex_unlock_under(gort_mutex *m, const char *call);
/* By who has no P, as the runtime stops. */
void gort__mutex_unlock_as_guest(gort_mutex *m);

#endif
