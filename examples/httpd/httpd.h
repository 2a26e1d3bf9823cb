/*
 * httpd.h - httpd, an HTTP/1.1 server for the files of a directory.
 *
 *     httpd :8080 /srv/www
 *
 *     main.c       arguments; connections that come; the end
 *     conn.c       a connection: deadlines, reading, writing, one request after the other
 *     request.c    a request: the parser, and what it lets pass
 *     path.c       from a target to a file's name
 *     files.c      what there is: files, or a part of them, and /json
 *     answer.c     an answer's head, short answers, the access log
 *     date.c       dates
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
#ifndef HTTPD_H
#define HTTPD_H

#include <gort.h>
#include <http_parser.h>
#include <time.h>

#define HEAD_MOST 8192
#define TARGET_MOST 1024
#define BODY_MOST 65536
#define BODY_ROOM 4096    /* of a body, at a time */
#define SMALL 16384       /* files up to so long go with their head, in one call */
#define ANSWER_HEAD 2048  /* none is longer: TARGET_MOST, and some lines */
#define SLICE (256 << 10) /* what must go within the time-out of writing */
#define DATE 29           /* Sun, 06 Nov 1994 08:49:37 GMT */
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

/* ---- date.c ---------------------------------------------------------------------------------- */

void format_date(char to[DATE + 1], time_t t);
bool parse_date(struct text date, time_t *t); /* false: it is none */
const char *date_of(struct conn *c);          /* now */

/* ---- conn.c ---------------------------------------------------------------------------------- */

void conn_begin(struct conn *c, struct server *s, gort_file *socket);
void conn_serve(struct conn *c); /* until its end; closes the socket */

/* Read what there is into in, behind end, up to limit, for the request that is being read; *timed: the
 * time for it runs. What has been answered is written first. 0; 408; or -errno, -EPIPE: the end. */
int read_some(struct conn *c, size_t limit, bool *timed);
void renew_write(struct conn *c); /* for what is written next */
int flush(struct conn *c);        /* write the answers so far; 0 or -errno */
int flush_with_more(struct conn *c);

/* ---- request.c ------------------------------------------------------------------------------- */

/* 0; a status to answer, after which nothing more can be read; or -errno: there is none. */
int read_request(struct conn *c);
bool is_there(struct text t);

/* ---- path.c ---------------------------------------------------------------------------------- */

int find_path(struct text *target);          /* the path in it, as written: 0, or a status */
int decode_path(char *to, struct text path); /* relative to the root: 0, or a status */
const char *type_of(const char *path);       /* Content-Type */

/* ---- files.c --------------------------------------------------------------------------------- */

/* To a request that was read in full: 0, or -errno, and then the connection is of no use. */
int answer(struct conn *c);

/* ---- answer.c -------------------------------------------------------------------------------- */

int make_room(struct conn *c, size_t n);               /* in out; 0 or -errno */
void put_head(struct conn *c, const struct answer *a); /* there is room for ANSWER_HEAD */
int answer_text(struct conn *c, const struct answer *a, const char *text);
int answer_status(struct conn *c, struct answer a); /* one that says no more than its status */
void log_answer(struct conn *c, int status, uint64_t length);

#endif
