/* npy: numpy's array files, version 1.0: float32 and int32 out, one-dimensional integers in. */
#ifndef CLI_NPY_H
#define CLI_NPY_H

#include "output-file.h"

#include <omni.h>

#include <stddef.h>
#include <stdint.h>

/* Header and data; the output's owner commits. */
int cli_npy_write(cli_output *out, const omni_array *array);

/* Reads [n] integers (8 to 64 bits, signed or unsigned, either byte order) that fit 32 bits: CLI_OK and
 * *values to free(), or CLI_FAILED after an error line. */
int cli_npy_read_integers(const char *path, int32_t **values, size_t *n);

#endif
