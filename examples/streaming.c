/*
 * streaming: how a live program talks to the library. Samples come in 20 ms at a time, as from a
 * microphone; answers go out in pieces, as to a loudspeaker, while the model is still speaking.
 *
 *   streaming MODEL question.wav
 *
 * A real program pushes from its audio callback and steps the engine in a thread of its own.
 */
#include <omni.h>
#include <sndfile.h>

#include <stdio.h>

/* One event; true when the turn is over. */
static bool show(const omni_event *ev, int64_t asked_us, int rate)
{
    const double after_ms = (double)(ev->time_us - asked_us) / 1e3;

    switch (ev->type) {
    case OMNI_EVENT_TEXT:
        printf("%8.1f ms  text   \"%.*s\"\n", after_ms, (int)ev->n_text, ev->text);
        return false;
    case OMNI_EVENT_AUDIO:   /* here: hand ev->audio to the sound card */
        printf("%8.1f ms  audio  %.3f s + %.3f s\n", after_ms, (double)ev->sample_offset / rate,
               (double)ev->n_audio / rate);
        return false;
    case OMNI_EVENT_CUT:
        printf("%8.1f ms  the question was too long; its end was not heard\n", after_ms);
        return false;
    case OMNI_EVENT_FAILED:
        fprintf(stderr, "%s\n", ev->text);
        return true;
    default:
        return ev->type == OMNI_EVENT_END || ev->type == OMNI_EVENT_CANCELLED;
    }
}

/* Pushes the recording in pieces of 20 ms; true when something was said. */
static bool listen(omni_session *session, SNDFILE *file, int rate)
{
    float piece[4096];
    const sf_count_t size = rate / 50 < 4096 ? rate / 50 : 4096;
    sf_count_t n;

    while ((n = sf_readf_float(file, piece, size)) > 0) {
        if (omni_session_push_audio(session, piece, (size_t)n) != OMNI_OK) {
            fprintf(stderr, "%s\n", omni_last_error());
            break;      /* too long: what was pushed is answered */
        }
    }
    return omni_session_end_input(session) == OMNI_OK;
}

static int converse(omni_engine *engine, omni_session *session, int rate)
{
    int64_t asked_us = 0;
    omni_event ev;

    for (;;) {
        int rc = omni_session_next_event(session, &ev);

        if (rc == OMNI_OK) {
            if (ev.type == OMNI_EVENT_BEGIN)
                asked_us = ev.time_us;
            if (show(&ev, asked_us, rate))
                return ev.type == OMNI_EVENT_END ? 0 : 1;
        } else if (omni_engine_step(engine) < 0) {
            return fprintf(stderr, "%s\n", omni_last_error()), 1;
        }
    }
}

int main(int argc, char **argv)
{
    omni_model *model = NULL;
    omni_engine *engine = NULL;
    omni_session *session = NULL;
    SF_INFO format = {0};
    SNDFILE *file = NULL;
    int rc = 1;

    if (argc != 3)
        return fprintf(stderr, "usage: streaming MODEL question.wav\n"), 2;
    omni_session_params params = omni_session_default_params();
    params.early_audio = true;      /* the first sound matters more than its exactness */
    if (omni_model_load(argv[1], NULL, &model) || omni_engine_new(model, NULL, &engine) ||
        omni_session_new(engine, &params, &session)) {
        fprintf(stderr, "%s\n", omni_last_error());
        goto done;
    }
    const omni_model_info *info = omni_model_get_info(model);
    file = sf_open(argv[2], SFM_READ, &format);
    if (!file || format.channels != 1 || format.samplerate != info->sample_rate_in) {
        fprintf(stderr, "%s: wanted a mono recording at %d Hz\n", argv[2], info->sample_rate_in);
        goto done;
    }
    if (listen(session, file, info->sample_rate_in))
        rc = converse(engine, session, info->sample_rate_out);
    else
        fprintf(stderr, "%s\n", omni_last_error());
done:
    if (file)
        sf_close(file);
    omni_session_free(session);
    omni_engine_free(engine);
    omni_model_free(model);
    return rc;
}
