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
