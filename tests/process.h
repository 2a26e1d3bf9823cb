/*
 * process.h - what the kernel counts of this process: threads, mappings, descriptors.
 */
#ifndef GORT_TESTS_PROCESS_H
#define GORT_TESTS_PROCESS_H

#include "harness.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

/* The runtime's, by their names: a sanitizer has threads, too. */
static inline int threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *e;
	int n = 0;

	CHECK(dir != NULL);
	while ((e = readdir(dir)) != NULL) {
		char path[300], name[16] = "";
		FILE *f;

		snprintf(path, sizeof path, "/proc/self/task/%s/comm", e->d_name);
		f = fopen(path, "re");
		if (f && fgets(name, sizeof name, f))
			n += strncmp(name, "gort", 4) == 0;
		if (f)
			fclose(f);
	}
	closedir(dir);
	return n;
}

static inline int mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	int c, n = 0;

	CHECK(f != NULL);
	while ((c = getc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

/* Of a directory. */
static inline int entries(const char *path)
{
	DIR *dir = opendir(path);
	int n = 0;

	CHECK(dir != NULL);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

static inline int count_threads(void)
{
	return entries("/proc/self/task");
}

/* A thread that sleeps in the kernel after all, as where a page is to be had, leaves its P to another, which
 * stays. */
static inline int retakes(void)
{
	gort_stats s;

	gort_read_stats(&s, sizeof s);
	return (int)s.retakes;
}

#endif
