/*
 * request.c - reading a request: the parser, and what it must not be believed.
 */
#include "httpd.h"

#include <limits.h>
#include <string.h>
#include <strings.h>

static bool is_text(struct text t, const char *literal)
{
	return t.len == strlen(literal) && strncasecmp(t.at, literal, t.len) == 0;
}

bool is_there(struct text t)
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
		rc = read_some(c, HEAD_MOST, timed);
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
		rc = read_some(c, sizeof c->in, timed);
		if (rc != 0)
			return rc;
	}
}

/* 0; a status to answer, after which nothing more can be read; or -errno: there is none. */
int read_request(struct conn *c)
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
