/*
 * Plain greedy generation with llama.cpp alone, for test_convert_llama.py.
 *
 *   llama_greedy MODEL.gguf BEFORE ROWS WIDTH AFTER N
 *
 * BEFORE and AFTER are texts (special tokens are parsed, one BOS in front of BEFORE), ROWS a file of float32 rows of
 * WIDTH numbers between them. Prints the ids of BEFORE, those of AFTER, and those of the answer, a line each.
 */
#include <llama.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 4096 };

static void die(const char *what)
{
    fprintf(stderr, "llama_greedy: %s\n", what);
    exit(1);
}

static void quiet(enum ggml_log_level level, const char *text, void *user)
{
    (void)user;
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

static int tokenize(const struct llama_vocab *vocab, const char *text, bool bos, llama_token *ids)
{
    const int first = bos ? 1 : 0;
    const int n = llama_tokenize(vocab, text, (int32_t)strlen(text), ids + first, MOST - first, false, true);

    if (n < 0)
        die("the text can not be tokenised");
    if (bos)
        ids[0] = llama_vocab_bos(vocab);
    for (int i = 0; i < n + first; i++)
        printf("%d ", ids[i]);
    printf("\n");
    return n + first;
}

static void decode_ids(struct llama_context *ctx, llama_token *ids, int n)
{
    if (llama_decode(ctx, llama_batch_get_one(ids, n)) != 0)
        die("llama_decode failed");
}

static void decode_rows(struct llama_context *ctx, const char *path, int width, int at)
{
    static float rows[1 << 20];
    FILE *f = fopen(path, "rb");
    const size_t got = f ? fread(rows, sizeof *rows, sizeof rows / sizeof *rows, f) : 0;

    if (got == 0 || got % (size_t)width != 0)
        die("no rows");
    fclose(f);
    const int n = (int)(got / (size_t)width);
    struct llama_batch batch = llama_batch_init(n, width, 1);
    memcpy(batch.embd, rows, got * sizeof *rows);
    batch.n_tokens = n;
    for (int i = 0; i < n; i++) {
        batch.pos[i] = at + i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 0;
    }
    if (llama_decode(ctx, batch) != 0)
        die("llama_decode of rows failed");
    llama_batch_free(batch);
}

int main(int argc, char **argv)
{
    llama_token before[MOST], after[MOST], next;

    if (argc != 7)
        die("usage: llama_greedy MODEL.gguf BEFORE ROWS WIDTH AFTER N");
    llama_log_set(quiet, NULL);
    llama_backend_init();
    struct llama_model *model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (!model)
        die("the model does not load");
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = 1024;
    params.n_threads = params.n_threads_batch = 1;
    struct llama_context *ctx = llama_init_from_model(model, params);
    struct llama_sampler *greedy = llama_sampler_init_greedy();
    if (!ctx || !greedy)
        die("no context");
    const int n_before = tokenize(vocab, argv[2], true, before), n_after = tokenize(vocab, argv[5], false, after);
    decode_ids(ctx, before, n_before);
    decode_rows(ctx, argv[3], (int)strtol(argv[4], NULL, 10), n_before);
    decode_ids(ctx, after, n_after);
    for (long i = strtol(argv[6], NULL, 10); i > 0; i--) {
        next = llama_sampler_sample(greedy, ctx, -1);
        printf("%d ", next);
        if (llama_vocab_is_eog(vocab, next))
            break;
        decode_ids(ctx, &next, 1);
    }
    printf("\n");
    llama_sampler_free(greedy);
    llama_free(ctx);
    llama_model_free(model);
    llama_backend_free();
    return 0;
}
