/*
 * gort_openssl.c - TLS over a gort_file. The header is the manual.
 *
 * OpenSSL reads from one memory BIO and writes to another. Around its calls, `feed` fills the first
 * from the network, and `flush` empties the second to it:
 *
 *     run:  [lock] SSL_read, SSL_write, ... -> flush what it wants sent -> WANT_READ? feed, and again
 *
 *  1. t->lock is held during OpenSSL's calls, and never while anybody waits for the network. One
 *     goroutine at a time feeds, and one flushes: they have the buffer `in` or `out` to themselves
 *     then, without the lock. Whoever else wants that waits on `changed`.
 *  2. Between an SSL call and the look at its errors nothing waits, and preemption is off: OpenSSL's
 *     queue of errors is the thread's, and a goroutine that switches (GORT_PREEMPT_SWITCH) may go on
 *     on another.
 *  3. Bytes go out in the order in which OpenSSL made them: `out` is filled only when it is empty,
 *     and only by the one who flushes. What a flush that was cut short leaves goes first in the next.
 *  4. Who wants input notes t->fed before it asks OpenSSL: input that another has fed since then
 *     does not wait to be followed by more.
 *  5. Readers send only what they have caused themselves (answers to key updates), and not where a
 *     writer has left something: how it goes with writing is not theirs to be told.
 *
 * Rejected: a BIO whose callbacks call gort_read and gort_write. It is shorter; but a goroutine that
 * waits in there resumes on another thread, where the errors before the wait are not, and
 * another's are; and the SSL object would be locked while it waits.
 */
#include "gort_openssl.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD 16384 /* the most that one record carries */

struct gort_tls {
	gort_mutex lock;     /* over all below that says nothing else */
	gort_cond changed;   /* feeding, flushing: one has ended */
	gort_mutex starting; /* one handshake at a time */
	gort_mutex writing;  /* one gort_tls_write at a time */
	gort_file *file;     /* never changes */
	SSL *ssl;            /* owns both BIOs */
	BIO *from_net, *to_net;
	bool feeding, flushing;
	atomic_bool ready; /* handshake done; set under the lock, stays */
	bool closed;       /* close_notify was sent */
	uint64_t fed;      /* how often something came */
	int broken;        /* 0, or what all calls give from now on */
	char error[256];   /* written once, with broken */
	size_t out_at, out_end;
	char in[RECORD], out[RECORD]; /* see 1 */
};

struct call {
	enum { HANDSHAKE, READ, WRITE } op;
	void *buf;
	size_t n, done;
};

static const char cut_off[] = "the peer was gone without close_notify";

/* ---- OpenSSL's calls; the lock is held */

static int verdict(gort_tls *t, unsigned long error)
{
#ifdef SSL_R_UNEXPECTED_EOF_WHILE_READING
	if (ERR_GET_LIB(error) == ERR_LIB_SSL &&
	    ERR_GET_REASON(error) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
		return -ECONNRESET;
#endif
	if (!error)
		return BIO_eof(t->from_net) ? -ECONNRESET : -EPROTO;
	if (ERR_GET_LIB(error) == ERR_LIB_SSL &&
	    ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED)
		return -EKEYREJECTED;
	return -EPROTO;
}

static void break_off(gort_tls *t, int err, const char *text, const char *more)
{
	snprintf(t->error, sizeof t->error, "%s%s%s", text, *more ? ": " : "", more);
	t->broken = err;
}

/* By the oldest error in the queue: the later ones say where it was met. */
static void note_failure(gort_tls *t)
{
	unsigned long error = ERR_peek_error();
	const char *text = error ? ERR_reason_error_string(error) : NULL, *more = "";
	int err = verdict(t, error);

	if (err == -ECONNRESET)
		text = cut_off;
	else if (!text)
		text = "TLS failed";
	if (err == -EKEYREJECTED)
		more = X509_verify_cert_error_string(SSL_get_verify_result(t->ssl));
	break_off(t, err, text, more);
}

/* SSL_ERROR_*. */
static int ask_ssl(gort_tls *t, struct call *c)
{
	int rc, why;

	gort_preempt_off();
	ERR_clear_error();
	if (c->op == HANDSHAKE)
		rc = SSL_do_handshake(t->ssl);
	else if (c->op == READ)
		rc = SSL_read_ex(t->ssl, c->buf, c->n, &c->done);
	else
		rc = SSL_write_ex(t->ssl, c->buf, c->n, &c->done);
	why = rc > 0 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, rc);
	if (why != SSL_ERROR_NONE && why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE &&
	    why != SSL_ERROR_ZERO_RETURN) {
		note_failure(t);
		ERR_clear_error();
	}
	gort_preempt_on();
	return why;
}

/* ---- the network; the lock is held, and given up meanwhile */

/* False: there is nothing to send. */
static bool fill_out(gort_tls *t)
{
	int n;

	if (t->out_at < t->out_end)
		return true;
	n = BIO_read(t->to_net, t->out, sizeof t->out);
	t->out_at = 0;
	t->out_end = n > 0 ? (size_t)n : 0;
	return n > 0;
}

static bool must_flush(const gort_tls *t)
{
	return t->out_at < t->out_end || BIO_ctrl_pending(t->to_net) > 0;
}

static int flush(gort_tls *t)
{
	ssize_t n = 0;

	while (t->flushing) {
		int err = gort_cond_wait(&t->changed, &t->lock);

		if (err)
			return err;
	}
	t->flushing = true;
	while (n >= 0 && fill_out(t)) {
		gort_mutex_unlock(&t->lock);
		n = gort_write_some(t->file, t->out + t->out_at, t->out_end - t->out_at);
		gort_mutex_lock(&t->lock);
		t->out_at += n > 0 ? (size_t)n : 0;
	}
	t->flushing = false;
	gort_cond_broadcast(&t->changed);
	return n < 0 ? (int)n : 0;
}

/* fed: what t->fed was when OpenSSL wanted more. */
static int feed(gort_tls *t, uint64_t fed)
{
	ssize_t n;

	while (t->feeding && t->fed == fed) {
		int err = gort_cond_wait(&t->changed, &t->lock);

		if (err)
			return err;
	}
	if (t->fed != fed)
		return 0;
	t->feeding = true;
	gort_mutex_unlock(&t->lock);
	n = gort_read(t->file, t->in, sizeof t->in);
	gort_mutex_lock(&t->lock);
	t->feeding = false;
	if (n > 0 && BIO_write(t->from_net, t->in, (int)n) != n)
		break_off(t, -ENOMEM, "out of memory", "");
	if (n == 0)
		BIO_set_mem_eof_return(t->from_net, 0);
	if (n == -ECONNRESET && !t->broken)
		break_off(t, -ECONNRESET, cut_off, "");
	t->fed += n >= 0;
	gort_cond_broadcast(&t->changed);
	return n < 0 ? (int)n : 0;
}

/* ---- both */

/* 0, or what ended it; the lock is held. *again: OpenSSL wants to be asked once more. */
static int step(gort_tls *t, struct call *c, bool *again)
{
	bool behind = must_flush(t);
	uint64_t fed = t->fed;
	int why, err = 0;

	if (t->broken)
		return t->broken;
	why = ask_ssl(t, c);
	if (must_flush(t) && (c->op != READ || (!behind && !t->flushing)))
		err = flush(t);
	if (why != SSL_ERROR_NONE && t->broken)
		return t->broken;
	if (c->op == READ)
		err = 0; /* see 5 */
	if (why == SSL_ERROR_NONE || why == SSL_ERROR_ZERO_RETURN || err)
		return err;
	*again = true;
	return why == SSL_ERROR_WANT_READ ? feed(t, fed) : 0;
}

static int run(gort_tls *t, struct call *c)
{
	bool again;
	int err;

	gort_mutex_lock(&t->lock);
	do {
		again = false;
		err = step(t, c, &again);
	} while (!err && again);
	if (!err && c->op == HANDSHAKE)
		atomic_store_explicit(&t->ready, true, memory_order_release);
	gort_mutex_unlock(&t->lock);
	return err;
}

int gort_tls_handshake(gort_tls *t)
{
	struct call c = { .op = HANDSHAKE };
	int err = gort_mutex_lock_until(&t->starting, GORT_FOREVER);

	if (err)
		return err;
	err = run(t, &c);
	gort_mutex_unlock(&t->starting);
	return err;
}

static int begin(gort_tls *t)
{
	return atomic_load_explicit(&t->ready, memory_order_acquire) ? 0 : gort_tls_handshake(t);
}

ssize_t gort_tls_read(gort_tls *t, void *buf, size_t n)
{
	struct call c = { .op = READ, .buf = buf, .n = n };
	int err = begin(t);

	if (err || n == 0)
		return err;
	err = run(t, &c);
	return err ? err : (ssize_t)c.done;
}

/* t->writing is held. A record at a time, so that no more than that waits to be sent. */
static ssize_t write_records(gort_tls *t, const char *from, size_t n)
{
	size_t done = 0;

	while (done < n) {
		struct call c = { .op = WRITE, .buf = (void *)(uintptr_t)(from + done) };
		int err;

		if (t->closed)
			return -EPIPE;
		c.n = n - done < RECORD ? n - done : RECORD;
		err = run(t, &c);
		if (err)
			return err;
		done += c.done;
	}
	return (ssize_t)n;
}

ssize_t gort_tls_write(gort_tls *t, const void *buf, size_t n)
{
	int err = begin(t);
	ssize_t done;

	if (!err)
		err = gort_mutex_lock_until(&t->writing, GORT_FOREVER);
	if (err)
		return err;
	done = write_records(t, buf, n);
	gort_mutex_unlock(&t->writing);
	return done;
}

static void say_goodbye(gort_tls *t)
{
	gort_preempt_off();
	ERR_clear_error();
	SSL_shutdown(t->ssl);
	ERR_clear_error();
	gort_preempt_on();
}

/* t->closed is written with both locks held: t->writing is enough to read it. */
int gort_tls_close(gort_tls *t)
{
	int err = gort_mutex_lock_until(&t->writing, GORT_FOREVER);

	if (err)
		return err;
	gort_mutex_lock(&t->lock);
	err = t->broken;
	if (!err && atomic_load_explicit(&t->ready, memory_order_relaxed)) {
		if (!t->closed)
			say_goodbye(t);
		t->closed = true;
		err = flush(t);
	}
	gort_mutex_unlock(&t->lock);
	gort_mutex_unlock(&t->writing);
	return err;
}

const char *gort_tls_error(gort_tls *t)
{
	const char *text;

	gort_mutex_lock(&t->lock);
	text = t->broken ? t->error : "";
	gort_mutex_unlock(&t->lock);
	return text;
}

SSL *gort_tls_ssl(gort_tls *t)
{
	return t->ssl;
}

/* ---- making one */

static gort_tls *make(SSL_CTX *ctx, gort_file *f)
{
	gort_tls *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	t->file = f;
	t->ssl = SSL_new(ctx);
	t->from_net = BIO_new(BIO_s_mem());
	t->to_net = BIO_new(BIO_s_mem());
	if (!t->ssl || !t->from_net || !t->to_net) {
		BIO_free(t->from_net);
		BIO_free(t->to_net);
		SSL_free(t->ssl);
		free(t);
		return NULL;
	}
	SSL_set_bio(t->ssl, t->from_net, t->to_net);
	SSL_set_mode(t->ssl,
		     SSL_MODE_AUTO_RETRY | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
			     SSL_MODE_RELEASE_BUFFERS);
	SSL_set_options(t->ssl, SSL_OP_NO_RENEGOTIATION);
	return t;
}

static bool is_address(const char *host)
{
	ASN1_OCTET_STRING *address = a2i_IPADDRESS(host);

	ASN1_OCTET_STRING_free(address);
	ERR_clear_error();
	return address != NULL;
}

static bool expect_host(SSL *ssl, const char *host)
{
	if (is_address(host))
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
	return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

gort_tls *gort_tls_client(SSL_CTX *ctx, gort_file *f, const char *host)
{
	gort_tls *t = make(ctx, f);

	if (!t)
		return NULL;
	SSL_set_connect_state(t->ssl);
	if (host && !expect_host(t->ssl, host)) {
		gort_tls_free(t);
		return NULL;
	}
	return t;
}

gort_tls *gort_tls_server(SSL_CTX *ctx, gort_file *f)
{
	gort_tls *t = make(ctx, f);

	if (t)
		SSL_set_accept_state(t->ssl);
	return t;
}

void gort_tls_free(gort_tls *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	free(t);
}
