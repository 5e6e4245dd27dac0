/* load-tls: see load-tls.h. */
#include "load-tls.h"

#include "options.h"
#include "report.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct load_trust {
    gnutls_certificate_credentials_t credentials;
};

struct load_tls {
    gnutls_session_t session;
};

int load_trust_open(const char *path, load_trust **trust)
{
    *trust = calloc(1, sizeof **trust);
    if (!*trust || gnutls_certificate_allocate_credentials(&(*trust)->credentials) != 0) {
        free(*trust);
        *trust = NULL;
        return cli_error("out of memory for TLS");
    }
    const int n = path ? gnutls_certificate_set_x509_trust_file((*trust)->credentials, path, GNUTLS_X509_FMT_PEM)
                       : gnutls_certificate_set_x509_system_trust((*trust)->credentials);
    if (n > 0) return CLI_OK;
    load_trust_close(*trust);
    *trust = NULL;
    if (path) return cli_error("%s: %s; wanted certificates in PEM", path, n < 0 ? gnutls_strerror(n) : "holds no certificate");
    return cli_error("the system's list of trusted certificates can not be read; name one with --ssl-cert-file");
}

void load_trust_close(load_trust *trust)
{
    if (trust) gnutls_certificate_free_credentials(trust->credentials);
    free(trust);
}

static bool is_address(const char *host)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

load_tls *load_tls_open(const load_trust *trust, int fd, const char *host)
{
    load_tls *tls = calloc(1, sizeof *tls);
    if (!tls || gnutls_init(&tls->session, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) != 0) {
        free(tls);
        return NULL;
    }
    gnutls_set_default_priority(tls->session);
    gnutls_credentials_set(tls->session, GNUTLS_CRD_CERTIFICATE, trust->credentials);
    if (!is_address(host)) gnutls_server_name_set(tls->session, GNUTLS_NAME_DNS, host, strlen(host));
    gnutls_session_set_verify_cert(tls->session, host, 0);
    gnutls_transport_set_int(tls->session, fd);
    return tls;
}

void load_tls_close(load_tls *tls)
{
    if (tls) gnutls_deinit(tls->session);
    free(tls);
}

int load_tls_shake(load_tls *tls, char *why, size_t size)
{
    const int rc = gnutls_handshake(tls->session);
    gnutls_datum_t text = {NULL, 0};
    if (rc == 0) return 1;
    if (!gnutls_error_is_fatal(rc)) return 0;
    if (rc == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR &&
        gnutls_certificate_verification_status_print(gnutls_session_get_verify_cert_status(tls->session), GNUTLS_CRT_X509,
                                                     &text, 0) == 0)
        snprintf(why, size, "%s trust it with --ssl-cert-file FILE", (const char *)text.data);
    else
        snprintf(why, size, "TLS: %s", gnutls_strerror(rc));
    gnutls_free(text.data);
    return -1;
}

int load_tls_writes(const load_tls *tls)
{
    return gnutls_record_get_direction(tls->session);
}

static ssize_t as_errno(ssize_t n)
{
    if (n >= 0) return n;
    errno = n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED ? EAGAIN : EIO;
    return -1;
}

ssize_t load_tls_recv(load_tls *tls, void *out, size_t n)
{
    const ssize_t got = gnutls_record_recv(tls->session, out, n);
    /* A peer that hangs up without a word: the end, as for a plain socket. */
    return got == GNUTLS_E_PREMATURE_TERMINATION ? 0 : as_errno(got);
}

ssize_t load_tls_send(load_tls *tls, const void *bytes, size_t n)
{
    return as_errno(gnutls_record_send(tls->session, bytes, n));
}

void load_random(void *out, size_t n)
{
    gnutls_rnd(GNUTLS_RND_NONCE, out, n);
}

void load_sha1(const char *text, unsigned char out[20])
{
    gnutls_hash_fast(GNUTLS_DIG_SHA1, text, strlen(text), out);
}
