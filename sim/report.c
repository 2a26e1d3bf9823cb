/*
 * report.c - in the place of gort's reports (src/debug/dump.c) and of what they ask of the system:
 * nothing. The simulator's own reports are those of trace.c.
 */
#include "engine.h"

#include "sched/config.h"

void gort__dump_fatal(void)
{
}

void gort__dump_dying(void)
{
}

int gort_dump(int fd)
{
	(void)fd;
	return 0;
}

void gort__dump_quit(const struct os_context *at)
{
	(void)at;
}

int os_quit_install(void (*fn)(const struct os_context *at))
{
	(void)fn;
	return 0;
}

void os_quit_remove(void)
{
}
