/*
 * talk-sound: the microphone and the loudspeaker (PortAudio), echo taken out, at the model's rates.
 *
 * A thread of its own moves 10 ms at a time. The functions below are for one other thread.
 */
#ifndef CLI_TALK_SOUND_H
#define CLI_TALK_SOUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct talk_sound talk_sound;

typedef struct talk_sound_params {
    const char *input, *output; /* number or part of the name of a device; NULL: the system's */
    int  rate_in, rate_out;     /* Hz, what read gives and write takes */
    bool echo;                  /* cancel it */
} talk_sound_params;

/* Prints the devices to standard output, the system's own marked. CLI_OK, or CLI_FAILED after an error line. */
int talk_sound_list(void);

/* Opens both devices and starts. CLI_OK; CLI_FAILED after an error line: no such device, busy, unplugged. */
int  talk_sound_open(const talk_sound_params *params, talk_sound **out);
void talk_sound_close(talk_sound *sound);   /* NULL is allowed */

/* One line that names the devices and rates. */
void talk_sound_describe(const talk_sound *sound, char *text, size_t size);

/* Microphone samples that have come, at most n: how many. At most 10 s wait; what comes then is lost. */
size_t talk_sound_read(talk_sound *sound, float *samples, size_t n);

/* For the loudspeaker: takes all; what its queue of 10 s has no room for waits in memory and is moved on by pour, which
 * wants to be called more often than every second. CLI_OK, or CLI_FAILED after an error line (out of memory). */
int  talk_sound_write(talk_sound *sound, const float *samples, size_t n);
void talk_sound_pour(talk_sound *sound);

/* A turn begins: counts and the time of the first sound start anew; underruns count until end. */
void talk_sound_turn_begin(talk_sound *sound);
void talk_sound_turn_end(talk_sound *sound);            /* no more will be written for this turn */
bool talk_sound_playing(const talk_sound *sound);       /* something written has not sounded yet */
uint64_t talk_sound_heard(const talk_sound *sound);     /* samples of this turn that have left the loudspeaker */
int64_t  talk_sound_first_us(const talk_sound *sound);  /* monotonic time when it began to sound; 0: not yet */
void talk_sound_silence(talk_sound *sound);             /* throws away what has not sounded; waits for at most 50 ms */

float talk_sound_level(const talk_sound *sound);        /* peak of the microphone's last 10 ms, 0 to 1 */
float talk_sound_voice_level(const talk_sound *sound);  /* of the loudspeaker's */
unsigned talk_sound_underruns(const talk_sound *sound); /* 10 ms blocks of silence within answers */
unsigned talk_sound_overruns(const talk_sound *sound);  /* times that microphone samples were lost */
/* CLI_OK, or CLI_FAILED after an error line when a device has gone. */
int talk_sound_check(const talk_sound *sound);

#endif
