/* load-server: where a load generator's conversations go, read from a URL. */
#ifndef LOAD_SERVER_H
#define LOAD_SERVER_H

#include "load-tls.h"

#include <stdbool.h>

struct addrinfo;

typedef struct load_server {
    const char *url;            /* as given */
    const char *key;            /* sent as Authorization: Bearer; NULL: none */
    char host[256], port[8];
    char target[1024];          /* of the request: path and query */
    bool tls;
    load_trust *trust;          /* with TLS */
    struct addrinfo *addresses; /* of the host, to be tried in order */
} load_server;

/* ws, wss, http or https://HOST[:PORT][/PATH][?QUERY]; without a path it is /v1/realtime. Takes it apart and looks the
 * host up; trust is a file of certificates or NULL. url and key are borrowed. CLI_OK, or CLI_USAGE or CLI_FAILED after
 * an error line. */
int  load_server_open(load_server *server, const char *url, const char *key, const char *trust);
void load_server_close(load_server *server);

#endif
