/* state: what the files of the server share. Network thread only. */
#ifndef SRV_STATE_H
#define SRV_STATE_H

#include "answers.h"
#include "limits.h"
#include "metrics.h"
#include "server.h"
#include "worker.h"

#include <stddef.h>

typedef struct srv_socket  srv_socket;      /* ws.h */
typedef struct srv_chat    srv_chat;        /* chat.h */
typedef struct srv_visitors srv_visitors;   /* visitors.h */
typedef struct srv_ephemerals srv_ephemerals;   /* ephemeral.h */

typedef struct srv {
    const srv_options *options;
    const omni_model *model;
    const omni_model_info *info;
    const char *model_name;
    srv_worker *worker;
    srv_metrics *metrics;
    srv_visitors *visitors;         /* NULL: no proxies, microhttpd counts */
    void *daemon;                   /* struct MHD_Daemon */
    int epoll_fd, wake_fd, listen_fd;
    srv_socket *sockets;            /* all WebSockets, a list */
    srv_ephemerals *ephemerals;
    srv_answers *answers;           /* what chats said; NULL: nothing is kept */
    srv_chat *chats;                /* all chat jobs, a list, oldest last */
    int n_active, n_beta, n_sockets, n_waiting;
    bool draining;                  /* shutting down: nothing new begins */
} srv;

double srv_now(void);                               /* seconds, monotonic */
/* "prefix_" and 24 letters, unique; out has 40 bytes. */
void srv_new_id(const char *prefix, char *out);
/* Is given the key? Takes the same time wherever they differ; given may be NULL. */
bool srv_key_ok(const srv *server, const char *given);
bool srv_model_ok(const srv *server, const char *name);
/* Are answers slower now than --max-ttfa-ms allows? */
bool srv_overloaded(const srv *server);

omni_session_params srv_session_params(const srv *server);

#endif
