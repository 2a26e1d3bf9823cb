/*
 * treesum - SHA-256 of every regular file of directory trees, in sha256sum's format.
 *
 * Shows: a pipeline of goroutines with bounded memory, over plain blocking system calls.
 *
 *	walker --jobs--> N hashers --results--> printer        progress (its own ticker)
 *
 *  - Both channels are bounded: whoever is too fast waits. What lives at any time is a few
 *    names and one read buffer a hasher, whatever the size of the tree or of a file. --sort
 *    holds one line a file, because the last file may have to be printed first.
 *  - Ends travel downstream: the walker closes jobs, the hashers then finish, main closes
 *    results when the last of them has, and the printer ends. When standard output fails,
 *    `stopping` makes each stage pass its input on unused, so that the same way out serves.
 *  - Files are opened relative to their directory (openat), so paths may be longer than
 *    PATH_MAX and a directory renamed meanwhile does no harm. A directory stays open while jobs
 *    refer to it (struct dir counts them). The walk keeps its stack on the heap.
 *  - Open descriptors are bounded, too. The first KEEP levels stay open, read as a stream.
 *    Deeper ones are read to their end at once (files go out, names of subdirectories are
 *    kept), and only the deepest two are open; others are reopened through "..", which must
 *    lead to the same inode again.
 *
 * Build: cc treesum.c -lgort -lcrypto
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* O_PATH */
#endif
#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <gort.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEEP 16 /* levels that stay open, each with libc's 32 KiB; >= 2 */
#define READ_SIZE (128 * 1024)
#define MAX_WORKERS 1024
#define DEFAULT_WORKERS_MAX 64 /* 8 MiB of read buffers */
#define DIGEST_SIZE 32
#define PROGRESS_WIDTH 60
#define EXIT_USAGE 2

struct dir { /* an open directory; closed with its last reference */
	atomic_uint refs;
	int fd;
};

struct job {
	struct dir *dir; /* NULL: path is a command line argument, links are followed */
	char *path;      /* from malloc; the receiver's */
	size_t name;     /* where in path the last component starts */
};

struct result {
	char *path; /* from malloc; the receiver's */
	unsigned char digest[DIGEST_SIZE];
};

typedef gort_chan_of(struct job) job_chan;
typedef gort_chan_of(struct result) result_chan;

struct level {           /* a directory on the way from the root to where the walk is */
	struct dir *dir; /* NULL: closed for now */
	DIR *stream;     /* NULL: read to its end */
	char *names;     /* subdirectories read ahead, each ended by a NUL */
	size_t names_len, names_cap;
	size_t path_len;
	dev_t dev;
	ino_t ino;
};

struct walker {
	char **roots; /* ended by NULL */
	job_chan jobs;
	struct level *levels;
	size_t depth, levels_cap;
	char *path; /* of what is being looked at */
	size_t path_cap;
};

struct hashers { /* shared by all of them, never changes */
	job_chan jobs;
	result_chan results;
};

struct printer {
	result_chan results;
	bool sort;
	struct result *kept; /* only with sort */
	size_t kept_len, kept_cap;
};

struct options {
	bool sort;
	long workers; /* 0: not given */
};

static atomic_bool failed;   /* something was reported: exit status 1 */
static atomic_bool stopping; /* nobody can take results any more */
static _Atomic uint64_t files_done, bytes_done;

static gort_mutex terminal; /* protects progress_shown and the line it speaks of */
static bool progress_shown;
static bool share_terminal; /* results and progress on terminals; set before all starts */

/* ---- memory and messages ---------------------------------------------------- */

/* _exit: other threads are at work, and what exit() runs may be in their hands. */
static _Noreturn void die(const char *what)
{
	fprintf(stderr, "treesum: %s\n", what);
	_exit(EXIT_FAILURE);
}

static void *checked(void *p)
{
	if (!p)
		die("out of memory");
	return p;
}

static void *grow(void *p, size_t *cap, size_t need, size_t elem_size)
{
	size_t to = *cap ? *cap : 16;

	if (need <= *cap)
		return p;
	while (to < need)
		to *= 2;
	*cap = to;
	return checked(realloc(p, to * elem_size));
}

/* With the terminal held. Spaces, not an escape sequence: right on any terminal. */
static void progress_clear(void)
{
	if (progress_shown)
		fprintf(stderr, "\r%*s\r", PROGRESS_WIDTH, "");
	progress_shown = false;
}

static bool needs_escape(const char *path)
{
	return strpbrk(path, "\n\r\\") != NULL;
}

/* A name on one line, as sha256sum writes it; from malloc. */
static char *escape(const char *path)
{
	char *escaped = checked(malloc(2 * strlen(path) + 1)), *to = escaped;

	for (; *path; path++) {
		if (*path == '\n' || *path == '\r' || *path == '\\') {
			*to++ = '\\';
			*to++ = *path == '\n' ? 'n' : *path == '\r' ? 'r' : '\\';
		} else {
			*to++ = *path;
		}
	}
	*to = '\0';
	return escaped;
}

static void report(const char *path, const char *reason)
{
	char *escaped = escape(path);

	gort_mutex_lock(&terminal);
	progress_clear();
	fprintf(stderr, "treesum: %s: %s\n", escaped, reason);
	gort_mutex_unlock(&terminal);
	free(escaped);
	atomic_store(&failed, true);
}

static void report_errno(const char *path, int err)
{
	report(path, strerror(err));
}

/* ---- the walker --------------------------------------------------------------- */

static struct dir *dir_new(int fd)
{
	struct dir *d = checked(malloc(sizeof(*d)));

	atomic_init(&d->refs, 1);
	d->fd = fd;
	return d;
}

static struct dir *dir_get(struct dir *d)
{
	atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
	return d;
}

static void dir_put(struct dir *d)
{
	if (!d || atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) != 1)
		return;
	close(d->fd);
	free(d);
}

/* Make w->path the first len bytes of what it was, a slash, and name. Gives where name starts. */
static size_t path_join(struct walker *w, size_t len, const char *name)
{
	size_t name_len = strlen(name);

	w->path = grow(w->path, &w->path_cap, len + name_len + 2, 1);
	if (len && w->path[len - 1] != '/')
		w->path[len++] = '/';
	memcpy(w->path + len, name, name_len + 1);
	return len;
}

static void send_job(struct walker *w, struct dir *dir, size_t name)
{
	struct job j = { .path = checked(strdup(w->path)), .name = name };

	j.dir = dir ? dir_get(dir) : NULL;
	gort_send(w->jobs, j);
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* The type of an entry. w->path is its path. */
static unsigned char entry_type(struct walker *w, const struct level *l, const struct dirent *e,
				size_t name)
{
	struct stat st;

	if (e->d_type != DT_UNKNOWN)
		return e->d_type;
	if (fstatat(l->dir->fd, w->path + name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
		report_errno(w->path, errno);
		return DT_UNKNOWN;
	}
	return S_ISREG(st.st_mode) ? DT_REG : S_ISDIR(st.st_mode) ? DT_DIR : DT_UNKNOWN;
}

/* Read on in the stream of the deepest level, sending its files, up to the next subdirectory:
 * its name, valid until the next call. NULL at the end. */
static const char *next_in_stream(struct walker *w, struct level *l)
{
	while (l->stream) {
		struct dirent *e = NULL;

		errno = 0;
		if (!atomic_load(&stopping))
			e = readdir(l->stream);
		if (!e) {
			int err = errno;

			w->path[l->path_len] = '\0';
			if (err)
				report_errno(w->path, err);
			closedir(l->stream);
			l->stream = NULL;
			break;
		}
		if (is_dots(e->d_name))
			continue;
		size_t name = path_join(w, l->path_len, e->d_name);
		unsigned char type = entry_type(w, l, e, name);
		if (type == DT_DIR)
			return e->d_name;
		if (type == DT_REG)
			send_job(w, l->dir, name);
	}
	return NULL;
}

static void read_ahead(struct walker *w, struct level *l)
{
	const char *name;

	while ((name = next_in_stream(w, l))) {
		size_t len = strlen(name) + 1;

		l->names = grow(l->names, &l->names_cap, l->names_len + len, 1);
		memcpy(l->names + l->names_len, name, len);
		l->names_len += len;
	}
}

/* Last of the names read ahead; valid until the next read_ahead. */
static const char *pop_name(struct level *l)
{
	size_t at = l->names_len - 1;

	while (at && l->names[at - 1])
		at--;
	l->names_len = at;
	return l->names + at;
}

static const char *next_subdir(struct walker *w, struct level *l)
{
	return l->names_len ? pop_name(l) : next_in_stream(w, l);
}

static void level_close(struct level *l)
{
	if (l->stream)
		closedir(l->stream);
	free(l->names);
	dir_put(l->dir);
}

/* Open the directory at path as a level. 0 or -errno. */
static int level_open(struct level *l, int at, const char *path, int flags)
{
	struct stat st;
	int err, copy = -1;
	int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_NOCTTY | O_CLOEXEC | flags);

	if (fd < 0 || fstat(fd, &st) != 0)
		goto fail;
	/* The stream closes what it reads; jobs may need the directory for longer. */
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		goto fail;
	l->stream = fdopendir(copy);
	if (!l->stream)
		goto fail;
	l->dir = dir_new(fd);
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	return 0;
fail:
	err = errno;
	if (copy >= 0)
		close(copy);
	if (fd >= 0)
		close(fd);
	return -err;
}

/* Go down into the directory w->path, whose last component starts at name. */
static void enter(struct walker *w, int at, size_t name, int flags)
{
	struct level l = { .path_len = strlen(w->path) };
	int err = level_open(&l, at, w->path + name, flags);

	if (err) {
		report_errno(w->path, -err);
		return;
	}
	w->levels = grow(w->levels, &w->levels_cap, w->depth + 1, sizeof(l));
	w->levels[w->depth++] = l;
	if (w->depth <= KEEP)
		return;
	read_ahead(w, &w->levels[w->depth - 1]);
	/* Not the parent: whether ".." may be looked up here is known once a child was opened. */
	if (w->depth - 3 >= KEEP) {
		dir_put(w->levels[w->depth - 3].dir);
		w->levels[w->depth - 3].dir = NULL;
	}
}

/* Open the deepest level again, from its child. */
static bool reopen(struct level *l, const struct level *child)
{
	struct stat st;
	int fd = openat(child->dir->fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return false;
	if (fstat(fd, &st) != 0 || st.st_dev != l->dev || st.st_ino != l->ino) {
		close(fd);
		return false;
	}
	l->dir = dir_new(fd);
	return true;
}

/* Go up from the deepest level. */
static void leave(struct walker *w)
{
	struct level *child = &w->levels[--w->depth];
	struct level *l = child - 1;

	if (w->depth && !l->dir && !reopen(l, child)) {
		w->path[l->path_len] = '\0';
		report(w->path, "moved during the walk, what is left of it is skipped");
		/* Nor is there a way to those above it, up to one that was kept open. */
		while (!l->dir) {
			level_close(l--);
			w->depth--;
		}
	}
	level_close(child);
}

static void walk_tree(struct walker *w)
{
	enter(w, AT_FDCWD, 0, 0);
	while (w->depth) {
		struct level *l = &w->levels[w->depth - 1];
		const char *subdir = next_subdir(w, l);

		if (subdir && !atomic_load(&stopping))
			enter(w, l->dir->fd, path_join(w, l->path_len, subdir), O_NOFOLLOW);
		else
			leave(w);
	}
}

static int walk(void *arg)
{
	struct walker *w = arg;
	struct stat st;

	for (char **root = w->roots; *root && !atomic_load(&stopping); root++) {
		path_join(w, 0, *root);
		if (stat(w->path, &st) != 0)
			report_errno(w->path, errno);
		else if (S_ISDIR(st.st_mode))
			walk_tree(w);
		else if (S_ISREG(st.st_mode))
			send_job(w, NULL, 0);
	}
	free(w->levels);
	free(w->path);
	gort_chan_close(w->jobs.chan);
	return 0;
}

/* ---- the hashers ---------------------------------------------------------------- */

/* O_NONBLOCK and fstat: what was a file when it was listed may be a FIFO by now, and would
 * be waited for, or a link. Gives a descriptor, or -1 after telling why not. */
static int open_file(const struct job *j)
{
	int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | (j->dir ? O_NOFOLLOW : 0);
	int fd = openat(j->dir ? j->dir->fd : AT_FDCWD, j->path + j->name, flags);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	if (fd >= 0 || (errno == ELOOP && j->dir))
		report(j->path, "no longer a regular file");
	else
		report_errno(j->path, errno);
	if (fd >= 0)
		close(fd);
	return -1;
}

/* 0 or -errno. */
static int digest_file(int fd, EVP_MD_CTX *ctx, void *buffer, unsigned char *digest)
{
	ssize_t n;

	/* No type: the one ctx was made with; looking it up takes a lock in OpenSSL. */
	if (!EVP_DigestInit_ex(ctx, NULL, NULL))
		die("OpenSSL cannot start SHA-256");
	while ((n = read(fd, buffer, READ_SIZE)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (atomic_load(&stopping))
			return -ECANCELED;
		if (!EVP_DigestUpdate(ctx, buffer, (size_t)n))
			die("OpenSSL cannot go on with SHA-256");
		atomic_fetch_add(&bytes_done, (uint64_t)n);
		gort_yield(); /* a long file must not keep progress and printer off */
	}
	if (!EVP_DigestFinal_ex(ctx, digest, NULL))
		die("OpenSSL cannot finish SHA-256");
	return 0;
}

static bool hash_job(struct job *j, EVP_MD_CTX *ctx, void *buffer, struct result *r)
{
	int err, fd = atomic_load(&stopping) ? -1 : open_file(j);

	dir_put(j->dir);
	if (fd < 0)
		return false;
	err = digest_file(fd, ctx, buffer, r->digest);
	close(fd);
	if (err && err != -ECANCELED)
		report_errno(j->path, -err);
	if (err)
		return false;
	atomic_fetch_add(&files_done, 1);
	r->path = j->path;
	return true;
}

static void hash(void *arg)
{
	struct hashers *h = arg;
	EVP_MD_CTX *ctx = checked(EVP_MD_CTX_new());
	void *buffer = checked(malloc(READ_SIZE));
	struct result r;
	struct job j;

	if (!EVP_DigestInit_ex(ctx, EVP_sha256(), NULL))
		die("OpenSSL has no SHA-256");
	while (gort_recv(h->jobs, &j) == 0) {
		if (hash_job(&j, ctx, buffer, &r))
			gort_send(h->results, r);
		else
			free(j.path);
	}
	free(buffer);
	EVP_MD_CTX_free(ctx);
}

/* ---- the printer ------------------------------------------------------------------ */

static void output_failed(int err)
{
	if (!atomic_exchange(&stopping, true))
		report_errno("standard output", err);
}

static void print_result(const struct result *r)
{
	char hex[2 * DIGEST_SIZE + 1];
	char *escaped = needs_escape(r->path) ? escape(r->path) : NULL;
	int rc, err;

	for (int i = 0; i < DIGEST_SIZE; i++)
		snprintf(hex + 2 * i, 3, "%02x", r->digest[i]);
	if (share_terminal) {
		gort_mutex_lock(&terminal);
		progress_clear();
	}
	rc = printf("%s%s  %s\n", escaped ? "\\" : "", hex, escaped ? escaped : r->path);
	err = errno;
	if (share_terminal)
		gort_mutex_unlock(&terminal);
	if (rc < 0)
		output_failed(err);
	free(escaped);
}

static int compare_paths(const void *a, const void *b)
{
	const struct result *x = a, *y = b;

	return strcmp(x->path, y->path); /* by bytes, whatever the locale */
}

static void print_sorted(struct printer *p)
{
	if (p->kept_len)
		qsort(p->kept, p->kept_len, sizeof(*p->kept), compare_paths);
	for (size_t i = 0; i < p->kept_len; i++) {
		if (!atomic_load(&stopping))
			print_result(&p->kept[i]);
		free(p->kept[i].path);
	}
	free(p->kept);
}

static int print(void *arg)
{
	struct printer *p = arg;
	struct result r;

	while (gort_recv(p->results, &r) == 0) {
		if (p->sort) {
			p->kept = grow(p->kept, &p->kept_cap, p->kept_len + 1, sizeof(r));
			p->kept[p->kept_len++] = r;
			continue;
		}
		if (!atomic_load(&stopping))
			print_result(&r);
		free(r.path);
	}
	print_sorted(p);
	return 0;
}

/* Errors may show only when the last of it is written, or even at close (NFS). */
static void finish_output(void)
{
	if (fflush(stdout) != 0 || close(STDOUT_FILENO) != 0)
		output_failed(errno);
}

/* ---- progress ------------------------------------------------------------------------ */

static void progress_draw(int64_t start)
{
	double mb = (double)atomic_load(&bytes_done) / 1e6;
	double seconds = (double)(gort_now() - start) / (double)GORT_SEC;
	char line[PROGRESS_WIDTH + 1];

	snprintf(line, sizeof(line), "%" PRIu64 " files, %.1f MB, %.1f MB/s",
		 atomic_load(&files_done), mb, mb / seconds);
	gort_mutex_lock(&terminal);
	fprintf(stderr, "\r%-*s", PROGRESS_WIDTH, line);
	progress_shown = true;
	gort_mutex_unlock(&terminal);
}

/* Until the channel is closed. */
static int show_progress(void *arg)
{
	gort_chan *done = arg;
	int64_t start = gort_now();

	while (gort_chan_recv_until(done, NULL, gort_in(100 * GORT_MS)) == -ETIMEDOUT)
		progress_draw(start);
	gort_mutex_lock(&terminal);
	progress_clear();
	gort_mutex_unlock(&terminal);
	return 0;
}

/* ---- main ------------------------------------------------------------------------------ */

static gort_task *spawn(int (*fn)(void *), void *arg, const char *name)
{
	gort_task *t = gort_spawn(fn, arg, &(gort_attr){ .name = name });

	if (!t)
		die("cannot start a goroutine");
	return t;
}

static void sum_trees(char **roots, const struct options *o)
{
	size_t room = 2 * (size_t)o->workers;
	struct hashers h = { GORT_MAKE(job_chan, room), GORT_MAKE(result_chan, room) };
	struct walker w = { .roots = roots, .jobs = h.jobs };
	struct printer p = { .results = h.results, .sort = o->sort };
	gort_chan *done = gort_chan_make(0, 0);
	gort_task *walker, *printer, *progress = NULL;
	gort_waitgroup hashing = { 0 };

	if (!h.jobs.chan || !h.results.chan || !done)
		die("out of memory");
	if (isatty(STDERR_FILENO)) {
		share_terminal = isatty(STDOUT_FILENO);
		progress = spawn(show_progress, done, "progress");
	}
	printer = spawn(print, &p, "printer");
	for (long i = 0; i < o->workers; i++)
		if (gort_waitgroup_go(&hashing, hash, &h) != 0)
			die("cannot start a goroutine");
	walker = spawn(walk, &w, "walker");
	gort_join(walker, NULL);
	gort_waitgroup_wait(&hashing);
	gort_chan_close(h.results.chan);
	gort_join(printer, NULL);
	gort_chan_close(done);
	if (progress)
		gort_join(progress, NULL);
	gort_chan_release(h.jobs.chan);
	gort_chan_release(h.results.chan);
	gort_chan_release(done);
}

static const char help[] =
	"Usage: treesum [OPTION]... [--] [PATH]...\n"
	"Print the SHA-256 of every regular file under each PATH (default: the current\n"
	"directory), as sha256sum does. A PATH that is a symbolic link is followed, as by\n"
	"find -H; links below it, FIFOs, sockets and devices are skipped.\n"
	"\n"
	"      --sort         print in the order of the paths' bytes; holds a line a file\n"
	"      --workers N    hash N files at a time, 1 to 1024 (default: twice the CPUs,\n"
	"                     at most 64)\n"
	"      --help         print this and exit\n"
	"      --version      print the version and exit\n"
	"\n"
	"Progress is shown on standard error when that is a terminal.\n"
	"\n"
	"Exit status: 0 all was read, 1 something could not be read or written, 2 wrong usage.\n";

static _Noreturn void usage_error(const char *what, const char *value)
{
	if (what)
		fprintf(stderr, "treesum: %s '%s'\n", what, value);
	fputs("Try 'treesum --help'.\n", stderr);
	exit(EXIT_USAGE);
}

static _Noreturn void print_and_exit(const char *text, const char *version)
{
	int rc = printf("%s%s\n", text, version);

	if (rc < 0)
		output_failed(errno);
	finish_output();
	exit(atomic_load(&failed) ? EXIT_FAILURE : EXIT_SUCCESS);
}

static long parse_workers(const char *text)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (end == text || *end || n < 1 || n > MAX_WORKERS)
		usage_error("--workers takes a number from 1 to 1024, not", text);
	return n;
}

static struct options parse_options(int argc, char **argv)
{
	static const struct option known[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "sort", no_argument, NULL, 's' },
		{ "version", no_argument, NULL, 'v' },
		{ "workers", required_argument, NULL, 'w' },
		{ NULL, 0, NULL, 0 },
	};
	struct options o = { 0 };
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (c == 's')
			o.sort = true;
		else if (c == 'w')
			o.workers = parse_workers(optarg);
		else if (c == 'h')
			print_and_exit(help, "");
		else if (c == 'v')
			print_and_exit("treesum, an example of gort ", gort_version());
		else
			usage_error(NULL, NULL);
	}
	for (char **path = argv + optind; *path; path++)
		if (!**path)
			usage_error("a PATH cannot be", *path);
	return o;
}

/* Descriptors, at worst: a job's directory for each place in the channel; directory, file and
 * the runtime's own for each hasher; the levels of the walk; some for the rest. */
static void fit_workers(struct options *o)
{
	const long each = 5, rest = 2 * KEEP + 64;
	bool given = o->workers > 0;
	struct rlimit limit;

	if (!given) {
		o->workers = 2L * gort_maxprocs(0);
		if (o->workers > DEFAULT_WORKERS_MAX)
			o->workers = DEFAULT_WORKERS_MAX;
	}
	rlim_t need = (rlim_t)(each * o->workers + rest);
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= need)
		return;
	limit.rlim_cur = limit.rlim_max < need ? limit.rlim_max : need;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur >= need)
		return;
	long fit = ((long)limit.rlim_cur - rest) / each;
	if (fit < 1)
		fit = 1;
	if (given) {
		fprintf(stderr, "treesum: ulimit -n allows %ld workers at most\n", fit);
		usage_error(NULL, NULL);
	}
	o->workers = fit;
}

GORT_MAIN(argc, argv)
{
	static char here[] = ".", name[] = "treesum";
	char *default_roots[] = { here, NULL };
	struct options o;

	signal(SIGPIPE, SIG_IGN); /* a reader that left is a write error like others */
	argv[0] = name;           /* for getopt's messages */
	o = parse_options(argc, argv);
	fit_workers(&o);
	sum_trees(argv[optind] ? argv + optind : default_roots, &o);
	finish_output();
	return atomic_load(&failed) ? EXIT_FAILURE : EXIT_SUCCESS;
}
