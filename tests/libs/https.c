/*
 * https.c - OpenSSL on both sides, in one process and on the same threads: inside libcurl, which blocks,
 * and inside gort-openssl, which serves it.
 */
#include "certs.h"
#include "gort_openssl.h"
#include "hogs.h"

#include <curl/curl.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS SCALE(200)
#define BODY 40000

struct site {
	SSL_CTX *ctx;
	gort_file *listener;
	char address[64];
	struct curl_blob authority, stranger; /* PEM */
	atomic_int served, refused;
	gort_waitgroup ended;
};

struct visit {
	struct site *site;
	gort_file *file;
	int number;
	size_t got;
};

static char byte_at(int number, size_t at)
{
	return (char)('a' + ((size_t)number + at) % 26);
}

/* ---- the server */

static void serve(gort_tls *t, struct site *s)
{
	char head[2048] = "", *body = malloc(BODY);
	size_t n = 0;
	ssize_t got;

	CHECK(body != NULL);
	while (!strstr(head, "\r\n\r\n")) {
		CHECK((got = gort_tls_read(t, head + n, sizeof head - 1 - n)) > 0);
		n += (size_t)got;
		head[n] = '\0';
	}
	CHECK_EQ(strncmp(head, "GET /", 5), 0);
	for (size_t i = 0; i < BODY; i++)
		body[i] = byte_at(atoi(head + 5), i);
	n = (size_t)sprintf(
		head, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", BODY);
	CHECK_EQ(gort_tls_write(t, head, n), (ssize_t)n);
	CHECK_EQ(gort_tls_write(t, body, BODY), BODY);
	gort_tls_close(t); /* the client may have gone already */
	free(body);
	atomic_fetch_add(&s->served, 1);
}

static void converse(void *arg)
{
	struct visit v = *(struct visit *)arg;
	gort_tls *t = gort_tls_server(v.site->ctx, v.file);
	int err;

	CHECK(t != NULL);
	err = gort_tls_handshake(t);
	if (err == 0) {
		serve(t, v.site);
	} else {
		CHECK_EQ(err, -EPROTO);
		CHECK(strstr(gort_tls_error(t), "unknown ca") != NULL);
		atomic_fetch_add(&v.site->refused, 1);
	}
	gort_tls_free(t);
	CHECK_EQ(gort_close(v.file), 0);
	gort_waitgroup_done(&v.site->ended);
}

static void accept_all(void *arg)
{
	struct site *s = arg;
	struct visit v = { .site = s };

	for (int i = 0; i < CLIENTS; i++) {
		CHECK_EQ(gort_accept(s->listener, &v.file), 0);
		gort_waitgroup_add(&s->ended, 1);
		CHECK_EQ(gort_go_copy(converse, &v, sizeof v), 0);
	}
}

/* ---- the clients */

static size_t body_came(char *data, size_t size, size_t n, void *arg)
{
	struct visit *v = arg;

	for (size_t i = 0; i < size * n; i++)
		CHECK_EQ(data[i], byte_at(v->number, v->got + i));
	v->got += size * n;
	return size * n;
}

/* Every third knows another authority only. */
static void visit(void *arg)
{
	struct visit v = *(struct visit *)arg;
	bool stranger = v.number % 3 == 2;
	CURL *c = curl_easy_init();
	char url[100];

	CHECK(c != NULL);
	snprintf(url, sizeof url, "https://%s/%d", v.site->address, v.number);
	curl_easy_setopt(c, CURLOPT_URL, url);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, body_came);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, &v);
	CHECK_EQ(curl_easy_setopt(c, CURLOPT_CAINFO_BLOB,
				  stranger ? &v.site->stranger : &v.site->authority),
		 CURLE_OK);
	CHECK_EQ(curl_easy_perform(c), stranger ? CURLE_PEER_FAILED_VERIFICATION : CURLE_OK);
	CHECK_EQ(v.got, stranger ? 0 : BODY);
	curl_easy_cleanup(c);
	gort_waitgroup_done(&v.site->ended);
}

static struct curl_blob pem_of(X509 *x509)
{
	struct curl_blob blob = { .flags = CURL_BLOB_COPY };
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;

	CHECK(bio != NULL);
	CHECK_EQ(PEM_write_bio_X509(bio, x509), 1);
	blob.len = (size_t)BIO_get_mem_data(bio, &text);
	CHECK((blob.data = malloc(blob.len)) != NULL);
	memcpy(blob.data, text, blob.len);
	BIO_free(bio);
	return blob;
}

// variants: maxprocs
TEST(curl_visits_a_site_of_gort_openssl)
{
	struct cert authority = cert_make("authority", NULL, NULL);
	struct cert stranger = cert_make("stranger", NULL, NULL);
	struct cert server = cert_make("server", "IP:127.0.0.1", &authority);
	struct site s = { .ctx = cert_side(TLS_server_method(), &server, NULL) };
	struct hogs hogs = { 0 };

	CHECK_EQ(curl_global_init(CURL_GLOBAL_ALL), CURLE_OK);
	s.authority = pem_of(authority.x509);
	s.stranger = pem_of(stranger.x509);
	CHECK_EQ(gort_listen(&s.listener, "tcp", "127.0.0.1:0", NULL), 0);
	CHECK(gort_local_address(s.listener, s.address, sizeof s.address) > 0);
	hogs_start(&hogs, 1);
	CHECK_EQ(gort_waitgroup_go(&s.ended, accept_all, &s), 0);
	gort_waitgroup_add(&s.ended, CLIENTS);
	for (int i = 0; i < CLIENTS; i++) {
		struct visit v = { .site = &s, .number = i };

		CHECK_EQ(gort_go_copy(visit, &v, sizeof v), 0);
	}
	CHECK_EQ(gort_waitgroup_wait(&s.ended), 0);
	hogs_stop(&hogs);
	CHECK_EQ(s.refused, CLIENTS / 3);
	CHECK_EQ(s.served, CLIENTS - CLIENTS / 3);
	CHECK_EQ(gort_close(s.listener), 0);
	free(s.authority.data);
	free(s.stranger.data);
	SSL_CTX_free(s.ctx);
	cert_free(&authority);
	cert_free(&stranger);
	cert_free(&server);
	curl_global_cleanup();
}
