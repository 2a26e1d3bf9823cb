/*
 * files.c - what there is: files, all of one or a part, and /json.
 */
#include "httpd.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool parse_number(const char **at, const char *end, uint64_t *n)
{
	const char *start = *at;

	for (*n = 0; *at < end && **at >= '0' && **at <= '9'; ++*at)
		*n = *n > UINT64_MAX / 10 - 1 ? UINT64_MAX / 10 : *n * 10 + (uint64_t)(**at - '0');
	return *at > start;
}

/* One range of bytes: 206 and which, or 416; 200: none, or something else, which may be ignored. */
static int parse_range(struct text t, uint64_t all, uint64_t *first, uint64_t *length)
{
	const char *at = t.at + 6, *end = t.at + t.len;
	uint64_t a, b;
	bool from, to;

	if (t.len < 6 || strncasecmp(t.at, "bytes=", 6) != 0)
		return 200;
	from = parse_number(&at, end, &a);
	if (at == end || *at++ != '-')
		return 200;
	to = parse_number(&at, end, &b);
	if (at != end || (!from && !to) || (from && to && b < a))
		return 200;
	if (!from) { /* the last b */
		a = b < all ? all - b : 0;
		if (b == 0)
			return 416;
	}
	if (a >= all)
		return 416;
	*first = a;
	*length = from && to && b - a < all - a ? b - a + 1 : all - a;
	return 206;
}

static bool not_modified(struct text since, time_t modified, const char *date)
{
	time_t t = 0;

	if (since.len == DATE && memcmp(since.at, date, DATE) == 0)
		return true;
	return is_there(since) && parse_date(since, &t) && modified <= t;
}

/* What follows from the request's conditions: 200, 206, 304, 416. */
static void decide(struct conn *c, struct answer *a, time_t modified)
{
	const struct request *r = &c->request;
	bool same;

	if (not_modified(r->modified_since, modified, a->modified)) {
		a->status = 304;
		return;
	}
	same = !is_there(r->if_range) ||
		(r->if_range.len == DATE && memcmp(r->if_range.at, a->modified, DATE) == 0);
	if (is_there(r->range) && same && !r->is_head)
		a->status = parse_range(r->range, a->all, &a->first, &a->length);
}

/* fd is closed. */
static int send_large(struct conn *c, const struct answer *a, int fd)
{
	uint64_t left = a->length;
	gort_file *file;
	int64_t done;
	int err = gort_file_from_fd(&file, fd);

	if (err < 0) {
		close(fd);
		return err;
	}
	err = a->first && lseek(fd, (off_t)a->first, SEEK_SET) < 0 ? -errno : flush_with_more(c);
	while (err == 0 && left > 0) {
		renew_write(c);
		err = gort_copy(c->socket, file, (int64_t)(left < SLICE ? left : SLICE), &done);
		if (err == 0 && done == 0)
			err = -EIO; /* it has become shorter: what was promised will not come */
		left -= (uint64_t)done;
	}
	gort_close(file);
	return err;
}

/* Behind its head, in one call. fd is closed. */
static int put_small(struct conn *c, const struct answer *a, int fd)
{
	uint64_t at = 0;
	ssize_t n = 1;

	while (at < a->length && n > 0) {
		n = pread(fd, c->out + c->out_len + at, a->length - at, (off_t)(a->first + at));
		at += n > 0 ? (uint64_t)n : 0;
	}
	close(fd);
	c->out_len += at;
	return at == a->length ? 0 : -EIO;
}

/* fd is closed. */
static int answer_file(struct conn *c, const char *path, int fd, const struct stat *st)
{
	char modified[DATE + 1];
	struct answer a = { 200, type_of(path), 0, modified, 0, 0, NULL };
	bool small;
	int err;

	a.all = a.length = (uint64_t)st->st_size;
	format_date(modified, st->st_mtime);
	decide(c, &a, st->st_mtime);
	if (a.status == 416) {
		close(fd);
		return answer_status(c, a);
	}
	if (a.status == 304) {
		a.type = NULL;
		a.length = 0;
	}
	small = c->request.is_head || a.length <= SMALL;
	err = make_room(c, small ? ANSWER_HEAD + SMALL : ANSWER_HEAD);
	if (err < 0) {
		close(fd);
		return err;
	}
	put_head(c, &a);
	log_answer(c, a.status, c->request.is_head ? 0 : a.length);
	if (c->request.is_head) {
		close(fd);
		return 0;
	}
	return small ? put_small(c, &a, fd) : send_large(c, &a, fd);
}

/* A FIFO is not waited for. */
static int open_beneath(int root, const char *path)
{
	struct open_how how = { .flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
	long fd = syscall(SYS_openat2, root, path, &how, sizeof how);

	return fd < 0 ? -errno : (int)fd;
}

static int status_of_open(int err)
{
	switch (err) {
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
		return 503;
	default:
		return 404;
	}
}

static int answer_json(struct conn *c)
{
	static const char text[] = "{\"message\":\"Hello, World!\"}";
	struct answer a = { 200, "application/json", sizeof text - 1, NULL, 0, 0, NULL };

	return answer_text(c, &a, text);
}

/* Of a directory its index; without the slash at its end, where it is. */
static int answer_path(struct conn *c, struct text target)
{
	char path[TARGET_MOST + sizeof INDEX];
	struct stat st;
	size_t n;
	int fd, status = decode_path(path, target);

	if (status)
		return answer_status(c, (struct answer){ .status = status });
	if (strcmp(path, "json") == 0)
		return answer_json(c);
	n = strlen(path);
	if (n == 0 || path[n - 1] == '/')
		memcpy(path + n, INDEX, sizeof INDEX);
	fd = open_beneath(c->server->root, path);
	if (fd < 0)
		return answer_status(c, (struct answer){ .status = status_of_open(fd) });
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return answer_file(c, path, fd, &st);
	close(fd);
	if (!S_ISDIR(st.st_mode))
		return answer_status(c, (struct answer){ .status = 404 });
	while (target.len > 1 && target.at[1] == '/') { /* "//host" would lead elsewhere */
		target.at++;
		target.len--;
	}
	return answer_status(c, (struct answer){ .status = 301, .dir = &target });
}

/* To a request that was read in full. */
int answer(struct conn *c)
{
	struct request *r = &c->request;
	struct text target = r->target;
	int status = 405;

	if (r->keep && gort_ctx_err(c->server->stop))
		r->keep = false;
	if (c->parser.method == HTTP_GET || c->parser.method == HTTP_HEAD)
		status = find_path(&target);
	return status ? answer_status(c, (struct answer){ .status = status })
		      : answer_path(c, target);
}
