/* A backend that fails: every session's turn does, and from the third in a row on the step says so. */
#include "unit/conversation.h"

#include "base/weights.h"

#include <unistd.h>

static char folder[] = "/tmp/omni-broken-XXXXXX";
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

/* The toy with a number that is none in the adaptor: whatever is asked by voice fails in the LLM. */
static int load(void **state)
{
    static const char *const names[] = { "toy-F32.gguf", "toy-speech-F32.gguf" };
    omni_model_params params = omni_model_default_params();
    char from[1024], to[64];

    (void)state;
    assert_non_null(mkdtemp(folder));
    for (int i = 0; i < 2; i++) {
        snprintf(from, sizeof from, "%s/session/%s", getenv("OMNI_ORACLE_DIR"), names[i]);
        snprintf(to, sizeof to, "%s/%s", folder, names[i]);
        copy(from, to, i ? place(from, "adaptor.2.bias") : 0, NAN);
    }
    params.n_gpu_layers = 0;
    params.force_f32 = true;
    if (omni_model_load(folder, &params, &model) != OMNI_OK)
        fail_msg("%s", omni_last_error());
    for (int i = 0; i < 2; i++) {
        snprintf(to, sizeof to, "%s/%s", folder, names[i]);
        unlink(to);
    }
    return rmdir(folder);
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
    omni_session *s = new_session(engine, 5), *typing = new_session(engine, 5);    /* its cache never sees such numbers */

    (void)state;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 5; i++)
            assert_int_equal(turn(s, true), i < 2 ? OMNI_OK : OMNI_ERR_BACKEND);
        assert_non_null(strstr(omni_last_error(), "5 turns failed"));
        assert_true(omni_engine_step(engine) >= 0);         /* nothing new has failed */
        assert_int_equal(turn(typing, false), OMNI_OK);
    }
    omni_session_free(typing);
    omni_session_free(s);
    omni_engine_free(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_third_failure_in_a_row_is_told) };

    return cmocka_run_group_tests(tests, load, unload);
}
