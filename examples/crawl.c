/*
 * crawl - goroutines in a scope walk a tree of directories: a limited number at a time, and all of
 * them have returned when the scope is closed.
 *
 *     crawl [DIRECTORY]
 *
 * Each directory is a member of the scope if there is a place, and is walked on the spot if not.
 * The first failure (a directory that cannot be read, too many files) ends the others, and is
 * what closing the scope gives. Without DIRECTORY it makes a small tree, walks it, and removes
 * it.
 */
#include <dirent.h>
#include <fcntl.h>
#include <gort.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define AT_A_TIME 8

struct crawl {
	gort_scope *scope;
	int most; /* files; 0: no matter how many */
	atomic_int directories, files;
	atomic_llong bytes;
};

/* A directory to walk; freed by who walks it. */
struct place {
	struct crawl *crawl;
	char path[];
};

static struct place *place_new(struct crawl *c, const char *directory, const char *name)
{
	size_t size = strlen(directory) + strlen(name) + 2;
	struct place *p = malloc(sizeof *p + size);

	if (p) {
		p->crawl = c;
		snprintf(p->path, size, "%s%s%s", directory, *name ? "/" : "", name);
	}
	return p;
}

static int walk(void *arg);

/* By another, or, where there is no place for one, by the caller. */
static int walk_soon(struct place *p)
{
	int rc = gort_scope_try_go(p->crawl->scope, walk, p);

	if (rc == -EAGAIN)
		return walk(p);
	if (rc < 0)
		free(p); /* -ECANCELED: somebody has failed */
	return rc;
}

static int see_file(struct crawl *c, const struct stat *s)
{
	atomic_fetch_add(&c->bytes, s->st_size);
	if (atomic_fetch_add(&c->files, 1) == c->most - 1)
		return -EFBIG;
	return gort_ctx_err(gort_ctx_current()); /* nothing here waits, so ask */
}

static int see(struct place *p, DIR *dir, const char *name)
{
	struct place *below;
	struct stat s;

	if (fstatat(dirfd(dir), name, &s, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISDIR(s.st_mode))
		return S_ISREG(s.st_mode) ? see_file(p->crawl, &s) : 0;
	below = place_new(p->crawl, p->path, name);
	return below ? walk_soon(below) : -ENOMEM;
}

/* A member of the scope, whose result counts if it is negative. */
static int walk(void *arg)
{
	struct place *p = arg;
	DIR *dir = opendir(p->path);
	struct dirent *e;
	int rc = 0;

	if (dir) {
		atomic_fetch_add(&p->crawl->directories, 1);
		while (rc == 0 && (e = readdir(dir)) != NULL)
			if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
				rc = see(p, dir, e->d_name);
		closedir(dir);
	} else {
		rc = -errno;
	}
	free(p);
	return rc;
}

static int crawl(struct crawl *c, const char *directory)
{
	struct place *top;
	int rc, closed;

	c->scope = gort_scope_open(AT_A_TIME);
	if (!c->scope)
		return -ENOMEM;
	top = place_new(c, directory, "");
	rc = top ? gort_scope_go(c->scope, walk, top) : -ENOMEM;
	if (rc < 0)
		free(top);                   /* nobody walks it */
	closed = gort_scope_close(c->scope); /* from here on nobody uses c any more */
	return rc < 0 ? rc : closed;
}

static void report(const char *what, const char *directory, int most)
{
	struct crawl c = { .most = most };
	int rc = crawl(&c, directory);

	if (rc < 0)
		printf("%s: %s\n", what, strerror(-rc));
	else
		printf("%s: %d directories, %d files, %lld bytes\n", what, c.directories, c.files,
		       (long long)c.bytes);
}

/* ---- the small tree: three directories in each, to a depth of four, a file in each ----------- */

static void path_of(char path[PATH_MAX], const char *directory, const char *name, int i)
{
	snprintf(path, PATH_MAX, "%.3000s/%s%d", directory, name, i);
}

static int plant(const char *directory, int depth)
{
	char path[PATH_MAX];
	FILE *f;
	int rc = 0;

	path_of(path, directory, "file", 0);
	f = fopen(path, "w");
	if (!f || fputs("a leaf\n", f) < 0 || fclose(f) != 0)
		return -1;
	for (int i = 0; i < 3 && depth > 0 && rc == 0; i++) {
		path_of(path, directory, "branch", i);
		rc = mkdir(path, 0700) == 0 ? plant(path, depth - 1) : -1;
	}
	return rc;
}

static void fell(const char *directory, int depth)
{
	char path[PATH_MAX];

	path_of(path, directory, "file", 0);
	unlink(path);
	for (int i = 0; i < 3 && depth > 0; i++) {
		path_of(path, directory, "branch", i);
		fell(path, depth - 1);
	}
	rmdir(directory);
}

GORT_MAIN(argc, argv)
{
	const char *tmp = getenv("TMPDIR");
	char tree[PATH_MAX];

	if (argc > 1) {
		report(argv[1], argv[1], 0);
		return 0;
	}
	snprintf(tree, sizeof tree, "%.3000s/crawl-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(tree) || plant(tree, 4) < 0) {
		perror("crawl: a tree to walk");
		return 1;
	}
	report("the tree", tree, 0);
	report("fifty files at most", tree, 50);
	fell(tree, 4);
	report("it is gone", tree, 0);
	return 0;
}
