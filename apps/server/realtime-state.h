/* realtime-state: what the files of the realtime protocol share: session, input, response. */
#ifndef SRV_REALTIME_STATE_H
#define SRV_REALTIME_STATE_H

#include "conversation.h"
#include "realtime.h"
#include "settings.h"
#include "tools.h"

typedef enum srv_event_id {
#define CLIENT(type, handler)
#define SERVER(id, ga, beta) SRV_EV_##id,
#include "events.def"
#undef CLIENT
#undef SERVER
    SRV_EVENTS
} srv_event_id;

typedef struct srv_bytes { uint8_t *at; size_t n, cap; } srv_bytes;
bool srv_bytes_add(srv_bytes *b, const void *bytes, size_t n);

/* One answer: CREATED until the engine begins it, GENERATING, then closed by srv_response_close. */
typedef struct srv_response {
    char id[40], item_id[40];
    unsigned tag;
    json_t *settings, *metadata;    /* metadata: null or an object */
    srv_seat *seat;                 /* the session's, or with side its own */
    bool side;                      /* conversation "none": leaves no trace */
    bool begun, opened, cancelled, speech, sounded, spoken;     /* spoken: the question was */
    bool by_hand;                   /* asked by commit while the engine listens */
    bool by_ear;                    /* asked by nobody: the engine heard the question */
    uint32_t turn;                  /* the engine's number of it, once begun */
    bool forget;                    /* an item of it was deleted while it ran */
    srv_format format;
    srv_rate *rate;                 /* from the model's rate; NULL until there is sound */
    json_t *tools;                  /* the functions that it may call, as srv_tools_offered; NULL: none */
    srv_bytes held;                 /* what may be a call: not sent before the end shows whether it is one */
    srv_bytes text, audio;          /* all that was sent; audio also what waits for its sixth byte */
    size_t n_sent;                  /* bytes of audio sent */
    double asked;
} srv_response;

struct srv_realtime {
    srv *server;
    srv_socket *socket;
    srv_seat *seat;
    bool beta, transcription, voiced;   /* voiced: speech went out, the voice is fixed */
    char id[40], conversation_id[40];
    double opened;
    long long expires;
    json_t *settings;
    const json_t *event_id;             /* of the event being served, NULL: none */

    /* input: bytes in the input format since the last commit */
    srv_bytes input;
    uint8_t odd;                        /* half a sample */
    bool has_odd;
    double input_start;                 /* ms on the clock of all audio ever appended, of input.at[0] */
    srv_rate *input_rate;
    double pushed;                      /* ms given to the engine, all in all */
    double shift;                       /* ms: the client's clock - the engine's */
    bool listening;                     /* the engine finds the turns */
    double heard_from;                  /* ms on the engine's clock: speech before it is committed or dropped already */
    bool answered_twice;                /* the engine answered what was committed by hand on its own; the command comes yet */
    bool skipping;                      /* the turn of that command runs: nobody asked for it any more */
    bool speaking;                      /* speech_started was told */
    char speech_item[40];
    double speech_start;
    double idle_from;                   /* on the same clock: nobody has spoken since; < 0: nothing is waited for */

    srv_conversation talk;
    srv_response *response, *side;      /* those that run: of the conversation, beside it */
    srv_response *aside;                /* of the conversation, created and not begun, when the engine answers something else first */
    json_t *waiting;                    /* events response.create that came while one was being cancelled */
    bool waiting_cancelled;             /* the last of them too; those before it always */
    omni_session_params params;         /* as the seat has them; the texts are ours */
    unsigned next_tag;
    bool untold;                        /* the engine's history is behind the conversation: srv_history_tell */
    srv_item **gone;                    /* deleted while an answer ran: to be forgotten at its end */
    size_t n_gone, cap_gone;
    double trim_ms;                     /* truncate while the answer runs: done at its end; < 0: no */
};

/* ---- sending (realtime.c) ---- */
void srv_emit(srv_realtime *rt, srv_event_id id, json_t *event);    /* steals event */
void srv_emit_trouble(srv_realtime *rt, const srv_trouble *t);
json_t *srv_previous_id(const srv_realtime *rt, size_t at);         /* new: a string or null */
/* conversation.item.added, and .done when it is done. */
void srv_emit_item(srv_realtime *rt, size_t at, bool done);

/* ---- handlers: false after filling *t ---- */
#define CLIENT(type, handler) bool srv_on_##handler(srv_realtime *rt, const json_t *event, srv_trouble *t);
#define SERVER(id, ga, beta)
#include "events.def"
#undef CLIENT
#undef SERVER

/* ---- input (realtime-input.c) ---- */
void srv_input_reset(srv_realtime *rt);                             /* drops what was not committed */
/* What the engine still tells of the audio that it was given until now is of no interest: that is a question, or gone. */
void srv_hear_anew(srv_realtime *rt);
/* An answer of sound_ms has ended: idle_timeout_ms counts from when it has been heard. */
void srv_idle_begin(srv_realtime *rt, double sound_ms);
void srv_speech_started(srv_realtime *rt, const omni_event *event);
void srv_speech_stopped(srv_realtime *rt, const omni_event *event);

/* ---- turn taking (turns.c) ---- */
void srv_turns_apply(srv_realtime *rt);                             /* what the settings say, to the engine */

/* ---- answers (realtime-answer.c) ---- */
/* What settings say; srv_tools_forget frees what is in it. */
omni_session_params srv_params_read(const srv *server, const json_t *settings);
/* For what is asked from now on. */
void srv_params_apply(srv_realtime *rt, const json_t *settings);
/* A response that begins: response.created is sent. metadata (may be NULL) is borrowed. NULL: out of memory. */
srv_response *srv_response_new(srv_realtime *rt, const json_t *settings, const json_t *metadata, bool side);
/* response.output_item.added or .done, of the index-th item. */
void srv_emit_output(srv_realtime *rt, const srv_response *r, srv_event_id id, int index, const srv_item *item);
/* Takes one of the engine's events of a turn. */
void srv_response_event(srv_realtime *rt, srv_response *r, const omni_event *event);
/* All that is open is closed, then response.done. status: completed, cancelled, incomplete, failed; reason, for
 * failed the message. r is gone afterwards. */
void srv_response_close(srv_realtime *rt, srv_response *r, const char *status, const char *reason);
/* The same for one that failed, with the code of an error; whose fault it was goes with that. */
const char *srv_failure_code(int status);          /* of a status of the library */
void srv_response_fail(srv_realtime *rt, srv_response *r, const char *code, const char *message);
/* Its CANCELLED comes, or something faster; what it says meanwhile is dropped. */
void srv_response_cancel(srv_response *r);
void srv_response_free(srv_response *r);

/* ---- calls of tools (realtime-calls.c) ---- */
/* The text that was held, as the items that it calls for, sent and in the conversation; the array for response.output. NULL:
 * it is no call. done: it is whole, and whoever reads the calls may carry them out. */
json_t *srv_calls_send(srv_realtime *rt, const srv_response *r, bool done);

/* ---- what the engine remembers (realtime-history.c) ---- */
/* Answers that the client put in, with the questions before them, into the engine's history; not while an answer runs. */
void srv_history_tell(srv_realtime *rt);
/* The engine has begun the turn of r: the items it answers are in it. */
void srv_history_begun(srv_realtime *rt, const srv_response *r);
/* Takes over a deleted item: the turn it belongs to is forgotten. */
void srv_history_forget(srv_realtime *rt, srv_item *item);
/* An answer has ended: what had to wait for that. */
void srv_history_settle(srv_realtime *rt, const srv_response *r);

/* ---- questions (realtime-ask.c) ---- */
/* Puts an item's audio to a seat as a question; false: out of memory, or too much. */
bool srv_ask_audio(srv_realtime *rt, srv_seat *seat, const srv_item *item, unsigned tag);

#endif
