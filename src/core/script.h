/*
 * script: a conversation as LLM positions, so that the KV cache can always be
 * (re)built from it. A position is a token id, or OM_ROW where a row of the adaptor stands.
 */
#ifndef OM_SCRIPT_H
#define OM_SCRIPT_H

#include <stdint.h>

enum { OM_ROW = -200 };     /* the reference's placeholder (spec §5.4) */

typedef struct om_mark {
    int at;                 /* position where the turn starts */
    uint32_t number;        /* omni_event.turn */
} om_mark;

typedef struct om_script {
    int width;              /* D */
    int32_t *ids;           /* [n] */
    int n, cap;
    float *rows;            /* [n_rows][D], in the order of the OM_ROWs */
    int n_rows, cap_rows;
    om_mark *turns;         /* [n_turns] */
    int n_turns, cap_turns;
} om_script;

void om_script_free(om_script *s);                                     /* {0} is allowed */
int  om_script_begin_turn(om_script *s, uint32_t number);   /* the next position starts it. ERR_MEMORY */
/* All or nothing. ERR_MEMORY, ERR_LIMIT. */
int  om_script_add_ids(om_script *s, const int32_t *ids, int n);
int  om_script_add_rows(om_script *s, const float *rows, int n);
void om_script_cut(om_script *s, int n);                               /* keeps the first n positions */
void om_script_drop(om_script *s, int turn);                           /* 0..n_turns-2: not the last */
int  om_script_find(const om_script *s, uint32_t number);              /* index of a turn; -1: it is not there */

/* The longest run of one kind from position `from`, at most limit: its length; *ids or *rows points
 * to it, the other is NULL. */
int  om_script_run(const om_script *s, int from, int limit, const int32_t **ids, const float **rows);

#endif
