/* sound-bytes: a look at a recording before libsndfile sees it. */
#ifndef CLI_SOUND_BYTES_H
#define CLI_SOUND_BYTES_H

#include <stddef.h>

/* NULL when these bytes begin like wav, flac, ogg, mp3 or aiff, and the chunks of wav and aiff lie within them; else
 * what is wrong, a static text. The sound itself may be shorter than its header says (streams do not know their
 * length): the header is put right then. *size becomes less when a damaged chunk follows the samples.
 *
 * libsndfile would try two dozen more formats, and some of its readers take minutes over a hundred bytes that
 * promise a chunk of 4 GB. Any thread. */
const char *cli_sound_refused(unsigned char *data, size_t *size);

#endif
