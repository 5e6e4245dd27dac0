/* A backend that fails: every session's turn does, and from the third in a row on the step says so. */
#include "unit/conversation.h"

#include "base/weights.h"

#include <unistd.h>

static omni_model *model;

static void copy(const char *from, const char *to, uint64_t at, float value)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    char block[4096];
    size_t n;

    assert_non_null(in);
    assert_non_null(out);
    while ((n = fread(block, 1, sizeof block, in)) > 0)
        assert_int_equal(fwrite(block, 1, n, out), n);
    if (at) {
        assert_int_equal(fseek(out, (long)at, SEEK_SET), 0);
        assert_int_equal(fwrite(&value, sizeof value, 1, out), 1);
    }
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

static uint64_t place(const char *path, const char *tensor)
{
    om_weights *w;
    uint64_t at = 0;

    assert_int_equal(om_weights_open(path, &w), OMNI_OK);
    for (int64_t i = 0; i < om_weights_tensor_count(w); i++)
        if (strcmp(om_weights_tensor(w, i)->name, tensor) == 0)
            at = om_weights_tensor(w, i)->offset;
    om_weights_free(w);
    assert_true(at > 0);
    return at;
}

/* The toy with a number that is none in a tensor of its LLM file (0) or its speech file (1). */
static omni_model *load_broken(int file, const char *tensor)
{
    static const char *const names[] = { "toy-F32.gguf", "toy-speech-F32.gguf" };
    omni_model_params params = omni_model_default_params();
    char from[1024], to[64], folder[] = "/tmp/omni-broken-XXXXXX";
    omni_model *made = NULL;

    assert_non_null(mkdtemp(folder));
    for (int i = 0; i < 2; i++) {
        snprintf(from, sizeof from, "%s/session/%s", getenv("OMNI_ORACLE_DIR"), names[i]);
        snprintf(to, sizeof to, "%s/%s", folder, names[i]);
        copy(from, to, i == file ? place(from, tensor) : 0, NAN);
    }
    params.n_gpu_layers = 0;
    params.force_f32 = true;
    if (omni_model_load(folder, &params, &made) != OMNI_OK)
        fail_msg("%s", omni_last_error());
    for (int i = 0; i < 2; i++) {
        snprintf(to, sizeof to, "%s/%s", folder, names[i]);
        unlink(to);
    }
    rmdir(folder);
    return made;
}

/* Whatever is asked by voice fails. */
static int load(void **state)
{
    (void)state;
    model = load_broken(1, "adaptor.2.bias");
    return 0;
}

static int unload(void **state)
{
    (void)state;
    omni_model_free(model);
    return 0;
}

/* One turn: how its steps ended when they ended badly, OK else. */
static int turn(omni_session *s, bool spoken)
{
    int worst = OMNI_OK;
    bool begun = false;
    answer a = {0};

    if (spoken)
        ask_sound(s, 1);
    else
        assert_int_equal(omni_session_push_text(s, "a"), OMNI_OK);
    while (!listen_to(s, &a, &begun)) {
        int rc = omni_engine_step(s->engine);

        worst = rc < 0 ? rc : worst;
    }
    assert_int_equal(a.end, spoken ? OMNI_EVENT_FAILED : OMNI_EVENT_END);
    assert_int_equal(a.status, spoken ? OMNI_ERR_BACKEND : 0);
    forget_answer(&a);
    return worst;
}

static void the_third_failure_in_a_row_is_told(void **state)
{
    omni_engine *engine = new_engine(model, 2, 512);
    omni_session *s = new_session(engine, 5);

    (void)state;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 5; i++)
            assert_int_equal(turn(s, true), i < 2 ? OMNI_OK : OMNI_ERR_BACKEND);
        assert_non_null(strstr(omni_last_error(), "5 times in a row: the speech adaptor gave a number that is not finite"));
        assert_true(omni_engine_step(engine) >= 0);         /* nothing new has failed */
        assert_int_equal(turn(s, false), OMNI_OK);
    }
    omni_session_free(s);
    omni_engine_free(engine);
}

/* Numbers that are none get into no cache, own or shared: neither this session nor another suffers from them later. */
static void the_caches_stay_clean(void **state)
{
    (void)state;
    for (int unified = 0; unified < 2; unified++) {
        omni_engine_params params = omni_engine_default_params();
        omni_session *s, *other;
        omni_engine *engine;

        params.n_slots = 2;
        params.n_threads = 1;
        params.kv_unified = unified;
        assert_int_equal(omni_engine_new(model, &params, &engine), OMNI_OK);
        s = new_session(engine, 5);
        other = new_session(engine, 5);
        assert_int_equal(turn(s, false), OMNI_OK);
        assert_int_equal(turn(s, true), OMNI_OK);
        assert_int_equal(turn(s, false), OMNI_OK);
        assert_int_equal(turn(other, false), OMNI_OK);
        omni_session_free(other);
        omni_session_free(s);
        omni_engine_free(engine);
    }
}

/* Noticed in answers without speech too: else it would be a text of nonsense. */
static void an_llm_that_is_broken_fails_without_speech(void **state)
{
    omni_model *mute = load_broken(0, "output_norm.weight");
    omni_engine *engine = new_engine(mute, 1, 512);
    omni_session_params params = omni_session_default_params();
    omni_session *s;
    answer a;

    (void)state;
    params.speech = false;
    assert_int_equal(omni_session_new(engine, &params, &s), OMNI_OK);
    assert_int_equal(omni_session_push_text(s, "a"), OMNI_OK);
    finish(s, &a);
    assert_int_equal(a.end, OMNI_EVENT_FAILED);
    assert_int_equal(a.status, OMNI_ERR_BACKEND);
    assert_non_null(strstr(a.why, "the language model gave a number that is not finite"));
    assert_int_equal(a.n_text, 0);
    forget_answer(&a);
    omni_session_free(s);
    omni_engine_free(engine);
    omni_model_free(mute);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_third_failure_in_a_row_is_told),
        cmocka_unit_test(the_caches_stay_clean),
        cmocka_unit_test(an_llm_that_is_broken_fails_without_speech),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
