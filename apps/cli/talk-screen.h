/*
 * talk-screen: what a conversation looks like. On a terminal captions grow above one line of state and levels;
 * elsewhere captions go to standard output, one line per answer, and the states, as notes, to standard error.
 */
#ifndef CLI_TALK_SCREEN_H
#define CLI_TALK_SCREEN_H

#include <stdbool.h>
#include <stddef.h>

typedef enum talk_state { TALK_READY, TALK_LISTENING, TALK_HEARING, TALK_THINKING, TALK_SPEAKING } talk_state;

typedef struct talk_screen {
    bool live, utf8, color, quiet;
    bool hands_free;
    talk_state state;
    bool begun;             /* there is a state */
    bool shown;             /* the line of state is there */
    char line[192];         /* as it was written last */
    bool caption;           /* an answer's line has begun */
    int column;             /* of the caption's end */
    char tail[256];         /* the caption's last word, until it is complete */
    size_t n_tail;
    float level, voice;     /* decaying peaks */
} talk_screen;

void talk_screen_open(talk_screen *screen, bool hands_free, bool quiet);
void talk_screen_state(talk_screen *screen, talk_state state);
/* A piece of the answer, UTF-8; and the answer's end. CLI_OK; CLI_PIPE when nobody reads standard output any more, CLI_FAILED
 * after an error line when it can not be written. */
int  talk_screen_text(talk_screen *screen, const char *text, size_t n);
int  talk_screen_answered(talk_screen *screen, bool interrupted);
/* The line of state follows the levels, 0 to 1. Call about 20 times a second. */
void talk_screen_levels(talk_screen *screen, float microphone, float voice);
/* Others have written to the terminal: goes on below. */
void talk_screen_continue(talk_screen *screen);
void talk_screen_note(talk_screen *screen, const char *text);
void talk_screen_close(talk_screen *screen);

#endif
