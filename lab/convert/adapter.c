/* adapter: see the header. */
#include "adapter.h"

#include "base/memory.h"
#include "base/status.h"
#include "safetensors.h"
#include "torch-file.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONFIG "adapter_config.json"

static const char *const matrices[] = {"adapter_model.safetensors", "adapter_model.bin"};
static const char *const wholes[] = {"non_lora_trainables.bin", "speech_projector.bin"};

enum { N_MATRICES = sizeof matrices / sizeof *matrices, N_WHOLES = sizeof wholes / sizeof *wholes };

static int join(char *out, const char *folder, const char *name)
{
    const int n = snprintf(out, PATH_MAX, "%s/%s", folder, name);

    return n < 0 || n >= PATH_MAX ? om_fail(OMNI_ERR_ARG, "%.200s: the path is too long", folder) : OMNI_OK;
}

/* false: not there, or a path that nothing can have. */
static bool there(const char *folder, const char *name, char *path)
{
    return join(path, folder, name) == OMNI_OK && access(path, F_OK) == 0;
}

bool om_adapter_there(const char *folder)
{
    char path[PATH_MAX];
    bool found = there(folder, CONFIG, path);

    for (int i = 0; !found && i < N_MATRICES; i++)
        found = there(folder, matrices[i], path);
    for (int i = 0; !found && i < N_WHOLES; i++)
        found = there(folder, wholes[i], path);
    return found;
}

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int om_adapter_base(const char *folder, const char *given, char *base)
{
    om_adapter_config c = {.rank = 0};
    char path[PATH_MAX];
    const bool lora = there(folder, CONFIG, path);
    int rc = !given && lora ? om_adapter_config_read(path, &c) : OMNI_OK;
    const char *name = given ? given : c.base;

    if (!rc && !name)
        rc = om_fail(OMNI_ERR_MODEL, "%s: a checkpoint that holds differences to a base model alone, and does not say to which; name "
                     "the base model's folder with --base", folder);
    if (!rc && !is_folder(name))
        rc = given ? om_fail(OMNI_ERR_IO, "%s: no folder of a base model (--base)", given)
                   : om_fail(OMNI_ERR_MODEL, "%s: base_model_name_or_path: found %.200s, which is no folder here; fetch it (omni pull "
                             "--no-convert hf:USER/REPO) and name its folder with --base", path, name);
    if (!rc && om_adapter_there(name))
        rc = om_fail(OMNI_ERR_MODEL, "%s: the base model holds differences to yet another one; merge those first", name);
    if (!rc && snprintf(base, PATH_MAX, "%s", name) >= PATH_MAX)
        rc = om_fail(OMNI_ERR_ARG, "%.200s: the path is too long", name);
    om_adapter_config_free(&c);
    return rc;
}

/* ---- whole tensors -------------------------------------------------------------------- */

static void shorten(om_source *s, const char *prefix)
{
    const size_t n = strlen(prefix);

    for (int i = 0; i < s->n_tensors; i++) {
        char *name = (char *)s->tensors[i].name;

        if (strncmp(name, prefix, n) == 0)
            memmove(name, name + n, strlen(name + n) + 1);
    }
}

/* Training has the model inside of PEFT's, and that inside of another: base_model.model.model.layers... */
static void take_prefixes_off(om_source *s)
{
    bool inside = false;

    shorten(s, "base_model.");
    for (int i = 0; i < s->n_tensors; i++)
        inside = inside || strncmp(s->tensors[i].name, "model.model.", 12) == 0;
    if (inside)
        shorten(s, "model.");
}

static int replace_wholes(const char *path, om_source *s)
{
    om_source *from = om_source_new();
    int rc = from ? om_torch_open(from, path) : OMNI_ERR_MEMORY;

    if (!rc) {
        take_prefixes_off(from);
        rc = om_source_finish(from);
    }
    if (!rc)
        return om_source_take_over(s, from);
    om_source_free(from);
    return rc;
}

/* ---- LoRA ------------------------------------------------------------------------------- */

static int open_matrices(const char *folder, om_source *a)
{
    char path[PATH_MAX];
    int rc;

    if (there(folder, matrices[0], path))
        rc = om_safetensors_open(a, path);
    else if (there(folder, matrices[1], path))
        rc = om_torch_open(a, path);
    else
        rc = om_fail(OMNI_ERR_IO, "%s: found neither %s nor %s beside " CONFIG, folder, matrices[0], matrices[1]);
    return rc ? rc : om_source_finish(a);
}

static int add_matrices(const char *folder, const char *config, om_source *s, om_lora **lora)
{
    om_adapter_config c;
    om_source *a = NULL;
    int rc = om_adapter_config_read(config, &c);

    if (rc)
        return rc;
    a = om_source_new();
    rc = a ? open_matrices(folder, a) : OMNI_ERR_MEMORY;
    if (!rc)
        rc = om_lora_new(a, &c, s, lora);
    else
        om_source_free(a);
    om_adapter_config_free(&c);
    return rc;
}

int om_adapter_apply(const char *folder, om_source *s, om_lora **lora)
{
    char path[PATH_MAX];
    int rc = OMNI_OK;

    *lora = NULL;
    /* without LoRA's configuration, speech_projector.bin alone is something whole */
    if (!there(folder, CONFIG, path) &&
        (there(folder, wholes[0], path) || there(folder, matrices[0], path) || there(folder, matrices[1], path)))
        return om_fail(OMNI_ERR_IO, "%s: " CONFIG " is missing beside it", path);
    for (int i = 0; !rc && i < N_WHOLES; i++)
        if (there(folder, wholes[i], path))
            rc = replace_wholes(path, s);
    if (!rc && there(folder, CONFIG, path))
        rc = add_matrices(folder, path, s, lora);
    return rc;
}
