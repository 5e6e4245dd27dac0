/* vad: where speech begins and ends, at any level, in noise, however the stream is cut. Numbers over many voices are
 * lab/eval/score_vad.py's; here is what must never change. */
#include "unit/cmocka_all.h"
#include "unit/speech_sound.h"

#include "base/status.h"
#include "stage/vad.h"

#include <stdlib.h>
#include <string.h>

enum { MS = 16, SECOND = 16000, MOST = 64 };

typedef struct heard {
    om_vad_event events[MOST];
    uint64_t at[MOST];          /* samples taken when it came */
    int n;
} heard;

static om_vad *new_vad(float threshold, int silence_ms)
{
    om_vad_params params = { threshold, silence_ms };
    om_vad *vad = NULL;

    assert_int_equal(om_vad_new(&params, &vad), OMNI_OK);
    return vad;
}

static void listen_to(om_vad *vad, const float *x, size_t n, size_t step, heard *h)
{
    uint64_t clock = 0;

    h->n = 0;
    for (size_t at = 0, taken; at < n; at += taken) {
        assert_int_equal(om_vad_push(vad, x + at, n - at < step ? n - at : step, &taken), OMNI_OK);
        clock += taken;
        if (om_vad_pull(vad, &h->events[h->n]) == OMNI_OK) {
            h->at[h->n++] = clock;
            assert_true(h->n < MOST);
        }
    }
}

/* Two utterances, 2.0 to 3.5 s and 5.5 to 6.5 s of 8 s, in noise `snr` dB below. */
static float *two_utterances(float level, float snr)
{
    float *x = calloc(8 * SECOND, sizeof *x);
    uint32_t seed = 9;

    assert_non_null(x);
    add_speech(x + 2 * SECOND, SECOND * 3 / 2, level, 1);
    add_speech(x + SECOND * 11 / 2, SECOND, level, 2);
    add_noise(x, 8 * SECOND, 0.35f * level * powf(10.0f, -snr / 20.0f), &seed);
    return x;
}

static void check_near(uint64_t is, uint64_t wanted, int before_ms, int after_ms)
{
    if (is + (uint64_t)(before_ms * MS) < wanted || is > wanted + (uint64_t)(after_ms * MS))
        fail_msg("at %g ms, wanted %g", (double)is / MS, (double)wanted / MS);
}

static void finds_speech_at_any_level(void **state)
{
    static const float levels[] = { 0.5f, 0.1f, 0.016f }, ratios[] = { 60.0f, 20.0f, 10.0f };

    (void)state;
    for (int i = 0; i < 9; i++) {
        float *x = two_utterances(levels[i / 3], ratios[i % 3]);
        om_vad *vad = new_vad(0.5f, 500);
        heard h;

        listen_to(vad, x, 8 * SECOND, 1600, &h);
        assert_int_equal(h.n, 6);
        for (int k = 0; k < 2; k++) {
            uint64_t begin = k ? SECOND * 11 / 2 : SECOND * 2, end = k ? SECOND * 13 / 2 : SECOND * 7 / 2;
            const om_vad_event *e = h.events + 3 * k;

            assert_true(e[0].kind == OM_VAD_START && e[1].kind == OM_VAD_PAUSE && e[2].kind == OM_VAD_STOP);
            check_near(e[0].at, begin, 40, 40);
            check_near(h.at[3 * k], begin, 0, 60);
            check_near(e[1].at, end, 120, 60);
            assert_true(e[2].at == e[1].at);
            /* Told when it was promised, to the frame. */
            check_near(h.at[3 * k + 1], e[1].at + 100 * MS, 0, 10);
            check_near(h.at[3 * k + 2], e[1].at + 500 * MS, 0, 10);
        }
        om_vad_free(vad);
        free(x);
    }
}

static void does_not_care_how_it_is_cut(void **state)
{
    static const size_t steps[] = { 1, 7, 159, 160, 161, 4801, 8 * SECOND };
    float *x = two_utterances(0.2f, 15.0f);
    om_vad *vad = new_vad(0.5f, 300);
    heard whole, h;

    (void)state;
    listen_to(vad, x, 8 * SECOND, 320, &whole);
    assert_true(whole.n > 0);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        om_vad_reset(vad);
        listen_to(vad, x, 8 * SECOND, steps[i], &h);
        assert_int_equal(h.n, whole.n);
        for (int k = 0; k < h.n; k++) {
            assert_int_equal(h.events[k].kind, whole.events[k].kind);
            assert_int_equal(h.events[k].at, whole.events[k].at);
            assert_int_equal(h.at[k], whole.at[k]);
        }
    }
    om_vad_free(vad);
    free(x);
}

static void a_short_gap_is_a_pause(void **state)
{
    float *x = calloc(6 * SECOND, sizeof *x);
    om_vad *vad = new_vad(0.5f, 500);
    uint32_t seed = 5;
    heard h;

    (void)state;
    assert_non_null(x);
    add_speech(x + 2 * SECOND, SECOND, 0.3f, 0);
    add_speech(x + SECOND * 33 / 10, SECOND, 0.3f, 3);      /* 300 ms later */
    add_noise(x, 6 * SECOND, 0.003f, &seed);
    listen_to(vad, x, 6 * SECOND, 160, &h);
    assert_int_equal(h.n, 5);
    assert_true(h.events[0].kind == OM_VAD_START && h.events[1].kind == OM_VAD_PAUSE &&
                h.events[2].kind == OM_VAD_RESUME && h.events[3].kind == OM_VAD_PAUSE &&
                h.events[4].kind == OM_VAD_STOP);
    check_near(h.events[2].at, SECOND * 33 / 10, 30, 40);
    check_near(h.events[4].at, SECOND * 43 / 10, 120, 60);
    om_vad_free(vad);
    free(x);
}

static void silence_and_noise_are_not_speech(void **state)
{
    om_vad *vad = new_vad(0.5f, 500);
    float *x = calloc(20 * SECOND, sizeof *x);
    uint32_t seed = 77;
    heard h;

    (void)state;
    assert_non_null(x);
    listen_to(vad, x, 20 * SECOND, 1600, &h);
    assert_int_equal(h.n, 0);
    om_vad_reset(vad);
    add_noise(x, 20 * SECOND, 0.05f, &seed);
    listen_to(vad, x, 20 * SECOND, 1600, &h);
    assert_int_equal(h.n, 0);
    om_vad_free(vad);
    free(x);
}

/* A fan that is switched on may be taken for speech, but not for ever; a voice over it is found. */
static void gets_used_to_a_new_noise(void **state)
{
    om_vad *vad = new_vad(0.5f, 500);
    float *x = calloc(16 * SECOND, sizeof *x);
    uint32_t seed = 3;
    heard h;

    (void)state;
    assert_non_null(x);
    add_noise(x, 4 * SECOND, 0.001f, &seed);
    add_noise(x + 4 * SECOND, 12 * SECOND, 0.03f, &seed);       /* 30 dB more */
    add_speech(x + 12 * SECOND, SECOND, 0.5f, 1);
    listen_to(vad, x, 16 * SECOND, 1600, &h);
    assert_true(h.n >= 3);
    assert_int_equal(h.events[h.n - 1].kind, OM_VAD_STOP);
    check_near(h.events[h.n - 1].at, 13 * SECOND, 120, 60);
    assert_int_equal(h.events[h.n - 3].kind, OM_VAD_START);
    check_near(h.events[h.n - 3].at, 12 * SECOND, 40, 40);
    for (int k = 0; k < h.n - 3; k++)
        assert_true(h.at[k] < 9 * SECOND);
    om_vad_free(vad);
    free(x);
}

/* A recording ends 300 ms after its speech, and digital silence follows: its hiss, 55 dB below, is no speech. */
static void a_recordings_hiss_ends_nothing(void **state)
{
    const size_t begin = SECOND, end = SECOND * 5 / 2;
    float *x = calloc(5 * SECOND, sizeof *x);
    om_vad *vad = new_vad(0.5f, 300);
    uint32_t seed = 5;
    heard h;

    (void)state;
    assert_non_null(x);
    add_speech(x + begin, end - begin, 0.5f, 1);
    add_noise(x + begin, end - begin + 300 * MS, 0.35f * 0.5f * powf(10.0f, -55.0f / 20.0f), &seed);
    listen_to(vad, x, 5 * SECOND, 160, &h);
    assert_int_equal(h.n, 3);
    assert_int_equal(h.events[2].kind, OM_VAD_STOP);
    check_near(h.events[2].at, end, 40, 40);
    check_near(h.at[2], end + 300 * MS, 40, 60);
    om_vad_free(vad);
    free(x);
}

/* A few samples that are finite, but whose squares are not: what follows is heard as ever. */
static void a_huge_sample_deafens_nobody(void **state)
{
    static const size_t places[] = { 0, SECOND / 2, SECOND };
    static const float sizes[] = { 1e20f, 3e38f };

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        float *x = two_utterances(0.2f, 20.0f);
        om_vad *vad = new_vad(0.5f, 500);
        heard h;

        for (size_t k = 0; k < 50 * MS; k++)
            x[places[i / 2] + k] = k % 7 < 3 ? sizes[i % 2] : -sizes[i % 2];
        listen_to(vad, x, 8 * SECOND, 1600, &h);
        assert_true(h.n >= 3);
        assert_int_equal(h.events[h.n - 3].kind, OM_VAD_START);
        check_near(h.events[h.n - 3].at, SECOND * 11 / 2, 40, 40);
        assert_int_equal(h.events[h.n - 1].kind, OM_VAD_STOP);
        check_near(h.events[h.n - 1].at, SECOND * 13 / 2, 120, 60);
        om_vad_free(vad);
        free(x);
    }
}

static void threshold_and_stop(void **state)
{
    float *x = two_utterances(0.02f, 10.0f);
    om_vad *keen = new_vad(0.2f, 300), *deaf = new_vad(1.0f, 300);
    om_vad_params params = { 0.5f, 300 };
    size_t taken;
    heard h;

    (void)state;
    listen_to(deaf, x, 8 * SECOND, 1600, &h);
    assert_int_equal(h.n, 0);           /* nothing is that certain */
    listen_to(keen, x, 8 * SECOND, 1600, &h);
    assert_true(h.n >= 3);
    /* Stopped in the middle: no event follows from it. */
    om_vad_reset(keen);
    listen_to(keen, x, 3 * SECOND, 1600, &h);
    assert_true(om_vad_speaking(keen) && om_vad_last_speech(keen) > 2 * SECOND);
    om_vad_stop(keen);
    assert_false(om_vad_speaking(keen));
    assert_int_equal(om_vad_pull(keen, &h.events[0]), OMNI_AGAIN);
    /* An event waits: nothing is taken. */
    assert_int_equal(om_vad_set(keen, &params), OMNI_OK);
    om_vad_reset(keen);
    assert_int_equal(om_vad_push(keen, x, 8 * SECOND, &taken), OMNI_OK);
    assert_true(taken < 8 * SECOND);
    assert_int_equal(om_vad_push(keen, x, 1, &taken), OMNI_AGAIN);
    assert_int_equal(taken, 0);
    assert_true(om_vad_probability(keen) > 0.5f);
    om_vad_free(keen);
    om_vad_free(deaf);
    free(x);
}

/* Stopped anywhere in loud speech, of what was before nothing is heard in the silence after it. */
static void what_was_before_a_stop_is_over(void **state)
{
    float *x = two_utterances(0.3f, 60.0f);
    om_vad *vad = new_vad(0.2f, 300);
    float silence[SECOND] = {0};
    heard h;

    (void)state;
    for (size_t n = 5 * SECOND / 2; n < 5 * SECOND / 2 + 400; n += 37) {
        om_vad_reset(vad);
        listen_to(vad, x, n, 1600, &h);
        assert_true(om_vad_speaking(vad));
        om_vad_stop(vad);
        listen_to(vad, silence, SECOND, 1600, &h);
        assert_int_equal(h.n, 0);
    }
    om_vad_free(vad);
    free(x);
}

static void refuses_what_it_must(void **state)
{
    static const om_vad_params bad[] = { { -0.1f, 300 }, { 1.1f, 300 }, { NAN, 300 }, { 0.5f, 99 }, { 0.5f, 60001 } };
    om_vad *vad = NULL, *good = new_vad(0.5f, 300);

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(om_vad_new(&bad[i], &vad), OMNI_ERR_ARG);
        assert_null(vad);
        assert_int_equal(om_vad_set(good, &bad[i]), OMNI_ERR_ARG);
    }
    om_vad_free(good);
    om_vad_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_speech_at_any_level),
        cmocka_unit_test(does_not_care_how_it_is_cut),
        cmocka_unit_test(a_short_gap_is_a_pause),
        cmocka_unit_test(silence_and_noise_are_not_speech),
        cmocka_unit_test(gets_used_to_a_new_noise),
        cmocka_unit_test(a_recordings_hiss_ends_nothing),
        cmocka_unit_test(a_huge_sample_deafens_nobody),
        cmocka_unit_test(threshold_and_stop),
        cmocka_unit_test(what_was_before_a_stop_is_over),
        cmocka_unit_test(refuses_what_it_must),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
