/*
 * enter.h - entering and leaving gort. Included by sched.h.
 */
#ifndef GORT_SCHED_ENTER_H
#define GORT_SCHED_ENTER_H

/* ---- entering and leaving gort. Every public function that touches an object shared with other
 * goroutines stands between the two. A goroutine has its P in between, and is not preempted; it
 * learns here that the runtime stops. Guests are counted, so that the runtime's end can wait until
 * none of them is about to wake a goroutine that will be freed. The argument, steps n1 to l1,
 * stands in handoff.c. NULL: a guest. */
void gort__p_lost(struct m *m); /* waits for a P */
void gort__leave_slow(struct m *m);
_Noreturn void gort__stop_here(struct m *m);
void gort__guest_enter(void);
void gort__guest_leave(void);

#define SHY ((uintptr_t)1 << (8 * sizeof(uintptr_t) - 1))

static inline uintptr_t handle_of(const struct p *p)
{
	return (uintptr_t)p | (gort__asymmetric ? 0 : SHY);
}

static inlined bool handle_is_plain(uintptr_t handle)
{
	return (intptr_t)handle > 0;
}

/* False: its P was taken, or it must take a closer look (gort__p_holds). */
static inlined bool m_enter(struct m *m)
{
	must_checked(!load_relaxed(&m->in_rt));
	store_relaxed(&m->in_rt, 1);                      /* n1 */
	fence_compiler();                                 /* n2 */
	return handle_is_plain(load_acquire(&m->handle)); /* n3 */
}

static inlined struct m *rt_enter(void)
{
	struct m *m = m_self();

	if (unlikely(!m))
		gort__guest_enter();
	else if (unlikely(!m_enter(m)))
		gort__p_lost(m);
	return m;
}

/* As rt_enter, also for who has begun to enter (m_enter) already. */
static inline struct m *rt_enter_again(void)
{
	struct m *m = m_self();

	if (m)
		store_relaxed(&m->in_rt, 0);
	return rt_enter();
}

/* For calls that start something: in a forked child, where nothing runs, they give -ESRCH, NULL. */
static inline struct m *rt_enter_to_start(void)
{
	return unlikely(gort__forked != NULL) ? NULL : rt_enter();
}

/* As rt_enter and rt_leave, for what has begun and must be finished even if the runtime stops: as a
 * guest then, who may not wait (m_stops), and whose goroutine stops when it leaves. */
struct m *rt_enter_midway(void);
void rt_leave_midway(struct m *m);

/* Outside of gort: the runtime has ended, and the goroutine's next call would not return. For who must
 * clean up before. False tells of now: the runtime may end right after. */
bool rt_is_over(void);

static inline bool m_stops(const struct m *m)
{
	return unlikely(!m) && m_self();
}

/* Of a goroutine that is on m now. */
static inlined void m_leave(struct m *m)
{
	must_checked(load_relaxed(&m->in_rt));
	store_release(&m->in_rt, 0); /* l1: meets the acquire in handoff.c, t3 */
	fence_compiler();            /* l2: what was asked before t2, or by a signal, is seen */
	if (unlikely(load_relaxed(&m->asks)))
		gort__leave_slow(m);
}

/* The call's last act: what is slow is a jump, so that nothing need be kept across it. */
int gort__leave_slow_with(struct m *m, int result);
static inlined int m_leave_with(struct m *m, int result)
{
	must_checked(load_relaxed(&m->in_rt));
	store_release(&m->in_rt, 0);
	fence_compiler();
	if (unlikely(load_relaxed(&m->asks)))
		return gort__leave_slow_with(m, result);
	return result;
}

/* m: the M that it is on now, or NULL. */
static inlined int rt_leave_with(struct m *m, int result)
{
	if (likely(m != NULL))
		return m_leave_with(m, result);
	gort__guest_leave();
	return result;
}

/* What rt_enter gave, which need not be the M that it is on now. */
static inlined void rt_leave(struct m *m)
{
	if (unlikely(!m))
		gort__guest_leave();
	else
		m_leave(m_self());
}

/* The same where it has not waited. */
static inlined void rt_leave_here(struct m *m)
{
	if (unlikely(!m))
		gort__guest_leave();
	else
		m_leave(m);
}

#endif
