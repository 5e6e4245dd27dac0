/*
 * ephemeral: keys for browsers. A program with the server's key asks for one (POST /v1/realtime/client_secrets) and hands it
 * to a page; for a while it opens realtime sessions, with the settings it was made for, and nothing else.
 */
#ifndef SRV_EPHEMERAL_H
#define SRV_EPHEMERAL_H

#include "http.h"

#include <jansson.h>

srv_ephemerals *srv_ephemerals_new(void);               /* NULL: no memory */
void srv_ephemerals_free(srv_ephemerals *all);          /* NULL is allowed */
/* Forgets the settings of keys that have expired; now is srv_now(). */
void srv_ephemerals_tick(srv_ephemerals *all, double now);
/* The settings that a key was made for, new, and for which kind of session; NULL: no such key, or it has expired.
 * Takes the same time for every key. */
json_t *srv_ephemeral_find(const srv_ephemerals *all, const char *key, bool *transcription);

/* The three paths that make keys: GA, and beta for conversations and for transcription. */
enum MHD_Result srv_client_secrets(srv_request *r);
enum MHD_Result srv_beta_sessions(srv_request *r);
enum MHD_Result srv_beta_transcription_sessions(srv_request *r);

#endif
