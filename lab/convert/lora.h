/*
 * lora: matrices that are a base model's plus scale * b[rows][rank] * a[rank][columns], summed while they are read.
 *
 * PEFT's adapter_model holds a and b of each changed matrix M as base_model.model.M.lora_A.weight and .lora_B.weight.
 * They are hung onto the base model's arrays, so that nobody who reads those needs to know. The sum is made in f32,
 * row by row; one a at a time is in memory.
 */
#ifndef OM_LORA_H
#define OM_LORA_H

#include "adapter-config.h"
#include "source.h"

typedef struct om_lora om_lora;

/* Takes over adapter, also on failure. All of its pairs belong to a matrix of base and fit, and all targets of config have
 * some: ERR_MODEL naming the tensor otherwise. The result must outlive base. ERR_MEMORY. */
int  om_lora_new(om_source *adapter, const om_adapter_config *config, om_source *base, om_lora **out);
void om_lora_free(om_lora *l);
const om_source *om_lora_source(const om_lora *l);
int  om_lora_count(const om_lora *l);       /* pairs */

/* Adds the change to elements [first, first + n) of its matrix. One thread at a time. ERR_IO, ERR_MEMORY. */
int  om_lora_add(const om_lora_pair *pair, int64_t first, int64_t n, float *out);

#endif
