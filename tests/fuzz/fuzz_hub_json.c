/* The hub's answers: the first byte chooses which, the rest is its text. */
#include "pull/hub-json.h"
#include "pull/name.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    if (data[0] & 1) {
        om_hub_list list = {.n = 0};
        om_hub_read_tree((const char *)data + 1, size - 1, "fuzz", &list);
        for (int i = 0; i < list.n; i++)
            if (!om_is_safe_path(list.files[i].path) || list.files[i].size > OM_HUB_MAX_SIZE) abort();
        om_hub_list_free(&list);
    } else {
        om_hub_revision revision;
        if (om_hub_read_revision((const char *)data + 1, size - 1, "fuzz", &revision) == 0 &&
            !om_is_commit(revision.commit))
            abort();
    }
    return 0;
}
