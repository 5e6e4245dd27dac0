/* Any bytes as adapter_config.json. */
#include "convert/adapter-config.h"
#include "fuzz/memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    om_adapter_config c;
    bool met = false;

    if (om_adapter_config_read(memory_file(data, size), &c) != 0)
        return 0;
    if (c.rank < 1 || c.rank > OM_ADAPTER_MAX_RANK || !(c.scale > 0) || !(c.scale < 1e7))
        abort();
    for (int i = 0; i < c.n_targets; i++)
        met |= om_adapter_targets(&c, i, c.targets[i]);
    if (c.n_targets && !met)
        abort();
    om_adapter_config_free(&c);
    return 0;
}
