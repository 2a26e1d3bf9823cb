/*
 * answer.c - an answer's head, short answers, and the access log.
 */
#include "httpd.h"

#include <stdio.h>
#include <string.h>

#define PUT(c, literal) put(c, literal, sizeof(literal) - 1)

static void put(struct conn *c, const char *text, size_t len)
{
	memcpy(c->out + c->out_len, text, len);
	c->out_len += len;
}

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
void put_head(struct conn *c, const struct answer *a)
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
void log_answer(struct conn *c, int status, uint64_t length)
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

/* ---- short answers --------------------------------------------------------------------------- */

int make_room(struct conn *c, size_t n)
{
	return sizeof c->out - c->out_len < n ? flush(c) : 0;
}

int answer_text(struct conn *c, const struct answer *a, const char *text)
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
int answer_status(struct conn *c, struct answer a)
{
	char text[64];

	a.length = (uint64_t)snprintf(text, sizeof text, "%s\n", reason(a.status));
	a.type = "text/plain";
	return answer_text(c, &a, text);
}
