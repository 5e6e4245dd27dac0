/* Bytes of clients: base64 in both directions, G.711, resampling and files that do not depend on how the sound was cut. */
#include "unit/cmocka_all.h"

#include "../apps/server/audio-memory.h"
#include "../apps/server/base64.h"
#include "../apps/server/sound.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void base64_comes_back(void **state)
{
    (void)state;
    uint8_t bytes[200], back[210];
    char text[300];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 37);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        size_t got = 999;
        srv_base64_encode(bytes, n, text);
        assert_int_equal(strlen(text), srv_base64_letters(n));
        assert_true(srv_base64_decode(text, strlen(text), back, &got));
        assert_int_equal(got, n);
        assert_memory_equal(back, bytes, n);
        size_t bare = strcspn(text, "=");       /* padding may be missing */
        assert_true(srv_base64_decode(text, bare, back, &got));
        assert_int_equal(got, n);
    }
}

static void base64_known_answers(void **state)
{
    (void)state;
    static const char *const known[][2] = {{"", ""}, {"Zg==", "f"}, {"Zm8=", "fo"}, {"Zm9v", "foo"}, {" Zm9v\r\nYg==\t", "foob"}};
    static const char *const bad[] = {"%%%", "Z", "Zg=", "Zg===", "Zh==", "Zm9=", "Z=g=", "Zg==Zg==", "Zm-v", "data:x", "Zg=x"};
    uint8_t out[64];
    size_t n;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        assert_true(srv_base64_decode(known[i][0], strlen(known[i][0]), out, &n));
        assert_int_equal(n, strlen(known[i][1]));
        assert_memory_equal(out, known[i][1], n);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(srv_base64_decode(bad[i], strlen(bad[i]), out, &n));
}

/* Every code decodes to a value that encodes to itself (u-law has two zeros), rising with the code's size. */
static void g711_is_consistent(void **state)
{
    (void)state;
    for (int law = SRV_ULAW; law <= SRV_ALAW; law++) {
        for (int code = 0; code < 256; code++) {
            const uint8_t byte = (uint8_t)code;
            uint8_t again;
            float value;
            srv_sound_decode((srv_format)law, &byte, 1, &value);
            srv_sound_encode((srv_format)law, &value, 1, &again);
            if (law == SRV_ULAW && code == 0x7F) assert_int_equal(again, 0xFF);
            else assert_int_equal(again, code);
        }
    }
    /* ITU-T G.711: the largest values, and silence */
    const uint8_t codes[] = {0x80, 0x00, 0xFF}, a_codes[] = {0xAA, 0x2A, 0xD5};
    float v[3];
    srv_sound_decode(SRV_ULAW, codes, 3, v);
    assert_int_equal((int)(v[0] * 32768), 32124);
    assert_int_equal((int)(v[1] * 32768), -32124);
    assert_int_equal((int)(v[2] * 32768), 0);
    srv_sound_decode(SRV_ALAW, a_codes, 3, v);
    assert_int_equal((int)(v[0] * 32768), 32256);
    assert_int_equal((int)(v[1] * 32768), -32256);
    assert_int_equal((int)(v[2] * 32768), 8);
}

static void pcm_is_exact(void **state)
{
    (void)state;
    uint8_t bytes[4] = {0x01, 0x80, 0xFF, 0x7F}, back[4];
    float v[2], loud[2] = {2.0f, -2.0f};
    srv_sound_decode(SRV_PCM16, bytes, 2, v);
    srv_sound_encode(SRV_PCM16, v, 2, back);
    assert_memory_equal(bytes, back, 4);
    srv_sound_encode(SRV_PCM16, loud, 2, back);
    assert_int_equal((int16_t)(back[0] | back[1] << 8), 32767);
    assert_int_equal((int16_t)(back[2] | back[3] << 8), -32768);
    assert_int_equal(srv_format_at(SRV_PCM16, 20.0), 960);
    assert_true(fabs(srv_format_ms(SRV_ULAW, 160) - 20.0) < 1e-9);
}

enum { IN = 24000 };

static size_t resample(const float *x, size_t step, float *out)
{
    srv_rate *rate = srv_rate_new(24000, 16000);
    size_t made = 0, n;
    const float *y;
    assert_non_null(rate);
    for (size_t at = 0; at < IN; at += step) {
        const size_t m = IN - at < step ? IN - at : step;
        assert_true(srv_rate_run(rate, x + at, m, at + m == IN, &y, &n));
        memcpy(out + made, y, n * sizeof *y);
        made += n;
    }
    srv_rate_free(rate);
    return made;
}

static void resampling_does_not_depend_on_cuts(void **state)
{
    (void)state;
    float *x = malloc(IN * sizeof *x), *a = malloc(IN * sizeof *a), *b = malloc(IN * sizeof *b);
    assert_true(x && a && b);
    for (int i = 0; i < IN; i++) x[i] = 0.5f * sinf((float)i * 0.11519173f);    /* 440 Hz */
    const size_t n = resample(x, IN, a);
    assert_int_equal(n, 16000);
    assert_int_equal(resample(x, 7, b), n);
    assert_memory_equal(a, b, n * sizeof *a);
    for (size_t i = 200; i < n - 200; i++) assert_true(fabsf(a[i] - 0.5f * sinf((float)i * 0.17278760f)) < 2e-3f);
    free(x);
    free(a);
    free(b);
}

/* What a stream holds back, in chunks of 20 ms: the person waits for it at both ends of a turn. */
static void resampling_holds_little_back(void **state)
{
    (void)state;
    static const int rates[][2] = {{24000, 16000}, {16000, 24000}, {8000, 16000}, {16000, 8000}};
    static const float silence[480];
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        srv_rate *rate = srv_rate_new(rates[i][0], rates[i][1]);
        const size_t chunk = (size_t)rates[i][0] / 50;
        size_t made = 0, n;
        const float *y;
        assert_non_null(rate);
        for (int k = 1; k <= 200; k++) {
            assert_true(srv_rate_run(rate, silence, chunk, false, &y, &n));
            made += n;
            assert_true(k * 20 - (double)made * 1000 / rates[i][1] < 25);
        }
        srv_rate_free(rate);
    }
}

enum { HZ = 24000, SECONDS = 20 };

static float *noise(void)
{
    float *x = malloc(HZ * SECONDS * sizeof *x);
    unsigned random = 1;
    assert_non_null(x);
    for (int i = 0; i < HZ * SECONDS; i++) {
        random = random * 1664525u + 1013904223u;
        x[i] = 0.3f * sinf((float)i * 0.05f) + (float)(random >> 16) / 65536.0f * 0.1f;
    }
    return x;
}

static char *file_of(int format, const float *x, size_t n, size_t step, size_t *n_bytes)
{
    srv_audio_writer *w = srv_audio_begin(format, HZ);
    assert_non_null(w);
    for (size_t at = 0; at < n; at += step) assert_true(srv_audio_put(w, x + at, n - at < step ? n - at : step));
    char *file = srv_audio_end(w, n_bytes);
    assert_non_null(file);
    return file;
}

static void files_do_not_depend_on_cuts(void **state)
{
    (void)state;
    float *x = noise();
    for (int format = SRV_FILE_WAV; format <= SRV_FILE_OPUS; format++) {
        size_t n, m;
        char *whole = file_of(format, x, HZ * SECONDS, HZ * SECONDS, &n), *pieces = file_of(format, x, HZ * SECONDS, 997, &m);
        assert_int_equal(n, m);
        if (format != SRV_FILE_OPUS) assert_memory_equal(whole, pieces, n);     /* its stream has a random number */
        free(whole);
        free(pieces);
        free(file_of(format, x, 0, 1, &n));     /* of nothing, too */
        assert_int_equal(n > 0, format == SRV_FILE_WAV || format == SRV_FILE_OPUS);
    }
    free(x);
}

/* All clients wait meanwhile: the end of a long answer must not cost what all of it does. */
static void files_are_encoded_as_sound_comes(void **state)
{
    (void)state;
    float *x = noise();
    for (int format = SRV_FILE_MP3; format <= SRV_FILE_OPUS; format++) {
        size_t n;
        const clock_t start = clock();
        srv_audio_writer *w = srv_audio_begin(format, HZ);
        assert_non_null(w);
        for (int at = 0; at < HZ * SECONDS; at += HZ / 10) assert_true(srv_audio_put(w, x + at, HZ / 10));
        const clock_t put = clock();
        free(srv_audio_end(w, &n));
        assert_true(n > 10000);
        assert_true(clock() - put < (put - start) / 4);
    }
    free(x);
    srv_audio_drop(srv_audio_begin(SRV_FILE_OPUS, HZ));     /* given up */
    srv_audio_drop(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_comes_back),  cmocka_unit_test(base64_known_answers),
        cmocka_unit_test(g711_is_consistent), cmocka_unit_test(pcm_is_exact),
        cmocka_unit_test(resampling_does_not_depend_on_cuts), cmocka_unit_test(resampling_holds_little_back),
        cmocka_unit_test(files_do_not_depend_on_cuts), cmocka_unit_test(files_are_encoded_as_sound_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
