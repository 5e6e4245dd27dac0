/* convert: opens the sources, writes the two files, compares them with the sources. */
#include "convert.h"

#include "base/memory.h"
#include "base/status.h"
#include "checksums.h"
#include "convert-parts.h"
#include "gguf-in.h"
#include "llm-quantize.h"
#include "provenance.h"
#include "safetensors.h"
#include "sources.def"
#include "torch-file.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct job {
    const om_convert_options *o;
    const om_convert_watch *watch;
    const char *what;               /* what the bar says */
    char name[200], licence[256];
    enum ggml_type llm_type, speech_type;
    char llm_type_name[16];
    om_hf_config config;
    om_tokenizer tokenizer;
    om_origin hf, whisper, vocoder;
    om_checksums sums;
    char vocoder_path[PATH_MAX], vocoder_config[PATH_MAX];
    char llm_path[PATH_MAX], speech_path[PATH_MAX];
} job;

/* One of the two files. */
typedef struct output {
    const char *path, *what, *type_name;
    om_mapped_list list;
    om_gguf_out *out;
    char fingerprint[OM_DIGEST_HEX];
} output;

/* ---- the caller ------------------------------------------------------------------ */

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void note(const job *j, const char *format, ...)
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

static int progress(void *user, uint64_t done, uint64_t all)
{
    const job *j = user;

    if (!j->watch || !j->watch->progress)
        return 0;
    return j->watch->progress(j->watch->user, j->what, all ? (double)done / (double)all : 0);
}

/* While something runs whose length is unknown. */
static int still_wanted(void *user)
{
    return progress(user, 99, 100);
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

static int choose_types(job *j)
{
    const char *llm = j->o->llm_type, *speech = j->o->speech_type ? j->o->speech_type : "f16";

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
static int choose_name(job *j)
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

static int choose_path(const job *j, const char *middle, const char *type, char *out)
{
    char file[300], upper[16];
    size_t i = 0;

    for (; type[i] && i + 1 < sizeof upper; i++)
        upper[i] = (char)toupper((unsigned char)type[i]);
    upper[i] = '\0';
    snprintf(file, sizeof file, "%s%s-%s.gguf", j->name, middle, upper);
    return join(out, j->o->out, file);
}

/* ---- sources --------------------------------------------------------------------------- */

/* A checkpoint whose weights are differences to another one. */
static int refuse_adapters(const char *folder)
{
    static const char *const names[] = {"adapter_config.json", "adapter_model.safetensors", "adapter_model.bin",
                                        "non_lora_trainables.bin"};
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const int rc = join(path, folder, names[i]);

        if (rc)
            return rc;
        if (access(path, F_OK) == 0)
            return om_fail(OMNI_ERR_MODEL, "%s: a LoRA checkpoint, which holds differences to a base model alone; merge it "
                           "into the base model (peft: merge_and_unload, then save_pretrained) and convert the result", path);
    }
    return OMNI_OK;
}

static int open_torch(const char *path, om_origin *out)
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

static int open_hf(job *j)
{
    om_source *s = om_source_new();
    int rc = s ? om_safetensors_open_folder(s, j->o->hf) : OMNI_ERR_MEMORY;

    if (rc)
        om_source_free(s);
    return rc ? rc : om_origin_new(s, &j->hf);
}

/* The vocoder as given, or lying with the checkpoint. */
static int find_vocoder(job *j)
{
    static const char *const places[] = {"g_00500000", "vocoder/g_00500000"};
    int rc = OMNI_OK;

    if (j->o->vocoder)
        return snprintf(j->vocoder_path, sizeof j->vocoder_path, "%s", j->o->vocoder) < PATH_MAX
            ? OMNI_OK : om_fail(OMNI_ERR_ARG, "%.200s: the path is too long", j->o->vocoder);
    for (size_t i = 0; !rc && i < sizeof places / sizeof *places; i++) {
        rc = join(j->vocoder_path, j->o->hf, places[i]);
        if (!rc && access(j->vocoder_path, F_OK) == 0)
            return OMNI_OK;
    }
    return rc ? rc : om_fail(OMNI_ERR_ARG, "the unit vocoder is missing: it is not part of the checkpoint; give its file "
                             "g_00500000 with --vocoder");
}

/* Its config.json as given, or beside it; else what is published. */
static int find_vocoder_config(job *j)
{
    const char *given = j->o->vocoder_config, *slash = strrchr(j->vocoder_path, '/');
    struct stat beside, model;
    char models_config[PATH_MAX];
    int rc;

    if (given)
        return snprintf(j->vocoder_config, sizeof j->vocoder_config, "%s", given) < PATH_MAX
            ? OMNI_OK : om_fail(OMNI_ERR_ARG, "%.200s: the path is too long", given);
    if (snprintf(j->vocoder_config, sizeof j->vocoder_config, "%.*sconfig.json",
                 slash ? (int)(slash - j->vocoder_path) + 1 : 0, j->vocoder_path) >= PATH_MAX)
        return om_fail(OMNI_ERR_ARG, "%.200s: the path is too long", j->vocoder_path);
    rc = join(models_config, j->o->hf, "config.json");
    if (rc)
        return rc;
    /* among the checkpoint's own files, config.json is the language model's */
    if (stat(j->vocoder_config, &beside) == 0 &&
        !(stat(models_config, &model) == 0 && model.st_dev == beside.st_dev && model.st_ino == beside.st_ino))
        return OMNI_OK;
    j->vocoder_config[0] = '\0';
    note(j, "vocoder: no config.json beside it: the published vocoder's numbers are taken");
    return OMNI_OK;
}

static int open_speech(job *j)
{
    int rc = find_vocoder(j);

    if (!rc)
        rc = find_vocoder_config(j);
    if (!rc)
        rc = open_torch(j->vocoder_path, &j->vocoder);
    if (!rc && j->o->whisper) {
        rc = open_torch(j->o->whisper, &j->whisper);
        om_origin_skip(&j->hf, OM_PREFIX_ENCODER);
        note(j, "encoder: %s%s", j->o->whisper,
             om_speech_has_encoder(j->hf.source) ? " (not the copy inside the checkpoint)" : "");
    } else if (!rc && om_speech_has_encoder(j->hf.source)) {
        note(j, "encoder: the copy inside the checkpoint; --whisper large-v3.pt takes the original");
    } else if (!rc) {
        rc = om_fail(OMNI_ERR_MODEL, "%s: no speech encoder inside; give Whisper's file with --whisper large-v3.pt", j->o->hf);
    }
    return rc;
}

static int open_sources(job *j)
{
    int rc = refuse_adapters(j->o->hf);

    if (!rc)
        rc = om_hf_config_read(j->o->hf, &j->config);
    if (!rc)
        rc = choose_types(j);
    if (!rc)
        rc = open_hf(j);
    if (!rc)
        rc = om_tokenizer_read(j->o->hf, j->config.vocab, &j->tokenizer);
    if (rc)
        return rc;
    if (j->config.has_speech)
        return open_speech(j);
    note(j, "config.json has no speech fields: only the language model is written");
    return OMNI_OK;
}

/* "license: ..." of the model card's head, if there is one. */
static void read_licence(job *j)
{
    char path[PATH_MAX], line[512];
    struct stat about;      /* a card is not needed: no error when there is none, and no waiting for a pipe */
    const bool there = join(path, j->o->hf, "README.md") == OMNI_OK && stat(path, &about) == 0 && S_ISREG(about.st_mode);
    FILE *f = there ? fopen(path, "rbe") : NULL;

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

/* ---- one output ----------------------------------------------------------------------------- */

static int refuse_unknown(const job *j, const om_origin *o)
{
    const om_source_tensor *first = NULL;
    const int n = o->source ? om_origin_left(o, &first) : 0;

    if (n == 0)
        return OMNI_OK;
    if (!j->o->allow_unknown)
        return om_fail(OMNI_ERR_MODEL, "%s: tensor %s is unknown, and %d more; it would be lost: is the configuration the "
                       "right one? --allow-unknown goes on without", o->source->files[first->file].path, first->name, n - 1);
    note(j, "warning: %s: %d unknown tensors are left out, %s among them", o->source->files[first->file].path, n, first->name);
    return OMNI_OK;
}

/* What a new file depends on beside its sources. */
static int fingerprint(const job *j, output *f)
{
    char options[1024];

    snprintf(options, sizeof options, "%s %s %s %s %s", omni_version(), f->what, f->type_name, j->name,
             j->o->whisper ? "whisper" : "checkpoint");
    return om_fingerprint(&j->sums, options, f->fingerprint);
}

static int finish_sums(job *j)
{
    char line[400];
    const bool waited = j->sums.running;

    j->what = "checksums";
    int rc = om_checksums_wait(&j->sums, still_wanted, j);
    for (int i = 0; waited && !rc && i < j->sums.n; i++) {
        om_known_file(&j->sums.files[i], line, sizeof line);
        if (line[0])
            note(j, "%s", line);
    }
    return rc;
}

/* The file with matrices of the output's own type, under path.part. */
static int write_part(job *j, output *f, om_part_file *part)
{
    struct gguf_context *g = om_gguf_out_metadata(f->out);
    int rc = om_provenance_set(g, &j->sums, f->fingerprint);

    j->what = f->what;
    if (!rc)
        rc = om_gguf_out_write(f->out, part, progress, j);
    if (!rc)
        rc = finish_sums(j);
    if (!rc)
        rc = om_provenance_set(g, &j->sums, f->fingerprint);
    return rc ? rc : om_gguf_out_rewrite_metadata(f->out, part);
}

static int write_directly(job *j, output *f)
{
    om_part_file part = {.fd = -1};
    int rc = om_part_file_open(&part, f->path);

    if (!rc)
        rc = write_part(j, f, &part);
    if (!rc)
        rc = om_part_file_commit(&part);
    om_part_file_discard(&part);
    return rc;
}

/* Types that only llama.cpp makes: by way of a file of 16-bit numbers. */
static int write_quantised(job *j, output *f)
{
    om_part_file part = {.fd = -1}, whole = {.fd = -1};
    char middle[PATH_MAX];
    int rc = snprintf(middle, sizeof middle, "%s.16", f->path) < PATH_MAX
        ? OMNI_OK : om_fail(OMNI_ERR_ARG, "%.200s: the path is too long", f->path);

    if (!rc)
        rc = om_part_file_open(&part, f->path);
    if (!rc)
        rc = om_part_file_open(&whole, middle);
    if (!rc)
        rc = write_part(j, f, &whole);
    j->what = "quantising";
    if (!rc && progress(j, 0, 1))
        rc = OMNI_AGAIN;
    if (!rc)
        rc = om_llm_quantize(whole.part, part.part, f->type_name, 0);
    om_part_file_discard(&whole);
    if (!rc)
        rc = om_part_file_commit(&part);
    om_part_file_discard(&part);
    return rc;
}

/* Reads the file again: every tensor is there and as near to its source as its type allows. */
static int verify(job *j, const output *f)
{
    om_gguf_in in;
    double worst = 0;
    int rc = om_gguf_in_open(f->path, &in);

    if (rc)
        return rc;
    j->what = "verifying";
    for (int i = 0; !rc && i < f->list.n; i++) {
        const om_mapped *m = &f->list.items[i];
        const om_gguf_tensor t = {.file = &in, .desc = om_weights_find(in.weights, m->name)};
        om_difference d = {.rms = 0};

        if (!t.desc)
            rc = om_fail(OMNI_ERR_FORMAT, "%s: tensor %s is missing", f->path, m->name);
        if (!rc)
            rc = om_gguf_compare((om_feed){.read = om_mapped_read, .from = m}, &t, &d);
        if (!rc && !d.within)
            rc = om_fail(OMNI_ERR_FORMAT, "%s: tensor %s differs from its source by %.3g of its size, more than the type %s "
                         "explains; was the disk full or failing?", f->path, m->name, d.rms,
                         ggml_type_name((enum ggml_type)t.desc->type));
        worst = d.rms > worst ? d.rms : worst;
        if (!rc && progress(j, (uint64_t)i + 1, (uint64_t)f->list.n))
            rc = OMNI_AGAIN;
    }
    om_gguf_in_close(&in);
    if (!rc)
        note(j, "verified: %s: %d tensors, the largest relative difference is %.2g", f->path, f->list.n, worst);
    return rc;
}

static int write_output(job *j, output *f, enum ggml_type type)
{
    int rc = fingerprint(j, f);

    if (!rc && !j->o->force && om_provenance_matches(f->path, f->fingerprint)) {
        note(j, "%s: it is there already and made of the same files: left as it is", f->path);
    } else if (!rc) {
        if (!j->sums.running && !j->sums.files[0].hex[0])
            rc = om_checksums_start(&j->sums);
        if (!rc)
            rc = type == GGML_TYPE_COUNT ? write_quantised(j, f) : write_directly(j, f);
    }
    if (!rc && j->o->verify)
        rc = verify(j, f);
    return rc;
}

/* ---- both ------------------------------------------------------------------------------------- */

static int describe_llm(job *j, output *f)
{
    const om_llm_parts parts = {
        .config = &j->config, .tokenizer = &j->tokenizer, .hf = &j->hf, .name = j->name,
        .licence = j->licence[0] ? j->licence : j->config.has_speech ? "other" : NULL,
        .type = j->llm_type != GGML_TYPE_COUNT ? j->llm_type : strcmp(j->config.dtype, "bfloat16") == 0 ? GGML_TYPE_BF16
                                                                                                      : GGML_TYPE_F16,
    };
    int rc = om_gguf_out_new(&f->out);

    if (!rc)
        rc = om_llm_describe(&parts, &f->list, f->out);
    if (!rc && j->config.has_speech && !j->licence[0])
        gguf_set_val_str(om_gguf_out_metadata(f->out), "general.license.name",
                         "academic and non-commercial use only (LLaMA-Omni weights); Llama 3.1 Community License");
    return rc;
}

static int describe_speech(job *j, output *f, om_hparams *hp)
{
    const om_speech_sources sources = {
        .config = &j->config, .hf = j->hf.source, .whisper = j->o->whisper ? j->whisper.source : NULL,
        .vocoder = j->vocoder.source, .vocoder_config = j->vocoder_config[0] ? j->vocoder_config : NULL,
    };
    const om_speech_parts parts = {.hp = hp, .hf = &j->hf, .whisper = j->o->whisper ? &j->whisper : NULL,
                                   .vocoder = &j->vocoder, .name = j->name, .type = j->speech_type};
    int rc = om_speech_params(&sources, hp);

    if (!rc)
        rc = om_gguf_out_new(&f->out);
    if (!rc)
        rc = om_speech_describe(&parts, &f->list, f->out);
    if (!rc)
        gguf_set_val_str(om_gguf_out_metadata(f->out), "omni.convert.encoder", j->o->whisper ? "whisper" : "checkpoint");
    return rc;
}

static int make_folder(const char *path)
{
    if (mkdir(path, 0777) == 0 || errno == EEXIST)
        return OMNI_OK;
    return om_fail(OMNI_ERR_IO, "%s: can not be made: %s", path, strerror(errno));
}

/* Everything is described, and so checked, before the first byte is written. */
static int convert_both(job *j, output *llm, output *speech)
{
    om_hparams hp;
    int rc = describe_llm(j, llm);

    if (!rc && j->config.has_speech)
        rc = describe_speech(j, speech, &hp);
    if (!rc)
        rc = refuse_unknown(j, &j->hf);
    if (!rc)
        rc = refuse_unknown(j, &j->whisper);
    if (!rc)
        rc = refuse_unknown(j, &j->vocoder);
    if (!rc)
        rc = om_checksums_add(&j->sums, j->hf.source);
    if (!rc && j->whisper.source)
        rc = om_checksums_add(&j->sums, j->whisper.source);
    if (!rc && j->vocoder.source)
        rc = om_checksums_add(&j->sums, j->vocoder.source);
    if (!rc)
        rc = make_folder(j->o->out);
    if (!rc)
        rc = write_output(j, llm, j->llm_type);
    if (!rc && j->config.has_speech)
        rc = write_output(j, speech, j->speech_type);
    return rc;
}

static int run(job *j)
{
    output llm = {.path = j->llm_path, .what = "language model", .type_name = j->llm_type_name};
    output speech = {.path = j->speech_path, .what = "speech",
                     .type_name = j->o->speech_type ? j->o->speech_type : "f16"};
    int rc = choose_name(j);

    if (!rc)
        rc = open_sources(j);
    if (!rc)
        rc = choose_path(j, "", j->llm_type_name, j->llm_path);
    if (!rc)
        rc = choose_path(j, "-speech", speech.type_name, j->speech_path);
    read_licence(j);
    if (!rc)
        rc = convert_both(j, &llm, &speech);
    om_checksums_free(&j->sums);
    om_mapped_list_free(&llm.list);
    om_mapped_list_free(&speech.list);
    om_gguf_out_free(llm.out);
    om_gguf_out_free(speech.out);
    return rc;
}

int om_convert(const om_convert_options *options, const om_convert_watch *watch, om_convert_result *result)
{
    job *j = om_calloc(1, sizeof *j);
    int rc;

    if (!j)
        return om_fail(OMNI_ERR_MEMORY, "out of memory");
    j->o = options;
    j->watch = watch;
    rc = run(j);
    if (!rc && result) {
        *result = (om_convert_result){.llm = om_strdup(j->llm_path),
                                      .speech = j->config.has_speech ? om_strdup(j->speech_path) : NULL};
        if (!result->llm || (j->config.has_speech && !result->speech))
            rc = om_fail(OMNI_ERR_MEMORY, "out of memory");
    }
    om_tokenizer_free(&j->tokenizer);
    om_origin_free(&j->hf);
    om_origin_free(&j->whisper);
    om_origin_free(&j->vocoder);
    om_free(j);
    return rc;
}
