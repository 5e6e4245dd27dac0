/* convert: writes the two files from what convert-open.c opened, and compares them with it. */
#include "convert.h"

#include "base/memory.h"
#include "base/status.h"
#include "convert-job.h"
#include "convert-parts.h"
#include "gguf-in.h"
#include "llm-quantize.h"
#include "provenance.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* One of the two files. */
typedef struct output {
    const char *path, *what, *type_name;
    om_mapped_list list;
    om_gguf_out *out;
    char fingerprint[OM_DIGEST_HEX];
} output;

/* ---- the caller ------------------------------------------------------------------ */

static int progress(void *user, uint64_t done, uint64_t all)
{
    const om_job *j = user;

    if (!j->watch || !j->watch->progress)
        return 0;
    return j->watch->progress(j->watch->user, j->what, all ? (double)done / (double)all : 0);
}

/* While something runs whose length is unknown. */
static int still_wanted(void *user)
{
    return progress(user, 99, 100);
}

/* ---- one output ----------------------------------------------------------------------------- */

static int refuse_unknown(const om_job *j, const om_origin *o)
{
    const om_source_tensor *first = NULL;
    const int n = o->source ? om_origin_left(o, &first) : 0;

    if (n == 0)
        return OMNI_OK;
    if (!j->o->allow_unknown)
        return om_fail(OMNI_ERR_MODEL, "%s: tensor %s is unknown, and %d more; it would be lost: is the configuration the "
                       "right one? --allow-unknown goes on without", o->source->files[first->file].path, first->name, n - 1);
    om_job_note(j, "warning: %s: %d unknown tensors are left out, %s among them", o->source->files[first->file].path, n, first->name);
    return OMNI_OK;
}

/* What a new file depends on beside its sources. */
static int fingerprint(const om_job *j, output *f)
{
    char options[1024];

    snprintf(options, sizeof options, "%s %s %s %s %s", omni_version(), f->what, f->type_name, j->name,
             j->o->whisper ? "whisper" : "checkpoint");
    return om_fingerprint(&j->sums, options, f->fingerprint);
}

static int finish_sums(om_job *j)
{
    char line[400];
    const bool waited = j->sums.running;

    j->what = "checksums";
    int rc = om_checksums_wait(&j->sums, still_wanted, j);
    for (int i = 0; waited && !rc && i < j->sums.n; i++) {
        om_known_file(&j->sums.files[i], line, sizeof line);
        if (line[0])
            om_job_note(j, "%s", line);
    }
    return rc;
}

/* The file with matrices of the output's own type, under path.part. */
static int write_part(om_job *j, output *f, om_part_file *part)
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

static int write_directly(om_job *j, output *f)
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

static int unstoppable(const om_job *j, bool begins)
{
    return j->watch && j->watch->unstoppable ? j->watch->unstoppable(j->watch->user, j->what, begins) : 0;
}

static int quantise(om_job *j, const char *from, const char *to, const char *type)
{
    j->what = "quantising";
    if (progress(j, 0, 1))
        return OMNI_AGAIN;
    const int rc = unstoppable(j, true) ? OMNI_AGAIN : om_llm_quantize(from, to, type, 0);

    unstoppable(j, false);
    return rc;
}

/* Types that only llama.cpp makes: by way of a file of 16-bit numbers. */
static int write_quantised(om_job *j, output *f)
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
    if (!rc)
        rc = quantise(j, whole.part, part.part, f->type_name);
    om_part_file_discard(&whole);
    if (!rc)
        rc = om_part_file_commit(&part);
    om_part_file_discard(&part);
    return rc;
}

/* Reads the file again: every tensor is there and as near to its source as its type allows. */
static int verify(om_job *j, const output *f)
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
        worst = d.rms <= worst ? worst : d.rms;
        if (!rc && progress(j, (uint64_t)i + 1, (uint64_t)f->list.n))
            rc = OMNI_AGAIN;
    }
    om_gguf_in_close(&in);
    if (!rc)
        om_job_note(j, "verified: %s: %d tensors, the largest relative difference is %.2g", f->path, f->list.n, worst);
    return rc;
}

static int write_output(om_job *j, output *f, enum ggml_type type)
{
    int rc = fingerprint(j, f);

    if (!rc && !j->o->force && om_provenance_matches(f->path, f->fingerprint, om_llm_file_type(f->type_name))) {
        om_job_note(j, "%s: it is there already and made of the same files: left as it is", f->path);
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

static int describe_llm(om_job *j, output *f)
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

static int describe_speech(om_job *j, output *f, om_hparams *hp)
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
static int convert_both(om_job *j, output *llm, output *speech)
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
        rc = make_folder(j->o->out);
    if (!rc)
        rc = write_output(j, llm, j->llm_type);
    if (!rc && j->config.has_speech)
        rc = write_output(j, speech, j->speech_type);
    return rc;
}

static int run(om_job *j)
{
    output llm = {.path = j->llm_path, .what = "language model"}, speech = {.path = j->speech_path, .what = "speech"};
    int rc = om_job_open(j);

    llm.type_name = j->llm_type_name;
    speech.type_name = j->speech_type_name;
    if (!rc)
        rc = convert_both(j, &llm, &speech);
    om_mapped_list_free(&llm.list);
    om_mapped_list_free(&speech.list);
    om_gguf_out_free(llm.out);
    om_gguf_out_free(speech.out);
    return rc;
}

static int set_result(const om_job *j, om_convert_result *result)
{
    const om_convert_result r = {.llm = om_strdup(j->llm_path),
                                 .speech = j->config.has_speech ? om_strdup(j->speech_path) : NULL};

    if (r.llm && (r.speech || !j->config.has_speech)) {
        *result = r;
        return OMNI_OK;
    }
    om_free(r.llm);
    om_free(r.speech);
    return om_fail(OMNI_ERR_MEMORY, "out of memory");
}

int om_convert(const om_convert_options *options, const om_convert_watch *watch, om_convert_result *result)
{
    om_job *j = om_calloc(1, sizeof *j);
    int rc;

    if (!j)
        return om_fail(OMNI_ERR_MEMORY, "out of memory");
    j->o = options;
    j->watch = watch;
    rc = run(j);
    if (!rc && result)
        rc = set_result(j, result);
    om_job_close(j);
    return rc;
}
