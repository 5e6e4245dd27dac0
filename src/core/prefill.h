/*
 * prefill: positions of the scripts into the LLM's KV caches: the prompts of the turns that run, several in one pass; and
 * between turns what a cache lacks of its conversation, so that the next question finds it there.
 */
#ifndef OM_PREFILL_H
#define OM_PREFILL_H

#include "omni.h"

/* PREFILL: one run of positions for as many sessions as fit into a batch. AGAIN: none prefills. */
int om_prefill_turns(omni_engine *e);
/* One run for one session that has no turn, when there is room (ahead.h) and nothing is prepared ahead. AGAIN: nothing to
 * read, or not now. */
int om_prefill_between(omni_engine *e);

#endif
