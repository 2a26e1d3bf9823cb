/*
 * certs.h - certificates of two authorities, and of servers and clients, made when they are asked for.
 */
#ifndef GORT_TESTS_LIBS_CERTS_H
#define GORT_TESTS_LIBS_CERTS_H

#include "harness.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

struct cert {
	X509 *x509;
	EVP_PKEY *key;
};

static inline EVP_PKEY *cert_key(void)
{
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
	EVP_PKEY *key = NULL;

	CHECK(c != NULL);
	CHECK_EQ(EVP_PKEY_keygen_init(c), 1);
	CHECK_EQ(EVP_PKEY_CTX_set_ec_paramgen_curve_nid(c, NID_X9_62_prime256v1), 1);
	CHECK_EQ(EVP_PKEY_keygen(c, &key), 1);
	EVP_PKEY_CTX_free(c);
	return key;
}

static inline void cert_extend(struct cert *c, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	CHECK(e != NULL);
	CHECK_EQ(X509_add_ext(c->x509, e, -1), 1);
	X509_EXTENSION_free(e);
}

/* By an authority, or by itself (NULL), which makes it one. names: "DNS:...,IP:..." */
static inline struct cert cert_make(const char *subject, const char *names, const struct cert *by)
{
	static long serial;
	struct cert c = { X509_new(), cert_key() };
	X509_NAME *name = X509_get_subject_name(c.x509);

	CHECK_EQ(X509_set_version(c.x509, 2), 1);
	CHECK_EQ(ASN1_INTEGER_set(X509_get_serialNumber(c.x509), ++serial), 1);
	CHECK(X509_gmtime_adj(X509_getm_notBefore(c.x509), -3600) != NULL);
	CHECK(X509_gmtime_adj(X509_getm_notAfter(c.x509), 86400) != NULL);
	CHECK_EQ(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
					    (const unsigned char *)subject, -1, -1, 0),
		 1);
	CHECK_EQ(X509_set_issuer_name(c.x509, by ? X509_get_subject_name(by->x509) : name), 1);
	CHECK_EQ(X509_set_pubkey(c.x509, c.key), 1);
	cert_extend(&c, NID_basic_constraints, by ? "critical,CA:FALSE" : "critical,CA:TRUE");
	if (names)
		cert_extend(&c, NID_subject_alt_name, names);
	CHECK(X509_sign(c.x509, by ? by->key : c.key, EVP_sha256()) > 0);
	return c;
}

static inline void cert_free(struct cert *c)
{
	X509_free(c->x509);
	EVP_PKEY_free(c->key);
}

/* One side of connections: it has own, if given, and wants the peer's to be by authority, if given. */
static inline SSL_CTX *cert_side(const SSL_METHOD *method, const struct cert *own,
				 const struct cert *authority)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	CHECK(ctx != NULL);
	if (own) {
		CHECK_EQ(SSL_CTX_use_certificate(ctx, own->x509), 1);
		CHECK_EQ(SSL_CTX_use_PrivateKey(ctx, own->key), 1);
	}
	if (authority) {
		CHECK_EQ(X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), authority->x509), 1);
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	}
	return ctx;
}

#endif
