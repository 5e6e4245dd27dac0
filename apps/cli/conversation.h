/*
 * conversation: model, engine and session for the commands, and the loop that runs one turn.
 */
#ifndef CLI_CONVERSATION_H
#define CLI_CONVERSATION_H

#include "audio-file.h"
#include "options.h"

#include <omni.h>

typedef struct cli_conversation {
    omni_model   *model;
    omni_engine  *engine;
    omni_session *session;
    const omni_model_info *info;
    double load_seconds;
} cli_conversation;

/* The folder of the bundled model, if it is near the program. */
bool cli_bundled_model(char *path, size_t size);
/* The model the options name, or the default one; an engine with one slot. CLI_FAILED after an error line. */
int  cli_model_load(const cli_args *args, const char *path, omni_model **model);
/* What -ngl says, or means when it says nothing. */
int  cli_gpu_layers(const cli_args *args);
int  cli_conversation_open(cli_conversation *c, const cli_args *args);
int  cli_session_begin(cli_conversation *c, const omni_session_params *params);   /* replaces the session */
void cli_conversation_close(cli_conversation *c);

/* Resamples to the model's rate, cuts to what a session takes and pushes it as the question. */
int cli_push_recording(cli_conversation *c, cli_audio *audio);

/* Runs the waiting question to its end and hands each event to see(), which stops the turn by returning an
 * exit code other than CLI_OK. Returns that code, CLI_OK at END, CLI_FAILED after an error line,
 * CLI_INTERRUPTED when cancelled, by a signal that came before it too. */
int cli_turn(cli_conversation *c, int (*see)(void *user, const omni_event *event), void *user);

#endif
