/* load-tls: TLS over a non-blocking socket, and the random bytes and the digest a WebSocket client needs. load-tls.c
 * alone of the program's client side includes GnuTLS. */
#ifndef LOAD_TLS_H
#define LOAD_TLS_H

#include <stddef.h>
#include <sys/types.h>

typedef struct load_trust load_trust;       /* whose certificates are believed */
typedef struct load_tls   load_tls;         /* one connection */

/* path: PEM certificates, NULL: the system's. CLI_OK, or CLI_FAILED after an error line. */
int  load_trust_open(const char *path, load_trust **trust);
void load_trust_close(load_trust *trust);   /* NULL is allowed */

/* A client's side over fd, which stays the caller's; host is what the certificate must name. NULL: out of memory. */
load_tls *load_tls_open(const load_trust *trust, int fd, const char *host);
void      load_tls_close(load_tls *tls);    /* NULL is allowed */

/* Goes on with the handshake: 1 done, 0 later (load_tls_writes tells what it waits for), -1 failed with a text. */
int  load_tls_shake(load_tls *tls, char *why, size_t size);
int  load_tls_writes(const load_tls *tls);
/* As recv and send: -1 with errno EAGAIN when it would block, EIO for all else. */
ssize_t load_tls_recv(load_tls *tls, void *out, size_t n);
ssize_t load_tls_send(load_tls *tls, const void *bytes, size_t n);

void load_random(void *out, size_t n);
void load_sha1(const char *text, unsigned char out[20]);

#endif
