/* Any bytes as a safetensors file; what opens is read. */
#include "convert/safetensors.h"
#include "fuzz/memory_file.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { MOST = 256 };    /* elements read of a tensor */
    om_source *s = om_source_new();
    float x[MOST];

    if (s && om_safetensors_open(s, memory_file(data, size)) == 0 && om_source_finish(s) == 0) {
        for (int i = 0; i < s->n_tensors; i++) {
            const om_source_tensor *t = &s->tensors[i];
            const int64_t n = om_source_count(t);

            if (om_source_find(s, t->name) != t)
                abort();
            /* the promise of om_source_add: what is listed can be read */
            if (t->type <= OM_SOURCE_F64 && om_source_read(s, t, 0, n < MOST ? n : MOST, x) != 0)
                abort();
            if (t->type <= OM_SOURCE_F64 && n > MOST && om_source_read(s, t, n - MOST, MOST, x) != 0)
                abort();
        }
    }
    om_source_free(s);
    return 0;
}
