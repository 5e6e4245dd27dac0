#include "hub-json.h"

#include "name.h"

#include "base/memory.h"
#include "base/status.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* jansson stops at a depth of 2048 by itself; duplicate keys would let two readers see two things. */
static int load(const char *text, size_t n, const char *where, json_t **out)
{
    json_error_t error;
    if (n > OM_HUB_MAX_TEXT)
        return om_fail(OMNI_ERR_FORMAT, "%s: the answer has %zu bytes, at most %d are read", where, n, OM_HUB_MAX_TEXT);
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
    if (*out) return OMNI_OK;
    return om_fail(json_error_code(&error) == json_error_out_of_memory ? OMNI_ERR_MEMORY : OMNI_ERR_FORMAT,
                   "%s: the answer is not JSON (line %d: %.100s); is this a hub?", where, error.line, error.text);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

int om_hub_read_revision(const char *text, size_t n, const char *where, om_hub_revision *out)
{
    json_t *root = NULL;
    int rc = load(text, n, where, &root);
    if (rc != OMNI_OK) return rc;
    const char *commit = text_of(root, "sha");
    *out = (om_hub_revision){.commit = ""};
    if (!om_is_commit(commit)) {
        rc = om_fail(OMNI_ERR_FORMAT, "%s: sha: found '%.60s', wanted a commit of 40 hexadecimal digits", where, commit);
    } else {
        snprintf(out->commit, sizeof out->commit, "%s", commit);
        snprintf(out->licence, sizeof out->licence, "%s", text_of(json_object_get(root, "cardData"), "license"));
    }
    json_decref(root);
    return rc;
}

const char *om_hub_etag(const om_hub_file *file)
{
    return file->sha256[0] ? file->sha256 : file->git;
}

static int read_size(const json_t *object, const char *where, const char *path, uint64_t *size)
{
    const json_t *value = json_object_get(object, "size");
    const json_int_t n = json_integer_value(value);
    if (!json_is_integer(value) || n < 0 || (uint64_t)n > OM_HUB_MAX_SIZE)
        return om_fail(OMNI_ERR_FORMAT, "%s: %.200s: size is missing or out of range", where, path);
    *size = (uint64_t)n;
    return OMNI_OK;
}

static int read_file(const json_t *entry, const char *where, om_hub_file *file)
{
    const json_t *lfs = json_object_get(entry, "lfs");
    const char *path = text_of(entry, "path"), *git = text_of(entry, "oid");
    uint64_t lfs_size = 0;
    if (!om_is_safe_path(path))
        return om_fail(OMNI_ERR_FORMAT, "%s: a file is called '%.100s', which does not stay inside its folder; "
                       "nothing was fetched", where, path);
    int rc = read_size(entry, where, path, &file->size);
    if (rc != OMNI_OK) return rc;
    if (!om_is_hex(git, 40)) return om_fail(OMNI_ERR_FORMAT, "%s: %.200s: oid is no git blob's name", where, path);
    snprintf(file->git, sizeof file->git, "%s", git);
    if (json_is_object(lfs)) {
        const char *sum = text_of(lfs, "oid");
        if (!om_is_hex(sum, 64)) return om_fail(OMNI_ERR_FORMAT, "%s: %.200s: lfs.oid is no SHA-256", where, path);
        if ((rc = read_size(lfs, where, path, &lfs_size)) != OMNI_OK) return rc;
        if (lfs_size != file->size)
            return om_fail(OMNI_ERR_FORMAT, "%s: %.200s: size and lfs.size differ", where, path);
        snprintf(file->sha256, sizeof file->sha256, "%s", sum);
    }
    file->path = om_strdup(path);
    return file->path ? OMNI_OK : om_fail(OMNI_ERR_MEMORY, "%s: out of memory", where);
}

static int add_entry(om_hub_list *list, const json_t *entry, const char *where)
{
    if (strcmp(text_of(entry, "type"), "file") != 0) return OMNI_OK;
    if (list->n == OM_HUB_MAX_FILES)
        return om_fail(OMNI_ERR_LIMIT, "%s: more than %d files", where, OM_HUB_MAX_FILES);
    om_hub_file file = {.path = NULL};
    const int rc = read_file(entry, where, &file);
    if (rc != OMNI_OK) return rc;
    for (int i = 0; i < list->n; i++) {
        if (strcmp(list->files[i].path, file.path) != 0) continue;
        om_fail(OMNI_ERR_FORMAT, "%s: %.200s is listed twice", where, file.path);
        om_free(file.path);
        return OMNI_ERR_FORMAT;
    }
    om_hub_file *more = om_realloc(list->files, (size_t)list->n + 1, sizeof *more);
    if (!more) {
        om_free(file.path);
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", where);
    }
    list->files = more;
    list->files[list->n++] = file;
    return OMNI_OK;
}

int om_hub_read_tree(const char *text, size_t n, const char *where, om_hub_list *list)
{
    json_t *root = NULL;
    int rc = load(text, n, where, &root);
    if (rc != OMNI_OK) return rc;
    if (!json_is_array(root)) rc = om_fail(OMNI_ERR_FORMAT, "%s: the answer is no list of files", where);
    for (size_t i = 0; rc == OMNI_OK && i < json_array_size(root); i++)
        rc = add_entry(list, json_array_get(root, i), where);
    json_decref(root);
    return rc;
}

int om_hub_read_index(const char *text, size_t n, const char *where, int (*each)(void *user, const char *file), void *user)
{
    json_t *root = NULL, *value;
    const char *tensor, *last = "";
    int rc = load(text, n, where, &root);
    if (rc != OMNI_OK) return rc;
    json_t *map = json_object_get(root, "weight_map");
    if (!json_is_object(map)) rc = om_fail(OMNI_ERR_FORMAT, "%s: weight_map is missing", where);
    json_object_foreach(map, tensor, value) {
        const char *file = json_string_value(value);
        if (rc != OMNI_OK) break;
        if (!file || !om_is_safe_path(file))
            rc = om_fail(OMNI_ERR_FORMAT, "%s: weight_map: found no name of a file in the same folder", where);
        else if (strcmp(file, last) != 0) rc = each(user, last = file);
    }
    json_decref(root);
    return rc;
}

void om_hub_list_free(om_hub_list *list)
{
    for (int i = 0; i < list->n; i++) om_free(list->files[i].path);
    om_free(list->files);
    *list = (om_hub_list){.n = 0};
}
