// OpenSSL 3 for Swift: what the importer can't see (macros, variadics) as inline functions.
#pragma once
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>

// Macros of OpenSSL that the importer can't see.
static inline void weir_ssl_set_minimum_version(SSL_CTX *context, int version) {
    SSL_CTX_set_min_proto_version(context, version);
}
static inline void weir_ssl_set_common_options(SSL_CTX *context) {
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
}

// ALPN: http/1.1 is all that a listener speaks; a client that offers only others is told so by the handshake.
static int weir_ssl_choose_http11(SSL *ssl, const unsigned char **out, unsigned char *out_length,
                                  const unsigned char *offered, unsigned int length, void *context) {
    static const unsigned char ours[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
    (void)ssl;
    (void)context;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_length, ours, sizeof ours, offered, length) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}
static inline void weir_ssl_select_http11(SSL_CTX *context) {
    SSL_CTX_set_alpn_select_cb(context, weir_ssl_choose_http11, NULL);
}

// SNI and the name, or address, that the peer's certificate must be valid for.
static inline void weir_ssl_expect_host(SSL *ssl, const char *host) {
    X509_VERIFY_PARAM *rules = SSL_get0_param(ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(rules, host) == 1) return;
    SSL_set_tlsext_host_name(ssl, host);
    X509_VERIFY_PARAM_set1_host(rules, host, strlen(host));
}

// The low-level SHA-2 calls are marked deprecated in favour of EVP, whose set-up costs several times what hashing a
// token does, and which can't copy a half-done hash without allocating. So Swift would warn at every use.
static inline void weir_sha256_init(SHA256_CTX *context) { SHA256_Init(context); }
static inline void weir_sha256_update(SHA256_CTX *context, const void *bytes, size_t count) {
    SHA256_Update(context, bytes, count);
}
static inline void weir_sha256_final(SHA256_CTX *context, unsigned char *digest) { SHA256_Final(digest, context); }

static inline void weir_sha384_init(SHA512_CTX *context) { SHA384_Init(context); }
static inline void weir_sha512_init(SHA512_CTX *context) { SHA512_Init(context); }
static inline void weir_sha512_update(SHA512_CTX *context, const void *bytes, size_t count) {
    SHA512_Update(context, bytes, count);
}
// Writes 48 or 64 bytes, as the context was started.
static inline void weir_sha512_final(SHA512_CTX *context, unsigned char *digest) { SHA512_Final(digest, context); }
