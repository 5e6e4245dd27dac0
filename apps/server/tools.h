/* tools: the functions that a client offers, how the model is told of them, and the calls in what it says. */
#ifndef SRV_TOOLS_H
#define SRV_TOOLS_H

#include "trouble.h"

#include <omni.h>

#include <stdio.h>

/* Is it a list of tools? A kind that is no function is anybody's; false after filling *t. path: where it stood; nested: a
 * function's name, description and parameters are in its member "function" (chat), else they may be. */
bool srv_tools_ok(const json_t *tools, const char *path, bool nested, srv_trouble *t);
/* The same for tool_choice. */
bool srv_tool_choice_ok(const json_t *choice, const char *path, srv_trouble *t);

/* The functions that may be called, as the model is shown them, new: [{"type": "function", "function": {...}}]. A choice
 * that names one leaves that one. NULL: none. Both arguments may be NULL. */
json_t *srv_tools_offered(const json_t *tools, const json_t *choice);
/* preamble, calls and grammar of *p (malloc'ed, NULL before). prompt: omni_model_info.tools_prompt; NULL: nothing. The other
 * two may be NULL too. */
void srv_tools_tell(const json_t *tools, const json_t *choice, const char *prompt, omni_session_params *p);
void srv_tools_forget(omni_session_params *p);     /* frees what tell made */
bool srv_tools_same(const omni_session_params *a, const omni_session_params *b);

/* May an answer that begins like this be a call? */
bool srv_calls_begin(const char *text, size_t n);
/* The calls that a whole answer is, new: [{"name": NAME, "arguments": JSON as text}]. NULL: it is something else. */
json_t *srv_calls_read(const json_t *offered, const char *text, size_t n);
/* The same of an answer that was cut off; the last one's arguments are what there is of them. */
json_t *srv_calls_read_cut(const json_t *offered, const char *text, size_t n);

/* A call as the model says it, and what came of it as the model is told. name NULL: not known. */
void srv_call_write(FILE *f, const char *name, const char *arguments);
void srv_output_write(FILE *f, const char *name, const char *output);

#endif
