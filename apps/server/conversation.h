/* conversation: the items of a realtime session, in order, with the audio kept for them. */
#ifndef SRV_CONVERSATION_H
#define SRV_CONVERSATION_H

#include "sound.h"
#include "trouble.h"

typedef struct srv_item {
    json_t *json;               /* in GA form, without audio data */
    srv_format format;
    uint8_t *audio;             /* NULL: none, or no longer kept */
    size_t n_audio;
    size_t n_json;              /* bytes of json as a client's item; 0: it is not a client's */
    bool spoken;                /* has an audio part */
    bool question;              /* of the user, or a tool's output */
    bool answer;                /* of the assistant, or a call of a tool */
    bool asked;                 /* the engine was given it */
    unsigned asked_by;          /* tag of the response that was created for it; 0: the engine heard it by itself */
    unsigned tag;               /* it is in the engine's history as added with this tag; 0: it is not */
    json_t *tool;               /* of an output: the name of the function; NULL: not known, or no output */
    long long turn;             /* it is in the engine's history in this turn; -1: not yet, -2: never */
} srv_item;

typedef struct srv_conversation {
    srv_item **items;
    size_t n, cap;
    size_t n_bytes, n_json;     /* of audio kept, of the clients' JSON */
} srv_conversation;

void srv_conversation_free(srv_conversation *c);
const char *srv_item_id(const srv_item *item);
/* Index, or -1. */
long srv_item_find(const srv_conversation *c, const char *id);
/* At index at; takes the item over. false: no memory, or too many or too much; the item is freed. Old audio of other
 * items is forgotten when it is too much. */
bool srv_item_insert(srv_conversation *c, srv_item *item, size_t at);
/* Out of the list; it is the caller's then. */
srv_item *srv_item_remove(srv_conversation *c, size_t at);
void srv_item_free(srv_item *item);
/* Takes audio (malloc'ed) over; old audio of other items is forgotten when it is too much. */
void srv_item_keep_audio(srv_conversation *c, srv_item *item, uint8_t *audio, size_t n, srv_format format);
void srv_item_cut_audio(srv_conversation *c, srv_item *item, size_t n);

/* A new item read from a client's, checked; NULL after filling *t. path: where it stood. */
srv_item *srv_item_read(const json_t *given, const char *path, srv_format format, srv_trouble *t);
/* A new message item; content is stolen. */
srv_item *srv_item_message(const char *id, const char *role, const char *status, json_t *content);
/* A new call of a function. */
srv_item *srv_item_call(const char *id, const char *call_id, const char *name, const char *arguments, const char *status);
/* Of an output: finds its call among n items, unless it is known already. A name too long for any function is none. */
void srv_item_find_call(srv_item *item, srv_item *const *items, size_t n);
/* A call or an output that the model can not be told of. */
void srv_item_hush(srv_item *item);
/* As a dialect shows it, new; with audio data when asked and not too long. */
json_t *srv_item_show(const srv_item *item, bool beta, bool audio);
bool srv_item_is_call(const srv_item *item);
/* The text of all its parts, of spoken ones as far as a transcript is known; a call or an output as the model is told of it;
 * malloc'ed. */
char *srv_item_text(const srv_item *item);

#endif
