/*
 * files: see files.h. A speech file belongs to an LLM file when what stands before "-speech" starts the
 * LLM file's name; a directory with one file of each kind needs no matching names.
 */
#include "core/files.h"

#include "base/memory.h"
#include "base/status.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_FILES = 256, LIST_MAX = 300 };

static const char speech_mark[] = "-speech";

typedef struct listing {
    char *names[MOST_FILES];    /* *.gguf in the directory */
    int n;
    char text[LIST_MAX];        /* the names, for messages */
} listing;

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

/* Where "-speech" stands in a speech file's name; NULL: it is none. */
static const char *find_mark(const char *name)
{
    const char *found = NULL, *at = name;

    while ((at = strstr(at, speech_mark)) != NULL) {
        if (at[strlen(speech_mark)] == '-' || at[strlen(speech_mark)] == '.')
            found = at;
        at++;
    }
    return found;
}

static bool belongs(const char *speech, const char *llm)
{
    size_t n = (size_t)(find_mark(speech) - speech);

    return strncmp(speech, llm, n) == 0 && (llm[n] == '-' || llm[n] == '.');
}

/* The "00002" of a name that ends in "-00002-of-00003.gguf"; NULL: it is whole. */
static const char *find_part(const char *name)
{
    static const char pattern[] = "-ddddd-of-ddddd.gguf";
    size_t n = strlen(name), m = strlen(pattern);

    for (size_t i = 0; n >= m && i < m; i++) {
        char c = name[n - m + i];

        if (pattern[i] == 'd' ? c < '0' || c > '9' : c != pattern[i])
            return NULL;
    }
    return n >= m ? name + n - m + 1 : NULL;
}

static void list_free(listing *l)
{
    for (int i = 0; i < l->n; i++)
        om_free(l->names[i]);
    l->n = 0;
}

static int list_add(listing *l, const char *dir, const char *name)
{
    size_t used = strlen(l->text);
    const char *part = find_part(name);

    /* Of a file in parts the first stands for all. */
    if (part && strncmp(part, "00001-", 6) != 0)
        return OMNI_OK;
    if (l->n == MOST_FILES)
        return om_fail(OMNI_ERR_MODEL,
                       "%s: more than %d .gguf files; give the path of the language model's file", dir,
                       MOST_FILES);
    l->names[l->n] = om_strdup(name);
    if (!l->names[l->n])
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", dir);
    l->n++;
    snprintf(l->text + used, sizeof l->text - used, "%s%s", used ? ", " : "", name);
    return OMNI_OK;
}

/* readdir's order differs from machine to machine: messages and choices should not. */
static void sort(listing *l)
{
    for (int i = 1; i < l->n; i++)
        for (int k = i; k > 0 && strcmp(l->names[k], l->names[k - 1]) < 0; k--) {
            char *swap = l->names[k];

            l->names[k] = l->names[k - 1];
            l->names[k - 1] = swap;
        }
}

static int list_read(const char *dir, listing *l)
{
    struct dirent *entry;
    DIR *d = opendir(dir);
    int rc = OMNI_OK;

    if (!d)
        return om_fail(OMNI_ERR_IO, "%s: %s", dir, strerror(errno));
    while (!rc && (entry = readdir(d)) != NULL)
        if (ends_with(entry->d_name, ".gguf"))
            rc = list_add(l, dir, entry->d_name);
    closedir(d);
    sort(l);
    return rc;
}

static char *join(const char *dir, const char *name)
{
    size_t n = strlen(dir) + strlen(name) + 2;
    char *path = om_calloc(n, 1);

    if (path)
        snprintf(path, n, "%s%s%s", dir, ends_with(dir, "/") ? "" : "/", name);
    return path;
}

/* The pair among the listed files: all LLM files, or the one called llm. -1 for none, -2 for several. */
static int choose(const listing *l, const char *llm, int *llm_at, int *speech_at)
{
    int pairs = 0, best = -1, n_llm = 0, n_speech = 0, any_llm = -1, any_speech = -1;

    for (int i = 0; i < l->n; i++) {
        if (find_mark(l->names[i])) {
            n_speech++;
            any_speech = i;
            continue;
        }
        if (llm && strcmp(l->names[i], llm) != 0)
            continue;
        n_llm++;
        any_llm = i;
        for (int k = 0; k < l->n; k++) {
            int length = find_mark(l->names[k]) ? (int)(find_mark(l->names[k]) - l->names[k]) : -1;

            if (length < 0 || !belongs(l->names[k], l->names[i]) || length < best)
                continue;
            pairs = length > best ? 1 : pairs + 1;
            best = length;
            *llm_at = i;
            *speech_at = k;
        }
    }
    if (pairs == 0 && n_llm == 1 && n_speech == 1) {
        *llm_at = any_llm;
        *speech_at = any_speech;
        return 0;
    }
    return pairs == 1 ? 0 : pairs == 0 ? -1 : -2;
}

static int pair_in(const char *dir, const char *llm, om_files *out)
{
    listing l = {0};
    int llm_at = 0, speech_at = 0, found, rc = list_read(dir, &l);

    if (rc)
        goto done;
    found = choose(&l, llm, &llm_at, &speech_at);
    if (found) {
        rc = om_fail(OMNI_ERR_MODEL, "%s: wanted %s and its <name>-speech-<TYPE>.gguf, found %s%s", dir,
                     llm ? llm : "one <name>-<TYPE>.gguf", l.n ? l.text : "no .gguf file",
                     found == -2
                         ? ": more than one pair; give the path of a language model's file, and keep one "
                           "speech file beside it"
                         : "");
        goto done;
    }
    out->llm = join(dir, l.names[llm_at]);
    out->speech = join(dir, l.names[speech_at]);
    if (!out->llm || !out->speech) {
        om_files_free(out);
        rc = om_fail(OMNI_ERR_MEMORY, "%s: out of memory", dir);
    }
done:
    list_free(&l);
    return rc;
}

int om_files_find(const char *path, om_files *out)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    struct stat info;
    char *dir;
    int rc;

    if (stat(path, &info) != 0)
        return om_fail(OMNI_ERR_IO, "%s: %s", path, strerror(errno));
    if (S_ISDIR(info.st_mode))
        return pair_in(path, NULL, out);
    if (find_mark(name))
        return om_fail(OMNI_ERR_MODEL,
                       "%s is a speech file; give its directory, or the language model's file beside it",
                       path);
    dir = om_strdup(slash ? path : ".");
    if (!dir)
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", path);
    if (slash)
        dir[slash == path ? 1 : slash - path] = '\0';
    rc = pair_in(dir, name, out);
    om_free(dir);
    return rc;
}

void om_files_free(om_files *files)
{
    om_free(files->llm);
    om_free(files->speech);
    files->llm = files->speech = NULL;
}
