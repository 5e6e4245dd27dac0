/* chat: POST /v1/chat/completions, streamed or whole, with speech in and out. */
#ifndef SRV_CHAT_H
#define SRV_CHAT_H

#include "http.h"

enum MHD_Result srv_chat_begin(srv_request *r);     /* the request is complete */
enum MHD_Result srv_chat_answer(srv_request *r);    /* the answer is complete */
void srv_chat_gone(srv_chat *chat);                 /* the request has ended, however */
void srv_chats_drain(srv *server);                  /* the engine has something, or a slot is free */
void srv_chats_tick(srv *server);                   /* now and then: whose client has left? */
void srv_chats_goodbye(srv *server);                /* shutting down: what runs fails */

#endif
