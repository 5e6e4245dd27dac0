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
typedef struct family {
    bool big_endian;
    char samples[5];
    char described[5];          /* what tells how the samples are stored */
    char also[5];               /* known to some formats, small */
} family;

enum { RIFF_HEADER = 12, CHUNK_HEADER = 8, SMALL = 256 };

/* One chunk's place in the file; `size` as it says itself, put right where it can not be true. */
typedef struct chunk {
    size_t at, size;
    bool samples, described, also;
} chunk;

static const char *look(unsigned char *data, size_t n, const family *f, bool sound, chunk *c)
{
    unsigned char *head = data + c->at;
    const size_t left = n - c->at - CHUNK_HEADER;

    c->size = number(head + 4, f->big_endian);
    c->samples = memcmp(head, f->samples, 4) == 0;
    c->described = memcmp(head, f->described, 4) == 0;
    c->also = memcmp(head, f->also, 4) == 0;
    if (c->samples && c->size >= left) {
        /* A stream did not know its length. An odd one at the file's end sends libsndfile looking for more. */
        c->size = left & ~(size_t)1;
        put(head + 4, (uint32_t)c->size, f->big_endian);
    }
    if (c->size > left && !sound)
        return "a chunk before the samples says it is longer than the file; the file is damaged or cut";
    if (c->described && c->size > SMALL)
        return "the chunk that describes the samples is larger than any known; the file is damaged";
    return NULL;
}

/* Only what describes the samples, and the samples, are left for libsndfile: its readers of the many other chunks are
 * where damaged files keep it busy. */
static const char *chunks_refused(unsigned char *data, size_t *n, const family *f)
{
    bool sound = false, described = false;
    size_t to = RIFF_HEADER;

    for (chunk c = { .at = RIFF_HEADER }; *n - c.at >= CHUNK_HEADER && !(sound && described);) {
        const char *refused = look(data, *n, f, sound, &c);
        const size_t left = *n - c.at - CHUNK_HEADER;

        if (refused)
            return refused;
        if (c.size > left)
            break;              /* damage after the samples */
        const size_t whole = CHUNK_HEADER + c.size + (c.size % 2 && c.size < left);

        if ((c.samples && !sound) || (c.described && !described) || (c.also && c.size <= SMALL)) {
            memmove(data + to, data + c.at, whole);
            to += whole;
        }
        sound = sound || c.samples;
        described = described || c.described;
        c.at += whole;
    }
    *n = to;                    /* without samples: libsndfile says so */
    put(data + 4, (uint32_t)(to - CHUNK_HEADER), f->big_endian);
    return NULL;
}

const char *cli_sound_refused(unsigned char *data, size_t *size)
{
    const size_t n = *size;
    const bool wav = n >= 12 && memcmp(data + 8, "WAVE", 4) == 0;
    const bool aiff = n >= 12 && (memcmp(data + 8, "AIFF", 4) == 0 || memcmp(data + 8, "AIFC", 4) == 0);

    if (wav && (memcmp(data, "RIFF", 4) == 0 || memcmp(data, "RIFX", 4) == 0))
        return chunks_refused(data, size, &(family){ data[3] == 'X', "data", "fmt ", "fact" });
    if (aiff && memcmp(data, "FORM", 4) == 0)
        return chunks_refused(data, size, &(family){ true, "SSND", "COMM", "FVER" });
    if (n >= 4 && (memcmp(data, "fLaC", 4) == 0 || memcmp(data, "OggS", 4) == 0 || memcmp(data, "ID3", 3) == 0))
        return NULL;
    if (n >= 4 && data[0] == 0xff && (data[1] & 0xe0) == 0xe0)      /* the sync word of an mp3 frame */
        return NULL;
    return "its beginning is none of theirs";
}
