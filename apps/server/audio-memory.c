/* audio-memory: sound files in memory, by libsndfile (sndfile.h's only includer in this room). */
#include "audio-memory.h"

#include "../cli/sound-bytes.h"
#include "limits.h"

#include <sndfile.h>

#include <stdlib.h>
#include <string.h>

typedef struct memory_file { char *bytes; sf_count_t n, cap, at; bool failed; } memory_file;

static sf_count_t get_length(void *user)
{
    return ((memory_file *)user)->n;
}

static sf_count_t seek(sf_count_t offset, int whence, void *user)
{
    memory_file *f = user;
    const sf_count_t from = whence == SEEK_CUR ? f->at : whence == SEEK_END ? f->n : 0;
    if (offset < -from || from + offset > (sf_count_t)1 << 40) return -1;
    return f->at = from + offset;
}

static sf_count_t get(void *out, sf_count_t n, void *user)
{
    memory_file *f = user;
    if (f->at >= f->n) return 0;
    if (n > f->n - f->at) n = f->n - f->at;
    memcpy(out, f->bytes + f->at, (size_t)n);
    f->at += n;
    return n;
}

static sf_count_t put(const void *in, sf_count_t n, void *user)
{
    memory_file *f = user;
    if (f->at + n > f->cap) {
        const sf_count_t cap = 2 * (f->at + n);
        char *bigger = realloc(f->bytes, (size_t)cap);
        if (!bigger) return f->failed = true, 0;
        memset(bigger + f->cap, 0, (size_t)(cap - f->cap));
        f->bytes = bigger;
        f->cap = cap;
    }
    memcpy(f->bytes + f->at, in, (size_t)n);
    f->at += n;
    if (f->at > f->n) f->n = f->at;
    return n;
}

static sf_count_t tell(void *user)
{
    return ((memory_file *)user)->at;
}

static SF_VIRTUAL_IO io = {get_length, seek, get, put, tell};

/* Other formats hold hours of silence in a few bytes. */
static bool is_allowed(const SF_INFO *info, int format)
{
    const int type = info->format & SF_FORMAT_TYPEMASK;
    const bool named = format == SRV_FILE_MP3 ? type == SF_FORMAT_MPEG : type == SF_FORMAT_WAV || type == SF_FORMAT_WAVEX;
    const bool short_enough = info->frames <= (sf_count_t)SRV_INPUT_SECONDS * info->samplerate || info->frames >= (sf_count_t)1 << 40;  /* not known */
    return named && short_enough && info->channels >= 1 && info->channels <= SRV_FILE_CHANNELS && info->samplerate >= 1000 &&
           info->samplerate <= SRV_FILE_HZ;
}

bool srv_audio_read(void *bytes, size_t n, int format, double most, float **samples, size_t *n_samples, int *hz)
{
    const char *refused = cli_sound_refused(bytes, &n);
    memory_file f = {.bytes = bytes, .n = (sf_count_t)n};
    SF_INFO info = {.format = 0};
    enum { PIECE = 4096 };
    static float piece[PIECE * SRV_FILE_CHANNELS];   /* one thread reads */
    SNDFILE *file = refused ? NULL : sf_open_virtual(&io, SFM_READ, &info, &f);
    bool ok = file && is_allowed(&info, format);
    const size_t enough = ok ? (size_t)(most * info.samplerate) : 0;
    float *all = NULL;
    size_t have = 0, cap = 0;
    for (sf_count_t got; ok && have < enough && (got = sf_readf_float(file, piece, PIECE)) > 0;) {
        if (have + (size_t)got > cap) {
            cap = 2 * (have + (size_t)got);
            float *bigger = realloc(all, cap * sizeof *all);
            ok = bigger != NULL;
            if (ok) all = bigger;
        }
        for (sf_count_t i = 0; ok && i < got; i++) {
            float sum = 0;
            for (int c = 0; c < info.channels; c++) sum += piece[i * info.channels + c];
            all[have++] = sum == sum && sum < 1e6f && sum > -1e6f ? sum / (float)info.channels : 0.0f;
        }
    }
    if (file) sf_close(file);
    if (ok && have > 0) {
        *samples = all;
        *n_samples = have;
        *hz = info.samplerate;
        return true;
    }
    free(all);
    return false;
}

/* ---- writing ------------------------------------------------------------------------------------ */

struct srv_audio_writer {
    SNDFILE *file;
    memory_file memory;
};

srv_audio_writer *srv_audio_begin(int format, int hz)
{
    static const int formats[] = {
        [SRV_FILE_WAV] = SF_FORMAT_WAV | SF_FORMAT_PCM_16, [SRV_FILE_FLAC] = SF_FORMAT_FLAC | SF_FORMAT_PCM_16,
        [SRV_FILE_MP3] = SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, [SRV_FILE_OPUS] = SF_FORMAT_OGG | SF_FORMAT_OPUS};
    SF_INFO info = {.samplerate = hz, .channels = 1, .format = formats[format]};
    srv_audio_writer *w = calloc(1, sizeof *w);
    if (w) w->file = sf_open_virtual(&io, SFM_WRITE, &info, &w->memory);
    if (w && w->file) {
        sf_command(w->file, SFC_SET_CLIPPING, NULL, SF_TRUE);
        return w;
    }
    srv_audio_drop(w);
    return NULL;
}

bool srv_audio_put(srv_audio_writer *w, const float *samples, size_t n)
{
    return sf_writef_float(w->file, samples, (sf_count_t)n) == (sf_count_t)n && !w->memory.failed;
}

char *srv_audio_end(srv_audio_writer *w, size_t *n_bytes)
{
    char *bytes = NULL;
    const bool ok = sf_close(w->file) == 0 && !w->memory.failed;
    w->file = NULL;
    if (ok) {
        bytes = w->memory.bytes ? w->memory.bytes : calloc(1, 1);
        *n_bytes = (size_t)w->memory.n;
        w->memory.bytes = NULL;
    }
    srv_audio_drop(w);
    return bytes;
}

void srv_audio_drop(srv_audio_writer *w)
{
    if (!w) return;
    if (w->file) sf_close(w->file);
    free(w->memory.bytes);
    free(w);
}
