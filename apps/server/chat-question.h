/* chat-question: the body of a chat completion, checked. */
#ifndef SRV_CHAT_QUESTION_H
#define SRV_CHAT_QUESTION_H

#include "past.h"
#include "state.h"
#include "tools.h"
#include "trouble.h"

typedef enum srv_container { SRV_WAV, SRV_MP3, SRV_FLAC, SRV_OPUS, SRV_RAW } srv_container; /* the first four as in audio-memory.h */

typedef struct srv_chat_question {
    srv_past past;                  /* the messages before; its question is the typed one */
    float *samples;                 /* the question at the model's rate; NULL: typed */
    size_t n_samples;
    bool stream, speech, include_usage;
    srv_container container;        /* of the speech */
    json_t *tools;                  /* the functions that may be called, as srv_tools_offered; NULL: none */
    bool one_call;                  /* at most one in an answer */
    omni_session_params params;     /* its texts are its own */
} srv_chat_question;

/* false after filling *t; *status is the HTTP status then. */
bool srv_chat_read(const srv *server, const char *body, size_t n, srv_chat_question *q, srv_trouble *t, unsigned *status);
void srv_chat_question_free(srv_chat_question *q);

#endif
