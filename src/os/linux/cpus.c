/*
 * cpus.c - how many CPUs the process may use: its affinity, and its cgroups' CPU quota, as Go 1.25 and
 * later count them (internal/runtime/cgroup): the smallest quota on the way up to the mount, rounded
 * up, but at least 2.
 *
 * Version 1: the hierarchy with the cpu controller, cpu.cfs_quota_us and cpu.cfs_period_us. Version
 * 2: cpu.max ("max 100000" or "150000 100000"). Texts come from the kernel, but nothing in them is
 * trusted: whatever does not parse is no limit.
 */
#include "os/linux/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX (256 << 10)
#define PATH_LEN 4096

static int affinity(void)
{
	for (int cpus = 1024; cpus <= 1 << 20; cpus *= 2) {
		size_t size = CPU_ALLOC_SIZE((size_t)cpus);
		cpu_set_t *set = CPU_ALLOC((size_t)cpus);
		int n = set ? sched_getaffinity(0, size, set) : -1;

		if (n == 0)
			n = CPU_COUNT_S(size, set);
		else if (!set || errno != EINVAL)
			n = 1;
		CPU_FREE(set);
		if (n > 0)
			return n;
	}
	return 1;
}

static char *read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t got = 0;
	ssize_t n = 1;

	if (fd < 0)
		return NULL;
	while (n > 0 && got < size - 1) {
		n = read(fd, text + got, size - 1 - got);
		if (n > 0)
			got += (size_t)n;
	}
	close(fd);
	text[got] = 0;
	return text;
}

/* Field i of a line, fields parted by single blanks: *size bytes. */
static const char *field(const char *line, const char *end, int i, size_t *size)
{
	const char *stop;

	for (; i > 0 && line < end; i--) {
		line = memchr(line, ' ', (size_t)(end - line));
		line = line ? line + 1 : end;
	}
	stop = memchr(line, ' ', (size_t)(end - line));
	*size = (size_t)((stop ? stop : end) - line);
	return line;
}

static bool has_word(const char *list, size_t size, const char *word)
{
	size_t n = strlen(word);

	for (size_t i = 0; i + n <= size; i++)
		if ((i == 0 || list[i - 1] == ',') && memcmp(list + i, word, n) == 0 &&
		    (i + n == size || list[i + n] == ','))
			return true;
	return false;
}

/* Of version 2 ("0::/path") or of the cpu controller ("4:cpu,cpuacct:/path"). */
static bool cgroup_path(const char *text, bool v1, char *path, size_t size)
{
	for (const char *line = text, *end; *line; line = *end ? end + 1 : end) {
		const char *list, *at;
		size_t n;

		end = strchrnul(line, '\n');
		list = memchr(line, ':', (size_t)(end - line));
		at = list ? memchr(list + 1, ':', (size_t)(end - list - 1)) : NULL;
		if (!at)
			continue;
		n = (size_t)(at - list - 1);
		if (v1 ? !has_word(list + 1, n, "cpu") : n != 0 || line[0] != '0')
			continue;
		n = (size_t)(end - at - 1);
		if (n >= size)
			return false;
		memcpy(path, at + 1, n);
		path[n] = 0;
		return true;
	}
	return false;
}

/* Where it is mounted, and which cgroup the mount shows (its root). */
static bool cgroup_mount(const char *text, bool v1, char *point, char *root, size_t size)
{
	for (const char *line = text, *end; *line; line = *end ? end + 1 : end) {
		const char *dash, *type, *options, *f;
		size_t n, m;

		end = strchrnul(line, '\n');
		dash = memmem(line, (size_t)(end - line), " - ", 3);
		if (!dash)
			continue;
		type = field(dash + 3, end, 0, &n);
		if (n != (v1 ? 6u : 7u) || memcmp(type, v1 ? "cgroup" : "cgroup2", n) != 0)
			continue;
		options = field(dash + 3, end, 2, &n);
		if (v1 && !has_word(options, n, "cpu"))
			continue;
		f = field(line, dash, 3, &n);
		options = field(line, dash, 4, &m);
		if (n >= size || m >= size)
			continue;
		memcpy(root, f, n);
		root[n] = 0;
		memcpy(point, options, m);
		point[m] = 0;
		return true;
	}
	return false;
}

static double quota_at(const char *dir, bool v1)
{
	char path[3 * PATH_LEN + 64], text[128], *end;
	double quota, period;

	snprintf(path, sizeof path, "%s/%s", dir, v1 ? "cpu.cfs_quota_us" : "cpu.max");
	if (!read_file(path, text, sizeof text))
		return 0;
	quota = strtod(text, &end);
	if (end == text || quota <= 0)
		return 0; /* "max", -1 */
	if (v1) {
		snprintf(path, sizeof path, "%s/cpu.cfs_period_us", dir);
		if (!read_file(path, text, sizeof text))
			return 0;
		end = text;
	}
	period = strtod(end, NULL);
	return period > 0 ? quota / period : 0;
}

static double smallest_quota(char *dir, size_t mount_length, bool v1)
{
	double least = 0, q;
	char *slash;

	for (;;) {
		q = quota_at(dir, v1);
		if (q > 0 && (least == 0 || q < least))
			least = q;
		slash = strrchr(dir, '/');
		if (!slash || (size_t)(slash - dir) < mount_length)
			return least;
		*slash = 0;
	}
}

static double quota(const char *cgroup, const char *mountinfo, const char *prefix, bool v1)
{
	char path[PATH_LEN], point[PATH_LEN], root[PATH_LEN], dir[3 * PATH_LEN];
	const char *below = path;
	size_t n;

	if (!cgroup_path(cgroup, v1, path, sizeof path) ||
	    !cgroup_mount(mountinfo, v1, point, root, sizeof point) || strstr(path, ".."))
		return 0;
	n = strlen(root);
	if (n > 1 && strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == 0))
		below = path + n;
	n = (size_t)snprintf(dir, sizeof dir, "%s%s", prefix, point);
	if (strcmp(below, "/") != 0)
		snprintf(dir + n, sizeof dir - n, "%s", below);
	return smallest_quota(dir, n, v1);
}

int os_linux_cgroup_limit(const char *cgroup, const char *mountinfo, const char *prefix)
{
	double one = quota(cgroup, mountinfo, prefix, true), two = quota(cgroup, mountinfo, prefix, false);
	double least = one == 0 || (two > 0 && two < one) ? two : one;

	if (least <= 0 || least > 1e6)
		return 0;
	if (least <= 2)
		return 2;
	return (int)least + (least > (int)least);
}

int os_cpus(void)
{
	char *text = malloc(2 * TEXT_MAX);
	int cpus = affinity(), limit = 0;

	if (text && read_file("/proc/self/cgroup", text, TEXT_MAX) &&
	    read_file("/proc/self/mountinfo", text + TEXT_MAX, TEXT_MAX))
		limit = os_linux_cgroup_limit(text, text + TEXT_MAX, "");
	free(text);
	return limit > 0 && limit < cpus ? limit : cpus;
}
