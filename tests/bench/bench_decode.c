/*
 * bench_decode: what a token costs the LLM inside a speaking turn, against llama.cpp alone.
 *
 *   bench_decode MODEL_FOLDER LLM_FILE [tokens 32] [runs 5] [threads 2]
 *
 * Interleaved in one process on the same file: (a) llama.cpp's own loop, one token per llama_decode, nothing
 * but logits asked for; (b) an answer with speech; (c) an answer in text only. All start from a prompt
 * of the same length. Medians, and the speed of b and c relative to a.
 */
#include "omni.h"

#include "llama.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_RUNS = 99 };

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, compare);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

static void silent(enum ggml_log_level level, const char *text, void *user)
{
    (void)user;
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

/* Seconds per token of llama.cpp alone after a prompt of n_prompt positions; negative: failed. */
static double plain(struct llama_context *ctx, int n_vocab, int n_prompt, int n_tokens)
{
    int32_t *ids = malloc((size_t)n_prompt * sizeof *ids);
    int32_t id = 1;
    double start;
    int rc;

    if (!ids)
        return -1;
    for (int i = 0; i < n_prompt; i++)
        ids[i] = 256 + i * 7 % (n_vocab - 600);
    llama_memory_clear(llama_get_memory(ctx), true);
    rc = llama_decode(ctx, llama_batch_get_one(ids, n_prompt));
    free(ids);
    start = now();
    for (int i = 0; i < n_tokens && rc == 0; i++) {
        rc = llama_decode(ctx, llama_batch_get_one(&id, 1));
        id = 256 + (id * 31 + 17) % (n_vocab - 600);
        llama_synchronize(ctx);
    }
    return rc ? -1 : (now() - start) / n_tokens;
}

/* Seconds of LLM time per token of an answer; *n_prompt its prompt. */
static double answer(omni_engine *engine, bool speech, int n_tokens, int *n_prompt)
{
    omni_session_params params = omni_session_default_params();
    omni_session *session = NULL;
    omni_stats stats = {0};
    omni_event event = {.type = OMNI_EVENT_BEGIN};
    double result = -1;

    params.speech = speech;
    params.max_tokens = n_tokens;
    if (omni_session_new(engine, &params, &session) || omni_session_push_text(session, "how far is it to the sea"))
        goto done;
    while (event.type < OMNI_EVENT_END)
        if (omni_session_next_event(session, &event) == OMNI_AGAIN && omni_engine_step(engine) < 0)
            goto done;
    if (event.type == OMNI_EVENT_END && omni_session_get_stats(session, &stats) == OMNI_OK && stats.n_tokens > 0)
        result = (double)stats.t_llm * 1e-6 / stats.n_tokens;
    *n_prompt = stats.n_prompt;
done:
    omni_session_free(session);
    return result;
}

int main(int argc, char **argv)
{
    int n_tokens = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 32, runs = argc > 4 ? (int)strtol(argv[4], NULL, 10) : 5;
    int n_prompt = 64, rc = 1;
    omni_engine_params params = omni_engine_default_params();
    struct llama_context_params context = llama_context_default_params();
    struct llama_model *bare = NULL;
    struct llama_context *ctx = NULL;
    omni_model *model = NULL;
    omni_engine *engine = NULL;
    double t[3][MOST_RUNS], m[3];

    if (argc < 3 || n_tokens < 1 || runs < 1 || runs > MOST_RUNS)
        return fprintf(stderr, "usage: bench_decode MODEL_FOLDER LLM_FILE [tokens] [runs] [threads]\n"), 2;
    params.n_threads = argc > 5 ? (int)strtol(argv[5], NULL, 10) : 2;
    context.n_threads = context.n_threads_batch = params.n_threads;
    context.n_ctx = 1024;
    if (omni_model_load(argv[1], NULL, &model) || omni_engine_new(model, &params, &engine)) {
        fprintf(stderr, "%s\n", omni_last_error());
        goto done;
    }
    llama_log_set(silent, NULL);
    bare = llama_model_load_from_file(argv[2], llama_model_default_params());
    ctx = bare ? llama_init_from_model(bare, context) : NULL;
    if (!ctx)
        goto done;
    const int n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(bare));
    for (int run = -1; run < runs; run++) {      /* the first one warms up */
        int at = run < 0 ? 0 : run;

        t[1][at] = answer(engine, true, n_tokens, &n_prompt);
        t[0][at] = plain(ctx, n_vocab, n_prompt, n_tokens);
        t[2][at] = answer(engine, false, n_tokens, &n_prompt);
        if (t[0][at] < 0 || t[1][at] < 0 || t[2][at] < 0) {
            fprintf(stderr, "%s\n", omni_last_error());
            goto done;
        }
    }
    static const char *const names[3] = {"llama.cpp alone", "with speech", "text only"};
    printf("%d tokens after %d positions, %d threads, median of %d runs\n", n_tokens, n_prompt, params.n_threads, runs);
    for (int i = 0; i < 3; i++) {
        m[i] = median(t[i], runs);
        printf("%-16s %8.2f ms per token, %6.2f tokens/s, %.3f of llama.cpp's speed\n", names[i], 1e3 * m[i], 1 / m[i],
               m[0] / m[i]);
    }
    rc = 0;
done:
    if (ctx)
        llama_free(ctx);
    if (bare)
        llama_model_free(bare);
    omni_engine_free(engine);
    omni_model_free(model);
    return rc;
}
