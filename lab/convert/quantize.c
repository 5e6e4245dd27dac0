/* quantize: see the header. */
#include "quantize.h"

#include "base/memory.h"
#include "base/status.h"
#include "convert-parts.h"
#include "gguf-in.h"
#include "llm-quantize.h"

#include <string.h>
#include <sys/stat.h>

const char om_speech_types[] = "f32|f16|bf16|q8_0";

typedef struct job {
    const char *in_path, *out_path, *type;
    const om_quantize_watch *watch;
    om_gguf_in in;
    om_part_file part;
} job;

static int progress(void *user, uint64_t done, uint64_t all)
{
    const om_quantize_watch *w = ((const job *)user)->watch;

    return w && w->progress ? w->progress(w->user, "quantising", all ? (double)done / (double)all : 0) : 0;
}

/* ---- speech files ---------------------------------------------------------------------- */

typedef struct speech {
    job *j;
    enum ggml_type type;
    om_gguf_tensor *tensors;    /* feeds; they stay where they are */
    int n;
    om_gguf_out *out;
} speech;

static int add(void *user, const om_speech_tensor *t)
{
    speech *s = user;
    om_gguf_tensor *from = &s->tensors[s->n++];
    int rc;

    from->file = &s->j->in;
    rc = om_weights_need(s->j->in.weights, t->name, t->n_dims, t->shape, &from->desc);
    return rc ? rc : om_gguf_out_add(s->out, t->name, om_speech_type(s->type, t->kind), t->n_dims, t->shape,
                                     (om_feed){.read = om_gguf_read, .from = from, .name = om_gguf_name});
}

static int speech_type(const char *name, enum ggml_type *type)
{
    static const struct { const char *name; enum ggml_type type; } types[] = {
        {"f32", GGML_TYPE_F32}, {"f16", GGML_TYPE_F16}, {"bf16", GGML_TYPE_BF16}, {"q8_0", GGML_TYPE_Q8_0},
    };

    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, name) == 0) {
            *type = types[i].type;
            return OMNI_OK;
        }
    }
    return om_fail(OMNI_ERR_ARG, "type of a speech file: found %.20s, wanted one of %s", name, om_speech_types);
}

static int write_speech(job *j)
{
    speech s = {.j = j};
    om_hparams hp;
    int rc = speech_type(j->type, &s.type);

    if (!rc)
        rc = om_hparams_read(j->in.weights, &hp);
    if (rc)
        return rc;
    s.tensors = om_calloc((size_t)om_speech_count(&hp), sizeof *s.tensors);
    rc = s.tensors ? om_gguf_out_new(&s.out) : om_fail(OMNI_ERR_MEMORY, "%s: out of memory", j->in_path);
    if (!rc) {
        struct gguf_context *g = om_gguf_out_metadata(s.out);

        gguf_set_kv(g, om_weights_gguf(j->in.weights));
        gguf_set_val_u32(g, "general.file_type", om_gguf_file_type(s.type));
        if (ggml_is_quantized(s.type))
            gguf_set_val_u32(g, "general.quantization_version", GGML_QNT_VERSION);
        gguf_remove_key(g, "omni.convert.fingerprint");     /* of the file that convert wrote */
        rc = om_speech_each(&hp, add, &s);
    }
    if (!rc)
        rc = om_gguf_out_write(s.out, &j->part, progress, j);
    om_gguf_out_free(s.out);
    om_free(s.tensors);
    return rc;
}

/* ---- LLM files --------------------------------------------------------------------------- */

static int write_llm(job *j, int threads)
{
    const om_quantize_watch *w = j->watch;
    const bool ask = w && w->unstoppable;
    const int rc = ask && w->unstoppable(w->user, "quantising", true) ? OMNI_AGAIN
        : om_llm_quantize(j->in_path, j->part.part, j->type, threads);

    if (ask)
        w->unstoppable(w->user, "quantising", false);
    return rc;
}

/* ---- both kinds --------------------------------------------------------------------------- */

/* Quantising what is quantised loses twice; llama.cpp refuses it too. */
static int check_types(const job *j)
{
    for (int64_t i = 0; i < om_weights_tensor_count(j->in.weights); i++) {
        const om_tensor_desc *t = om_weights_tensor(j->in.weights, i);

        if (ggml_is_quantized((enum ggml_type)t->type))
            return om_fail(OMNI_ERR_MODEL, "%s: tensor %s is %s already; begin with a file of f32, f16 or bf16", j->in_path,
                           t->name, ggml_type_name((enum ggml_type)t->type));
    }
    return OMNI_OK;
}

/* The part file against the input: what each tensor lost. */
static int report(job *j, uint64_t *bytes)
{
    om_gguf_in made;
    int rc = om_gguf_in_open(j->part.part, &made);

    if (rc)
        return rc;
    *bytes = om_weights_file_bytes(made.weights);
    for (int64_t i = 0; !rc && i < om_weights_tensor_count(made.weights); i++) {
        const om_gguf_tensor t = {.file = &made, .desc = om_weights_tensor(made.weights, i)};
        const om_gguf_tensor from = {.file = &j->in, .desc = om_weights_find(j->in.weights, t.desc->name)};
        om_difference d = {.rms = 0};

        if (!from.desc)
            rc = om_fail(OMNI_ERR_FORMAT, "%s: tensor %s is new", j->part.part, t.desc->name);
        if (!rc)
            rc = om_gguf_compare((om_feed){.read = om_gguf_read, .from = &from}, &t, &d);
        if (!rc && j->watch && j->watch->tensor &&
            j->watch->tensor(j->watch->user, t.desc->name, ggml_type_name((enum ggml_type)from.desc->type),
                             ggml_type_name((enum ggml_type)t.desc->type), t.desc->bytes, d.rms))
            rc = OMNI_AGAIN;
    }
    om_gguf_in_close(&made);
    return rc;
}

static int run(job *j, int threads, uint64_t *bytes)
{
    const char *architecture = NULL;
    int rc = om_weights_str(j->in.weights, "general.architecture", &architecture);

    if (!rc)
        rc = check_types(j);
    if (!rc)
        rc = om_part_file_open(&j->part, j->out_path);
    if (rc)
        return rc;
    if (strcmp(architecture, OM_SPEECH_ARCHITECTURE) == 0)
        rc = write_speech(j);
    else
        rc = write_llm(j, threads);
    if (!rc)
        rc = report(j, bytes);
    return rc ? rc : om_part_file_commit(&j->part);
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int om_quantize(const char *in, const char *out, const char *type, int threads, const om_quantize_watch *watch,
                uint64_t *bytes)
{
    job j = {.in_path = in, .out_path = out, .type = type, .watch = watch, .part = {.fd = -1}};
    int rc;

    if (same_file(in, out))
        return om_fail(OMNI_ERR_ARG, "%s: it is the file that is read; choose another name", out);
    rc = om_gguf_in_open(in, &j.in);
    if (!rc)
        rc = run(&j, threads, bytes);
    om_part_file_discard(&j.part);
    om_gguf_in_close(&j.in);
    return rc;
}
