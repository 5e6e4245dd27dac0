/* adapter-config: adapter_config.json, which says how PEFT's LoRA matrices are to be added to their base model. */
#ifndef OM_ADAPTER_CONFIG_H
#define OM_ADAPTER_CONFIG_H

#include <stdbool.h>

enum { OM_ADAPTER_MAX_RANK = 4096 };

typedef struct om_adapter_config {
    int    rank;                /* r */
    double scale;               /* of b * a: lora_alpha / r, or lora_alpha / sqrt(r) with use_rslora */
    char  *base;                /* base_model_name_or_path, or NULL */
    char **targets;             /* [n_targets] names or ends of names; none: a pattern, which is not read */
    int    n_targets;
} om_adapter_config;

/* Reads and checks it: whatever is not plain LoRA of matrices is refused by the name of its field. ERR_IO, ERR_FORMAT
 * (not JSON), ERR_MODEL, ERR_MEMORY. out is to be freed after OK. */
int  om_adapter_config_read(const char *path, om_adapter_config *out);
void om_adapter_config_free(om_adapter_config *c);

/* Is the module called module meant by targets[target]? As PEFT has it: that name, or one that ends with it after a dot. */
bool om_adapter_targets(const om_adapter_config *c, int target, const char *module);

#endif
