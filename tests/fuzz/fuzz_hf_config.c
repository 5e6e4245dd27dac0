/* Any bytes as config.json. */
#include "convert/hf-config.h"
#include "fuzz/memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    om_hf_config c;

    if (om_hf_config_read_files(memory_file(data, size), NULL, &c) == 0 &&
        (c.layers < 1 || c.heads_kv < 1 || c.heads % c.heads_kv != 0 || c.head_dim % 2 != 0 || !(c.rope.factor >= 1) ||
         c.n_eos > OM_HF_MAX_EOS))
        abort();
    return 0;
}
