/* digest: SHA-256 and SHA-1 of streams (OpenSSL). digest.c is the only includer of OpenSSL's headers. */
#ifndef OM_DIGEST_H
#define OM_DIGEST_H

#include <stddef.h>

typedef enum om_digest_kind { OM_DIGEST_SHA256, OM_DIGEST_SHA1 } om_digest_kind;

enum { OM_DIGEST_HEX = 65 };        /* characters of the longest sum in hexadecimal, with the final NUL */

typedef struct om_digest om_digest; /* one stream; used by one thread at a time */

/* NULL: no memory, or the system's OpenSSL refuses the algorithm (the reason is the last error). Free with
 * om_digest_free; NULL is fine there. */
om_digest *om_digest_new(om_digest_kind kind);
void       om_digest_free(om_digest *d);

/* Begins again. OK or ERR_BACKEND. */
int om_digest_reset(om_digest *d);
/* Adds n bytes; n may be 0. OK or ERR_BACKEND. */
int om_digest_update(om_digest *d, const void *bytes, size_t n);
/* The sum in lower-case hexadecimal, NUL-terminated (64 or 40 digits); after this, reset. OK or ERR_BACKEND. */
int om_digest_hex(om_digest *d, char hex[OM_DIGEST_HEX]);

/* SHA-256 of a whole file from its beginning; the descriptor's position is not used. tick (NULL: none) is called
 * with the bytes read so far and stops it with non-zero. OK, AGAIN (stopped), ERR_IO, ERR_MEMORY, ERR_BACKEND. */
typedef int (*om_digest_tick)(void *user, unsigned long long bytes);
int om_digest_file(int fd, const char *path, om_digest_tick tick, void *user, char hex[OM_DIGEST_HEX]);

#endif
