/* gate: who may come in. Keys, origins, host names, the WebSocket handshake. */
#ifndef SRV_GATE_H
#define SRV_GATE_H

#include "http.h"
#include "ws.h"

/* The web origin of the request, if it may use this server from a page; NULL: there is none. */
const char *srv_origin(const srv_request *r, bool *allowed);
/* Against rebinding of names: without a key only addresses, localhost and our own name are answered. */
bool srv_host_ok(const srv_request *r);
/* The key given in Authorization, api-key or a sub-protocol, in key (SRV_KEY_BYTES and a NUL); false: none. One that is
 * too long is empty. */
bool srv_given_key(const srv_request *r, char *key);
/* Answers GET /v1/realtime; what r->upgrade keeps for it is freed when the request is over. */
enum MHD_Result srv_upgrade(srv_request *r);
void srv_upgrade_free(struct srv_upgrade *u);   /* NULL is allowed */

#endif
