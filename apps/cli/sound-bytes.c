#include "sound-bytes.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static uint32_t number(const unsigned char *p, bool big_endian)
{
    return big_endian ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]
                      : (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static void put(unsigned char *p, uint32_t value, bool big_endian)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(value >> 8 * (big_endian ? 3 - i : i));
}

/* RIFF and its elder sibling IFF are lists of chunks: four letters, a size, so many bytes, and a pad byte. */
static const char *chunks_refused(unsigned char *data, size_t *n, bool big_endian, const char *samples)
{
    bool sound = false;

    for (size_t at = 12; *n - at >= 8;) {
        const size_t size = number(data + at + 4, big_endian), left = *n - at - 8;

        sound = sound || memcmp(data + at, samples, 4) == 0;
        if (size >= left && memcmp(data + at, samples, 4) == 0) {
            /* A stream did not know its length. An odd one at the file's end sends libsndfile looking for more. */
            put(data + at + 4, (uint32_t)(left & ~(size_t)1), big_endian);
            *n = at + 8 + (left & ~(size_t)1);
            return NULL;
        }
        if (size > left && !sound)
            return "a chunk before the samples says it is longer than the file; the file is damaged or cut";
        if (size > left) {
            *n = at;            /* what comes after the samples is not needed */
            return NULL;
        }
        at += 8 + size + (size % 2 && size < left);
    }
    return NULL;                /* without samples: libsndfile says so */
}

const char *cli_sound_refused(unsigned char *data, size_t *size)
{
    const size_t n = *size;
    const bool wav = n >= 12 && memcmp(data + 8, "WAVE", 4) == 0;
    const bool aiff = n >= 12 && (memcmp(data + 8, "AIFF", 4) == 0 || memcmp(data + 8, "AIFC", 4) == 0);

    if (wav && (memcmp(data, "RIFF", 4) == 0 || memcmp(data, "RIFX", 4) == 0))
        return chunks_refused(data, size, data[3] == 'X', "data");
    if (aiff && memcmp(data, "FORM", 4) == 0)
        return chunks_refused(data, size, true, "SSND");
    if (n >= 4 && (memcmp(data, "fLaC", 4) == 0 || memcmp(data, "OggS", 4) == 0 || memcmp(data, "ID3", 3) == 0))
        return NULL;
    if (n >= 4 && data[0] == 0xff && (data[1] & 0xe0) == 0xe0)      /* the sync word of an mp3 frame */
        return NULL;
    return "its beginning is none of theirs";
}
