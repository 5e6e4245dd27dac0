/* Any bytes as a PyTorch checkpoint: what is accepted can be read from one end to the other. */
#include "base/status.h"
#include "convert/torch-file.h"
#include "fuzz/memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = memory_file(data, size);
    om_source *s = om_source_new();
    float x[64];
    double number;

    if (om_torch_open(s, path) == OMNI_OK && om_source_finish(s) == OMNI_OK)
        for (int i = 0; i < s->n_tensors; i++) {
            const om_source_tensor *t = &s->tensors[i];
            const int64_t count = om_source_count(t), n = count < 64 ? count : 64;

            if ((uint64_t)count > size)     /* not more elements than bytes */
                abort();
            if (t->type > OM_SOURCE_F64)
                continue;
            if (om_source_read(s, t, 0, n, x) != OMNI_OK || om_source_read(s, t, count - n, n, x) != OMNI_OK)
                abort();
        }
    else if (!om_last_error()[0])
        abort();
    om_source_free(s);
    om_torch_number(path, "dims.n_audio_layer", &number);
    return 0;
}
