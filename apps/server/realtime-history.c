/*
 * realtime-history: what the engine remembers follows the conversation's items.
 *
 * The engine's own turns carry their number into the items they were made of; turns that a client tells of (an assistant's
 * item, or a call of a tool, with the questions before it that nobody answered) are added with a tag. Deleting any item of a
 * turn takes the whole turn out: half of one can not be read.
 */
#include "past.h"
#include "realtime-state.h"

#include <stdlib.h>
#include <string.h>

/* One turn: the unasked questions of items [from, at), answered by item at. */
static void tell(srv_realtime *rt, size_t from, size_t at)
{
    srv_past past = {.n = 0};
    char *words = srv_item_text(rt->talk.items[at]);
    const unsigned tag = ++rt->next_tag;
    bool ok = words && *words;
    for (size_t i = from; i <= at; i++) {
        srv_item *item = rt->talk.items[i];
        if (item->asked || (i < at && !item->question)) continue;
        char *text = i < at ? srv_item_text(item) : NULL;
        if (text && ok) ok = srv_past_ask(&past, text);
        free(text);
        item->asked = true;
        item->tag = tag;
    }
    if (ok) srv_seat_add(rt->seat, past.question ? past.question : "", words, tag);
    srv_past_free(&past);
    free(words);
}

void srv_history_tell(srv_realtime *rt)
{
    if (!rt->untold || rt->response || rt->transcription) return;
    rt->untold = false;
    size_t from = 0;
    for (size_t i = 0; i < rt->talk.n; i++) {
        if (!rt->talk.items[i]->answer) continue;
        if (!rt->talk.items[i]->asked) tell(rt, from, i);
        from = i + 1;
    }
}

/* Does r answer the item, in a turn that the engine has not begun? */
static bool is_for(const srv_response *r, const srv_item *item)
{
    return item->asked && !item->tag && item->turn == -1 && item->asked_by == (r->by_ear ? 0 : r->tag);
}

void srv_history_begun(srv_realtime *rt, const srv_response *r)
{
    for (size_t i = 0; i < rt->talk.n; i++) {
        srv_item *item = rt->talk.items[i];
        if (item->question && is_for(r, item)) item->turn = r->turn;
    }
}

static void forget(srv_realtime *rt, const srv_item *item)
{
    if (item->tag) srv_seat_forget_added(rt->seat, item->tag);
    else if (item->turn >= 0) srv_seat_forget(rt->seat, (uint32_t)item->turn);
}

/* Is r about to answer the item, or answering it? */
static bool concerns(const srv_response *r, const srv_item *item)
{
    return r && (r->begun ? item->asked && !item->tag && item->turn == r->turn : is_for(r, item));
}

void srv_history_forget(srv_realtime *rt, srv_item *item)
{
    if (!rt->response) forget(rt, item);
    else if (concerns(rt->response, item)) rt->response->forget = true;
    else if (concerns(rt->aside, item)) rt->aside->forget = true;
    else if (item->tag || item->turn >= 0) {    /* the engine's history stands still while it answers */
        if (rt->n_gone == rt->cap_gone) {
            const size_t cap = rt->cap_gone ? 2 * rt->cap_gone : 8;
            srv_item **bigger = realloc(rt->gone, cap * sizeof *bigger);
            if (bigger) rt->gone = bigger, rt->cap_gone = cap;
        }
        if (rt->n_gone < rt->cap_gone) {
            rt->gone[rt->n_gone++] = item;
            return;
        }
    }
    srv_item_free(item);
}

void srv_history_settle(srv_realtime *rt, const srv_response *r)
{
    if (r->forget && r->begun) srv_seat_forget(rt->seat, r->turn);
    for (size_t i = 0; i < rt->talk.n && !r->begun; i++)    /* what failed before it began is in no turn */
        if (is_for(r, rt->talk.items[i])) rt->talk.items[i]->turn = -2;
    for (size_t i = 0; i < rt->n_gone; i++) {
        forget(rt, rt->gone[i]);
        srv_item_free(rt->gone[i]);
    }
    rt->n_gone = 0;
    srv_history_tell(rt);
}
