/*
 * speech-decoder-products: matrix products of few rows with big BF16 matrices, for
 * processors that multiply BF16 (AVX-512). ggml's own are made for many rows.
 */
#ifndef OM_SPEECH_DECODER_PRODUCTS_H
#define OM_SPEECH_DECODER_PRODUCTS_H

#include "ggml.h"

#include <stdatomic.h>
#include <stdbool.h>

enum { OM_PANEL = 16 };    /* rows of a matrix that are stored side by side */

/* Whether this processor can; else nothing below may be called. */
bool om_products_supported(void);

/* Rearranges a matrix [rows][columns] in place, columns even: whole panels of its rows become
 * [columns/2][OM_PANEL][2], rows behind the last whole panel stay. ERR_MEMORY: untouched. */
int om_products_pack(void *matrix, int64_t rows, int64_t columns);

/* One product of a graph; borrowed while the graph lives. Set next to 0 before every computation. */
typedef struct om_product {
    int64_t rows;          /* of the matrix that take part, a multiple of OM_PANEL */
    atomic_int next;
} om_product;

/* x [n][columns] f32, rounded to BF16 and rearranged for om_products_multiply. */
struct ggml_tensor *om_products_operand(struct ggml_context *ctx, struct ggml_tensor *x);
/* [n][product->rows] f32 = x matrix', for an operand x of n rows and a packed matrix. A number of the result
 * depends on its row of x and row of the matrix alone, summed in one order whatever n is. */
struct ggml_tensor *om_products_multiply(struct ggml_context *ctx, struct ggml_tensor *matrix,
                                         struct ggml_tensor *x, int64_t n, om_product *product);

#endif
