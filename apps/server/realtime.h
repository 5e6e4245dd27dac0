/* realtime: one conversation by the Realtime protocol, GA or beta dialect. Messages in, messages out. */
#ifndef SRV_REALTIME_H
#define SRV_REALTIME_H

#include "ws.h"

#include <jansson.h>

typedef struct srv_realtime srv_realtime;

/* Greets, or tells why not and closes. NULL: out of memory. */
srv_realtime *srv_realtime_open(srv_socket *socket, const srv_hello *hello);
void srv_realtime_free(srv_realtime *rt);                   /* NULL is allowed */
void srv_realtime_message(srv_realtime *rt, const char *text, size_t n, bool binary);
void srv_realtime_drain(srv_realtime *rt);                  /* takes what the engine has */
bool srv_realtime_full(const srv_realtime *rt);             /* more than SRV_ENGINE_BYTES wait for the engine; NULL: no */
void srv_realtime_tick(srv_realtime *rt, double now);
void srv_realtime_goodbye(srv_realtime *rt);                /* ends what runs: the server goes */

/* A session as its dialect shows it, new. */
json_t *srv_session_show(const srv *server, const json_t *settings, bool beta, bool transcription, const char *id, long long expires);

#endif
