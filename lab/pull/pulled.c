/* Where converted models are, and how -m finds them. */
#include "pull.h"

#include "hub-cache.h"
#include "paths.h"

#include "base/memory.h"
#include "base/status.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

char *om_pulled_folder(const om_name *name, const char *commit, const char *types)
{
    char *cache = om_cache_home();
    char *path = cache ? om_path("%s/llama-omni/models/%s/%s%s%s", cache, name->id, commit, types ? "/" : "",
                                 types ? types : "")
                       : NULL;
    om_free(cache);
    return path;
}

int om_pulled_set_latest(const om_name *name, const char *commit, const char *types)
{
    char *link = om_pulled_folder(name, commit, "latest");
    const int rc = link ? om_link_whole(types, link) : OMNI_ERR_IO;
    om_free(link);
    return rc;
}

/* Does the folder hold a speech file and another? */
static bool holds_pair(const char *folder)
{
    DIR *dir = opendir(folder);
    bool speech = false, llm = false;
    if (!dir) return false;
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        const char *end = strrchr(e->d_name, '.');
        if (end && strcmp(end, ".gguf") == 0) *(strstr(e->d_name, "-speech") ? &speech : &llm) = true;
    }
    closedir(dir);
    return speech && llm;
}

static int find(const om_name *name, char **folder)
{
    om_hub_cache cache;
    char commit[41];
    int rc = om_hub_cache_open(name->id, &cache);
    if (rc != OMNI_OK) return rc;
    rc = om_hub_cache_ref(&cache, name->revision, commit);
    if (rc == OMNI_OK) {
        char *made = om_pulled_folder(name, commit, "latest"), *snapshot = om_hub_cache_snapshot(&cache, commit);
        if (!made || !snapshot) rc = OMNI_ERR_MEMORY;
        else if (holds_pair(made)) *folder = made, made = NULL;
        else if (holds_pair(snapshot)) *folder = snapshot, snapshot = NULL;
        else rc = OMNI_AGAIN;
        om_free(made);
        om_free(snapshot);
    }
    om_hub_cache_close(&cache);
    return rc;
}

int om_pulled_find(const char *text, char **folder)
{
    om_name name;
    int rc = om_name_parse(text, &name);
    if (rc == OMNI_OK) rc = find(&name, folder);
    if (rc == OMNI_AGAIN)
        return om_fail(OMNI_ERR_IO, "%s: not on this machine yet; get it with: omni pull %s", text, text);
    return rc;
}
