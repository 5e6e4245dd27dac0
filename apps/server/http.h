/* http: routes, checks of key and origin, the upgrade to WebSocket. microhttpd serves it. */
#ifndef SRV_HTTP_H
#define SRV_HTTP_H

#include "state.h"

#include <microhttpd.h>

typedef struct srv_request {
    srv *server;
    struct MHD_Connection *connection;
    char id[40];
    char *body;                 /* what was posted, NUL-terminated */
    size_t n, cap;
    bool too_large;
    bool deaf;                  /* the body is not collected: nobody will read it */
    struct srv_visitor *who;    /* counted as one of this address's; NULL: not counted */
    srv_chat *chat;             /* the answer that is being made */
    struct srv_upgrade *upgrade;    /* until the connection is a WebSocket */
} srv_request;

/* Opens the listening socket and the daemon; 0, or 1 after an error line. */
int  srv_http_open(srv *server);
void srv_http_close(srv *server);
int  srv_http_epoll_fd(const srv *server);
void srv_http_run(srv *server);
/* No more connections are taken; those that are there go on. */
void srv_http_quiet(srv *server);
/* Milliseconds until microhttpd wants to run, at most `most`. */
int  srv_http_timeout(const srv *server, int most);

typedef struct srv_header { const char *name, *value; } srv_header;

/* Answers a request; body is malloc'ed and taken over (NULL: out of memory, the connection is closed). more: further headers
 * to the one without a name; NULL: none. */
enum MHD_Result srv_respond(srv_request *r, unsigned status, const char *type, char *body, const srv_header *more);
/* {"error": {...}}; code and param may be NULL. */
enum MHD_Result srv_refuse(srv_request *r, unsigned status, const char *kind, const char *code, const char *param,
                           const char *message);
/* An invalid_request_error without code and param, with further headers as srv_respond. */
enum MHD_Result srv_refuse_with(srv_request *r, unsigned status, const char *message, const srv_header *more);
/* The headers that every answer has. */
void srv_add_headers(const srv_request *r, struct MHD_Response *response);

#endif
