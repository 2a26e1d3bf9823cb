/*
 * cpus.c - how many CPUs the process may use: its affinity, and its cgroups' CPU quota, as Go 1.25
 * and later count them (internal/runtime/cgroup): quota / period, rounded up, but at least 2. Go
 * reads the process's own cgroup only; here the smallest quota on the way up to the mount counts,
 * since that is what the kernel enforces.
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

#define TEXT_SIZE (256 << 10)
#define PATH_SIZE 4096

static int affinity(void)
{
	for (size_t cpus = 1024; cpus <= 1 << 20; cpus *= 2) {
		size_t size = CPU_ALLOC_SIZE(cpus);
		cpu_set_t *set = CPU_ALLOC(cpus);
		int n = 0;

		if (!set)
			return 1;
		if (sched_getaffinity(0, size, set) == 0)
			n = CPU_COUNT_S(size, set);
		else if (errno != EINVAL) /* EINVAL: the machine has more */
			n = 1;
		CPU_FREE(set);
		if (n > 0)
			return n;
	}
	return 1;
}

static bool read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t got = 0;
	ssize_t n = 1;

	if (fd < 0)
		return false;
	while (n > 0 && got < size - 1) {
		n = read(fd, text + got, size - 1 - got);
		if (n > 0)
			got += (size_t)n;
	}
	close(fd);
	text[got] = 0;
	return n >= 0;
}

/* ---- texts --------------------------------------------------------------------------------- */

/* Part of a text. A part that is missing is empty. */
struct part {
	const char *at, *end;
};

/* Cut off and give what stands before the next separator; all of it if there is none. */
static struct part cut(struct part *rest, char separator)
{
	struct part head = *rest;
	const char *stop = memchr(rest->at, separator, (size_t)(rest->end - rest->at));

	if (stop)
		head.end = stop;
	rest->at = stop ? stop + 1 : rest->end;
	return head;
}

static bool is(struct part p, const char *word)
{
	size_t n = strlen(word);

	return (size_t)(p.end - p.at) == n && memcmp(p.at, word, n) == 0;
}

static bool lists(struct part list, const char *word)
{
	while (list.at < list.end)
		if (is(cut(&list, ','), word))
			return true;
	return false;
}

/* \040 and its like become what they stand for. False: too long, or malformed. */
static bool unescape(struct part p, char *out, size_t size)
{
	while (p.at < p.end && size > 1) {
		if (*p.at != '\\') {
			*out++ = *p.at++;
		} else {
			if (p.end - p.at < 4 || (p.at[1] & ~3) != '0' || (p.at[2] & ~7) != '0' ||
			    (p.at[3] & ~7) != '0')
				return false;
			*out++ = (char)((p.at[1] - '0') << 6 | (p.at[2] - '0') << 3 |
					(p.at[3] - '0'));
			p.at += 4;
		}
		size--;
	}
	*out = 0;
	return p.at == p.end;
}

/* ---- where the process's cgroup lies ------------------------------------------------------- */

/* From lines "4:cpu,cpuacct:/path" (version 1) and "0::/path" (version 2). */
static bool cgroup_path(const char *text, bool v1, char *path, size_t size)
{
	struct part rest = { text, text + strlen(text) };

	while (rest.at < rest.end) {
		struct part line = cut(&rest, '\n');
		struct part id = cut(&line, ':'), controllers = cut(&line, ':');
		size_t n = (size_t)(line.end - line.at);

		if (v1 ? !lists(controllers, "cpu") : !is(id, "0"))
			continue;
		if (n == 0 || n >= size || line.at[0] != '/')
			return false;
		memcpy(path, line.at, n);
		path[n] = 0;
		return true;
	}
	return false;
}

/* What of path lies below root, "" if it is root; NULL: it is not within. */
static const char *below(const char *path, const char *root)
{
	size_t n = strlen(root);

	if (strcmp(root, "/") != 0) {
		if (strncmp(path, root, n) != 0 || (path[n] != '/' && path[n] != 0))
			return NULL;
		path += n;
	}
	if (strncmp(path, "/..", 3) == 0 && (path[3] == '/' || path[3] == 0))
		return NULL; /* out of the cgroup namespace */
	return strcmp(path, "/") == 0 ? "" : path;
}

/* A line "36 35 98:0 /root /point rw,noatime master:1 - cgroup source rw,cpu": the optional fields
 * end with " - ". */
static bool is_cpu_mount(struct part line, bool v1, struct part *root, struct part *point)
{
	for (int i = 0; i < 3; i++)
		cut(&line, ' ');
	*root = cut(&line, ' ');
	*point = cut(&line, ' ');
	while (line.at < line.end && !is(cut(&line, ' '), "-"))
		;
	if (!v1)
		return is(cut(&line, ' '), "cgroup2");
	if (!is(cut(&line, ' '), "cgroup"))
		return false;
	cut(&line, ' ');
	return lists(line, "cpu");
}

/* The directory of the cgroup path, below prefix; *mount: how much of it is above the mount. */
static bool cgroup_dir(const char *text, const char *path, bool v1, const char *prefix, char *dir,
		       size_t size, size_t *mount)
{
	struct part rest = { text, text + strlen(text) };

	while (rest.at < rest.end) {
		struct part root_part, point_part;
		char root[PATH_SIZE], point[PATH_SIZE];
		const char *tail;
		size_t n;

		if (!is_cpu_mount(cut(&rest, '\n'), v1, &root_part, &point_part) ||
		    !unescape(root_part, root, sizeof root) ||
		    !unescape(point_part, point, sizeof point) || root[0] != '/' ||
		    (tail = below(path, root)) == NULL)
			continue;
		*mount = strlen(prefix) + strlen(point);
		n = (size_t)snprintf(dir, size, "%s%s%s", prefix, point, tail);
		return n < size;
	}
	return false;
}

/* ---- quotas -------------------------------------------------------------------------------- */

/* A positive number; 0: anything else. *text is moved behind it. */
static int64_t number(const char **text)
{
	int64_t n = 0;

	while (**text >= '0' && **text <= '9') {
		if (n > INT64_MAX / 10 - 1)
			return 0;
		n = n * 10 + (*(*text)++ - '0');
	}
	return n;
}

static bool read_at(const char *dir, const char *name, char *text, size_t size)
{
	char path[3 * PATH_SIZE + 32];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	return read_file(path, text, size);
}

/* In CPUs; 0: no limit. */
static double quota_at(const char *dir, bool v1)
{
	char text[128];
	const char *at = text;
	int64_t quota, period;

	if (!read_at(dir, v1 ? "cpu.cfs_quota_us" : "cpu.max", text, sizeof text))
		return 0;
	quota = number(&at); /* -1 and "max": 0 */
	if (quota == 0)
		return 0;
	if (v1) {
		if (!read_at(dir, "cpu.cfs_period_us", text, sizeof text))
			return 0;
		at = text;
	} else if (*at++ != ' ') {
		return 0;
	}
	period = number(&at);
	return period ? (double)quota / (double)period : 0;
}

static double less(double a, double b)
{
	return a == 0 || (b > 0 && b < a) ? b : a;
}

static double quota(const char *cgroup, const char *mountinfo, const char *prefix, bool v1)
{
	char path[PATH_SIZE], dir[3 * PATH_SIZE];
	size_t mount;
	double least = 0;

	if (!cgroup_path(cgroup, v1, path, sizeof path) ||
	    !cgroup_dir(mountinfo, path, v1, prefix, dir, sizeof dir, &mount))
		return 0;
	for (;;) {
		char *slash = strrchr(dir, '/');

		least = less(least, quota_at(dir, v1));
		if (!slash || (size_t)(slash - dir) < mount)
			return least;
		*slash = 0;
	}
}

int os_linux_cgroup_limit(const char *cgroup, const char *mountinfo, const char *prefix)
{
	double least = less(quota(cgroup, mountinfo, prefix, true),
			    quota(cgroup, mountinfo, prefix, false));
	int whole;

	if (least <= 0 || least > 1e6)
		return 0;
	whole = (int)least;
	if (whole < least)
		whole++;
	return whole > 2 ? whole : 2;
}

int os_cpus(void)
{
	int saved = errno, cpus = affinity(), limit = 0;
	char *text = os_map(2 * TEXT_SIZE);

	if (!text)
		return cpus;
	if (read_file("/proc/self/cgroup", text, TEXT_SIZE) &&
	    read_file("/proc/self/mountinfo", text + TEXT_SIZE, TEXT_SIZE))
		limit = os_linux_cgroup_limit(text, text + TEXT_SIZE, "");
	os_unmap(text, 2 * TEXT_SIZE);
	errno = saved;
	return limit > 0 && limit < cpus ? limit : cpus;
}
