/*
 * hello: a recorded question in, text and a recorded answer out.
 *
 *   hello MODEL question.wav answer.wav
 *
 * The question must be mono and at the model's rate (16 kHz); libsndfile reads and writes the files.
 */
#include <omni.h>
#include <sndfile.h>

#include <stdio.h>
#include <stdlib.h>

/* The samples of a mono recording, yours to free; NULL with a message when it is not what the model takes.
 * Read in pieces: a file that was made in a pipe does not know its length. */
static float *read_question(const char *path, int rate, size_t *n)
{
    enum { PIECE = 1 << 16 };
    SF_INFO info = {0};
    SNDFILE *file = sf_open(path, SFM_READ, &info);
    float *samples = NULL;
    sf_count_t got = PIECE;

    if (!file)
        return fprintf(stderr, "%s: %s\n", path, sf_strerror(NULL)), NULL;
    if (info.channels != 1 || info.samplerate != rate) {
        fprintf(stderr, "%s: %d channels at %d Hz; wanted 1 at %d Hz\n", path, info.channels, info.samplerate,
                rate);
        got = 0;
    }
    for (*n = 0; got == PIECE; *n += (size_t)got) {
        float *more = realloc(samples, (*n + PIECE) * sizeof *samples);

        if (!more) {
            fprintf(stderr, "%s: too long for this machine's memory\n", path);
            free(samples);
            samples = NULL;
            break;
        }
        samples = more;
        got = sf_readf_float(file, samples + *n, PIECE);
    }
    sf_close(file);
    return samples;
}

/* Prints the text and writes the sound as they come; 0 when the answer is complete. */
static int answer(omni_engine *engine, omni_session *session, SNDFILE *out)
{
    omni_event ev;

    for (;;) {
        int rc = omni_session_next_event(session, &ev);

        if (rc == OMNI_AGAIN) {
            if (omni_engine_step(engine) < 0)
                return fprintf(stderr, "%s\n", omni_last_error()), 1;
            continue;
        }
        if (ev.type == OMNI_EVENT_TEXT) {
            fwrite(ev.text, 1, ev.n_text, stdout);
            fflush(stdout);
        }
        if (ev.type == OMNI_EVENT_AUDIO && sf_write_float(out, ev.audio, (sf_count_t)ev.n_audio) != (sf_count_t)ev.n_audio)
            return fprintf(stderr, "the answer can not be written: %s\n", sf_strerror(out)), 1;
        if (ev.type == OMNI_EVENT_FAILED)
            return fprintf(stderr, "%s\n", ev.text), 1;
        if (ev.type == OMNI_EVENT_END)
            return putchar('\n'), 0;
    }
}

int main(int argc, char **argv)
{
    omni_model *model = NULL;
    omni_engine *engine = NULL;
    omni_session *session = NULL;
    SNDFILE *out = NULL;
    float *question = NULL;
    size_t n = 0;
    int rc = 1;

    if (argc != 4)
        return fprintf(stderr, "usage: hello MODEL question.wav answer.wav\n"), 2;
    if (omni_model_load(argv[1], NULL, &model) || omni_engine_new(model, NULL, &engine) ||
        omni_session_new(engine, NULL, &session)) {
        fprintf(stderr, "%s\n", omni_last_error());
        goto done;
    }
    const omni_model_info *info = omni_model_get_info(model);
    SF_INFO format = {
        .samplerate = info->sample_rate_out, .channels = 1, .format = SF_FORMAT_WAV | SF_FORMAT_PCM_16};
    question = read_question(argv[2], info->sample_rate_in, &n);
    if (!question)
        goto done;
    out = sf_open(argv[3], SFM_WRITE, &format);
    if (!out) {
        fprintf(stderr, "%s: %s\n", argv[3], sf_strerror(NULL));
        goto done;
    }
    sf_command(out, SFC_SET_CLIPPING, NULL, SF_TRUE);
    if (omni_session_push_audio(session, question, n) || omni_session_end_input(session))
        fprintf(stderr, "%s\n", omni_last_error());
    else
        rc = answer(engine, session, out);
done:
    if (out && sf_close(out) != 0 && rc == 0)
        rc = (fprintf(stderr, "%s: can not be completed\n", argv[3]), 1);
    free(question);
    omni_session_free(session);
    omni_engine_free(engine);
    omni_model_free(model);
    return rc;
}
