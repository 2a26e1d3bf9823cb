/*
 * exceptions.c - what exceptions.h needs of the C++ runtime, if the program has one. Weak names:
 * gort itself depends on libc alone.
 */
#include "sched/sched.h"

typedef void (*terminate_fn)(void);

__attribute__((weak)) struct cxa_globals *__cxa_get_globals(void);
/* std::set_terminate, std::get_terminate */
__attribute__((weak)) terminate_fn _ZSt13set_terminatePFvvE(terminate_fn fn);
__attribute__((weak)) terminate_fn _ZSt13get_terminatev(void);

static terminate_fn before;

struct cxa_globals *gort__cxa(void)
{
	return __cxa_get_globals ? __cxa_get_globals() : NULL;
}

static void on_terminate(void)
{
	struct m *m = m_self();
	char label[LABEL_SIZE];

	if (m && m->g)
		gort__report("std::terminate in goroutine %s", g_label(m->g, label));
	if (before)
		before();
	os_abort();
}

void gort__terminate_install(void)
{
	if (_ZSt13set_terminatePFvvE)
		before = _ZSt13set_terminatePFvvE(on_terminate);
}

/* Unless the program has put its own in the place of ours. */
void gort__terminate_remove(void)
{
	if (_ZSt13get_terminatev && _ZSt13get_terminatev() == on_terminate)
		_ZSt13set_terminatePFvvE(before);
}
