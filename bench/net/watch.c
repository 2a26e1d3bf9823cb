/*
 * watch.c - the server's CPU time and memory.
 *
 * The CPU time is that of the process's clock: exact, where /proc/PID/stat counts ticks, and with
 * the threads that have ended, which /proc/PID/task no longer shows. What the kernel does for a
 * packet is charged to whoever sends it, so with loopback both sides have their share.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t server_cpu(pid_t server)
{
	struct timespec t;
	clockid_t clock;

	errno = clock_getcpuclockid(server, &clock);
	expect_call(errno ? -1 : 0, "the server's clock");
	expect_call(clock_gettime(clock, &t), "the server's CPU time");
	return (int64_t)t.tv_sec * NS_PER_SEC + t.tv_nsec;
}

double server_rss(pid_t server)
{
	char path[64], line[256];
	double bytes = -1;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/status", (int)server);
	f = fopen(path, "r");
	expect(f != NULL, path);
	while (fgets(line, sizeof line, f))
		if (strncmp(line, "VmRSS:", 6) == 0)
			bytes = strtod(line + 6, NULL) * 1024;
	fclose(f);
	expect(bytes >= 0, "VmRSS");
	return bytes;
}
