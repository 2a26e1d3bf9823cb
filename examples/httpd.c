/*
 * httpd - an HTTP/1.1 server for the files of a directory.
 *
 *     httpd :8080 /srv/www
 *
 * A goroutine for each connection, in a scope, as many as a semaphore lets in. It reads a request's
 * head into its buffer (http_parser, whose callbacks note where things are in there), answers into
 * another, and writes that when it has to wait for the next request: so head and body of a small
 * answer, and the answers of pipelined requests, go in one call. Larger files go from the kernel to
 * the kernel (gort_copy). No memory is allocated for a request; connections take theirs from a pool.
 *
 *  1. From begin_request until the answer is made, the head's bytes stay where they are, at
 *     in[start]: struct text points there. A body, which nobody wants, is read and dropped behind
 *     the head.
 *  2. What a request may take is bounded: its head (431), target (414) and body (413), and the time
 *     till all of it is there (408). So is the time that a client takes for SLICE bytes of an
 *     answer, and the time it may be silent between requests.
 *  3. Files are opened beneath the root by the kernel's own rule (openat2, RESOLVE_BENEATH): neither
 *     "..", however it is written, nor a symbolic link leads out of it. Names that begin with a dot
 *     are not there.
 *  4. An answer that comes before all of the request was read ends the connection: what was left
 *     would be taken for a request.
 *
 * SIGINT, SIGTERM: a goroutine ends the context under which connections are accepted and requests
 * waited for, so idle connections close at once. Those that are in the midst of a request have a while
 * to end it; then the scope is cancelled. A second signal kills.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* strptime */
#endif
#include <fcntl.h>
#include <getopt.h>
#include <gort.h>
#include <http_parser.h>
#include <limits.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MOST 8192
#define TARGET_MOST 1024
#define BODY_MOST 65536
#define BODY_ROOM 4096    /* of a body, at a time */
#define SMALL 16384       /* files up to so long go with their head, in one call */
#define ANSWER_HEAD 2048  /* none is longer: TARGET_MOST, and some lines */
#define SLICE (256 << 10) /* what must go within the time-out of writing */
#define LINGER (2 * GORT_SEC)
#define LINGER_MOST (1 << 20)
#define DATE 29 /* Sun, 06 Nov 1994 08:49:37 GMT */
#define INDEX "index.html"

struct options {
	int64_t idle, request, write, grace;
	long most;
	const char *log; /* NULL: none */
	const char *address, *root;
};

struct server {
	const struct options *options;
	int root;
	gort_file *listener, *log;
	gort_pool *pool; /* of struct conn */
	gort_ctx *stop;  /* ends when a signal comes */
	gort_scope *connections;
	gort_sem places;
	gort_chan *signals;
};

struct text { /* in conn.in, not ended by a NUL */
	const char *at;
	size_t len;
};

struct request {
	struct text target, encoding, expect, host, modified_since, range, if_range;
	struct text name, value; /* of the header that is being read */
	unsigned hosts;
	bool bad, head_done, is_head, has_body, keep;
};

struct conn {
	struct server *server;
	gort_file *socket;
	int64_t read_until, write_until; /* the socket's deadlines */
	time_t date_of;                  /* what date says */
	char date[DATE + 1];
	char peer[64];
	bool first; /* request; also waited for no longer than one may take */
	bool linger;

	http_parser parser;
	struct request request;
	size_t start, end; /* what is in in; start: of the request */
	size_t body;       /* where its head ends */
	size_t out_len;
	char in[HEAD_MOST + BODY_ROOM];
	char out[ANSWER_HEAD + SMALL];
};

struct answer {
	int status;
	const char *type;       /* NULL: no body, not even a length */
	uint64_t length;        /* of the body */
	const char *modified;   /* a date, or NULL */
	uint64_t first, all;    /* 206, 416 */
	const struct text *dir; /* 301: where it lies, without the slash at its end */
};

static int complain(const char *what, int err)
{
	fprintf(stderr, "httpd: %s: %s\n", what, strerror(-err));
	return 1;
}

/* ---- dates ----------------------------------------------------------------------------------- */

static void put_digits(char *to, unsigned n, int digits)
{
	while (digits-- > 0) {
		to[digits] = (char)('0' + n % 10);
		n /= 10;
	}
}

/* As HTTP has it. Not strftime and gmtime_r: those know locales and take a lock. */
static void format_date(char to[DATE + 1], time_t t)
{
	static const char days[] = "ThuFriSatSunMonTueWed";
	static const char months[] = "MarAprMayJunJulAugSepOctNovDecJanFeb";
	uint32_t seconds, day, era_day, year, month;

	t = t < 0 ? 0 : t > 253402300799 ? 253402300799 : t;
	day = (uint32_t)(t / 86400);
	seconds = (uint32_t)(t % 86400);
	memcpy(to, "???, ?? ??? ???? ??:??:?? GMT", DATE + 1);
	memcpy(to, days + 3 * (size_t)(day % 7), 3);
	/* Years begin in March, so that the day that may not be there is the last. */
	day += 719468;
	era_day = day % 146097;
	year = (era_day - era_day / 1460 + era_day / 36524 - era_day / 146096) / 365;
	era_day -= 365 * year + year / 4 - year / 100;
	month = (5 * era_day + 2) / 153;
	memcpy(to + 8, months + 3 * (size_t)month, 3);
	put_digits(to + 5, era_day - (153 * month + 2) / 5 + 1, 2);
	put_digits(to + 12, year + day / 146097 * 400 + (month >= 10), 4);
	put_digits(to + 17, seconds / 3600, 2);
	put_digits(to + 20, seconds / 60 % 60, 2);
	put_digits(to + 23, seconds % 60, 2);
}

/* False: it is none. Old forms are not read; they are ignored, as what is wrong is. */
static bool parse_date(struct text date, time_t *t)
{
	struct tm tm = { 0 };
	char copy[DATE + 1], *end;

	if (date.len != DATE)
		return false;
	memcpy(copy, date.at, DATE);
	copy[DATE] = '\0';
	end = strptime(copy, "%a, %d %b %Y %H:%M:%S GMT", &tm);
	if (!end || *end)
		return false;
	*t = timegm(&tm);
	return true;
}

/* Now; each connection has its own, made anew when a second has passed. */
static const char *date_of(struct conn *c)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	if (now.tv_sec != c->date_of) {
		c->date_of = now.tv_sec;
		format_date(c->date, now.tv_sec);
	}
	return c->date;
}

/* ---- the socket ------------------------------------------------------------------------------ */

/* A deadline that is nearly right already is left alone: for quick requests it need not be exact. */
static void renew(int64_t *until, int64_t timeout, gort_file *f, int (*set)(gort_file *, int64_t))
{
	int64_t now = gort_now();

	if (*until <= now + timeout && *until > now + timeout - timeout / 8)
		return;
	*until = now + timeout;
	set(f, *until);
}

static void renew_write(struct conn *c)
{
	renew(&c->write_until, c->server->options->write, c->socket, gort_set_write_deadline);
}

static int flush(struct conn *c)
{
	ssize_t n = 0;

	if (c->out_len) {
		renew_write(c);
		n = gort_write(c->socket, c->out, c->out_len);
		c->out_len = 0;
	}
	return n < 0 ? (int)n : 0;
}

/* The answers so far, with a hint that more follows at once. */
static int flush_with_more(struct conn *c)
{
	struct iovec all = { c->out, c->out_len };
	struct msghdr m = { .msg_iov = &all, .msg_iovlen = 1 };
	ssize_t n;

	renew_write(c);
	n = gort_sendmsg(c->socket, &m, MSG_MORE);
	if (n >= 0 && (size_t)n < c->out_len)
		n = gort_write(c->socket, c->out + n, c->out_len - (size_t)n);
	c->out_len = 0;
	return n < 0 ? (int)n : 0;
}

/* The first bytes of a request: for as long as a client may be idle, and until the server stops. */
static ssize_t read_first(struct conn *c)
{
	const struct options *o = c->server->options;
	gort_ctx *before = gort_ctx_enter(c->server->stop);
	ssize_t n;

	renew(&c->read_until, c->first ? o->request : o->idle, c->socket, gort_set_read_deadline);
	n = gort_read(c->socket, c->in + c->end, HEAD_MOST - c->end);
	gort_ctx_leave(before);
	return n;
}

/* What there is, up to a place in in. *timed: the time for the request runs. */
static ssize_t read_some(struct conn *c, size_t limit, bool *timed)
{
	ssize_t n = flush(c);

	if (n < 0)
		return n;
	if (c->end == c->start && !c->request.head_done) {
		n = read_first(c);
	} else {
		if (!*timed) {
			c->read_until = gort_in(c->server->options->request);
			gort_set_read_deadline(c->socket, c->read_until);
			*timed = true;
		}
		n = gort_read(c->socket, c->in + c->end, limit - c->end);
		if (n == -ETIMEDOUT)
			return 408;
	}
	c->end += n > 0 ? (size_t)n : 0;
	return n > 0 ? 0 : n == 0 ? -EPIPE : n;
}

/* So that closing does not reset the connection before the client has read the answer. */
static void linger(struct conn *c)
{
	ssize_t n = gort_shutdown(c->socket, SHUT_WR);
	size_t all = 0;

	gort_set_read_deadline(c->socket, gort_in(LINGER));
	while (n >= 0 && all < LINGER_MOST) {
		n = gort_read(c->socket, c->in, sizeof c->in);
		if (n == 0)
			break;
		all += n > 0 ? (size_t)n : 0;
	}
}

/* ---- requests -------------------------------------------------------------------------------- */

static bool is_text(struct text t, const char *literal)
{
	return t.len == strlen(literal) && strncasecmp(t.at, literal, t.len) == 0;
}

static bool is_there(struct text t)
{
	return t.at != NULL;
}

static void extend(struct text *t, const char *at, size_t len)
{
	if (!t->at)
		t->at = at;
	t->len = (size_t)(at + len - t->at);
}

/* The parser lets spaces in names pass, and values that go on in another line. Others, on the way
 * here, may have read those differently (RFC 9112, 5.1 and 5.2): no. */
static bool is_ambiguous(struct text name, struct text value)
{
	return memchr(name.at, ' ', name.len) || memchr(value.at, '\n', value.len);
}

static void end_header(struct request *r)
{
	if (!is_there(r->name) || !is_there(r->value) || is_ambiguous(r->name, r->value))
		r->bad = true;
	if (is_text(r->name, "host")) {
		r->host = r->value;
		r->hosts++;
	} else if (is_text(r->name, "if-modified-since")) {
		r->modified_since = r->value;
	} else if (is_text(r->name, "range")) {
		r->range = r->value;
	} else if (is_text(r->name, "if-range")) {
		r->if_range = r->value;
	} else if (is_text(r->name, "expect")) {
		r->expect = r->value;
	} else if (is_text(r->name, "transfer-encoding")) {
		r->encoding = r->value;
	}
	r->name = r->value = (struct text){ 0 };
}

static struct request *request_of(http_parser *p)
{
	return &((struct conn *)p->data)->request;
}

static int on_url(http_parser *p, const char *at, size_t len)
{
	extend(&request_of(p)->target, at, len);
	return 0;
}

static int on_header_field(http_parser *p, const char *at, size_t len)
{
	struct request *r = request_of(p);

	if (r->head_done) /* behind a body in chunks */
		return 0;
	if (is_there(r->value))
		end_header(r);
	extend(&r->name, at, len);
	return 0;
}

static int on_header_value(http_parser *p, const char *at, size_t len)
{
	struct request *r = request_of(p);

	if (!r->head_done)
		extend(&r->value, at, len);
	return 0;
}

/* The parser stops before the head's last byte. */
static int on_headers_complete(http_parser *p)
{
	struct request *r = request_of(p);

	if (is_there(r->name))
		end_header(r);
	r->head_done = true;
	r->is_head = p->method == HTTP_HEAD;
	r->has_body =
		p->flags & F_CHUNKED || (p->content_length > 0 && p->content_length != ULLONG_MAX);
	r->keep = http_should_keep_alive(p);
	http_parser_pause(p, 1);
	return 0;
}

static int on_message_complete(http_parser *p)
{
	http_parser_pause(p, 1);
	return 0;
}

static size_t parse(struct conn *c, size_t at)
{
	static const http_parser_settings callbacks = {
		.on_url = on_url,
		.on_header_field = on_header_field,
		.on_header_value = on_header_value,
		.on_headers_complete = on_headers_complete,
		.on_message_complete = on_message_complete,
	};

	if (at == c->end) /* for the parser, 0 bytes are the end of all */
		return 0;
	return http_parser_execute(&c->parser, &callbacks, c->in + at, c->end - at);
}

static void begin_request(struct conn *c)
{
	http_parser_init(&c->parser, HTTP_REQUEST);
	c->parser.data = c;
	c->request = (struct request){ 0 };
}

/* A method that nobody knows, and not just anything. */
static bool looks_like_method(const struct conn *c)
{
	size_t at = c->start;

	while (at < c->end && c->in[at] >= 'A' && c->in[at] <= 'Z')
		at++;
	return at > c->start && (at == c->end || c->in[at] == ' ');
}

static int status_of_fault(const struct conn *c, enum http_errno fault)
{
	switch (fault) {
	case HPE_INVALID_METHOD:
		return looks_like_method(c) ? 501 : 400;
	case HPE_INVALID_VERSION:
		return 505;
	case HPE_HEADER_OVERFLOW:
		return 431;
	default:
		return 400;
	}
}

/* A part of a request lies behind others: to the front with it, to be read from its start. */
static size_t move_to_front(struct conn *c)
{
	memmove(c->in, c->in + c->start, c->end - c->start);
	c->end -= c->start;
	c->start = 0;
	begin_request(c);
	return 0;
}

/* 0; a status; or -errno: there is none. */
static int read_head(struct conn *c, bool *timed)
{
	size_t at = c->start;
	int rc;

	begin_request(c);
	for (;;) {
		enum http_errno fault;

		at += parse(c, at);
		fault = HTTP_PARSER_ERRNO(&c->parser);
		if (fault == HPE_PAUSED) {
			c->body = at + 1;
			return 0;
		}
		if (fault != HPE_OK)
			return status_of_fault(c, fault);
		if (c->start > 0)
			at = move_to_front(c);
		if (c->end >= HEAD_MOST)
			return 431;
		rc = (int)read_some(c, HEAD_MOST, timed);
		if (rc != 0)
			return rc;
	}
}

/* Whether the request can be understood at all: 0, or a status. */
static int check_head(const struct conn *c)
{
	const struct request *r = &c->request;

	if (c->parser.http_major != 1)
		return 505;
	if (r->bad || r->hosts > 1 || (r->hosts == 0 && c->parser.http_minor > 0))
		return 400;
	if (is_there(r->encoding) && !is_text(r->encoding, "chunked"))
		return 501;
	if (is_there(r->encoding) && c->parser.http_minor == 0)
		return 400;
	if (r->has_body && !(c->parser.flags & F_CHUNKED) && c->parser.content_length > BODY_MOST)
		return 413;
	return 0;
}

/* Read the body, and forget it; then the next request starts where it ends. */
static int skip_body(struct conn *c, bool *timed)
{
	size_t at = c->body - 1, all = 0, n;
	int rc;

	http_parser_pause(&c->parser, 0);
	for (;;) {
		enum http_errno fault;

		n = parse(c, at);
		all += n;
		fault = HTTP_PARSER_ERRNO(&c->parser);
		if (all > BODY_MOST + 1)
			return 413;
		if (fault == HPE_PAUSED) {
			c->body = at + n;
			return 0;
		}
		if (fault != HPE_OK)
			return status_of_fault(c, fault);
		c->end = at = c->body;
		rc = (int)read_some(c, sizeof c->in, timed);
		if (rc != 0)
			return rc;
	}
}

/* 0; a status to answer, after which nothing more can be read; or -errno: there is none. */
static int read_request(struct conn *c)
{
	bool timed = false;
	int rc = read_head(c, &timed);

	if (rc == 0)
		rc = check_head(c);
	if (rc != 0 || !c->request.has_body)
		return rc;
	if (is_there(c->request.expect)) { /* it waits for our word: let it keep its body */
		c->request.keep = false;
		c->linger = true;
		return 0;
	}
	return skip_body(c, &timed);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void put(struct conn *c, const char *text, size_t len)
{
	memcpy(c->out + c->out_len, text, len);
	c->out_len += len;
}

#define PUT(c, literal) put(c, literal, sizeof(literal) - 1)

static void put_text(struct conn *c, const char *text)
{
	put(c, text, strlen(text));
}

static void put_number(struct conn *c, uint64_t n)
{
	char digits[20], *at = digits + sizeof digits;

	do
		*--at = (char)('0' + n % 10);
	while (n /= 10);
	put(c, at, (size_t)(digits + sizeof digits - at));
}

static const char *reason(int status)
{
	static const struct {
		int status;
		const char *reason;
	} known[] = {
		{ 200, "200 OK" },
		{ 206, "206 Partial Content" },
		{ 301, "301 Moved Permanently" },
		{ 304, "304 Not Modified" },
		{ 400, "400 Bad Request" },
		{ 404, "404 Not Found" },
		{ 405, "405 Method Not Allowed" },
		{ 408, "408 Request Timeout" },
		{ 413, "413 Content Too Large" },
		{ 414, "414 URI Too Long" },
		{ 416, "416 Range Not Satisfiable" },
		{ 431, "431 Request Header Fields Too Large" },
		{ 501, "501 Not Implemented" },
		{ 503, "503 Service Unavailable" },
		{ 505, "505 HTTP Version Not Supported" },
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (known[i].status == status)
			return known[i].reason;
	return "500 Internal Server Error";
}

static void put_range(struct conn *c, const struct answer *a)
{
	PUT(c, "\r\nContent-Range: bytes ");
	if (a->status == 206) {
		put_number(c, a->first);
		PUT(c, "-");
		put_number(c, a->first + a->length - 1);
	} else {
		PUT(c, "*");
	}
	PUT(c, "/");
	put_number(c, a->all);
}

/* There is room for ANSWER_HEAD. */
static void put_head(struct conn *c, const struct answer *a)
{
	PUT(c, "HTTP/1.1 ");
	put_text(c, reason(a->status));
	PUT(c, "\r\nServer: gort\r\nDate: ");
	put(c, date_of(c), DATE);
	if (a->type) {
		PUT(c, "\r\nContent-Type: ");
		put_text(c, a->type);
		PUT(c, "\r\nContent-Length: ");
		put_number(c, a->length);
	}
	if (a->modified) {
		PUT(c, "\r\nLast-Modified: ");
		put(c, a->modified, DATE);
	}
	if (a->status == 206 || a->status == 416)
		put_range(c, a);
	if (a->status == 405)
		PUT(c, "\r\nAllow: GET, HEAD");
	if (a->dir) {
		PUT(c, "\r\nLocation: ");
		put(c, a->dir->at, a->dir->len);
		PUT(c, "/");
	}
	if (!c->request.keep)
		PUT(c, "\r\nConnection: close");
	else if (c->parser.http_minor == 0)
		PUT(c, "\r\nConnection: keep-alive");
	PUT(c, "\r\n\r\n");
}

static int make_room(struct conn *c, size_t n)
{
	return sizeof c->out - c->out_len < n ? flush(c) : 0;
}

/* ---- the access log -------------------------------------------------------------------------- */

#define LINE_MOST (sizeof(((struct conn *)0)->peer) + 4 * TARGET_MOST + 128)

/* What a client sends may be anything: here it can be nothing but text. */
static size_t put_escaped(char *to, struct text t)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = 0;

	if (t.len > TARGET_MOST)
		t.len = TARGET_MOST;
	for (size_t i = 0; i < t.len; i++) {
		unsigned char ch = (unsigned char)t.at[i];

		if (ch > ' ' && ch < 127 && ch != '"' && ch != '\\') {
			to[n++] = (char)ch;
		} else {
			to[n++] = '\\';
			to[n++] = 'x';
			to[n++] = hex[ch >> 4];
			to[n++] = hex[ch & 15];
		}
	}
	return n;
}

/* The common format, one write a line: they do not mix. */
static void log_answer(struct conn *c, int status, uint64_t length)
{
	const struct request *r = &c->request;
	const char *d = c->date; /* as in the head of the answer */
	char line[LINE_MOST];
	int n;

	if (!c->server->log)
		return;
	n = snprintf(line, sizeof line, "%s - - [%.2s/%.3s/%.4s:%.8s +0000] \"", c->peer, d + 5,
		     d + 8, d + 12, d + 17);
	if (r->head_done) {
		n += snprintf(line + n, sizeof line - (size_t)n, "%s ",
			      http_method_str((enum http_method)c->parser.method));
		n += (int)put_escaped(line + n, r->target);
		n += snprintf(line + n, sizeof line - (size_t)n, " HTTP/%d.%d",
			      c->parser.http_major, c->parser.http_minor);
	} else {
		line[n++] = '-';
	}
	n += snprintf(line + n, sizeof line - (size_t)n, "\" %d %llu\n", status,
		      (unsigned long long)length);
	(void)gort_write(c->server->log, line, (size_t)n);
}

static int answer_text(struct conn *c, const struct answer *a, const char *text)
{
	int err = make_room(c, ANSWER_HEAD + a->length);

	if (err < 0)
		return err;
	put_head(c, a);
	if (!c->request.is_head)
		put(c, text, a->length);
	log_answer(c, a->status, c->request.is_head ? 0 : a->length);
	return 0;
}

/* One that says no more than its status. */
static int answer_status(struct conn *c, struct answer a)
{
	char text[64];

	a.length = (uint64_t)snprintf(text, sizeof text, "%s\n", reason(a.status));
	a.type = "text/plain";
	return answer_text(c, &a, text);
}

static int answer_json(struct conn *c)
{
	static const char text[] = "{\"message\":\"Hello, World!\"}";
	struct answer a = { 200, "application/json", sizeof text - 1, NULL, 0, 0, NULL };

	return answer_text(c, &a, text);
}

/* ---- files ----------------------------------------------------------------------------------- */

static int hex_digit(char ch)
{
	return ch >= '0' && ch <= '9'    ? ch - '0'
		: ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
		: ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
					 : -1;
}

/* The path in a target: without the query, and the host, if that is in there. */
static int find_path(struct text *target)
{
	const char *end = target->at + target->len, *at = target->at;

	if (target->len > TARGET_MOST)
		return 414;
	if (*at != '/') {
		at = memmem(at, target->len, "://", 3);
		if (!at)
			return 400;
		at = memchr(at + 3, '/', (size_t)(end - at - 3));
		if (!at)
			at = end;
	}
	target->at = at;
	while (at < end && *at != '?' && *at != '#')
		at++;
	target->len = (size_t)(at - target->at);
	return 0;
}

/* Relative to the root, ended by a NUL; to has TARGET_MOST bytes, and one. 0, or a status. */
static int decode_path(char *to, struct text path)
{
	size_t n = 0, i = 0;

	while (i < path.len && path.at[i] == '/')
		i++;
	for (; i < path.len; i++) {
		int ch = (unsigned char)path.at[i];

		if (ch == '%') {
			int high = i + 2 < path.len ? hex_digit(path.at[i + 1]) : -1;
			int low = high >= 0 ? hex_digit(path.at[i + 2]) : -1;

			ch = low < 0 ? 0 : high << 4 | low;
			i += 2;
		}
		if (ch == 0)
			return 400;
		if (ch == '.' && (n == 0 || to[n - 1] == '/'))
			return 404; /* rule 3 */
		to[n++] = (char)ch;
	}
	to[n] = '\0';
	return 0;
}

static const char *type_of(const char *path)
{
	static const char *const known[][2] = {
		{ "html", "text/html; charset=utf-8" },
		{ "htm", "text/html; charset=utf-8" },
		{ "css", "text/css; charset=utf-8" },
		{ "js", "text/javascript; charset=utf-8" },
		{ "mjs", "text/javascript; charset=utf-8" },
		{ "txt", "text/plain; charset=utf-8" },
		{ "md", "text/markdown; charset=utf-8" },
		{ "csv", "text/csv; charset=utf-8" },
		{ "json", "application/json" },
		{ "xml", "application/xml" },
		{ "pdf", "application/pdf" },
		{ "wasm", "application/wasm" },
		{ "zip", "application/zip" },
		{ "gz", "application/gzip" },
		{ "png", "image/png" },
		{ "jpg", "image/jpeg" },
		{ "jpeg", "image/jpeg" },
		{ "gif", "image/gif" },
		{ "svg", "image/svg+xml" },
		{ "webp", "image/webp" },
		{ "ico", "image/x-icon" },
		{ "woff2", "font/woff2" },
		{ "mp3", "audio/mpeg" },
		{ "mp4", "video/mp4" },
	};
	const char *name = strrchr(path, '/'), *dot = strrchr(name ? name : path, '.');

	for (size_t i = 0; dot && i < sizeof known / sizeof *known; i++)
		if (strcasecmp(dot + 1, known[i][0]) == 0)
			return known[i][1];
	return "application/octet-stream";
}

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
	err = lseek(fd, (off_t)a->first, SEEK_SET) < 0 ? -errno : flush_with_more(c);
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
static int answer(struct conn *c)
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

/* ---- connections ----------------------------------------------------------------------------- */

static void *conn_new(void *arg)
{
	(void)arg;
	return malloc(sizeof(struct conn));
}

static void conn_begin(struct conn *c, struct server *s, gort_file *socket)
{
	c->server = s;
	c->socket = socket;
	c->read_until = c->write_until = GORT_FOREVER;
	c->date_of = 0;
	format_date(c->date, 0);
	c->first = true;
	c->linger = false;
	c->start = c->end = c->body = c->out_len = 0;
	if (s->log && gort_peer_address(socket, c->peer, sizeof c->peer) < 0)
		strcpy(c->peer, "-");
}

static int serve_requests(struct conn *c)
{
	int rc;

	do {
		rc = read_request(c);
		if (rc > 0) {
			c->request.keep = false;
			c->linger = true;
			rc = answer_status(c, (struct answer){ .status = rc });
		} else if (rc == 0) {
			rc = answer(c);
		}
		c->start = c->body;
		c->first = false;
		if (c->start == c->end)
			c->start = c->end = c->body = 0;
	} while (rc == 0 && c->request.keep);
	return rc < 0 ? rc : flush(c);
}

/* A member of the scope: 0, come what may. One connection's end is no matter of the others'. */
static int serve(void *arg)
{
	struct conn *c = arg;
	struct server *s = c->server;

	if (serve_requests(c) == 0 && (c->linger || c->end > c->start))
		linger(c);
	gort_close(c->socket);
	gort_pool_put(s->pool, c);
	gort_sem_release(&s->places, 1);
	return 0;
}

static void start_serving(struct server *s, gort_file *socket)
{
	struct conn *c = gort_pool_get(s->pool);
	int err = -ENOMEM;

	if (c) {
		conn_begin(c, s, socket);
		err = gort_scope_go(s->connections, serve, c);
	}
	if (err < 0) { /* no memory: this one has bad luck */
		gort_close(socket);
		if (c)
			gort_pool_put(s->pool, c);
		gort_sem_release(&s->places, 1);
	}
}

/* Until the context ends: -ECANCELED. */
static int accept_all(struct server *s)
{
	gort_file *socket;
	int err;

	while ((err = gort_sem_acquire(&s->places, 1)) == 0) {
		err = gort_accept(s->listener, &socket);
		if (err == 0) {
			start_serving(s, socket);
			continue;
		}
		gort_sem_release(&s->places, 1);
		if (err != -EMFILE && err != -ENFILE && err != -ENOBUFS && err != -ENOMEM)
			break; /* those pass: accept has waited a little */
	}
	return err;
}

/* ---- the server ------------------------------------------------------------------------------ */

static int run(struct server *s)
{
	gort_ctx *before = gort_ctx_enter(s->stop);
	int err = accept_all(s);

	gort_ctx_leave(before);
	gort_close(s->listener); /* who comes now is refused, and does not wait in vain */
	s->listener = NULL;
	if (gort_scope_wait_until(s->connections, gort_in(s->options->grace)) == -ETIMEDOUT)
		gort_scope_cancel(s->connections, -ECANCELED);
	return err;
}

static void stop_on_signal(void *arg)
{
	struct server *s = arg;

	if (gort_chan_recv(s->signals, NULL) == 0) {
		gort_signal_stop(s->signals);
		gort_ctx_cancel(s->stop, -ECANCELED);
	}
}

static int watch_signals(struct server *s)
{
	int err = gort_signal_notify(s->signals, SIGINT);

	if (err == 0)
		err = gort_signal_notify(s->signals, SIGTERM);
	return err < 0 ? err : gort_go(stop_on_signal, s);
}

/* Each connection takes a descriptor, and a file that it sends. */
static void raise_files(long most)
{
	struct rlimit limit;
	rlim_t need = 2 * (rlim_t)most + 64;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= need)
		return;
	limit.rlim_cur = limit.rlim_max < need ? limit.rlim_max : need;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int open_log(struct server *s)
{
	const char *path = s->options->log;

	if (!path)
		return 0;
	if (strcmp(path, "-") != 0)
		return gort_open(&s->log, path, O_WRONLY | O_APPEND | O_CREAT, 0666);
	s->log = gort_std(2);
	return s->log ? 0 : -EBADF;
}

static int listen_and_tell(struct server *s)
{
	char text[64];
	int err = gort_listen(&s->listener, "tcp", s->options->address, NULL);

	if (err == 0)
		err = gort_local_address(s->listener, text, sizeof text);
	if (err < 0)
		return err;
	printf("listening on %s\n", text);
	return fflush(stdout) == 0 ? 0 : -EIO;
}

/* What it needs. 0; else what failed has been told. */
static int set_up(struct server *s)
{
	int err;

	s->root = open(s->options->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->root < 0)
		return complain(s->options->root, -errno);
	s->pool = gort_pool_make(conn_new, free, NULL);
	s->stop = gort_ctx_with_cancel(gort_ctx_current());
	s->signals = gort_chan_make(sizeof(int), 1);
	s->connections = gort_scope_open(0);
	if (!s->pool || !s->stop || !s->signals || !s->connections)
		return complain("no memory to start with", -ENOMEM);
	err = watch_signals(s);
	if (err < 0)
		return complain("cannot watch signals", err);
	err = open_log(s);
	if (err < 0)
		return complain(s->options->log, err);
	err = listen_and_tell(s);
	return err < 0 ? complain(s->options->address, err) : 0;
}

static int httpd(const struct options *o)
{
	struct server s = { .options = o, .root = -1, .places = GORT_SEM_INIT(o->most) };
	int failed = set_up(&s), err;

	if (!failed) {
		err = run(&s);
		failed = err == -ECANCELED ? 0 : complain(o->address, err);
	}
	if (s.connections)
		gort_scope_close(s.connections); /* all have returned */
	if (s.listener)
		gort_close(s.listener);
	if (s.log)
		gort_close(s.log);
	gort_chan_release(s.signals);
	gort_ctx_release(s.stop);
	if (s.pool)
		gort_pool_release(s.pool);
	if (s.root >= 0)
		close(s.root);
	return failed;
}

/* ---- arguments ------------------------------------------------------------------------------- */

static const char help[] =
	"Usage: httpd [OPTION]... ADDRESS ROOT\n"
	"Serve the files of the directory ROOT by HTTP on ADDRESS, HOST:PORT (\":8080\": all\n"
	"addresses of this machine; port 0: a free one). The address is printed first. /json answers\n"
	"by itself. SIGINT and SIGTERM end it.\n"
	"\n"
	"      --idle SECONDS       close connections that ask nothing for so long (60)\n"
	"      --request SECONDS    that a client may take to send a request (10)\n"
	"      --write SECONDS      that it may take to accept each 256 KiB of an answer (30)\n"
	"      --grace SECONDS      that running requests have to end after a signal (10)\n"
	"      --most N             connections at a time (10000)\n"
	"      --log FILE           append a line for each request; -: to standard error\n"
	"      --help               print this and exit\n"
	"\n"
	"Exit status: 0 ended by a signal, 1 something failed, 2 wrong usage.\n";

static _Noreturn void usage_error(void)
{
	fputs("Try 'httpd --help'.\n", stderr);
	exit(2);
}

static long parse_argument(const char *text, long least)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (end == text || *end || n < least || n > 1000000) {
		fprintf(stderr, "httpd: '%s' is not from %ld to 1000000\n", text, least);
		usage_error();
	}
	return n;
}

static void parse_option(struct options *o, int c)
{
	switch (c) {
	case 'i':
		o->idle = parse_argument(optarg, 1) * GORT_SEC;
		break;
	case 'r':
		o->request = parse_argument(optarg, 1) * GORT_SEC;
		break;
	case 'w':
		o->write = parse_argument(optarg, 1) * GORT_SEC;
		break;
	case 'g':
		o->grace = parse_argument(optarg, 0) * GORT_SEC;
		break;
	case 'm':
		o->most = parse_argument(optarg, 1);
		break;
	case 'l':
		o->log = optarg;
		break;
	case 'h':
		exit(fputs(help, stdout) < 0);
	default:
		usage_error();
	}
}

GORT_MAIN(argc, argv)
{
	static const struct option known[] = {
		{ "grace", required_argument, NULL, 'g' },
		{ "help", no_argument, NULL, 'h' },
		{ "idle", required_argument, NULL, 'i' },
		{ "log", required_argument, NULL, 'l' },
		{ "most", required_argument, NULL, 'm' },
		{ "request", required_argument, NULL, 'r' },
		{ "write", required_argument, NULL, 'w' },
		{ NULL, 0, NULL, 0 },
	};
	struct options o = { .idle = 60 * GORT_SEC,
			     .request = 10 * GORT_SEC,
			     .write = 30 * GORT_SEC,
			     .grace = 10 * GORT_SEC,
			     .most = 10000 };
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1)
		parse_option(&o, c);
	if (argc - optind != 2)
		usage_error();
	o.address = argv[optind];
	o.root = argv[optind + 1];
	raise_files(o.most);
	return httpd(&o);
}
