/*
 * adapter: a checkpoint that is differences to another one, as the reference's loader takes it.
 *
 *   config.json                 the model's, speech fields included; missing: the base model's
 *   adapter_config.json, adapter_model.safetensors or .bin     LoRA matrices (lora.h)
 *   non_lora_trainables.bin     whole tensors in place of the base model's, or beside them; may be missing
 *   speech_projector.bin        the same, without any LoRA
 */
#ifndef OM_ADAPTER_H
#define OM_ADAPTER_H

#include "lora.h"

/* Is any of those files in the folder? */
bool om_adapter_there(const char *folder);

/* Puts the base model's folder into base (PATH_MAX bytes): given, or what adapter_config.json names. ERR_MODEL when that is
 * no folder, what reading the file returns. */
int om_adapter_base(const char *folder, const char *given, char *base);

/* s holds the base model's tensors: whole ones are replaced or added, the others get their changes. *lora is NULL when
 * there are none; it must outlive s. ERR_IO, ERR_FORMAT, ERR_MODEL, ERR_MEMORY. */
int om_adapter_apply(const char *folder, om_source *s, om_lora **lora);

#endif
