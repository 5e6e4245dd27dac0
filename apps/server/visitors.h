/* visitors: whose request it is, also behind proxies, and how much each address has open. Network thread only. */
#ifndef SRV_VISITORS_H
#define SRV_VISITORS_H

#include <stdbool.h>

struct sockaddr;

typedef struct srv_visitors srv_visitors;
typedef struct srv_visitor  srv_visitor;    /* one address */

/* proxies: who may say for whom a request is, as srv_proxies_ok wants it. NULL: out of memory, or no such list. */
srv_visitors *srv_visitors_new(const char *proxies);
void srv_visitors_free(srv_visitors *v);

/* One thing more is open: for peer, or, when that is a trusted proxy, for the last address in forwarded
 * (X-Forwarded-For, may be NULL) that is none. false: that address has SRV_PER_ADDRESS open already.
 * *who is for srv_visitor_go, NULL for a proxy itself, which has no limit. */
bool srv_visitor_come(srv_visitors *v, const struct sockaddr *peer, const char *forwarded, srv_visitor **who);
void srv_visitor_go(srv_visitor *who);      /* NULL is allowed */
/* How many are open for it. */
int  srv_visitor_open(const srv_visitor *who);

#endif
