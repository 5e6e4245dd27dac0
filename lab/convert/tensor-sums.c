/* tensor-sums: see the header. */
#include "tensor-sums.h"

#include "base/memory.h"
#include "base/status.h"
#include "gguf-in.h"

struct om_tensor_sums {
    om_gguf_in in;
};

int om_tensor_sums_open(const char *path, om_tensor_sums **out)
{
    om_tensor_sums *s = om_calloc(1, sizeof *s);
    int rc;

    if (!s)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", path);
    rc = om_gguf_in_open(path, &s->in);
    if (rc)
        om_free(s);
    else
        *out = s;
    return rc;
}

void om_tensor_sums_free(om_tensor_sums *s)
{
    if (!s)
        return;
    om_gguf_in_close(&s->in);
    om_free(s);
}

int om_tensor_sums_get(const om_tensor_sums *s, const char *name, char hex[OM_TENSOR_SUM])
{
    const om_gguf_tensor t = {.file = &s->in, .desc = om_weights_find(s->in.weights, name)};

    if (!t.desc)
        return om_fail(OMNI_ERR_MODEL, "%s: there is no tensor %s", om_weights_path(s->in.weights), name);
    return om_gguf_checksum(&t, hex);
}
