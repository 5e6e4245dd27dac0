/* Recordings through libsndfile's virtual files, so that pipes and disk-full errors are seen here. */
#include "audio-file.h"

#include "options.h"
#include "report.h"
#include "sound-bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sndfile.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_SECONDS = 300,              /* of a recording that are read */
    MIN_RATE = 4000, MAX_RATE = 384000, MAX_CHANNELS = 32,
    PIECE = 1 << 16                 /* bytes or frames handled at a time */
};
static const size_t MAX_BYTES = (size_t)1 << 30;   /* of a file */

/* ---- the whole file in memory ------------------------------------------------ */

typedef struct bytes {
    unsigned char *data;
    size_t n, at;
} bytes;

static int read_all(int fd, const char *name, bytes *b)
{
    size_t room = 0;
    for (;;) {
        if (b->n > MAX_BYTES)
            return cli_error("%s: too large: wanted at most %zu MiB; cut the recording", name, MAX_BYTES >> 20);
        if (b->n == room) {
            room = room ? room * 2 : PIECE;
            if (room > MAX_BYTES) room = MAX_BYTES + 1;
            unsigned char *more = realloc(b->data, room);
            if (!more) return cli_error("%s: out of memory for %zu bytes", name, room);
            b->data = more;
        }
        const ssize_t got = read(fd, b->data + b->n, room - b->n);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return cli_error("%s: can not be read: %s", name, strerror(errno));
        if (got == 0) return CLI_OK;
        b->n += (size_t)got;
    }
}

static int load(const char *path, const char *name, bytes *b)
{
    const bool is_stdin = strcmp(path, "-") == 0;
    const int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY);
    if (fd < 0) return cli_error("%s: can not be opened: %s", name, strerror(errno));
    int rc = read_all(fd, name, b);
    if (!is_stdin) close(fd);
    if (rc == CLI_OK && b->n == 0)
        rc = cli_error("%s: empty file; wanted a recording (wav, flac, ogg or mp3)", name);
    return rc;
}

static sf_count_t bytes_length(void *user)
{
    return (sf_count_t)((bytes *)user)->n;
}

static sf_count_t bytes_seek(sf_count_t offset, int whence, void *user)
{
    bytes *b = user;
    sf_count_t from = 0;
    if (whence != SEEK_SET) from = (sf_count_t)(whence == SEEK_CUR ? b->at : b->n);
    if (offset < -from || from + offset > (sf_count_t)b->n) return -1;
    b->at = (size_t)(from + offset);
    return from + offset;
}

static sf_count_t bytes_read(void *to, sf_count_t count, void *user)
{
    bytes *b = user;
    const size_t left = b->n - b->at, n = (size_t)count < left ? (size_t)count : left;
    if (n) memcpy(to, b->data + b->at, n);
    b->at += n;
    return (sf_count_t)n;
}

static sf_count_t bytes_tell(void *user)
{
    return (sf_count_t)((bytes *)user)->at;
}

/* ---- decoding ------------------------------------------------------------------ */

static int check_format(const char *name, const SF_INFO *info)
{
    if (info->samplerate < MIN_RATE || info->samplerate > MAX_RATE)
        return cli_error("%s: sample rate: found %d Hz, wanted %d to %d; resample it", name, info->samplerate,
                         MIN_RATE, MAX_RATE);
    if (info->channels < 1 || info->channels > MAX_CHANNELS)
        return cli_error("%s: channels: found %d, wanted 1 to %d; mix it down", name, info->channels,
                         MAX_CHANNELS);
    return CLI_OK;
}

/* Mean of the channels of n frames appended to audio, which has room; -1, or the index of a sample that is
 * no number. */
static int64_t mix_down(cli_audio *audio, const float *frames, size_t n, int channels)
{
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (int c = 0; c < channels; c++) sum += frames[i * (size_t)channels + (size_t)c];
        if (!isfinite(sum)) return (int64_t)audio->n;
        audio->samples[audio->n++] = (float)(sum / channels);
    }
    return -1;
}

static int decode(SNDFILE *file, const SF_INFO *info, const char *name, cli_audio *audio)
{
    const size_t most = (size_t)MAX_SECONDS * (size_t)info->samplerate;
    size_t room = 0;
    float *frames = calloc((size_t)PIECE * (size_t)info->channels, sizeof *frames);
    int rc = frames ? CLI_OK : cli_error("%s: out of memory", name);
    while (rc == CLI_OK && audio->n < most) {
        const sf_count_t got = sf_readf_float(file, frames, PIECE);
        if (got <= 0) break;
        if (audio->n + (size_t)got > room) {
            room = room * 2 + PIECE;
            float *more = realloc(audio->samples, room * sizeof *more);
            if (!more) {
                rc = cli_error("%s: out of memory", name);
                break;
            }
            audio->samples = more;
        }
        const int64_t bad = mix_down(audio, frames, (size_t)got, info->channels);
        if (bad >= 0)
            rc = cli_error("%s: sample %lld (at %.3f s) is not a finite number; repair the recording", name,
                           (long long)bad, (double)bad / info->samplerate);
    }
    free(frames);
    if (rc == CLI_OK && audio->n == 0)
        rc = cli_error("%s: holds no sound: found 0 samples%s%s; wanted a recorded question", name,
                       sf_error(file) ? ", " : "", sf_error(file) ? sf_strerror(file) : "");
    if (audio->n > most) audio->n = most;
    return rc;
}

/* The length that the file says it has; a few formats do not know, and say the largest number there is. */
static void note_length(cli_audio *audio, const SF_INFO *info)
{
    const size_t most = (size_t)MAX_SECONDS * (size_t)info->samplerate;
    if (info->frames <= (sf_count_t)audio->n || info->frames >= (sf_count_t)1 << 40) return;
    const double says = (double)info->frames / info->samplerate, lacks = says - audio->seconds;
    if (audio->n == most) audio->seconds = says;
    else if (lacks > 0.05 && (info->format & SF_FORMAT_TYPEMASK) != SF_FORMAT_MPEG) audio->missing = lacks;    /* mp3: an estimate */
}

int cli_audio_read(const char *path, cli_audio *audio)
{
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    *audio = (cli_audio){.name = name};
    bytes b = {NULL, 0, 0};
    SF_INFO info = {.format = 0};
    SF_VIRTUAL_IO io = {bytes_length, bytes_seek, bytes_read, NULL, bytes_tell};
    SNDFILE *file = NULL;
    int rc = load(path, name, &b);
    if (rc != CLI_OK) goto done;
    const char *refused = cli_sound_refused(b.data, &b.n);
    file = refused ? NULL : sf_open_virtual(&io, SFM_READ, &info, &b);
    if (!file) {
        rc = cli_error("%s: not a recording that can be read (%s); wanted wav, flac, ogg or mp3; convert it",
                       name, refused ? refused : sf_strerror(NULL));
        goto done;
    }
    rc = check_format(name, &info);
    if (rc != CLI_OK) goto done;
    rc = decode(file, &info, name, audio);
    audio->rate = info.samplerate;
    audio->seconds = (double)audio->n / info.samplerate;
    note_length(audio, &info);
done:
    if (file) sf_close(file);
    free(b.data);
    if (rc != CLI_OK) cli_audio_free(audio);
    return rc;
}

void cli_audio_tell(const cli_audio *audio)
{
    if (audio->missing > 0)
        cli_note("%s: damaged: found %.1f s, wanted %.1f s", audio->name, audio->seconds, audio->seconds + audio->missing);
}

void cli_audio_free(cli_audio *audio)
{
    free(audio->samples);
    *audio = (cli_audio){.rate = 0};
}

/* ---- writing ------------------------------------------------------------------- */

struct cli_wav {
    SNDFILE    *file;       /* NULL: a pipe */
    cli_output *out;
    sf_count_t  at, end;    /* position and length; the output may be a device that can not tell */
};

static sf_count_t wav_length(void *user)
{
    return ((cli_wav *)user)->end;
}

static sf_count_t wav_seek(sf_count_t offset, int whence, void *user)
{
    cli_wav *w = user;
    const sf_count_t to = offset + (whence == SEEK_SET ? 0 : whence == SEEK_CUR ? w->at : w->end);
    if (to != w->at && cli_output_seek(w->out, to, SEEK_SET) < 0 && !w->out->error) w->out->error = errno;
    w->at = to;
    return to;
}

static sf_count_t wav_write(const void *from, sf_count_t count, void *user)
{
    cli_wav *w = user;
    if (cli_output_write(w->out, from, (size_t)count) != CLI_OK) return 0;
    w->at += count;
    if (w->at > w->end) w->end = w->at;
    return count;
}

static sf_count_t wav_tell(void *user)
{
    return ((cli_wav *)user)->at;
}

/* The output keeps the error. */
static void stream_header(cli_output *out, uint32_t rate)
{
    const uint32_t fields[] = {UINT32_MAX, 16, 1 | 1 << 16, rate, 2 * rate, 2 | 16 << 16, UINT32_MAX};
    unsigned char head[] = "RIFF....WAVEfmt ....................data....";
    static const int at[] = {4, 16, 20, 24, 28, 32, 40};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++)
        for (int byte = 0; byte < 4; byte++) head[at[i] + byte] = (unsigned char)(fields[i] >> 8 * byte & 255);
    cli_output_write(out, head, sizeof head - 1);
}

int cli_wav_open(cli_output *out, int rate, cli_wav **wav)
{
    cli_wav *w = calloc(1, sizeof *w);
    if (!w) return cli_error("%s: out of memory", out->path);
    w->out = out;
    *wav = w;
    if (cli_output_seek(out, 0, SEEK_CUR) < 0) {
        stream_header(out, (uint32_t)rate);
        return CLI_OK;
    }
    SF_INFO info = {.samplerate = rate, .channels = 1, .format = SF_FORMAT_WAV | SF_FORMAT_PCM_16};
    SF_VIRTUAL_IO io = {wav_length, wav_seek, NULL, wav_write, wav_tell};
    w->file = sf_open_virtual(&io, SFM_WRITE, &info, w);
    if (!w->file) {
        const int rc = cli_error("%s: can not be written: %s", out->path,
                                 out->error ? strerror(out->error) : sf_strerror(NULL));
        free(w);
        *wav = NULL;
        return rc;
    }
    return CLI_OK;
}

static int16_t to_16_bits(float x)
{
    return (int16_t)lrintf((x < -1 ? -1 : x > 1 ? 1 : x) * 32767);
}

int cli_wav_write(cli_wav *wav, const float *samples, size_t n)
{
    int16_t piece[2048];
    if (!wav->file) return cli_raw_write(wav->out, samples, n);
    while (n > 0) {
        const size_t now = n < sizeof piece / sizeof *piece ? n : sizeof piece / sizeof *piece;
        for (size_t i = 0; i < now; i++) piece[i] = to_16_bits(samples[i]);
        if (sf_write_short(wav->file, piece, (sf_count_t)now) != (sf_count_t)now && !wav->out->error)
            wav->out->error = EIO;
        if (wav->out->error) return CLI_FAILED;
        samples += now;
        n -= now;
    }
    return CLI_OK;
}

void cli_wav_close(cli_wav *wav)
{
    if (!wav) return;
    if (wav->file && sf_close(wav->file) != 0 && !wav->out->error) wav->out->error = EIO;
    free(wav);
}

int cli_raw_write(cli_output *out, const float *samples, size_t n)
{
    unsigned char piece[4096];
    while (n > 0) {
        const size_t now = n < sizeof piece / 2 ? n : sizeof piece / 2;
        for (size_t i = 0; i < now; i++) {
            const unsigned v = (unsigned)to_16_bits(samples[i]);
            piece[2 * i] = (unsigned char)(v & 255u);
            piece[2 * i + 1] = (unsigned char)(v >> 8 & 255u);
        }
        if (cli_output_write(out, piece, 2 * now) != CLI_OK) return CLI_FAILED;
        samples += now;
        n -= now;
    }
    return CLI_OK;
}
