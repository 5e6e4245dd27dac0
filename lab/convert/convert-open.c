/* convert-open: the folder and files that are named, checked before anything is written. */
#include "convert-job.h"

#include "adapter.h"
#include "base/memory.h"
#include "base/status.h"
#include "convert-parts.h"
#include "llm-quantize.h"
#include "safetensors.h"
#include "sources.def"
#include "torch-file.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void om_job_note(const om_job *j, const char *format, ...)
{
    char line[1024];
    va_list args;

    if (!j->watch || !j->watch->note)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    j->watch->note(j->watch->user, line);
}

/* ---- options ------------------------------------------------------------------------ */

static int join(char *out, const char *folder, const char *name)
{
    const int n = snprintf(out, PATH_MAX, "%s/%s", folder, name);

    return n < 0 || n >= PATH_MAX ? om_fail(OMNI_ERR_ARG, "%.200s: the path is too long", folder) : OMNI_OK;
}

/* The type of tensors that are written directly. */
static enum ggml_type direct_type(const char *name)
{
    return strcmp(name, "f32") == 0 ? GGML_TYPE_F32 : strcmp(name, "f16") == 0 ? GGML_TYPE_F16
         : strcmp(name, "bf16") == 0 ? GGML_TYPE_BF16 : strcmp(name, "q8_0") == 0 ? GGML_TYPE_Q8_0 : GGML_TYPE_COUNT;
}

static int choose_types(om_job *j)
{
    const char *llm = j->o->llm_type, *speech = j->speech_type_name;

    if (!llm)
        llm = strcmp(j->config.dtype, "bfloat16") == 0 ? "bf16" : strcmp(j->config.dtype, "float32") == 0 ? "f32" : "f16";
    if (om_llm_file_type(llm) < 0)
        return om_fail(OMNI_ERR_ARG, "LLM type: found %.20s, wanted one of %s", llm, om_llm_types);
    snprintf(j->llm_type_name, sizeof j->llm_type_name, "%s", llm);
    j->llm_type = direct_type(llm);
    j->speech_type = direct_type(speech);
    if (j->speech_type == GGML_TYPE_COUNT)
        return om_fail(OMNI_ERR_ARG, "speech type: found %.20s, wanted one of f32, f16, bf16, q8_0", speech);
    return OMNI_OK;
}

/* The checkpoint's folder, or its repository when it lies in the hub's cache: models--USER--REPO/snapshots/REV. */
static int choose_name(om_job *j)
{
    char *real = j->o->name ? NULL : realpath(j->o->hf, NULL), *slash;
    const char *name = j->o->name;

    if (!name && real) {
        slash = strstr(real, "/snapshots/");
        if (slash)
            *slash = '\0';
        slash = strrchr(real, '/');
        name = slash && slash[1] ? slash + 1 : "model";
        if (strncmp(name, "models--", 8) == 0 && strstr(name + 8, "--"))
            name = strstr(name + 8, "--") + 2;
    }
    const int length = snprintf(j->name, sizeof j->name, "%s", name ? name : "model");

    free(real);
    if (!j->name[0] || strchr(j->name, '/') || j->name[0] == '.' || length >= (int)sizeof j->name)
        return om_fail(OMNI_ERR_ARG, "name: found %.80s, wanted the beginning of a file name", j->name);
    return OMNI_OK;
}

static int choose_path(const om_job *j, const char *middle, const char *type, char *out)
{
    char file[300], upper[16];
    size_t i = 0;

    for (; type[i] && i + 1 < sizeof upper; i++)
        upper[i] = (char)toupper((unsigned char)type[i]);
    upper[i] = '\0';
    snprintf(file, sizeof file, "%s%s-%s.gguf", j->name, middle, upper);
    return join(out, j->o->out, file);
}

/* ---- the checkpoint's folder, and the base model's ------------------------------------------ */

/* Where a file is: in the checkpoint's folder, or in that of the model that it changes. false: in neither. */
static bool find(const om_job *j, const char *name, char *path)
{
    const char *const folders[] = {j->o->hf, j->base};

    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (folders[i][0] && join(path, folders[i], name) == OMNI_OK && access(path, F_OK) == 0)
            return true;
    return false;
}

static int find_base(om_job *j)
{
    if (om_adapter_there(j->o->hf))
        return om_adapter_base(j->o->hf, j->o->base, j->base);
    return j->o->base ? om_fail(OMNI_ERR_ARG, "--base: %s holds nothing that changes a base model (adapter_config.json, "
                                "adapter_model.safetensors, ...)", j->o->hf) : OMNI_OK;
}

static int read_config(om_job *j)
{
    char config[PATH_MAX], generation[PATH_MAX];
    int rc = find(j, "config.json", config) ? OMNI_OK : join(config, j->o->hf, "config.json");

    if (!rc)
        rc = om_hf_config_read_files(config, find(j, "generation_config.json", generation) ? generation : NULL, &j->config);
    return rc;
}

static int open_checkpoint(om_job *j)
{
    om_source *s = om_source_new();
    int rc = s ? om_safetensors_open_folder(s, j->base[0] ? j->base : j->o->hf) : OMNI_ERR_MEMORY;

    if (!rc && j->base[0])
        rc = om_adapter_apply(j->o->hf, s, &j->lora);
    if (rc) {
        om_source_free(s);
        return rc;
    }
    if (j->base[0])
        om_job_note(j, "base model: %s; LoRA changes %d of its matrices", j->base, j->lora ? om_lora_count(j->lora) : 0);
    return om_origin_new(s, &j->hf);
}

/* "license: ..." of the model card's head, if there is one. */
static void read_licence(om_job *j)
{
    char path[PATH_MAX], line[512];
    struct stat about;      /* a card is not needed: no error when there is none, and no waiting for a pipe */
    FILE *f = find(j, "README.md", path) && stat(path, &about) == 0 && S_ISREG(about.st_mode) ? fopen(path, "rbe") : NULL;

    if (f && fgets(line, sizeof line, f) && strncmp(line, "---", 3) == 0) {
        for (int i = 0; i < 200 && fgets(line, sizeof line, f) && strncmp(line, "---", 3) != 0; i++) {
            if (strncmp(line, "license:", 8) != 0)
                continue;
            const char *text = line + 8 + strspn(line + 8, " \t\"'");
            snprintf(j->licence, sizeof j->licence, "%.*s", (int)strcspn(text, "\"'\r\n"), text);
        }
    }
    if (f)
        fclose(f);
}

/* ---- Whisper and the vocoder ------------------------------------------------------------------ */

static int open_file(const char *path, om_origin *out)
{
    om_source *s = om_source_new();
    const size_t n = strlen(path);
    int rc;

    if (!s)
        return OMNI_ERR_MEMORY;
    rc = n > 12 && strcmp(path + n - 12, ".safetensors") == 0 ? om_safetensors_open(s, path) : om_torch_open(s, path);
    if (!rc)
        rc = om_source_finish(s);
    if (rc)
        om_source_free(s);
    return rc ? rc : om_origin_new(s, out);
}

static int copy_path(char *out, const char *path)
{
    return snprintf(out, PATH_MAX, "%s", path) < PATH_MAX ? OMNI_OK : om_fail(OMNI_ERR_ARG, "%.200s: the path is too long", path);
}

/* The vocoder as given, or lying with the checkpoint. */
static int find_vocoder(om_job *j)
{
    if (j->o->vocoder)
        return copy_path(j->vocoder_path, j->o->vocoder);
    if (find(j, "g_00500000", j->vocoder_path) || find(j, "vocoder/g_00500000", j->vocoder_path))
        return OMNI_OK;
    return om_fail(OMNI_ERR_ARG, "the unit vocoder is missing: it is not part of the checkpoint; give its file g_00500000 with "
                   "--vocoder");
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Its config.json as given, or beside it; else what is published. */
static int find_vocoder_config(om_job *j)
{
    const char *slash = strrchr(j->vocoder_path, '/');
    const int folder = slash ? (int)(slash - j->vocoder_path) + 1 : 0;
    char models[PATH_MAX], bases[PATH_MAX];
    int rc = join(models, j->o->hf, "config.json");

    if (j->o->vocoder_config)
        return copy_path(j->vocoder_config, j->o->vocoder_config);
    if (!rc)
        rc = join(bases, j->base, "config.json");
    if (!rc && snprintf(j->vocoder_config, sizeof j->vocoder_config, "%.*sconfig.json", folder, j->vocoder_path) >= PATH_MAX)
        rc = om_fail(OMNI_ERR_ARG, "%.200s: the path is too long", j->vocoder_path);
    /* among the checkpoint's own files, config.json is the language model's */
    if (rc || (access(j->vocoder_config, F_OK) == 0 && !same_file(j->vocoder_config, models) &&
               !(j->base[0] && same_file(j->vocoder_config, bases))))
        return rc;
    j->vocoder_config[0] = '\0';
    om_job_note(j, "vocoder: no config.json beside it: the published vocoder's numbers are taken");
    return OMNI_OK;
}

static int open_speech(om_job *j)
{
    int rc = find_vocoder(j);

    if (!rc)
        rc = find_vocoder_config(j);
    if (!rc)
        rc = open_file(j->vocoder_path, &j->vocoder);
    if (!rc && j->o->whisper) {
        rc = open_file(j->o->whisper, &j->whisper);
        om_origin_skip(&j->hf, OM_PREFIX_ENCODER);
        om_job_note(j, "encoder: %s%s", j->o->whisper,
                    om_speech_has_encoder(j->hf.source) ? " (not the copy inside the checkpoint)" : "");
    } else if (!rc && om_speech_has_encoder(j->hf.source)) {
        om_job_note(j, "encoder: the copy inside the checkpoint; --whisper large-v3.pt takes the original");
    } else if (!rc) {
        rc = om_fail(OMNI_ERR_MODEL, "%s: no speech encoder inside; give Whisper's file with --whisper large-v3.pt", j->o->hf);
    }
    return rc;
}

/* ---- the account ------------------------------------------------------------------------------- */

/* Every file that says something about what is written: another one makes another model. */
static int list_files(om_job *j)
{
    static const char *const texts[] = {
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
        "adapter_config.json", "README.md",
    };
    const om_source *const sources[] = {j->hf.source, j->lora ? om_lora_source(j->lora) : NULL, j->whisper.source,
                                        j->vocoder.source};
    char path[PATH_MAX];
    struct stat about;
    int rc = OMNI_OK;

    for (size_t i = 0; !rc && i < sizeof sources / sizeof *sources; i++)
        if (sources[i])
            rc = om_checksums_add(&j->sums, sources[i]);
    for (size_t i = 0; !rc && i < sizeof texts / sizeof *texts; i++)
        if (find(j, texts[i], path) && stat(path, &about) == 0 && S_ISREG(about.st_mode))
            rc = om_checksums_add_file(&j->sums, path);
    if (!rc && j->vocoder_config[0])
        rc = om_checksums_add_file(&j->sums, j->vocoder_config);
    return rc;
}

int om_job_open(om_job *j)
{
    int rc = choose_name(j);

    j->speech_type_name = j->o->speech_type ? j->o->speech_type : "f16";
    if (!rc)
        rc = find_base(j);
    if (!rc)
        rc = read_config(j);
    if (!rc)
        rc = choose_types(j);
    if (!rc)
        rc = open_checkpoint(j);
    if (!rc)
        rc = om_tokenizer_read(j->base[0] ? j->base : j->o->hf, j->config.vocab, &j->tokenizer);
    if (!rc && j->config.has_speech)
        rc = open_speech(j);
    else if (!rc)
        om_job_note(j, "config.json has no speech fields: only the language model is written");
    if (!rc)
        rc = choose_path(j, "", j->llm_type_name, j->llm_path);
    if (!rc)
        rc = choose_path(j, "-speech", j->speech_type_name, j->speech_path);
    if (!rc)
        rc = list_files(j);
    if (!rc)
        read_licence(j);
    return rc;
}

void om_job_close(om_job *j)
{
    om_checksums_free(&j->sums);
    om_tokenizer_free(&j->tokenizer);
    om_origin_free(&j->hf);
    om_origin_free(&j->whisper);
    om_origin_free(&j->vocoder);
    om_lora_free(j->lora);
    om_free(j);
}
