/* The weights of a Hugging Face folder: one file, or an index and its shards. */
#include "safetensors.h"

#include "base/memory.h"
#include "base/status.h"
#include "json-fields.h"
#include "torch-file.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_INDEX = 16 << 20, MAX_SHARDS = 4096 };

typedef struct kind {
    const char *whole, *index, *ending;
    int (*open)(om_source *s, const char *path);
} kind;

static const kind kinds[] = {
    {"model.safetensors", "model.safetensors.index.json", ".safetensors", om_safetensors_open},
    {"pytorch_model.bin", "pytorch_model.bin.index.json", ".bin", om_torch_open},
};

static int join(char *out, size_t size, const char *folder, const char *name)
{
    const int n = snprintf(out, size, "%s/%s", folder, name);

    return n < 0 || (size_t)n >= size ? om_fail(OMNI_ERR_ARG, "%.200s: the path is too long", folder) : OMNI_OK;
}

/* A plain file name with the right ending: no path out of the folder. */
static bool is_plain(const char *name, const char *ending)
{
    const size_t n = strlen(name), m = strlen(ending);

    return n > m && n < 256 && name[0] != '.' && !strchr(name, '/') && strcmp(name + n - m, ending) == 0;
}

/* The file of the index that a shard was added as, or -1. */
static int shard_of(const om_source *s, const char *name)
{
    for (int i = 0; i < s->n_files; i++) {
        const char *slash = strrchr(s->files[i].path, '/');

        if (strcmp(slash ? slash + 1 : s->files[i].path, name) == 0)
            return i;
    }
    return -1;
}

static int open_shards(om_source *s, const char *folder, const char *index, const kind *k, const json_t *map)
{
    char path[PATH_MAX];
    const char *tensor;
    json_t *v;
    int rc = OMNI_OK, n = 0;

    json_object_foreach((json_t *)map, tensor, v) {
        const char *name = json_string_value(v);

        if (!name || !is_plain(name, k->ending))
            return om_fail(OMNI_ERR_FORMAT, "%s: weight_map: %s: found \"%.80s\", wanted the name of a *%s file in the same folder",
                           index, tensor, name ? name : "no string", k->ending);
        if (shard_of(s, name) >= 0)
            continue;
        if (++n > MAX_SHARDS)
            return om_fail(OMNI_ERR_FORMAT, "%s: more than %d files", index, MAX_SHARDS);
        rc = join(path, sizeof path, folder, name);
        if (!rc)
            rc = k->open(s, path);
        if (rc)
            return rc;
    }
    return rc;
}

/* What the index says is where it says, and nothing else is there. */
static int compare(const om_source *s, const char *index, const json_t *map)
{
    for (int i = 0; i < s->n_tensors; i++) {
        const om_source_tensor *t = &s->tensors[i];
        const char *name = json_string_value(json_object_get(map, t->name));

        if (!name)
            return om_fail(OMNI_ERR_FORMAT, "%s: weight_map: tensor %s of %s is missing", index, t->name,
                           s->files[t->file].path);
        if (shard_of(s, name) != t->file)
            return om_fail(OMNI_ERR_FORMAT, "%s: weight_map: tensor %s: found %s, but it is in %s", index, t->name,
                           name, s->files[t->file].path);
    }
    if ((size_t)s->n_tensors == json_object_size(map))
        return OMNI_OK;
    const char *tensor;
    json_t *v;
    json_object_foreach((json_t *)map, tensor, v) {
        if (!om_source_find(s, tensor))
            return om_fail(OMNI_ERR_FORMAT, "%s: weight_map: tensor %s is not in %s", index, tensor,
                           json_string_value(v));
    }
    return OMNI_OK;
}

static int open_index(om_source *s, const char *folder, const char *index, const kind *k)
{
    json_t *root = NULL;
    const json_t *map;
    int rc = om_json_load(index, MAX_INDEX, &root);

    if (rc)
        return rc;
    map = json_object_get(root, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0)
        rc = om_fail(OMNI_ERR_FORMAT, "%s: weight_map: wanted an object of tensor and file names", index);
    if (!rc)
        rc = open_shards(s, folder, index, k, map);
    if (!rc)
        rc = om_source_finish(s);
    if (!rc)
        rc = compare(s, index, map);
    json_decref(root);
    return rc;
}

int om_safetensors_open_folder(om_source *s, const char *folder)
{
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        int rc = join(path, sizeof path, folder, kinds[i].whole);

        if (rc)
            return rc;
        if (access(path, F_OK) == 0) {
            rc = kinds[i].open(s, path);
            return rc ? rc : om_source_finish(s);
        }
        rc = join(path, sizeof path, folder, kinds[i].index);
        if (rc)
            return rc;
        if (access(path, F_OK) == 0)
            return open_index(s, folder, path, &kinds[i]);
    }
    return om_fail(OMNI_ERR_IO, "%s: found neither model.safetensors nor model.safetensors.index.json; is it the "
                   "folder of a Hugging Face checkpoint?", folder);
}
