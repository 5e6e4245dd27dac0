/* ws: one WebSocket, from the upgrade to its end (RFC 6455 by wslay, whose only includer ws.c is). */
#ifndef SRV_WS_H
#define SRV_WS_H

#include "state.h"

#include <stdint.h>

/* What the upgrade request said. */
typedef struct srv_hello {
    bool beta, transcription;
    void *preset;               /* json_t: the settings of an ephemeral key, owned; NULL: none */
    enum { SRV_KEY_OK, SRV_KEY_NONE, SRV_KEY_WRONG } key;
    enum { SRV_MODEL_OK, SRV_MODEL_NONE, SRV_MODEL_UNKNOWN } model;
} srv_hello;

/* Takes over an upgraded connection; urh is MHD's handle, extra the n bytes that came with the request. */
void srv_socket_adopt(srv *server, int fd, void *urh, const void *extra, size_t n, const srv_hello *hello);

srv  *srv_socket_server(const srv_socket *socket);
/* One text message, copied. What can not be sent now waits; a receiver that is too far behind is dropped. */
void  srv_socket_send(srv_socket *socket, const char *text, size_t n);
/* A close frame after what waits; reason of at most 123 bytes. */
void  srv_socket_close(srv_socket *socket, int code, const char *reason);
bool  srv_socket_closing(const srv_socket *socket);
/* Bytes that wait for the receiver. */
size_t srv_socket_waiting(const srv_socket *socket);

void  srv_socket_ready(srv_socket *socket, uint32_t events);    /* epoll has something */
void  srv_sockets_drain(srv *server);                           /* the engine has something */
void  srv_sockets_tick(srv *server, double now);                /* once a second or so: pings, ages, the dead */
void  srv_sockets_sweep(srv *server);                           /* frees the dead */
void  srv_sockets_drop(srv *server);                            /* all are dead now */
void  srv_sockets_goodbye(srv *server);                         /* shutting down */

#endif
