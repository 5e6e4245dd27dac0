#include "name.h"

#include "base/status.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

const om_known_model om_known_models[] = {
#define KNOWN_MODEL(name, repo, revision, licence, terms) {name, repo, revision, licence, terms},
#define KNOWN_FILE(model, role, folder, file, url, sha256)
#include "known.def"
#undef KNOWN_MODEL
#undef KNOWN_FILE
};

const om_known_file om_known_files[] = {
#define KNOWN_MODEL(name, repo, revision, licence, terms)
#define KNOWN_FILE(model, role, folder, file, url, sha256) {model, role, folder, file, url, sha256},
#include "known.def"
#undef KNOWN_MODEL
#undef KNOWN_FILE
};

const int om_n_known_models = sizeof om_known_models / sizeof *om_known_models;
const int om_n_known_files = sizeof om_known_files / sizeof *om_known_files;

enum { PART_MAX = 96, PATH_MOST = 512 };

static const om_known_model *find_known(const char *text, bool by_repo)
{
    for (int i = 0; i < om_n_known_models; i++) {
        const om_known_model *m = &om_known_models[i];
        if (by_repo ? strcasecmp(m->repo, text) == 0 : strcmp(m->name, text) == 0) return m;
    }
    return NULL;
}

bool om_is_hex(const char *text, int digits)
{
    int n = 0;
    while ((text[n] >= '0' && text[n] <= '9') || (text[n] >= 'a' && text[n] <= 'f')) n++;
    return n == digits && text[n] == '\0';
}

bool om_is_commit(const char *text)
{
    return om_is_hex(text, 40);
}

bool om_is_safe_path(const char *path)
{
    if (!*path || strlen(path) > PATH_MOST) return false;
    for (const char *at = path;; at++) {
        const size_t n = strcspn(at, "/");
        if (n == 0 || n > 255 || (n == 1 && at[0] == '.') || (n == 2 && at[0] == '.' && at[1] == '.')) return false;
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)at[i] < 0x20 || at[i] == 0x7f || at[i] == '\\') return false;
        at += n;
        if (!*at) return true;
    }
}

/* USER or REPO: letters, digits, - _ . with neither - nor . at an end, no -- and no .. inside. */
static bool is_part(const char *text, size_t n)
{
    if (n == 0 || n > PART_MAX) return false;
    for (size_t i = 0; i < n; i++) {
        const bool mark = text[i] == '-' || text[i] == '.';
        if (!isalnum((unsigned char)text[i]) && text[i] != '_' && !mark) return false;
        if (mark && (i == 0 || i + 1 == n || text[i + 1] == text[i])) return false;
    }
    return true;
}

static bool is_revision(const char *text)
{
    if (!om_is_safe_path(text) || strlen(text) >= OM_NAME_REVISION || strstr(text, "..")) return false;
    for (const char *c = text; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("-_./", *c)) return false;
    return text[0] != '-' && text[0] != '.';
}

bool om_name_is(const char *text)
{
    return strncmp(text, "hf:", 3) == 0 || find_known(text, false);
}

static void set_id(om_name *name)
{
    const char *slash = strchr(name->repo, '/');
    snprintf(name->id, sizeof name->id, "%.*s--%s", (int)(slash - name->repo), name->repo, slash + 1);
}

int om_name_parse(const char *text, om_name *out)
{
    *out = (om_name){.set = find_known(text, false)};
    if (out->set) {
        out->terms = out->set;
        snprintf(out->repo, sizeof out->repo, "%s", out->set->repo);
        snprintf(out->revision, sizeof out->revision, "%s", out->set->revision);
        set_id(out);
        return OMNI_OK;
    }
    if (strncmp(text, "hf:", 3) != 0)
        return om_fail(OMNI_ERR_ARG, "'%.100s' is no known model; wanted %s or hf:USER/REPO[@REVISION]", text,
                       om_known_models[0].name);
    const char *user = text + 3, *slash = strchr(user, '/'), *at = strchr(user, '@');
    const size_t n = at ? (size_t)(at - user) : strlen(user);
    if (!slash || (size_t)(slash - user) >= n || !is_part(user, (size_t)(slash - user)) ||
        !is_part(slash + 1, n - (size_t)(slash - user) - 1))
        return om_fail(OMNI_ERR_ARG, "'%.200s': wanted hf:USER/REPO[@REVISION], of letters, digits, '-', '_' and '.'",
                       text);
    if (at && !is_revision(at + 1))
        return om_fail(OMNI_ERR_ARG, "'%.200s': '%.100s' is no revision; wanted a branch, a tag or a commit", text,
                       at + 1);
    memcpy(out->repo, user, n);
    snprintf(out->revision, sizeof out->revision, "%s", at ? at + 1 : "main");
    out->terms = find_known(out->repo, true);
    set_id(out);
    return OMNI_OK;
}
