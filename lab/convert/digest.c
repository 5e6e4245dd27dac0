#include "digest.h"

#include "base/memory.h"
#include "base/status.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

struct om_digest {
    EVP_MD_CTX *context;
    const EVP_MD *kind;
};

om_digest *om_digest_new(om_digest_kind kind)
{
    om_digest *d = om_calloc(1, sizeof *d);
    if (d) d->context = EVP_MD_CTX_new();
    if (!d || !d->context) {
        om_fail(OMNI_ERR_MEMORY, "out of memory for a checksum");
        om_digest_free(d);
        return NULL;
    }
    d->kind = kind == OM_DIGEST_SHA256 ? EVP_sha256() : EVP_sha1();
    if (om_digest_reset(d) != OMNI_OK) {
        om_digest_free(d);
        return NULL;
    }
    return d;
}

void om_digest_free(om_digest *d)
{
    if (!d) return;
    EVP_MD_CTX_free(d->context);
    om_free(d);
}

int om_digest_reset(om_digest *d)
{
    if (EVP_DigestInit_ex(d->context, d->kind, NULL) == 1) return OMNI_OK;
    return om_fail(OMNI_ERR_BACKEND, "OpenSSL refuses %s; is a restricted (FIPS) configuration active?",
                   EVP_MD_get0_name(d->kind));
}

int om_digest_update(om_digest *d, const void *bytes, size_t n)
{
    if (EVP_DigestUpdate(d->context, bytes, n) == 1) return OMNI_OK;
    return om_fail(OMNI_ERR_BACKEND, "OpenSSL failed to compute %s", EVP_MD_get0_name(d->kind));
}

int om_digest_hex(om_digest *d, char hex[OM_DIGEST_HEX])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    if (EVP_DigestFinal_ex(d->context, sum, &n) != 1 || 2 * n + 1 > OM_DIGEST_HEX)
        return om_fail(OMNI_ERR_BACKEND, "OpenSSL failed to finish %s", EVP_MD_get0_name(d->kind));
    for (unsigned int i = 0; i < n; i++) {
        hex[2 * i] = digits[sum[i] >> 4];
        hex[2 * i + 1] = digits[sum[i] & 15];
    }
    hex[2 * n] = '\0';
    return OMNI_OK;
}

static int sum_file(om_digest *d, unsigned char *piece, int fd, const char *path, om_digest_tick tick, void *user)
{
    unsigned long long at = 0;
    for (;;) {
        const ssize_t n = pread(fd, piece, PIECE, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return om_fail(OMNI_ERR_IO, "%s: can not be read: %s", path, strerror(errno));
        if (n == 0) return OMNI_OK;
        const int rc = om_digest_update(d, piece, (size_t)n);
        if (rc != OMNI_OK) return rc;
        at += (unsigned long long)n;
        if (tick && tick(user, at)) return OMNI_AGAIN;
    }
}

int om_digest_file(int fd, const char *path, om_digest_tick tick, void *user, char hex[OM_DIGEST_HEX])
{
    om_digest *d = om_digest_new(OM_DIGEST_SHA256);
    if (!d) return OMNI_ERR_MEMORY;
    unsigned char *piece = om_calloc(PIECE, 1);
    int rc = piece ? sum_file(d, piece, fd, path, tick, user)
                   : om_fail(OMNI_ERR_MEMORY, "%s: out of memory for its checksum", path);
    if (rc == OMNI_OK) rc = om_digest_hex(d, hex);
    om_free(piece);
    om_digest_free(d);
    return rc;
}
