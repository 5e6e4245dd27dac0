/* The speech decoder's own products against plain sums; skipped as a whole on processors that do not have what they are
 * made of. */
#include "unit/cmocka_all.h"

#include "base/graph.h"
#include "base/status.h"
#include "stage/speech-decoder-products.h"

#include <math.h>
#include <stdio.h>

enum { SKIPPED = 77 };          /* to ctest */

static float bf16(float x)
{
    return ggml_bf16_to_fp32(ggml_fp32_to_bf16(x));
}

/* Every count of rows against plain sums; columns that fill no vector; rows behind the last
 * panel untouched. */
static void products_are_plain_sums(void **state)
{
    enum { COLUMNS = 50, ROWS = 87, WHOLE = 80, MOST = 101 };
    static ggml_bf16_t w[ROWS * COLUMNS], packed[ROWS * COLUMNS];
    static float x[MOST * COLUMNS], y[MOST * WHOLE];
    om_device *dev = NULL;
    om_graph g = { 0 };
    om_product product = { .rows = WHOLE };
    (void)state;
    assert_int_equal(om_device_new(2, false, &dev), OMNI_OK);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        packed[i] = w[i] = ggml_fp32_to_bf16(sinf((float)(i * i % 1009)));
    for (int i = 0; i < MOST * COLUMNS; i++)
        x[i] = cosf((float)(i * i % 2003));
    assert_int_equal(om_products_pack(packed, ROWS, COLUMNS), OMNI_OK);
    assert_memory_equal(packed + WHOLE * COLUMNS, w + WHOLE * COLUMNS, (ROWS - WHOLE) * COLUMNS * sizeof *w);
    for (int n = 1; n <= MOST; n++) {
        assert_int_equal(om_graph_begin(&g, 8), OMNI_OK);
        struct ggml_tensor *in = om_graph_input(&g, ggml_new_tensor_2d(g.ctx, GGML_TYPE_F32, COLUMNS, n));
        struct ggml_tensor *m = om_graph_input(&g, ggml_new_tensor_2d(g.ctx, GGML_TYPE_BF16, COLUMNS, ROWS));
        struct ggml_tensor *out = om_products_operand(g.ctx, in);
        out = om_graph_output(&g, om_products_multiply(g.ctx, m, out, n, &product));
        assert_int_equal(om_graph_prepare(&g, dev), OMNI_OK);
        om_tensor_set(in, x, 0, (size_t)n * COLUMNS * sizeof *x);
        om_tensor_set(m, packed, 0, sizeof packed);
        atomic_store(&product.next, 0);
        assert_int_equal(om_graph_compute(&g, dev), OMNI_OK);
        om_tensor_get(out, y, 0, (size_t)n * WHOLE * sizeof *y);
        for (int i = 0; i < n; i++)
            for (int r = 0; r < WHOLE; r++) {
                double sum = 0;
                for (int c = 0; c < COLUMNS; c++)
                    sum += (double)bf16(x[i * COLUMNS + c]) * (double)ggml_bf16_to_fp32(w[r * COLUMNS + c]);
                assert_true(fabs(sum - (double)y[i * WHOLE + r]) <= 1e-5);
            }
    }
    om_graph_free(&g);
    om_device_free(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(products_are_plain_sums) };

    if (!om_products_supported()) return puts("this processor has no AVX512-BF16"), SKIPPED;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
