/*
 * gort_openssl.h - TLS by OpenSSL, over a gort_file: no thread waits for the network.
 *
 *     gort_tls *t = gort_tls_client(ctx, file, "example.org");
 *     int err = gort_tls_handshake(t);
 *     if (err)
 *             fprintf(stderr, "%s: %s\n", strerror(-err), gort_tls_error(t));
 *
 * OpenSSL alone works in goroutines, too, on a socket that blocks: it keeps a thread for each
 * connection then. Here OpenSSL works on memory, and what is to come or to go is read and written
 * by gort between its calls. It never waits inside of OpenSSL, whose queue of errors belongs to a
 * thread; so every failure is told to the goroutine that met it.
 *
 * Conventions are gort.h's. Calls marked [c] obey the context, gort_set_deadline, and the deadlines of
 * the file: gort_set_read_deadline and gort_set_write_deadline. A call that ends by one of these has
 * spoiled nothing: a handshake or a read that is made again goes on where it was. A write may have
 * sent some of its bytes, and what of them TLS has taken already goes before the next write's.
 *
 * Any number of goroutines may use a connection at once, one reading while another writes. Writes are
 * made one after the other, each in one piece. Who waits for the network keeps nobody from the
 * other direction. On plain threads calls block the thread, as elsewhere in gort.
 *
 * OpenSSL's own calls are not preempted, and so neither are callbacks that the SSL_CTX has (for
 * certificates, passwords, sessions). These may block in the kernel, but not wait for the same
 * connection. Calls empty the thread's queue of errors.
 *
 * Errors of all calls, besides what gort_read and gort_write give:
 *     -EKEYREJECTED   the peer's certificate was not accepted
 *     -ECONNRESET     the peer was gone without saying so: what has come may have been cut off
 *     -EPROTO         any other failure of TLS, the peer's refusal included
 * After one of these three the connection is of no use any more: all calls give it again. If a
 * handshake fails on our side, the peer has been told why.
 */
#ifndef GORT_OPENSSL_H
#define GORT_OPENSSL_H

#include <gort.h>

#include <openssl/ssl.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gort_tls gort_tls;

/* A connection over f, which is borrowed: it stays the caller's to close, after gort_tls_free. ctx is
 * retained. Whether the peer's certificate is verified, and by what, is up to ctx:
 *     SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL), SSL_CTX_set_default_verify_paths(ctx)
 * host: a name, which the server is told (SNI) and which its certificate must bear, or an address,
 * which it must bear; NULL: neither. NULL: out of memory, or host is neither name nor address. None
 * of these blocks. */
gort_tls *gort_tls_client(SSL_CTX *ctx, gort_file *f, const char *host);
gort_tls *gort_tls_server(SSL_CTX *ctx, gort_file *f);
void gort_tls_free(gort_tls *t); /* sends nothing; no call may be under way */

/* Done by the first read or write, if not before. Who comes meanwhile waits. 0. [c] With TLS 1.3 a
 * client is through before the server has looked at its certificate: a refusal is what its first
 * read gives. */
int gort_tls_handshake(gort_tls *t);

/* What there is, at most n bytes; waits until there is some. 0: the peer has said that no more
 * comes (or n is 0). [c] */
ssize_t gort_tls_read(gort_tls *t, void *buf, size_t n);

/* All of it: n, or the error, and then some of it may have been written. -EPIPE after
 * gort_tls_close. [c] */
ssize_t gort_tls_write(gort_tls *t, const void *buf, size_t n);

/* Say that no more comes (close_notify), after a write that is under way. Reading goes on. 0, also
 * where there was no handshake, or it has been said. [c] */
int gort_tls_close(gort_tls *t);

/* What TLS failed of, in OpenSSL's words ("certificate verify failed: self-signed certificate"), or "".
 * It stays until gort_tls_free. */
const char *gort_tls_error(gort_tls *t);

/* OpenSSL's object, borrowed, to ask about certificates, versions, ALPN; to set up only before the
 * handshake; not to read, write, or shut down. While no other call is under way. */
SSL *gort_tls_ssl(gort_tls *t);

#ifdef __cplusplus
}
#endif

#endif
