/*
 * exceptions.h - a goroutine may block inside a catch block, or in a destructor while an
 * exception is on its way: what C++ keeps of that per thread goes with the goroutine.
 *
 * The Itanium C++ ABI keeps a stack of caught exceptions and a count of those on their way, in
 * __cxa_get_globals(). A goroutine that gives way with either takes them along and leaves the
 * thread with none, so that whoever runs next starts clean. Programs without C++ have no such
 * function: m->cxa is NULL then, and that is all that a switch looks at.
 *
 * An exception that leaves a goroutine's function finds no handler (the stack's last frame says
 * that nobody called it), so the C++ runtime calls std::terminate; the handler of exceptions.c
 * says in which goroutine, then calls the one that was there before.
 *
 * Included by sched.h.
 */
#ifndef GORT_SCHED_EXCEPTIONS_H
#define GORT_SCHED_EXCEPTIONS_H

struct cxa_globals {
	void *caught;
	unsigned int uncaught;
};

struct cxa_globals *gort__cxa(void); /* the calling thread's; NULL: no C++ */
void gort__terminate_install(void);
void gort__terminate_remove(void);

/* True: there were some, and they are in *to. */
static inline bool exceptions_take(struct cxa_globals *from, struct cxa_globals *to)
{
	if (!from->caught && !from->uncaught)
		return false;
	*to = *from;
	*from = (struct cxa_globals){ 0 };
	return true;
}

#endif
