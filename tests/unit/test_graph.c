/* graph: pools, graphs computed again and again, cancelling, and how weights are laid out. */
#include "unit/cmocka_all.h"

#include "base/cores.h"
#include "base/graph.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/weights.h"
#include "unit/gguf_bytes.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PATH "test_graph.gguf"

static void threads_default_to_the_cores(void **state)
{
    om_device *dev = NULL;

    (void)state;
    assert_true(om_cores() >= 1);
    assert_int_equal(om_device_new(0, false, &dev), OMNI_OK);
    assert_int_equal(om_device_threads(dev), om_cores());
    assert_true(om_device_is_cpu(dev));
    assert_non_null(om_device_threadpool(dev));
    assert_true(om_device_name(dev)[0]);
    om_device_free(dev);
    om_device_free(NULL);
    dev = NULL;
    assert_int_equal(om_device_new(-1, false, &dev), OMNI_ERR_ARG);
    assert_int_equal(om_device_new(1 << 20, false, &dev), OMNI_ERR_ARG);
    assert_null(dev);
}

/* The threads of a service that may use one CPU are one. */
static void processors_are_those_of_the_affinity_mask(void **state)
{
    cpu_set_t before, one;
    size_t cpu = 0;

    (void)state;
    assert_true(om_processors() >= om_cores());
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    while (!CPU_ISSET(cpu, &before))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(om_processors(), 1);
    assert_int_equal(om_cores(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* The quota of a service is its group's, or of one above it: the least counts. */
static void quotas_are_those_of_all_groups_above(void **state)
{
    (void)state;
    assert_int_equal(system("rm -rf test_groups && mkdir -p test_groups/a.slice/b.service"), 0);
    write_text("test_groups/list", "12:cpu:/other\n0::/a.slice/b.service\n");
    assert_int_equal(om_cpu_quota("test_groups/list", "test_groups"), 0);
    write_text("test_groups/a.slice/b.service/cpu.max", "350000 100000\n");
    assert_int_equal(om_cpu_quota("test_groups/list", "test_groups"), 4);
    write_text("test_groups/a.slice/cpu.max", "200000 100000\n");
    assert_int_equal(om_cpu_quota("test_groups/list", "test_groups"), 2);
    write_text("test_groups/cpu.max", "max 100000\n");
    assert_int_equal(om_cpu_quota("test_groups/list", "test_groups"), 2);
    write_text("test_groups/cpu.max", "50000 100000\n");
    assert_int_equal(om_cpu_quota("test_groups/list", "test_groups"), 1);
    /* In a container all that is seen is the mount. */
    write_text("test_groups/cpu.max", "300000 100000\n");
    write_text("test_groups/list", "0::/../../a.slice\n");
    assert_int_equal(om_cpu_quota("test_groups/list", "test_groups"), 3);
    assert_int_equal(om_cpu_quota("test_groups/none", "test_groups"), 3);
    assert_int_equal(system("rm -r test_groups"), 0);
}

/* y = a x + state; state += y. Computed three times with new inputs. */
static void graphs_are_computed_again_with_new_inputs(void **state)
{
    float a[6] = { 1, 2, 3, 4, 5, 6 }, x[3] = { 1, 1, 1 }, y[2];
    struct ggml_tensor *ta, *ts, *tx, *ty;
    om_device *dev;
    om_pool pool;
    om_graph g = { 0 };

    (void)state;
    assert_int_equal(om_device_new(2, false, &dev), OMNI_OK);
    assert_int_equal(om_pool_begin(&pool, 2), OMNI_OK);
    ta = ggml_new_tensor_2d(pool.ctx, GGML_TYPE_F32, 3, 2);     /* [2][3] */
    ts = ggml_new_tensor_1d(pool.ctx, GGML_TYPE_F32, 2);
    assert_int_equal(om_pool_alloc(&pool, dev), OMNI_OK);
    assert_true(om_pool_bytes(&pool) >= sizeof a + sizeof y);
    om_tensor_get(ts, y, 0, sizeof y);
    assert_true(y[0] == 0 && y[1] == 0);
    om_tensor_set(ta, a, 0, sizeof a);
    for (int build = 0; build < 2; build++) {           /* the second build reuses everything */
        om_tensor_zero(ts, 0, sizeof y);
        om_tensor_set(ta, a, 0, sizeof a);
        assert_int_equal(om_graph_begin(&g, 16), OMNI_OK);
        tx = om_graph_input(&g, ggml_new_tensor_1d(g.ctx, GGML_TYPE_F32, 3));
        ty = om_graph_output(&g, ggml_add(g.ctx, ggml_mul_mat(g.ctx, ta, tx), ts));
        om_graph_expand(&g, ggml_cpy(g.ctx, ty, ts));
        assert_int_equal(om_graph_prepare(&g, dev), OMNI_OK);
        for (int i = 1; i <= 3; i++) {
            x[0] = (float)i;
            om_tensor_set(tx, x, 0, sizeof x);
            assert_int_equal(om_graph_compute(&g, dev), OMNI_OK);
            om_tensor_get(ty, y, 0, sizeof y);
        }
        /* sums over i of i + 5 and 4 i + 11 */
        assert_true(y[0] == 21 && y[1] == 57);
    }
    assert_true(om_graph_bytes(&g) > 0);
    om_tensor_zero(ts, 0, sizeof y);
    assert_true(((float *)om_tensor_host(ts))[1] == 0);
    om_graph_free(&g);
    om_graph_free(&g);
    om_pool_free(&pool);
    om_pool_free(&pool);
    om_device_free(dev);
}

static bool always(void *user)
{
    ++*(int *)user;
    return true;
}

static void a_compute_can_be_cancelled(void **state)
{
    om_graph g = { 0 };
    om_device *dev;
    struct ggml_tensor *t;
    int polled = 0;

    (void)state;
    assert_int_equal(om_device_new(1, false, &dev), OMNI_OK);
    assert_int_equal(om_graph_begin(&g, 64), OMNI_OK);
    t = om_graph_input(&g, ggml_new_tensor_1d(g.ctx, GGML_TYPE_F32, 64));
    for (int i = 0; i < 20; i++)
        t = ggml_sqr(g.ctx, t);
    om_graph_output(&g, t);
    assert_int_equal(om_graph_prepare(&g, dev), OMNI_OK);
    om_device_set_abort(dev, always, &polled);
    assert_int_equal(om_graph_compute(&g, dev), OMNI_ERR_STATE);
    assert_true(polled > 0);
    om_device_set_abort(dev, NULL, NULL);
    assert_int_equal(om_graph_compute(&g, dev), OMNI_OK);
    om_graph_free(&g);
    om_device_free(dev);
}

static double cpu_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void idle_threads_sleep(void **state)
{
    om_device *dev;
    double before;

    (void)state;
    assert_int_equal(om_device_new(4, false, &dev), OMNI_OK);
    usleep(200000);
    before = cpu_seconds();
    usleep(200000);
    assert_true(cpu_seconds() - before < 0.02);
    om_device_free(dev);
}

static void an_empty_pool_is_allowed(void **state)
{
    om_pool pool;
    om_device *dev;

    (void)state;
    assert_int_equal(om_device_new(1, false, &dev), OMNI_OK);
    assert_int_equal(om_pool_begin(&pool, 0), OMNI_OK);
    assert_int_equal(om_pool_alloc(&pool, dev), OMNI_OK);
    assert_int_equal(om_pool_bytes(&pool), 0);
    om_pool_free(&pool);
    om_device_free(dev);
}

/* ---- loader --------------------------------------------------------------- */

enum { F32 = 0, F16 = 1 };

/* "m" [2][3] f16, "v" [4] f16, "c" [2][3][4] f32: value 100 a + 10 b + c */
static void write_file(void)
{
    static gguf_bytes file;
    uint16_t half[6] = { 0x3C00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600 };     /* 1 .. 6 */
    float conv[24];

    for (int a = 0; a < 2; a++)
        for (int b = 0; b < 3; b++)
            for (int c = 0; c < 4; c++)
                conv[(a * 3 + b) * 4 + c] = (float)(100 * a + 10 * b + c);
    gguf_begin(&file, 3, 3, 0);
    gguf_tensor(&file, "m", 2, (uint64_t[]){ 3, 2 }, F16, 0);
    gguf_tensor(&file, "v", 1, (uint64_t[]){ 4 }, F16, 32);
    gguf_tensor(&file, "c", 3, (uint64_t[]){ 4, 3, 2 }, F32, 64);
    gguf_pad(&file);
    gguf_raw(&file, half, sizeof half);
    gguf_pad(&file);
    gguf_raw(&file, half, 8);
    gguf_pad(&file);
    gguf_raw(&file, conv, sizeof conv);
    gguf_save(&file, PATH);
}

static void weights_keep_or_change_type_and_order(void **state)
{
    struct ggml_tensor *m, *v, *c, *u;
    const int64_t conv[3] = { 2, 3, 4 };
    float x[24];
    om_loader *ld;
    om_weights *w;
    om_device *dev;
    om_pool pool;

    (void)state;
    write_file();
    assert_int_equal(om_device_new(1, false, &dev), OMNI_OK);
    assert_int_equal(om_weights_open(PATH, &w), OMNI_OK);
    for (int f32 = 0; f32 < 2; f32++) {
        assert_int_equal(om_pool_begin(&pool, 4), OMNI_OK);
        assert_int_equal(om_loader_new(w, &pool, f32, &ld), OMNI_OK);
        m = om_load(ld, "m", 2, (int64_t[]){ 2, 3 });
        v = om_load_f32(ld, "v", 1, (int64_t[]){ 4 });
        c = om_load_conv(ld, "c", conv, false);
        u = om_load_conv(ld, "c", conv, true);
        assert_int_equal(om_loader_status(ld), OMNI_OK);
        assert_int_equal(om_pool_alloc(&pool, dev), OMNI_OK);
        assert_int_equal(om_loader_fill(ld), OMNI_OK);
        assert_int_equal(m->type, f32 ? GGML_TYPE_F32 : GGML_TYPE_F16);
        assert_int_equal(v->type, GGML_TYPE_F32);
        if (f32) {
            om_tensor_get(m, x, 0, 24);
            assert_true(x[0] == 1 && x[5] == 6);
        }
        om_tensor_get(v, x, 0, 16);
        assert_true(x[0] == 1 && x[3] == 4);
        /* [out 2][in 3][k 4] -> [out][k][in] */
        assert_true(c->ne[0] == 12 && c->ne[1] == 2);
        om_tensor_get(c, x, 0, sizeof x);
        for (int o = 0; o < 2; o++)
            for (int k = 0; k < 4; k++)
                for (int i = 0; i < 3; i++)
                    assert_true(x[(o * 4 + k) * 3 + i] == (float)(100 * o + 10 * i + k));
        /* [in 2][out 3][k 4] -> [out][k][in] */
        assert_true(u->ne[0] == 2 && u->ne[1] == 12);
        om_tensor_get(u, x, 0, sizeof x);
        for (int o = 0; o < 3; o++)
            for (int k = 0; k < 4; k++)
                for (int i = 0; i < 2; i++)
                    assert_true(x[(o * 4 + k) * 2 + i] == (float)(100 * i + 10 * o + k));
        om_loader_free(ld);
        om_pool_free(&pool);
    }
    om_weights_free(w);
    om_device_free(dev);
}

static void the_first_failure_is_kept(void **state)
{
    om_loader *ld;
    om_weights *w;
    om_pool pool;

    (void)state;
    write_file();
    assert_int_equal(om_weights_open(PATH, &w), OMNI_OK);
    assert_int_equal(om_pool_begin(&pool, 1), OMNI_OK);
    assert_int_equal(om_loader_new(w, &pool, false, &ld), OMNI_OK);
    assert_null(om_load(ld, "missing", 1, (int64_t[]){ 4 }));
    assert_null(om_load(ld, "v", 1, (int64_t[]){ 4 }));
    assert_int_equal(om_loader_status(ld), OMNI_ERR_MODEL);
    assert_non_null(strstr(om_last_error(), "missing"));
    om_loader_free(ld);
    om_loader_free(NULL);
    /* More tensors than the pool was begun for: a status, not an abort. */
    assert_int_equal(om_loader_new(w, &pool, false, &ld), OMNI_OK);
    assert_non_null(om_load(ld, "v", 1, (int64_t[]){ 4 }));
    assert_null(om_load(ld, "m", 2, (int64_t[]){ 2, 3 }));
    assert_int_equal(om_loader_status(ld), OMNI_ERR_LIMIT);
    om_loader_free(ld);
    om_pool_free(&pool);
    om_weights_free(w);
}

/* "q", one row of a block, of a type that no weight has; and of one that has kernels. */
static void types_without_kernels_are_refused(void **state)
{
    static const enum ggml_type types[] = { GGML_TYPE_Q8_K, GGML_TYPE_Q8_1, GGML_TYPE_I32, GGML_TYPE_Q6_K };
    static gguf_bytes file;
    static const char zeros[4096];

    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const bool good = types[i] == GGML_TYPE_Q6_K;
        const int64_t n = ggml_blck_size(types[i]);
        struct ggml_tensor *q;
        om_loader *ld;
        om_weights *w;
        om_pool pool;

        gguf_begin(&file, 3, 1, 0);
        gguf_tensor(&file, "q", 2, (uint64_t[]){ (uint64_t)n, 1 }, types[i], 0);
        gguf_pad(&file);
        gguf_raw(&file, zeros, ggml_row_size(types[i], n));
        gguf_save(&file, PATH);
        assert_int_equal(om_weights_open(PATH, &w), OMNI_OK);
        assert_int_equal(om_pool_begin(&pool, 1), OMNI_OK);
        assert_int_equal(om_loader_new(w, &pool, false, &ld), OMNI_OK);
        q = om_load(ld, "q", 2, (int64_t[]){ 1, n });
        assert_int_equal(om_loader_status(ld), good ? OMNI_OK : OMNI_ERR_MODEL);
        assert_int_equal(q != NULL, good);
        if (!good)
            assert_non_null(strstr(om_last_error(), ggml_type_name(types[i])));
        om_loader_free(ld);
        om_pool_free(&pool);
        om_weights_free(w);
    }
}

static int load_and_compute(void)
{
    om_device *dev = NULL;
    om_weights *w = NULL;
    om_loader *ld = NULL;
    om_pool pool = { 0 };
    om_graph g = { 0 };
    struct ggml_tensor *c = NULL, *x;
    int rc = om_device_new(2, false, &dev);

    if (!rc)
        rc = om_weights_open(PATH, &w);
    if (!rc)
        rc = om_pool_begin(&pool, 4);
    if (!rc)
        rc = om_loader_new(w, &pool, false, &ld);
    if (!rc) {
        c = om_load_conv(ld, "c", (int64_t[]){ 2, 3, 4 }, false);
        rc = om_loader_status(ld);
    }
    if (!rc)
        rc = om_pool_alloc(&pool, dev);
    if (!rc)
        rc = om_loader_fill(ld);
    if (!rc)
        rc = om_graph_begin(&g, 8);
    if (!rc) {
        x = om_graph_input(&g, ggml_new_tensor_2d(g.ctx, GGML_TYPE_F32, 12, 5));
        om_graph_output(&g, ggml_mul_mat(g.ctx, c, x));
        rc = om_graph_prepare(&g, dev);
    }
    if (!rc)
        rc = om_graph_compute(&g, dev);
    om_graph_free(&g);
    om_loader_free(ld);
    om_pool_free(&pool);
    om_weights_free(w);
    om_device_free(dev);
    return rc;
}

static void survives_every_failure(void **state)
{
    long total;

    (void)state;
    write_file();
    om_torture_arm(0);
    assert_int_equal(load_and_compute(), OMNI_OK);
    total = om_torture_count();
    assert_true(total > 10);
    for (long n = 1; n <= total; n++) {
        int rc;

        om_torture_arm(n);
        rc = load_and_compute();
        om_torture_arm(0);
        if (rc != OMNI_ERR_MEMORY && rc != OMNI_ERR_IO && rc != OMNI_ERR_BACKEND)
            fail_msg("failure %ld of %ld gave %d", n, total, rc);
    }
}

static int clean_up(void **state)
{
    (void)state;
    return unlink(PATH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_default_to_the_cores),
        cmocka_unit_test(processors_are_those_of_the_affinity_mask),
        cmocka_unit_test(quotas_are_those_of_all_groups_above),
        cmocka_unit_test(graphs_are_computed_again_with_new_inputs),
        cmocka_unit_test(a_compute_can_be_cancelled),
        cmocka_unit_test(idle_threads_sleep),
        cmocka_unit_test(an_empty_pool_is_allowed),
        cmocka_unit_test(weights_keep_or_change_type_and_order),
        cmocka_unit_test(the_first_failure_is_kept),
        cmocka_unit_test(types_without_kernels_are_refused),
        cmocka_unit_test(survives_every_failure),
    };

    return cmocka_run_group_tests(tests, NULL, clean_up);
}
