/* The language model alone: refused files, tokens, positions, batches, sampling. */
#include "unit/cmocka_all.h"

#include "base/status.h"
#include "stage/lm.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 64, CTX = 96, BATCH = 16 };

static om_lm_model *model;
static bool own_caches;      /* every test runs with either kind of KV cache */

static int load_file(const char *name, om_lm_model **out)
{
    const char *dir = getenv("OMNI_ORACLE_DIR");
    om_weights *file;
    char path[1024];
    int rc;

    assert_non_null(dir);
    snprintf(path, sizeof path, "%s/lm/%s", dir, name);
    rc = om_weights_open(path, &file);
    if (rc)
        return rc;
    rc = om_lm_load(file, 0, NULL, true, out);
    om_weights_free(file);
    return rc;
}

static int load(void **state)
{
    (void)state;
    return load_file("good.gguf", &model);
}

static int unload(void **state)
{
    (void)state;
    om_lm_unload(model);
    return 0;
}

static om_lm *new_lm(int n_slots, bool f32)
{
    om_lm_params params = {
        .n_slots = n_slots, .n_ctx_slot = CTX, .n_prefix = 8, .n_batch = BATCH, .n_threads = 1, .f32 = f32,
        .own_caches = own_caches
    };
    om_lm *lm = NULL;

    if (om_lm_new(model, &params, &lm) != OMNI_OK)
        fail_msg("%s", om_last_error());
    return lm;
}

static void bad_files_are_refused(void **state)
{
    char dir[1024];
    struct dirent *entry;
    int n = 0;
    DIR *d;

    (void)state;
    snprintf(dir, sizeof dir, "%s/lm", getenv("OMNI_ORACLE_DIR"));
    d = opendir(dir);
    assert_non_null(d);
    while ((entry = readdir(d)) != NULL) {
        om_lm_model *m = NULL;

        if (strncmp(entry->d_name, "bad-", 4) != 0)
            continue;
        n++;
        print_message("%s: ", entry->d_name);
        assert_int_equal(load_file(entry->d_name, &m), OMNI_ERR_MODEL);
        assert_null(m);
        print_message("%s\n", om_last_error());
        assert_non_null(strstr(om_last_error(), entry->d_name));
    }
    closedir(d);
    assert_true(n >= 16);
}

static void what_it_is(void **state)
{
    const om_lm_info *info = om_lm_get_info(model);

    (void)state;
    assert_int_equal(info->width, WIDTH);
    assert_int_equal(info->layers, 2);
    assert_int_equal(info->context_trained, 512);
    assert_true(info->vocab > 256 && info->parameters > 10000 && info->bytes == 4 * info->parameters);
    assert_non_null(strstr(info->description, "llama"));
}

static void tokens_and_pieces(void **state)
{
    static const char text[] = "<|begin_of_text|> hello red";
    int32_t ids[32];
    char piece[16];
    int n;

    (void)state;
    n = om_lm_tokenize(model, text, strlen(text), true, true, ids, 32);
    assert_int_equal(n, 4);
    assert_true(ids[0] == 256 && ids[1] == 256); /* both: the one put before, and the one in the text */
    assert_int_equal(om_lm_tokenize(model, text, strlen(text), true, false, NULL, 0), 3);
    assert_int_equal(om_lm_piece(model, ids[0], piece, sizeof piece), 0);
    assert_int_equal(om_lm_piece(model, ids[2], piece, sizeof piece), 6);
    assert_memory_equal(piece, " hello", 6);
    assert_int_equal(om_lm_piece(model, ids[2], piece, 3), 6);      /* needed, not written */
    /* Typed text opens nothing. */
    n = om_lm_tokenize(model, text, strlen(text), false, false, ids, 32);
    assert_true(n > 10);
    for (int i = 0; i < n; i++)
        assert_int_not_equal(ids[i], 256);
    assert_int_equal(om_lm_tokenize(model, "", 0, true, true, ids, 32), 1);
    assert_true(om_lm_is_end(model, 257) && !om_lm_is_end(model, 'a'));
}

/* Feeds n prompt ids but the last in prefills of `part`, then picks k tokens greedily. */
static void generate(om_lm *lm, int slot, const int32_t *prompt, int n, int part, int k, int32_t *tokens,
                     float *hidden)
{
    int32_t id = prompt[n - 1];

    for (int at = 0; at < n - 1; at += part)
        assert_int_equal(om_lm_prefill(lm, slot, prompt + at, NULL, n - 1 - at < part ? n - 1 - at : part),
                         OMNI_OK);
    for (int i = 0; i < k; i++) {
        assert_int_equal(om_lm_step(lm, 1, &slot, &id, &id, hidden + (size_t)i * WIDTH), OMNI_OK);
        tokens[i] = id;
    }
    assert_int_equal(om_lm_used(lm, slot), n - 1 + k);
}

static float difference(const float *a, const float *b, size_t n)
{
    float most = 0;

    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(a[i] - b[i]));
    return most;
}

static const int32_t prompt[] = { 256, 12, 97, 265, 270, 271, 33, 8, 266, 280, 100, 101 };
enum { N_PROMPT = 12, N_TOKENS = 10 };

static void cuts_and_copies_are_exact(void **state)
{
    om_lm *lm = new_lm(3, true);
    int32_t a[N_TOKENS], b[N_TOKENS];
    static float ha[N_TOKENS * WIDTH], hb[N_TOKENS * WIDTH];

    (void)state;
    generate(lm, 0, prompt, N_PROMPT, BATCH, N_TOKENS, a, ha);
    generate(lm, 1, prompt, N_PROMPT, 1, N_TOKENS, b, hb);          /* cut into single positions */
    assert_memory_equal(a, b, sizeof a);
    assert_true(difference(ha, hb, N_TOKENS * WIDTH) < 1e-4f);
    /* Cut back and say it again. */
    om_lm_cut(lm, 0, 5);
    assert_int_equal(om_lm_used(lm, 0), 5);
    for (int i = 5; i < N_PROMPT - 1; i++)
        assert_int_equal(om_lm_prefill(lm, 0, prompt + i, NULL, 1), OMNI_OK);
    for (int i = 0, id = prompt[N_PROMPT - 1], slot = 0; i < N_TOKENS; i++, id = b[i - 1])
        assert_int_equal(om_lm_step(lm, 1, &slot, &id, &b[i], NULL), OMNI_OK);
    assert_memory_equal(a, b, sizeof a);
    /* The prefix from the spare sequence. */
    assert_int_equal(om_lm_prefill(lm, 3, prompt, NULL, 8), OMNI_OK);
    om_lm_copy_prefix(lm, 2, 8);
    assert_int_equal(om_lm_prefill(lm, 2, prompt + 8, NULL, N_PROMPT - 9), OMNI_OK);
    for (int i = 0, id = prompt[N_PROMPT - 1], slot = 2; i < N_TOKENS; i++, id = b[i - 1])
        assert_int_equal(om_lm_step(lm, 1, &slot, &id, &b[i], hb + i * WIDTH), OMNI_OK);
    assert_memory_equal(a, b, sizeof a);
    assert_true(difference(ha, hb, N_TOKENS * WIDTH) < 1e-4f);
    om_lm_free(lm);
}

static void rows_stand_for_tokens(void **state)
{
    om_lm *lm = new_lm(1, true);
    static float rows[3 * WIDTH], ha[2 * WIDTH], hb[2 * WIDTH];
    int32_t next;
    int slot = 0;

    (void)state;
    for (int i = 0; i < 3 * WIDTH; i++)
        rows[i] = sinf((float)i);
    for (int part = 0; part < 2; part++) {
        om_lm_cut(lm, 0, 0);
        assert_int_equal(om_lm_prefill(lm, 0, prompt, NULL, 4), OMNI_OK);
        if (part) {
            assert_int_equal(om_lm_prefill(lm, 0, NULL, rows, 3), OMNI_OK);
        } else {
            assert_int_equal(om_lm_prefill(lm, 0, NULL, rows, 1), OMNI_OK);
            assert_int_equal(om_lm_prefill(lm, 0, NULL, rows + WIDTH, 2), OMNI_OK);
        }
        assert_int_equal(om_lm_step(lm, 1, &slot, prompt + 4, &next, part ? hb : ha), OMNI_OK);
    }
    assert_true(difference(ha, hb, WIDTH) < 1e-4f);
    rows[WIDTH] += 1.0f;        /* they matter */
    om_lm_cut(lm, 0, 4);
    assert_int_equal(om_lm_prefill(lm, 0, NULL, rows, 3), OMNI_OK);
    assert_int_equal(om_lm_step(lm, 1, &slot, prompt + 4, &next, hb), OMNI_OK);
    assert_true(difference(ha, hb, WIDTH) > 1e-3f);
    om_lm_free(lm);
}

static void slots_share_a_step(void **state)
{
    om_lm *lm = new_lm(3, true);
    int32_t alone[3][N_TOKENS], ids[3];
    static float hidden[3][N_TOKENS * WIDTH], together[3 * WIDTH];
    static const int slots[] = { 2, 0, 1 };

    (void)state;
    for (int s = 0; s < 3; s++) {
        generate(lm, s, prompt + s, N_PROMPT - s, 4, N_TOKENS, alone[s], hidden[s]);
        om_lm_cut(lm, s, N_PROMPT - s - 1);
        ids[s] = prompt[N_PROMPT - 1];
    }
    for (int i = 0; i < N_TOKENS; i++) {
        assert_int_equal(om_lm_step(lm, 3, slots, ids, ids, together), OMNI_OK);
        for (int k = 0; k < 3; k++) {
            assert_int_equal(ids[k], alone[slots[k]][i]);
            assert_true(difference(together + k * WIDTH, hidden[slots[k]] + i * WIDTH, WIDTH) < 1e-4f);
        }
    }
    om_lm_free(lm);
}

static void limits(void **state)
{
    om_lm *lm = new_lm(1, false);
    int32_t many[BATCH] = { 0 }, id = 1;
    int slot = 0;

    (void)state;
    assert_int_equal(om_lm_prefill(lm, 0, many, NULL, BATCH + 1), OMNI_ERR_ARG);
    assert_int_equal(om_lm_prefill(lm, 0, NULL, NULL, 1), OMNI_ERR_ARG);
    for (int i = 0; i < CTX / BATCH; i++)
        assert_int_equal(om_lm_prefill(lm, 0, many, NULL, BATCH), OMNI_OK);
    assert_int_equal(om_lm_prefill(lm, 0, many, NULL, 1), OMNI_ERR_LIMIT);
    assert_int_equal(om_lm_step(lm, 1, &slot, &id, &id, NULL), OMNI_ERR_LIMIT);
    assert_int_equal(om_lm_used(lm, 0), CTX);
    om_lm_cut(lm, 0, CTX - 1);
    assert_int_equal(om_lm_step(lm, 1, &slot, &id, &id, NULL), OMNI_OK);
    om_lm_free(lm);
}

static int polls, give_up_at;

static bool give_up(void *user)
{
    (void)user;
    return ++polls >= give_up_at;
}

/* Interrupted anywhere in its graph, a step or prefill leaves whole positions behind. */
static void an_interruption_leaves_no_trace(void **state)
{
    om_lm *lm = new_lm(1, true);
    int32_t a[N_TOKENS], b[N_TOKENS], id = prompt[N_PROMPT - 1];
    static float ha[N_TOKENS * WIDTH], hb[N_TOKENS * WIDTH];
    int slot = 0, nodes;

    (void)state;
    generate(lm, 0, prompt, N_PROMPT, 4, N_TOKENS, a, ha);
    om_lm_cut(lm, 0, 0);
    om_lm_set_abort(lm, give_up, NULL);
    polls = 0;
    give_up_at = 1 << 30;
    assert_int_equal(om_lm_prefill(lm, 0, prompt, NULL, 4), OMNI_OK);
    nodes = polls;
    assert_true(nodes > 10);
    for (int k = 1; k <= nodes; k += 5) {
        give_up_at = k;
        polls = 0;
        assert_int_equal(om_lm_prefill(lm, 0, prompt + 4, NULL, 4), OMNI_ERR_STATE);
        assert_int_equal(om_lm_used(lm, 0), 4);
        polls = 0;
        assert_int_equal(om_lm_step(lm, 1, &slot, &id, &b[0], NULL), OMNI_ERR_STATE);
        assert_int_equal(om_lm_used(lm, 0), 4);
    }
    om_lm_set_abort(lm, NULL, NULL);
    om_lm_cut(lm, 0, 0);
    generate(lm, 0, prompt, N_PROMPT, 4, N_TOKENS, b, hb);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_equal(ha, hb, sizeof ha);
    om_lm_free(lm);
}

static void temperature_gives_the_softmax(void **state)
{
    enum { DRAWS = 3000 };
    om_lm *lm = new_lm(1, true);
    om_sampling s = { .temperature = 1.5f, .top_k = 3, .top_p = 1.0f, .seed = 7 };
    int seen[512] = { 0 }, kinds = 0, slot = 0, often = 0, best = 0;
    int32_t id = prompt[4], greedy;

    (void)state;
    assert_int_equal(om_lm_prefill(lm, 0, prompt, NULL, 4), OMNI_OK);
    assert_int_equal(om_lm_step(lm, 1, &slot, &id, &greedy, NULL), OMNI_OK);
    assert_int_equal(om_lm_set_sampling(lm, 0, &s), OMNI_OK);
    for (int i = 0; i < DRAWS; i++) {
        int32_t next;

        om_lm_cut(lm, 0, 4);
        assert_int_equal(om_lm_step(lm, 1, &slot, &id, &next, NULL), OMNI_OK);
        kinds += seen[next]++ == 0;
    }
    for (int i = 0; i < 512; i++)
        if (seen[i] > often) {
            often = seen[i];
            best = i;
        }
    assert_int_equal(kinds, 3);         /* top-k, and all of it is reached */
    assert_int_equal(best, greedy);
    s.top_p = 1e-6f;                    /* a nucleus of one */
    assert_int_equal(om_lm_set_sampling(lm, 0, &s), OMNI_OK);
    for (int i = 0; i < 20; i++) {
        int32_t next;

        om_lm_cut(lm, 0, 4);
        assert_int_equal(om_lm_step(lm, 1, &slot, &id, &next, NULL), OMNI_OK);
        assert_int_equal(next, greedy);
    }
    om_lm_free(lm);
}

/* Of two passes, as the slots are not neighbours, the second is interrupted: the first leaves no trace either. */
static void an_interrupted_step_is_none(void **state)
{
    om_lm *lm = new_lm(3, true);
    int slots[2] = { 0, 2 }, nodes;
    int32_t ids[2] = { prompt[3], prompt[4] }, plain[2], again[2];

    (void)state;
    for (int k = 0; k < 2; k++)
        assert_int_equal(om_lm_prefill(lm, slots[k], prompt + k, NULL, 3), OMNI_OK);
    polls = 0;
    give_up_at = 1 << 30;
    om_lm_set_abort(lm, give_up, NULL);
    assert_int_equal(om_lm_step(lm, 2, slots, ids, plain, NULL), OMNI_OK);
    nodes = polls;
    for (int k = 1; k <= nodes; k += 5) {
        om_lm_cut(lm, 0, 3);
        om_lm_cut(lm, 2, 3);
        give_up_at = k;
        polls = 0;
        assert_int_equal(om_lm_step(lm, 2, slots, ids, again, NULL), OMNI_ERR_STATE);
        assert_true(om_lm_used(lm, 0) == 3 && om_lm_used(lm, 2) == 3);
    }
    om_lm_set_abort(lm, NULL, NULL);
    assert_int_equal(om_lm_step(lm, 2, slots, ids, again, NULL), OMNI_OK);
    assert_memory_equal(plain, again, sizeof plain);
    om_lm_free(lm);
}

/* What others hold in their slots is not seen: the same bits with and without them where caches are of one's own, and
 * the same tokens, the rows within rounding, where they are not. */
static void others_are_not_seen(void **state)
{
    om_lm *lm = new_lm(3, true);
    int32_t a[N_TOKENS], b[N_TOKENS];
    static float ha[N_TOKENS * WIDTH], hb[N_TOKENS * WIDTH];

    (void)state;
    generate(lm, 1, prompt, N_PROMPT, 4, N_TOKENS, a, ha);
    om_lm_cut(lm, 1, 0);
    generate(lm, 0, prompt + 3, N_PROMPT - 3, 4, N_TOKENS, b, hb);
    generate(lm, 2, prompt + 5, N_PROMPT - 5, 4, N_TOKENS, b, hb);
    generate(lm, 1, prompt, N_PROMPT, 4, N_TOKENS, b, hb);
    assert_memory_equal(a, b, sizeof a);
    assert_true(difference(ha, hb, N_TOKENS * WIDTH) <= (own_caches ? 0.0f : 1e-4f));
    om_lm_free(lm);
}

/* Two prompts of other lengths in one pass, beside what a third slot holds: the tokens of two passes. */
static void several_prompts_in_one_pass(void **state)
{
    enum { A = 9, B = 5 };
    om_lm_params params = { .n_slots = 3, .n_ctx_slot = 64, .n_batch = 16, .n_threads = 1, .f32 = true,
                            .own_caches = own_caches };
    int slots[2] = { 2, 0 }, lengths[2] = { A - 1, B - 1 };
    int32_t both[A + B - 2], next[2][2];
    om_lm *lm = NULL;

    (void)state;
    assert_int_equal(om_lm_new(model, &params, &lm), OMNI_OK);
    memcpy(both, prompt, (A - 1) * sizeof *both);
    memcpy(both + A - 1, prompt + 3, (B - 1) * sizeof *both);
    for (int together = 0; together < 2; together++) {
        int32_t fed[2] = { prompt[A - 1], prompt[3 + B - 1] };

        om_lm_cut(lm, 0, 0);
        om_lm_cut(lm, 2, 0);
        if (together) {
            assert_int_equal(om_lm_prefill_many(lm, 2, slots, lengths, both, NULL), OMNI_OK);
        } else {
            assert_int_equal(om_lm_prefill(lm, 2, both, NULL, A - 1), OMNI_OK);
            assert_int_equal(om_lm_prefill(lm, 0, both + A - 1, NULL, B - 1), OMNI_OK);
            assert_int_equal(om_lm_prefill(lm, 1, both, NULL, 3), OMNI_OK);
        }
        assert_true(om_lm_used(lm, 2) == A - 1 && om_lm_used(lm, 0) == B - 1 && om_lm_used(lm, 1) == 3);
        assert_int_equal(om_lm_step(lm, 2, slots, fed, next[together], NULL), OMNI_OK);
    }
    assert_memory_equal(next[0], next[1], sizeof next[0]);
    lengths[1] = 9;     /* 17 in all */
    assert_int_equal(om_lm_prefill_many(lm, 2, slots, lengths, both, NULL), OMNI_ERR_ARG);
    assert_true(om_lm_used(lm, 2) == A && om_lm_used(lm, 0) == B);
    om_lm_free(lm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(what_it_is),
        cmocka_unit_test(tokens_and_pieces),
        cmocka_unit_test(cuts_and_copies_are_exact),
        cmocka_unit_test(rows_stand_for_tokens),
        cmocka_unit_test(slots_share_a_step),
        cmocka_unit_test(several_prompts_in_one_pass),
        cmocka_unit_test(limits),
        cmocka_unit_test(an_interruption_leaves_no_trace),
        cmocka_unit_test(an_interrupted_step_is_none),
        cmocka_unit_test(others_are_not_seen),
        cmocka_unit_test(temperature_gives_the_softmax),
    };

    int failed = cmocka_run_group_tests_name("one cache for all", tests, load, unload);

    own_caches = true;
    return failed + cmocka_run_group_tests_name("a cache for each", tests, load, unload);
}
