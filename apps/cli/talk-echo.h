/*
 * talk-echo: takes the loudspeaker's sound out of the microphone's (speexdsp), so that a talking
 * machine does not interrupt itself. talk-echo.c is the only includer of the speex headers.
 */
#ifndef CLI_TALK_ECHO_H
#define CLI_TALK_ECHO_H

#include <stddef.h>

typedef struct talk_echo talk_echo;

/* Samples at rate come in frames of 10 ms: talk_echo_frame(rate) of them. An echo may come up to a quarter
 * second after its sound. CLI_OK, or CLI_FAILED after an error line. */
int  talk_echo_open(int rate, talk_echo **out);
void talk_echo_close(talk_echo *echo);      /* NULL is allowed */
size_t talk_echo_frame(int rate);

/* One frame: microphone and what the loudspeaker was given meanwhile, in [-1, 1]; clean may be microphone.
 * One thread. */
void talk_echo_cancel(talk_echo *echo, const float *microphone, const float *speaker, float *clean);

#endif
