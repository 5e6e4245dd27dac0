/* load-socket: one WebSocket to a server, never blocking (RFC 6455 by wslay, whose only includer here load-socket.c is). */
#ifndef LOAD_SOCKET_H
#define LOAD_SOCKET_H

#include "load-server.h"

typedef enum load_phase { LOAD_CONNECTING, LOAD_SHAKING, LOAD_ASKING, LOAD_OPEN, LOAD_OVER } load_phase;

/* How it ended. */
typedef enum load_end {
    LOAD_UNREACHABLE,       /* no connection, no TLS, not a WebSocket server: text says why */
    LOAD_REFUSED,           /* code is the HTTP status, text the body's beginning */
    LOAD_CLOSED,            /* by the server: code and text are those of its close frame */
    LOAD_LOST               /* without a close frame */
} load_end;

typedef struct load_ending {
    load_end how;
    int code, retry_after;  /* retry_after: seconds the server asks for, 0: none */
    char text[1024];
} load_ending;

typedef struct load_socket load_socket;

/* A text message of the server, borrowed for the call. The socket must not be freed in it. */
typedef void load_hear(void *user, const char *text, size_t n);

/* Begins to connect. server is borrowed as long as the socket lives. NULL: out of memory. */
load_socket *load_socket_open(const load_server *server, load_hear *hear, void *user);
void         load_socket_close(load_socket *socket);    /* hangs up at once; NULL is allowed */

int   load_socket_fd(const load_socket *socket);        /* -1 when it is over */
short load_socket_events(const load_socket *socket);    /* what to poll for */
void  load_socket_ready(load_socket *socket, short revents);

load_phase load_socket_phase(const load_socket *socket);
/* Valid when it is over. */
const load_ending *load_socket_ending(const load_socket *socket);
/* A text message, copied; sent now as far as the network takes it. A server that takes nothing any more (4 MiB wait)
 * makes the end LOST. */
void  load_socket_send(load_socket *socket, const char *text, size_t n);
/* A close frame; the end comes when the server answers it. */
void  load_socket_goodbye(load_socket *socket);
/* The end is LOST, for this reason. */
void  load_socket_abandon(load_socket *socket, const char *why);

#endif
