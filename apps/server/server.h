/*
 * server: `omni serve`. One network thread (the caller's) owns all sockets, one engine thread all sessions.
 *
 *   http.c ──► ws.c ──► realtime*.c ──┐
 *      └────► chat.c ─────────────────┴──► worker.c ──► omni.h
 */
#ifndef SRV_SERVER_H
#define SRV_SERVER_H

#include <omni.h>

#include <stdbool.h>

typedef struct srv_options {
    const char *host;               /* name or address to listen at */
    int port;                       /* 0: any free one */
    const char *api_key;            /* NULL: none wanted of clients */
    bool insecure;                  /* serve other machines without a key */
    const char *certificate, *key;  /* PEM, in memory; both or neither */
    const char *proxies;            /* who may say for whom a request is (srv_proxies_ok); NULL: nobody */
    const char *origins;            /* further web origins allowed, comma separated; "*" all; NULL none */
    const char *alias;              /* the model's name for clients; NULL: its own */
    bool strict_model;              /* refuse other model names */
    int max_ttfa_ms;                /* 0: no admission by latency */
    int session_seconds;
    int max_tokens;
    bool early_audio;
    bool no_speculation;            /* nothing is prepared inside the silence window */
    omni_engine_params engine;
    bool (*stop)(void);             /* asked often and after every signal: end now? */
    bool (*drain)(void);            /* likewise: take nothing new, end when what runs has ended? */
} srv_options;

/* Is list addresses, ADDR or ADDR/BITS, several with commas? */
bool srv_proxies_ok(const char *list);

/* Serves until stop() says so: 0, or 1 after an error line on standard error. model is borrowed. */
int srv_run(const srv_options *options, const omni_model *model);

#endif
