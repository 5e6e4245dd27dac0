#include "pull.h"

#include "fetch.h"
#include "hub-cache.h"
#include "hub-json.h"
#include "paths.h"

#include "base/memory.h"
#include "base/status.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_PAGES = 64, CONNECTIONS = 4, RETRIES = 6, STALL_SECONDS = 30 };

/* One file to have. */
typedef struct item {
    om_fetch_file file;
    char *url, *final, *lock;
    const om_hub_file *hub;             /* NULL: of the set, not of the repository */
    const om_known_file *known;
    uint64_t before;                    /* bytes to fetch before it */
    bool there;
} item;

typedef struct job {
    const om_pull_options *options;
    const om_pull_watch *watch;
    om_http http;
    om_hub_cache cache;
    om_hub_revision revision;
    om_hub_list list;
    char *token, *endpoint;
    item *items;
    int n_items;
    uint64_t missing;                   /* bytes to fetch */
    int kind;                           /* which of OM_WANTED_... is taken */
} job;

/* ---- which files ----------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

int om_pull_wanted(const char *path)
{
    static const char *const small[] = {
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
        "model.safetensors.index.json", "pytorch_model.bin.index.json", "adapter_config.json", "chat_template.jinja",
    };
    if (strchr(path, '/')) return 0;
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        if (strcmp(path, small[i]) == 0) return OM_WANTED_SMALL;
    if (ends_with(path, ".safetensors")) return OM_WANTED_CHECKPOINT;
    if (ends_with(path, ".gguf")) return OM_WANTED_GGUF;
    /* The unit vocoder goes by its step; LoRA's remainder by its own name. */
    if (strcmp(path, "non_lora_trainables.bin") == 0 || strcmp(path, "g_00500000") == 0) return OM_WANTED_SMALL;
    return ends_with(path, ".bin") ? OM_WANTED_TORCH : 0;
}

/* The model card: it names the licence, which the converted file carries on. Where terms are known, those count. */
static bool is_card(const job *j, const char *path)
{
    return j->kind != OM_WANTED_GGUF && !j->options->name.terms && strcmp(path, "README.md") == 0;
}

/* A file beside the hub that the named set has, and the caller has not. */
static bool is_of_set(const job *j, const om_known_file *file)
{
    const om_known_model *set = j->options->name.set;
    return set && strcmp(file->model, set->name) == 0 && !(j->options->own_whisper && strcmp(file->role, "whisper") == 0) &&
           !(j->options->own_vocoder && strncmp(file->role, "vocoder", 7) == 0);
}

/* A pair of GGUF files is a model already; else safetensors; else what torch wrote. */
static int choose_kind(const om_hub_list *list)
{
    int found = 0;
    bool speech = false;
    for (int i = 0; i < list->n; i++) {
        const int kind = om_pull_wanted(list->files[i].path);
        found |= kind;
        speech |= kind == OM_WANTED_GGUF && strstr(list->files[i].path, "-speech");
    }
    if (speech) return OM_WANTED_GGUF;
    if (found & OM_WANTED_CHECKPOINT) return OM_WANTED_CHECKPOINT | OM_WANTED_SMALL;
    return found & OM_WANTED_TORCH ? OM_WANTED_TORCH | OM_WANTED_SMALL : 0;
}

/* ---- asking the hub -------------------------------------------------------------------- */

static int set_up(job *j)
{
    const char *endpoint = om_env("HF_ENDPOINT"), *stall = om_env("HF_HUB_DOWNLOAD_TIMEOUT"),
               *pause = om_env("OMNI_PULL_PAUSE");
    int rc = om_http_setup();
    if (rc == OMNI_OK) rc = om_hub_token(&j->token);
    if (rc != OMNI_OK) return rc;
    j->endpoint = om_path("%s", endpoint ? endpoint : "https://huggingface.co");
    if (!j->endpoint) return OMNI_ERR_MEMORY;
    for (size_t n = strlen(j->endpoint); n > 0 && j->endpoint[n - 1] == '/';) j->endpoint[--n] = '\0';
    if (strncmp(j->endpoint, "http://", 7) != 0 && strncmp(j->endpoint, "https://", 8) != 0)
        return om_fail(OMNI_ERR_ARG, "HF_ENDPOINT: found '%.200s', wanted https://HOST or http://HOST", j->endpoint);
    const long seconds = stall ? strtol(stall, NULL, 10) : STALL_SECONDS;
    const double first_pause = pause ? strtod(pause, NULL) : 1.0;
    j->http = (om_http){
        .endpoint = j->endpoint, .token = j->token, .user = j->watch->user, .stop = j->watch->stop,
        .note = j->watch->note, .retries = j->options->retries >= 0 ? j->options->retries : RETRIES,
        .stall_seconds = seconds >= 1 && seconds <= 3600 ? (int)seconds : STALL_SECONDS,
        .first_pause = first_pause >= 0 && first_pause <= 60 ? first_pause : 1.0,
    };
    return OMNI_OK;
}

static int ask_revision(job *j)
{
    char *revision = om_http_escape(j->options->name.revision, true), *text = NULL;
    char *url = revision ? om_path("%s/api/models/%s/revision/%s", j->endpoint, j->options->name.repo, revision) : NULL;
    om_http_answer answer;
    size_t n = 0;
    int rc = url ? om_http_text(&j->http, url, OM_HUB_MAX_TEXT, &answer, &text, &n) : OMNI_ERR_MEMORY;
    if (rc == OMNI_OK) rc = om_hub_read_revision(text, n, url, &j->revision);
    if (rc == OMNI_OK && om_is_commit(j->options->name.revision) &&
        strcmp(j->options->name.revision, j->revision.commit) != 0)
        rc = om_fail(OMNI_ERR_FORMAT, "%s: sha: found %s, wanted the commit that was asked for", url,
                     j->revision.commit);
    om_free(revision);
    om_free(text);
    om_free(url);
    return rc;
}

static int ask_list(job *j)
{
    char *url = om_path("%s/api/models/%s/tree/%s?recursive=false", j->endpoint, j->options->name.repo,
                        j->revision.commit);
    int rc = url ? OMNI_OK : OMNI_ERR_MEMORY;
    for (int page = 0; rc == OMNI_OK && url; page++) {
        om_http_answer answer;
        char *text = NULL;
        size_t n = 0;
        if (page == MOST_PAGES) rc = om_fail(OMNI_ERR_LIMIT, "%s: more than %d pages", url, MOST_PAGES);
        if (rc == OMNI_OK) rc = om_http_text(&j->http, url, OM_HUB_MAX_TEXT, &answer, &text, &n);
        if (rc == OMNI_OK) rc = om_hub_read_tree(text, n, url, &j->list);
        om_free(text);
        if (rc == OMNI_OK && answer.next_too_long)
            rc = om_fail(OMNI_ERR_FORMAT, "%s: the list goes on at an address of more than %zu bytes", url,
                         sizeof answer.next - 1);
        if (rc == OMNI_OK && answer.next[0] && !om_http_same_origin(answer.next, j->endpoint))
            rc = om_fail(OMNI_ERR_FORMAT, "%s: the list goes on at %.200s, which is another server", url, answer.next);
        om_free(url);
        url = NULL;
        if (rc == OMNI_OK && answer.next[0] && !(url = om_path("%s", answer.next))) rc = OMNI_ERR_MEMORY;
    }
    om_free(url);
    return rc;
}

/* ---- the plan -------------------------------------------------------------------------- */

static int add_item(job *j, item *it)
{
    item *more = it->url && it->final && it->lock ? om_realloc(j->items, (size_t)j->n_items + 1, sizeof *more) : NULL;
    if (!more) {
        om_free(it->url);
        om_free(it->final);
        om_free(it->lock);
        return om_fail(OMNI_ERR_MEMORY, "%s: out of memory", it->file.label);
    }
    it->file.url = it->url;
    it->file.final = it->final;
    it->file.lock = it->lock;
    it->there = om_file_has_size(it->final, it->file.size);
    it->before = j->missing;
    if (!it->there) j->missing += it->file.size;
    j->items = more;
    j->items[j->n_items++] = *it;
    return OMNI_OK;
}

static int add_hub_file(job *j, const om_hub_file *file)
{
    const char *etag = om_hub_etag(file);
    char *path = om_http_escape(file->path, false);
    if (!path) return OMNI_ERR_MEMORY;
    item it = {.hub = file, .file = {.label = file->path, .size = file->size, .git = file->git,
                                     .sha256 = file->sha256[0] ? file->sha256 : NULL, .commit = j->revision.commit}};
    it.url = om_path("%s/%s/resolve/%s/%s", j->endpoint, j->options->name.repo, j->revision.commit, path);
    it.final = om_hub_cache_blob(&j->cache, etag);
    it.lock = om_path("%s/%s.lock", j->cache.locks, etag);
    om_free(path);
    return add_item(j, &it);
}

static char *source_path(const om_known_file *known)
{
    char *cache = om_cache_home();
    char *path = cache ? om_path("%s/llama-omni/sources/%s/%s", cache, known->folder, known->file) : NULL;
    om_free(cache);
    return path;
}

/* The size of a file beside the hub is asked for: nothing else tells it. */
static int ask_size(job *j, const char *url, uint64_t *size)
{
    const om_http_request r = {.url = url, .head = true, .first = -1};
    om_http_answer answer;
    int rc;
    for (int failures = 1; (rc = om_http_try(&j->http, &r, &answer)) == OM_HTTP_RETRY; failures++)
        if ((rc = om_http_pause(&j->http, failures, &answer)) != OM_HTTP_RETRY) break;
    if (rc != OMNI_OK) return rc;
    if (answer.length < 0 || (uint64_t)answer.length > OM_HUB_MAX_SIZE)
        return om_fail(OMNI_ERR_FORMAT, "%s: the server does not say how long it is", url);
    *size = (uint64_t)answer.length;
    return OMNI_OK;
}

static int add_known_file(job *j, const om_known_file *known)
{
    struct stat st;
    const char *mirror = om_env("OMNI_MIRROR");
    item it = {.known = known, .file = {.label = known->file, .sha256 = known->sha256[0] ? known->sha256 : NULL}};
    if (!it.file.sha256) it.file.begins = strcmp(known->role, "vocoder-config") == 0 ? "{" : "P\x80";     /* JSON; ZIP, pickle */
    it.url = mirror ? om_path("%s/%s/%s", mirror, known->folder, known->file) : om_path("%s", known->url);
    it.final = source_path(known);
    it.lock = it.final ? om_path("%s.lock", it.final) : NULL;
    int rc = it.lock && it.url ? OMNI_OK : OMNI_ERR_MEMORY;
    if (rc == OMNI_OK && stat(it.final, &st) == 0 && S_ISREG(st.st_mode)) it.file.size = (uint64_t)st.st_size;
    else if (rc == OMNI_OK) rc = ask_size(j, it.url, &it.file.size);
    if (rc == OMNI_OK) return add_item(j, &it);
    om_free(it.url);
    om_free(it.final);
    om_free(it.lock);
    return rc;
}

static int make_plan(job *j)
{
    j->kind = choose_kind(&j->list);
    if (!j->kind)
        return om_fail(OMNI_ERR_FORMAT, "%s at %s: found %d files, none of them .safetensors, .bin or a pair of .gguf; "
                       "is this a LLaMA-Omni checkpoint?", j->options->name.repo, j->revision.commit, j->list.n);
    int rc = OMNI_OK;
    for (int i = 0; rc == OMNI_OK && i < j->list.n; i++)
        if (om_pull_wanted(j->list.files[i].path) & j->kind || is_card(j, j->list.files[i].path))
            rc = add_hub_file(j, &j->list.files[i]);
    for (int i = 0; rc == OMNI_OK && i < om_n_known_files; i++)
        if (is_of_set(j, &om_known_files[i]))
            rc = add_known_file(j, &om_known_files[i]);
    return rc;
}

/* About what share of a 16-bit checkpoint the converted LLM takes, with what it is made by way of (docs/convert.md). */
static double share_of(const char *type)
{
    if (!type || strcmp(type, "f16") == 0 || strcmp(type, "bf16") == 0) return 1;
    if (strcmp(type, "f32") == 0) return 2;
    return strcmp(type, "q8_0") == 0 ? 0.55 : 1.45;
}

/* Room for what is to be fetched and for what will be made of it, before anything is begun. */
static int check_room(const job *j)
{
    uint64_t repository = 0, had = 0;
    struct stat st;
    for (int i = 0; i < j->n_items; i++) {
        if (j->items[i].hub) repository += j->items[i].file.size;
        char *partial = om_path("%s.omni-incomplete", j->items[i].final);
        if (partial && !j->items[i].there && stat(partial, &st) == 0) had += (uint64_t)st.st_blocks * 512;
        om_free(partial);
    }
    const uint64_t fetch = j->missing > had ? j->missing - had : 0;
    int rc = om_space_check(j->cache.repo, fetch, "fetching it");
    if (rc != OMNI_OK || j->kind == OM_WANTED_GGUF) return rc;
    char *out = om_pulled_folder(&j->options->name, j->revision.commit, "x"), *cache = om_cache_home();
    const uint64_t made = (uint64_t)((double)repository * share_of(j->options->llm_type));
    const bool same = cache && om_same_file_system(cache, j->cache.root);      /* then both must fit */
    rc = out ? om_space_check(out, made + (same ? fetch : 0), same ? "fetching and converting it" : "converting it")
             : OMNI_ERR_MEMORY;
    om_free(out);
    om_free(cache);
    return rc;
}

/* ---- fetching -------------------------------------------------------------------------- */

typedef struct item_watch {
    const job *job;
    const item *item;
} item_watch;

static int see_progress(void *user, const om_fetch_file *file, uint64_t done, int checking)
{
    const item_watch *w = user;
    const om_pull_watch *watch = w->job->watch;
    const om_pull_state state = {.file = file->label, .checking = checking != 0, .done = done, .size = file->size,
                                 .all_done = w->item->before + (checking ? file->size : done),
                                 .all_size = w->job->missing};
    if (watch->progress) watch->progress(watch->user, &state);
    return 0;
}

static void see_waiting(void *user, const om_fetch_file *file)
{
    const om_pull_watch *watch = ((const item_watch *)user)->job->watch;
    char line[400];
    snprintf(line, sizeof line, "%.200s: another process is fetching it; waiting", file->label);
    if (watch->note) watch->note(watch->user, line);
}

static int fetch_all(job *j)
{
    int rc = OMNI_OK;
    for (int i = 0; rc == OMNI_OK && i < j->n_items; i++) {
        const item *it = &j->items[i];
        item_watch w = {j, it};
        const om_fetch_watch watch = {.user = &w, .progress = see_progress, .waiting = see_waiting};
        rc = om_fetch(&j->http, &it->file, j->options->connections > 0 ? j->options->connections : CONNECTIONS, &watch);
        if (rc == OMNI_OK && it->hub)
            rc = om_hub_cache_link(&j->cache, j->revision.commit, it->hub->path, om_hub_etag(it->hub));
    }
    /* Last of all: a revision known here is a revision whose files are all here. */
    if (rc == OMNI_OK) rc = om_hub_cache_set_ref(&j->cache, j->options->name.revision, j->revision.commit);
    return rc;
}

/* ---- offline --------------------------------------------------------------------------- */

static int must_be_there(void *folder, const char *file)
{
    struct stat st;
    char *path = om_path("%s/%s", (const char *)folder, file);
    int rc = OMNI_OK;
    if (!path) rc = OMNI_ERR_MEMORY;
    else if (stat(path, &st) != 0)
        rc = om_fail(OMNI_ERR_IO, "%s: %s; run omni pull without --offline while there is a network", path, strerror(errno));
    om_free(path);
    return rc;
}

/* Every shard that an index names; a run that ended early may have left fewer. */
static int look_at_index(char *folder, const char *file)
{
    char *path = om_path("%s/%s", folder, file), *text = om_calloc(OM_HUB_MAX_TEXT, 1);
    int rc = path && text ? om_read_whole(path, text, OM_HUB_MAX_TEXT) : OMNI_ERR_MEMORY;
    if (rc == OMNI_OK) rc = om_hub_read_index(text, strlen(text), path, must_be_there, folder);
    om_free(text);
    om_free(path);
    return rc == OMNI_AGAIN ? OMNI_OK : rc;
}

/* The snapshot as it lies there: every link must lead to a file, and no shard may be missing. */
static int look_at_snapshot(job *j, char *folder)
{
    DIR *dir = opendir(folder);
    int found = 0;
    bool speech = false, llm = false, shards = false, index = false;
    if (!dir)
        return om_fail(OMNI_ERR_IO, "%s: not in the cache; run omni pull without --offline while there is a network",
                       folder);
    int rc = OMNI_OK;
    for (const struct dirent *e; rc == OMNI_OK && (e = readdir(dir)) != NULL;) {
        const int kind = om_pull_wanted(e->d_name);
        if (!kind) continue;
        found |= kind;
        if (kind == OM_WANTED_GGUF) *(strstr(e->d_name, "-speech") ? &speech : &llm) = true;
        shards |= kind != OM_WANTED_GGUF && strstr(e->d_name, "-of-");
        rc = must_be_there(folder, e->d_name);
        if (rc != OMNI_OK || !ends_with(e->d_name, ".index.json")) continue;
        index = true;
        rc = look_at_index(folder, e->d_name);
    }
    closedir(dir);
    if (rc == OMNI_OK && (speech ? !llm : shards && !index))
        rc = om_fail(OMNI_ERR_IO, "%s: %s is missing; run omni pull without --offline while there is a network", folder,
                     speech ? "the LLM file" : "the list of the shards (*.index.json)");
    j->kind = speech ? OM_WANTED_GGUF : found & ~OM_WANTED_GGUF;
    if (rc == OMNI_OK && !(j->kind & ~OM_WANTED_SMALL))
        rc = om_fail(OMNI_ERR_IO, "%s: no model's files in the cache; run omni pull without --offline while there is a "
                     "network", folder);
    return rc;
}

static int look_offline(job *j)
{
    int rc = om_hub_cache_ref(&j->cache, j->options->name.revision, j->revision.commit);
    if (rc == OMNI_AGAIN)
        return om_fail(OMNI_ERR_IO, "%s at %s: not in %s; run omni pull without --offline while there is a network",
                       j->options->name.repo, j->options->name.revision, j->cache.root);
    if (rc != OMNI_OK) return rc;
    char *folder = om_hub_cache_snapshot(&j->cache, j->revision.commit);
    rc = folder ? look_at_snapshot(j, folder) : OMNI_ERR_MEMORY;
    om_free(folder);
    for (int i = 0; rc == OMNI_OK && i < om_n_known_files; i++) {
        struct stat st;
        if (!is_of_set(j, &om_known_files[i])) continue;
        char *path = source_path(&om_known_files[i]);
        if (!path) rc = OMNI_ERR_MEMORY;
        else if (stat(path, &st) != 0)
            rc = om_fail(OMNI_ERR_IO, "%s: not there; run omni pull without --offline while there is a network", path);
        om_free(path);
    }
    return rc;
}

/* ---- all of it ------------------------------------------------------------------------- */

static int set_result(const job *j, om_pull_result *result)
{
    om_pull_result r = {.ready = j->kind == OM_WANTED_GGUF, .fetched = j->missing};
    memcpy(r.commit, j->revision.commit, sizeof r.commit);
    r.folder = om_hub_cache_snapshot(&j->cache, r.commit);
    bool ok = r.folder != NULL;
    for (int i = 0; ok && i < om_n_known_files; i++) {
        const om_known_file *known = &om_known_files[i];
        if (!is_of_set(j, known)) continue;
        char **to = strcmp(known->role, "whisper") == 0 ? &r.whisper
                    : strcmp(known->role, "vocoder") == 0 ? &r.vocoder : &r.vocoder_config;
        *to = source_path(known);
        ok = *to != NULL;
    }
    if (!ok) {
        om_pull_result_free(&r);
        return OMNI_ERR_MEMORY;
    }
    *result = r;
    return OMNI_OK;
}

static void note_licence(const job *j)
{
    char line[200];
    if (j->options->name.terms || !j->revision.licence[0] || !j->watch->note) return;
    snprintf(line, sizeof line, "%.100s: licence as its card names it: %s", j->options->name.repo, j->revision.licence);
    j->watch->note(j->watch->user, line);
}

int om_pull(const om_pull_options *options, const om_pull_watch *watch, om_pull_result *result)
{
    job j = {.options = options, .watch = watch};
    const char *off = om_env("HF_HUB_OFFLINE");
    int rc = om_hub_cache_open(options->name.id, &j.cache);
    if (rc == OMNI_OK && (options->offline || (off && strcmp(off, "0") != 0))) {
        rc = look_offline(&j);
    } else if (rc == OMNI_OK) {
        rc = set_up(&j);
        if (rc == OMNI_OK) rc = ask_revision(&j);
        if (rc == OMNI_OK) note_licence(&j);
        if (rc == OMNI_OK) rc = ask_list(&j);
        if (rc == OMNI_OK) rc = make_plan(&j);
        if (rc == OMNI_OK) rc = check_room(&j);
        if (rc == OMNI_OK) rc = fetch_all(&j);
    }
    if (rc == OMNI_OK) rc = set_result(&j, result);
    for (int i = 0; i < j.n_items; i++) {
        om_free(j.items[i].url);
        om_free(j.items[i].final);
        om_free(j.items[i].lock);
    }
    om_free(j.items);
    om_free(j.token);
    om_free(j.endpoint);
    om_hub_list_free(&j.list);
    om_hub_cache_close(&j.cache);
    return rc;
}

void om_pull_result_free(om_pull_result *result)
{
    om_free(result->folder);
    om_free(result->whisper);
    om_free(result->vocoder);
    om_free(result->vocoder_config);
    *result = (om_pull_result){.ready = false};
}
