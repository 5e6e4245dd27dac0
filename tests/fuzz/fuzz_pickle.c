/* Any bytes as a pickle: the values of an accepted one are all in place. */
#include "base/status.h"
#include "convert/pickle.h"
#include "fuzz/memory_file.h"

/* Touches everything down to some depth: values may contain themselves. */
static size_t walk(const om_pickle_value *v, int depth)
{
    size_t sum = 0;

    if (depth == 0)
        return 0;
    switch (v->kind) {
    case OM_PICKLE_TEXT: case OM_PICKLE_BYTES: case OM_PICKLE_LONG:
        for (size_t i = 0; i < v->text.n; i++)
            sum += (unsigned char)v->text.bytes[i];
        break;
    case OM_PICKLE_TUPLE: case OM_PICKLE_LIST:
        for (size_t i = 0; i < v->list.n && i < 16; i++)
            sum += walk(v->list.items[i], depth - 1);
        break;
    case OM_PICKLE_DICT:
        for (size_t i = 0; i < v->dict.n && i < 16; i++)
            sum += walk(v->dict.pairs[i].key, depth - 1) + walk(v->dict.pairs[i].value, depth - 1);
        break;
    case OM_PICKLE_TENSOR:
        if (v->tensor.n_dims > OM_SOURCE_MAX_DIMS || v->tensor.first < 0)
            abort();
        for (int i = 0; i < v->tensor.n_dims; i++)
            if (v->tensor.shape[i] < 0 || v->tensor.stride[i] < 0)
                abort();
        break;
    default:
        break;
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    om_pickle *p = NULL;

    if (om_pickle_read(data, size, "fuzz", &p) == OMNI_OK) {
        if (om_pickle_size(p) > size)
            abort();
        walk(om_pickle_root(p), 5);
        for (const om_pickle_storage *s = om_pickle_storages(p); s; s = s->next)
            if (s->count < 0 || s->view_first > s->count || s->view_count > s->count - s->view_first)
                abort();
    } else if (p || !om_last_error()[0]) {
        abort();
    }
    om_pickle_free(p);
    return 0;
}
