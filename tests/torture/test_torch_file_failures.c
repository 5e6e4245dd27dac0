/* PyTorch checkpoints: every allocation and every read fails once. Leaks show under `make asan`. */
#include "unit/cmocka_all.h"

#include "base/memory.h"
#include "base/status.h"
#include "convert/torch-file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int read_all(const char *path, double *number)
{
    om_source *s = om_source_new();
    float x[64];
    int rc = s ? om_torch_open(s, path) : OMNI_ERR_MEMORY;

    if (!rc)
        rc = om_source_finish(s);
    for (int i = 0; !rc && i < s->n_tensors; i++)
        if (s->tensors[i].type <= OM_SOURCE_F64) {
            const int64_t count = om_source_count(&s->tensors[i]);

            rc = om_source_read(s, &s->tensors[i], 0, count < 64 ? count : 64, x);
        }
    om_source_free(s);
    return rc ? rc : om_torch_number(path, "dims.n_audio_layer", number);
}

static void fails_everywhere(const char *name)
{
    const char *dir = getenv("OMNI_ORACLE_DIR");
    char path[1024];
    double number = 0;
    long total;

    snprintf(path, sizeof path, "%s/torch_file/%s.pt", dir ? dir : ".", name);
    om_torture_arm(0);
    if (read_all(path, &number) != OMNI_OK)
        fail_msg("%s", om_last_error());
    assert_true(number == 1);
    total = om_torture_count();
    assert_true(total > 20);
    for (long n = 1; n <= total; n++) {
        int rc;

        om_torture_arm(n);
        rc = read_all(path, &number);
        om_torture_arm(0);
        if (rc != OMNI_ERR_MEMORY && rc != OMNI_ERR_IO)
            fail_msg("%s: failure %ld of %ld: got %d: %s", name, n, total, rc, om_last_error());
    }
    print_message("%s: %ld failures\n", name, total);
}

static void every_failure(void **state)
{
    (void)state;
    fails_everywhere("whisper-zip-2");
    fails_everywhere("whisper-legacy-2");
    fails_everywhere("whisper-zip-4");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_failure)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
