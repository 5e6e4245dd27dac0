/* adapter-config: see the header. */
#include "adapter-config.h"

#include "base/memory.h"
#include "base/status.h"
#include "json-fields.h"

#include <math.h>
#include <string.h>

enum { MAX_CONFIG = 1 << 20, MAX_TARGETS = 1 << 14 };

#define CURE "plain LoRA; merge it with PEFT itself (merge_and_unload, then save_pretrained) and convert the result"

/* Fields that are read below, or that only training asks about. Any other may say that the sum is another one. */
static const char *const known[] = {
    "peft_type", "r", "lora_alpha", "use_rslora", "bias", "init_lora_weights", "target_modules", "base_model_name_or_path",
    "auto_mapping", "revision", "task_type", "inference_mode", "lora_dropout", "exclude_modules", "layers_to_transform",
    "layers_pattern", "megatron_core", "loftq_config", "runtime_config", "peft_version", "eva_config", "corda_config",
    "lora_ga_config", "qalora_group_size",
};

static bool is_known(const char *key)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i], key) == 0)
            return true;
    return false;
}

/* Nothing asked for: null, false, or an empty list, object or text. */
static bool is_nothing(const json_t *v)
{
    return json_is_null(v) || json_is_false(v) || (json_is_array(v) && json_array_size(v) == 0) ||
           (json_is_object(v) && json_object_size(v) == 0) || (json_is_string(v) && json_string_length(v) == 0);
}

/* DoRA, whole modules, patterns of ranks, biases, and what later versions invent. */
static int refuse_others(om_json j)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)j.object, key, v)
        if (!is_known(key) && !is_nothing(v))
            return om_json_odd(j, key, CURE);
    return OMNI_OK;
}

/* Some ways to begin change the base model, too, so that the published one is not what the matrices belong to. */
static int check_start(om_json j)
{
    static const char *const harmless[] = {"gaussian", "eva", "orthogonal"};
    const json_t *v = om_json_field(j, "init_lora_weights");
    const char *text = json_string_value(v);
    bool good = !v || json_is_boolean(v);

    for (size_t i = 0; text && i < sizeof harmless / sizeof *harmless; i++)
        good = good || strcmp(text, harmless[i]) == 0;
    return good ? OMNI_OK : om_json_odd(j, "init_lora_weights", "true, false, gaussian, eva or orthogonal: the others change the "
                                        "base model; " CURE);
}

static int expect_text(om_json j, const char *key, const char *wanted)
{
    const char *text = NULL;
    const int rc = om_json_text_or_null(j, key, &text);

    return rc || (text && strcmp(text, wanted) == 0) ? rc : om_json_odd(j, key, wanted);
}

static int read_targets(om_json j, om_adapter_config *c)
{
    const json_t *list = om_json_field(j, "target_modules"), *v;
    size_t i;

    if (!list || json_is_string(list))
        return OMNI_OK;
    if (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > MAX_TARGETS)
        return om_json_odd(j, "target_modules", "a list of names, or a pattern");
    c->targets = om_calloc(json_array_size(list), sizeof *c->targets);
    if (!c->targets)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory for target_modules", j.name);
    json_array_foreach(list, i, v) {
        if (json_string_length(v) == 0)
            return om_json_odd(j, "target_modules", "a list of names, or a pattern");
        c->targets[i] = om_strdup(json_string_value(v));
        if (!c->targets[i])
            return om_fail(OMNI_ERR_MEMORY, "%s: out of memory for target_modules", j.name);
        c->n_targets++;
    }
    return OMNI_OK;
}

static int read_fields(om_json j, om_adapter_config *c)
{
    const char *base = NULL;
    double alpha = 0;
    bool root = false;
    int rc = expect_text(j, "peft_type", "LORA");

    if (!rc)
        rc = refuse_others(j);
    if (!rc)
        rc = expect_text(j, "bias", "none");
    if (!rc)
        rc = check_start(j);
    if (!rc)
        rc = om_json_int(j, "r", 1, OM_ADAPTER_MAX_RANK, &c->rank);
    if (!rc)
        rc = om_json_real(j, "lora_alpha", 1e-6, 1e6, &alpha);
    if (!rc)
        rc = om_json_bool_or(j, "use_rslora", false, &root);
    if (!rc)
        rc = om_json_text_or_null(j, "base_model_name_or_path", &base);
    if (!rc)
        rc = read_targets(j, c);
    if (rc)
        return rc;
    c->scale = alpha / (root ? sqrt((double)c->rank) : (double)c->rank);
    c->base = base && *base ? om_strdup(base) : NULL;
    return base && *base && !c->base ? om_fail(OMNI_ERR_MEMORY, "%s: out of memory", j.name) : OMNI_OK;
}

int om_adapter_config_read(const char *path, om_adapter_config *out)
{
    om_adapter_config c = {.rank = 0};
    json_t *root = NULL;
    int rc = om_json_load(path, MAX_CONFIG, &root);

    if (rc)
        return rc;
    rc = json_is_object(root) ? read_fields((om_json){"adapter_config.json", root}, &c)
                              : om_fail(OMNI_ERR_FORMAT, "%s: wanted a JSON object", path);
    json_decref(root);
    if (rc)
        om_adapter_config_free(&c);
    else
        *out = c;
    return rc;
}

void om_adapter_config_free(om_adapter_config *c)
{
    for (int i = 0; i < c->n_targets; i++)
        om_free(c->targets[i]);
    om_free(c->targets);
    om_free(c->base);
    *c = (om_adapter_config){.rank = 0};
}

bool om_adapter_targets(const om_adapter_config *c, int target, const char *module)
{
    const size_t n = strlen(module), m = strlen(c->targets[target]);

    return n >= m && strcmp(module + n - m, c->targets[target]) == 0 && (n == m || module[n - m - 1] == '.');
}
