/*
 * vocoder-tile: the inner loop of vocoder-conv.c, a template. No include guard:
 * it is included once for each kind of vector, which defines
 *
 *   TILE_NAME     name of the function that runs one tile
 *   TILE_TARGET   function attribute that allows the instructions
 *   TILE_V16      type of sixteen f32 (a vector, or an array of them in a struct)
 *   TILE_WVEC     type of sixteen weights (or pairs); TILE_SVEC: of a spread input
 *   TILE_WORD     what one step along the input is: a channel (float) or a pair of them (uint32_t)
 *   TILE_LOAD(p) TILE_STORE(p, v) TILE_ADD(a, b) TILE_LEAKY(v, slope)    on f32
 *   TILE_WEIGHT(p) TILE_SPREAD(word) TILE_MADD(acc, weight, spread)      on the compute type
 *   TILE_STORE_ACT(act, at, v)                                           to the compute type
 */

/* R rows by V vectors of output stay in registers while the taps and channels go by. */
static inline __attribute__((always_inline)) TILE_TARGET
void TILE_GLUE(TILE_NAME, _body)(const tile *t, const int R, const int V)
{
    TILE_V16 acc[12][4];
    const TILE_WORD *w = t->weights, *x0 = t->in;

    TILE_UNROLL for (int r = 0; r < R; r++)
        TILE_UNROLL for (int v = 0; v < V; v++)
            acc[r][v] = TILE_LOAD(t->bias + 16 * v);
    for (int tap = 0; tap < t->taps; tap++) {
        const TILE_WORD *x = x0 + tap * t->tap_stride;

        for (int i = 0; i < t->words; i++, w += 16 * V) {
            TILE_WVEC weight[4];

            TILE_UNROLL for (int v = 0; v < V; v++)
                weight[v] = TILE_WEIGHT(w + 16 * v);
            TILE_UNROLL for (int r = 0; r < R; r++) {
                TILE_SVEC spread = TILE_SPREAD(x[r * t->in_stride + i]);

                TILE_UNROLL for (int v = 0; v < V; v++)
                    acc[r][v] = TILE_MADD(acc[r][v], weight[v], spread);
            }
        }
    }
    TILE_UNROLL for (int r = 0; r < R; r++)
        TILE_UNROLL for (int v = 0; v < V; v++) {
            ptrdiff_t at = r * t->out_stride + 16 * v;
            TILE_V16 y = acc[r][v];

            if (t->residual)
                y = TILE_ADD(y, TILE_LOAD(t->residual + at));
            if (t->raw)
                TILE_STORE(t->raw + at, y);
            if (t->act)
                TILE_STORE_ACT(t->act, at, TILE_LEAKY(y, t->slope));
        }
}

static TILE_TARGET void TILE_NAME(const tile *t, int rows, int vectors)
{
    switch (vectors * 16 + rows) {
#define TILE_CASE(V, R) case V * 16 + R: TILE_GLUE(TILE_NAME, _body)(t, R, V); break;
    TILE_CASES(TILE_CASE)
#undef TILE_CASE
    default: break;
    }
}

#undef TILE_NAME
#undef TILE_TARGET
#undef TILE_V16
#undef TILE_WVEC
#undef TILE_SVEC
#undef TILE_WORD
#undef TILE_LOAD
#undef TILE_STORE
#undef TILE_ADD
#undef TILE_LEAKY
#undef TILE_WEIGHT
#undef TILE_SPREAD
#undef TILE_MADD
#undef TILE_STORE_ACT
#undef TILE_CASES
