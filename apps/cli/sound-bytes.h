/* sound-bytes: a look at a recording before libsndfile sees it. */
#ifndef CLI_SOUND_BYTES_H
#define CLI_SOUND_BYTES_H

#include <stddef.h>

/* NULL when these bytes begin like wav, flac, ogg, mp3 or aiff, and the chunks of wav and aiff lie within them; else
 * what is wrong, a static text. Of wav and aiff only the samples and what describes them are left, in place, *size
 * becomes less; a length that can not be true is put right (streams do not know theirs).
 *
 * libsndfile would try two dozen more formats, and some of its readers of formats and of chunks take minutes over a
 * hundred bytes that promise 4 GB. Any thread. */
const char *cli_sound_refused(unsigned char *data, size_t *size);

#endif
