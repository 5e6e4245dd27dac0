/*
 * two-sessions: two conversations in one engine. Every step advances both, batched; the answers interleave.
 *
 *   two-sessions MODEL "first question" "second question"
 */
#include <omni.h>

#include <stdio.h>

enum { N = 2 };

typedef struct answer {
    char   text[4096];
    size_t n_text, n_audio;
    bool   done, failed;
} answer;

/* Takes what a session has to say. */
static void drain(omni_session *session, answer *a)
{
    omni_event ev;

    while (!a->done && omni_session_next_event(session, &ev) == OMNI_OK) {
        if (ev.type == OMNI_EVENT_TEXT)
            for (size_t i = 0; i < ev.n_text && a->n_text + 1 < sizeof a->text; i++)
                a->text[a->n_text++] = ev.text[i];
        if (ev.type == OMNI_EVENT_AUDIO)
            a->n_audio += ev.n_audio;
        a->failed = ev.type == OMNI_EVENT_FAILED;
        a->done = ev.type >= OMNI_EVENT_END;
    }
}

static int run(omni_engine *engine, omni_session *const *sessions, answer *answers)
{
    while (!answers[0].done || !answers[1].done) {
        if (omni_engine_step(engine) < 0)
            return 1;
        for (int i = 0; i < N; i++)
            drain(sessions[i], &answers[i]);
    }
    return answers[0].failed || answers[1].failed;
}

int main(int argc, char **argv)
{
    omni_model *model = NULL;
    omni_engine *engine = NULL;
    omni_session *sessions[N] = {NULL};
    static answer answers[N];
    int rc = 1;

    if (argc != 2 + N)
        return fprintf(stderr, "usage: two-sessions MODEL QUESTION QUESTION\n"), 2;
    omni_engine_params params = omni_engine_default_params();
    params.n_slots = N;
    if (omni_model_load(argv[1], NULL, &model) || omni_engine_new(model, &params, &engine))
        goto done;
    for (int i = 0; i < N; i++)
        if (omni_session_new(engine, NULL, &sessions[i]) || omni_session_push_text(sessions[i], argv[2 + i]))
            goto done;
    rc = run(engine, sessions, answers);
done:
    if (rc)
        fprintf(stderr, "%s\n", omni_last_error());
    for (int i = 0; i < N; i++) {
        if (!rc)
            printf("%s ->%s (%zu samples)\n", argv[2 + i], answers[i].text, answers[i].n_audio);
        omni_session_free(sessions[i]);
    }
    omni_engine_free(engine);
    omni_model_free(model);
    return rc;
}
