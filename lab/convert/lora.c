/* lora: see the header. */
#include "lora.h"

#include "base/memory.h"
#include "base/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "base_model.model."
#define A_END  ".lora_A.weight"
#define B_END  ".lora_B.weight"

struct om_lora_pair {
    om_lora *lora;
    const om_source_tensor *a, *b;
};

struct om_lora {
    om_source *adapter;
    int   rank;
    float scale;
    om_lora_pair *pairs;
    int   n_pairs;
    const om_lora_pair *held;   /* whose a is in memory */
    float *a;                   /* [rank][columns] of held */
    float *row;                 /* [columns], room for one row of the change */
};

/* ---- the sum --------------------------------------------------------------------- */

static int hold(om_lora *l, const om_lora_pair *p)
{
    const int64_t columns = p->a->shape[1];
    int rc;

    if (l->held == p)
        return OMNI_OK;
    l->held = NULL;
    om_free(l->a);
    om_free(l->row);
    l->a = om_calloc((size_t)(l->rank * columns), sizeof *l->a);
    l->row = om_calloc((size_t)columns, sizeof *l->row);
    if (!l->a || !l->row)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory for %s", l->adapter->files[p->a->file].path, p->a->name);
    rc = om_source_read(l->adapter, p->a, 0, l->rank * columns, l->a);
    l->held = rc ? NULL : p;
    return rc;
}

int om_lora_add(const om_lora_pair *p, int64_t first, int64_t n, float *out)
{
    om_lora *l = p->lora;
    const int64_t columns = p->a->shape[1];
    float b[OM_ADAPTER_MAX_RANK];
    int rc = hold(l, p);

    while (!rc && n > 0) {
        const int64_t from = first % columns, some = n < columns - from ? n : columns - from;

        rc = om_source_read(l->adapter, p->b, first / columns * l->rank, l->rank, b);
        if (rc)
            break;
        memset(l->row, 0, (size_t)some * sizeof *l->row);
        for (int k = 0; k < l->rank; k++) {
            const float *a = l->a + k * columns + from;

            for (int64_t i = 0; i < some; i++)
                l->row[i] += b[k] * a[i];
        }
        for (int64_t i = 0; i < some; i++)
            out[i] += l->scale * l->row[i];
        first += some;
        out += some;
        n -= some;
    }
    return rc;
}

/* ---- whose changes they are ---------------------------------------------------------- */

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);

    return n > m && strcmp(text + n - m, end) == 0;
}

static int odd(const om_lora *l, const om_source_tensor *t, const char *what)
{
    return om_fail(OMNI_ERR_MODEL, "%s: tensor %s: %s; merge it with PEFT itself (merge_and_unload, then save_pretrained) and "
                   "convert the result", l->adapter->files[t->file].path, t->name, what);
}

/* One half of a pair, or why it is not. */
static int check_name(const om_lora *l, const om_source_tensor *t)
{
    if (strstr(t->name, "lora_magnitude_vector"))
        return odd(l, t, "DoRA, which is not read");
    if (strstr(t->name, "lora_embedding_"))
        return odd(l, t, "LoRA of an embedding, which is not read");
    if (ends_with(t->name, ".bias"))
        return odd(l, t, "a bias, which is not read");
    if (strncmp(t->name, PREFIX, sizeof PREFIX - 1) != 0 || !(ends_with(t->name, A_END) || ends_with(t->name, B_END)))
        return odd(l, t, "wanted " PREFIX "MODULE.lora_A.weight or .lora_B.weight");
    return t->type <= OM_SOURCE_F64 ? OMNI_OK : odd(l, t, "wanted floating point");
}

static int misfit(const om_lora *l, const om_source_tensor *t, int64_t rows, int64_t columns, const char *why)
{
    if (t->n_dims == 2 && t->shape[0] == rows && t->shape[1] == columns)
        return OMNI_OK;
    return om_fail(OMNI_ERR_MODEL, "%s: tensor %s: found %d dimensions, %" PRId64 " x %" PRId64 "; wanted %" PRId64 " x %" PRId64
                   " %s", l->adapter->files[t->file].path, t->name, t->n_dims, t->n_dims > 0 ? t->shape[0] : 1,
                   t->n_dims > 1 ? t->shape[1] : 1, rows, columns, why);
}

/* The module's name of "base_model.model.MODULE.lora_A.weight". */
static int module_of(const om_lora *l, const om_source_tensor *a, char *module, size_t room)
{
    const size_t all = strlen(a->name), around = strlen(PREFIX) + strlen(A_END);

    if (all <= around || all - around >= room)
        return odd(l, a, "found a module's name that is empty or too long");
    snprintf(module, room, "%.*s", (int)(all - around), a->name + strlen(PREFIX));
    return OMNI_OK;
}

static int add_pair(om_lora *l, const om_source_tensor *a, const char *module, om_source *base)
{
    om_lora_pair *p = &l->pairs[l->n_pairs];
    char name[600];

    snprintf(name, sizeof name, PREFIX "%s" B_END, module);
    *p = (om_lora_pair){.lora = l, .a = a, .b = om_source_find(l->adapter, name)};
    if (!p->b)
        return odd(l, a, "its lora_B is missing");
    snprintf(name, sizeof name, "%s.weight", module);
    const om_source_tensor *t = om_source_find(base, name);
    if (!t)
        return om_fail(OMNI_ERR_MODEL, "%s: tensor %s: the base model has no %s; does the adapter belong to it?",
                       l->adapter->files[a->file].path, a->name, name);
    if (t->n_dims != 2)
        return odd(l, a, "a change of something that is no matrix");
    int rc = misfit(l, a, l->rank, t->shape[1], "(r of adapter_config.json, columns of the base model's matrix)");
    if (!rc)
        rc = misfit(l, p->b, t->shape[0], l->rank, "(rows of the base model's matrix, r of adapter_config.json)");
    if (rc)
        return rc;
    base->tensors[t - base->tensors].lora = p;
    l->n_pairs++;
    return OMNI_OK;
}

static int add_pairs(om_lora *l, const om_adapter_config *c, om_source *base)
{
    bool *met = om_calloc((size_t)c->n_targets + 1, sizeof *met);
    char module[512];
    int rc = met ? OMNI_OK : om_fail(OMNI_ERR_MEMORY, "out of memory"), n_b = 0;

    for (int i = 0; !rc && i < l->adapter->n_tensors; i++) {
        const om_source_tensor *t = &l->adapter->tensors[i];
        bool meant = c->n_targets == 0;

        rc = check_name(l, t);
        n_b += !rc && ends_with(t->name, B_END);
        if (rc || !ends_with(t->name, A_END))
            continue;
        rc = module_of(l, t, module, sizeof module);
        for (int k = 0; !rc && k < c->n_targets; k++)
            if (om_adapter_targets(c, k, module))
                met[k] = meant = true;
        if (!rc && !meant)
            rc = odd(l, t, "adapter_config.json's target_modules do not name it");
        if (!rc)
            rc = add_pair(l, t, module, base);
    }
    if (!rc && (n_b != l->n_pairs || n_b == 0))
        rc = om_fail(OMNI_ERR_MODEL, "%s: found %d lora_A and %d lora_B, wanted pairs", l->adapter->files[0].path, l->n_pairs, n_b);
    for (int k = 0; !rc && k < c->n_targets; k++)
        if (!met[k])
            rc = om_fail(OMNI_ERR_MODEL, "%s: nothing of the module %s, which adapter_config.json: target_modules names; is the "
                         "file complete?", l->adapter->files[0].path, c->targets[k]);
    om_free(met);
    return rc;
}

/* ---- the whole ------------------------------------------------------------------------- */

int om_lora_new(om_source *adapter, const om_adapter_config *config, om_source *base, om_lora **out)
{
    om_lora *l = om_calloc(1, sizeof *l);
    int rc;

    if (l)
        l->pairs = om_calloc((size_t)adapter->n_tensors, sizeof *l->pairs);
    if (!l || !l->pairs) {
        om_free(l);
        om_source_free(adapter);
        return om_fail(OMNI_ERR_MEMORY, "out of memory for an adapter's list of matrices");
    }
    l->adapter = adapter;
    l->rank = config->rank;
    l->scale = (float)config->scale;
    rc = add_pairs(l, config, base);
    if (rc) {
        for (int i = 0; i < base->n_tensors; i++)
            base->tensors[i].lora = NULL;
        om_lora_free(l);
    } else {
        *out = l;
    }
    return rc;
}

void om_lora_free(om_lora *l)
{
    if (!l)
        return;
    om_source_free(l->adapter);
    om_free(l->pairs);
    om_free(l->a);
    om_free(l->row);
    om_free(l);
}

const om_source *om_lora_source(const om_lora *l)
{
    return l->adapter;
}

int om_lora_count(const om_lora *l)
{
    return l->n_pairs;
}
