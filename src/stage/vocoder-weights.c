/* vocoder-weights: from the file to the form the executor of the device reads. */
#include "stage/vocoder-parts.h"

#include "base/memory.h"
#include "base/status.h"

#include <string.h>

/* A convolution's weights as in the file, f32. */
typedef struct {
    const om_voc_conv *c;
    const float *w;
    int width;          /* lanes per output column: channels, padded or not */
} source;

/* Lane = column of the group * width + channel. A transposed convolution becomes an ordinary one
 * with `stride` columns of output per row: column r of row m takes kernel element
 * r + stride * (m - input column), and tap 0 is the oldest input column. */
static float weight_at(const void *user, int lane, int tap, int channel)
{
    const source *s = user;
    const om_voc_conv *c = s->c;
    int out = lane % s->width, j = tap;

    if (out >= c->out)
        return 0.0f;
    if (!c->transposed)
        return s->w[((size_t)out * (size_t)c->in + (size_t)channel) * (size_t)c->kernel + (size_t)j];
    j = lane / s->width + (c->taps - 1 - tap) * c->stride;
    if (j >= c->kernel)
        return 0.0f;
    return s->w[((size_t)channel * (size_t)c->out + (size_t)out) * (size_t)c->kernel + (size_t)j];
}

static void file_shape(const om_voc_conv *c, int64_t shape[3])
{
    shape[0] = c->transposed ? c->in : c->out;
    shape[1] = c->transposed ? c->out : c->in;
    shape[2] = c->kernel;
}

/* ---- our own kernels ------------------------------------------------------ */

static int pack(om_vocoder_weights *vw, const om_weights *w, int i)
{
    const om_voc_conv *c = &vw->plan->convs[i];
    om_voc_packed *packed = &vw->packed[i];
    int64_t shape[3], out = c->out;
    float *weight = NULL, *bias = NULL;
    source src = { .c = c, .width = om_voc_padded(c->out) };
    int rc;

    file_shape(c, shape);
    rc = om_voc_read(w, c->weight, 3, shape, &weight);
    if (!rc)
        rc = om_voc_read(w, c->bias, 1, &out, &bias);
    src.w = weight;
    if (!rc)
        rc = om_voc_conv_pack(packed, c->in, src.width * c->stride, c->taps, c->dilation,
                              vw->bf16 ? OM_VOC_BF16 : OM_VOC_F32, weight_at, &src);
    for (int r = 0; r < c->stride && !rc; r++)
        memcpy(packed->bias + r * src.width, bias, (size_t)c->out * sizeof *bias);
    om_free(weight);
    om_free(bias);
    return rc;
}

static int load_packed(om_vocoder_weights *vw, const om_weights *w)
{
    int rc = OMNI_OK;

    vw->packed = om_calloc((size_t)vw->plan->n_convs, sizeof *vw->packed);
    if (!vw->packed)
        return om_fail(OMNI_ERR_MEMORY, "no memory for the weights of the vocoder");
    for (int i = 0; i < vw->plan->n_convs && !rc; i++)
        rc = pack(vw, w, i);
    return rc;
}

/* ---- ggml ----------------------------------------------------------------- */

static enum ggml_type type_of(const om_weights *w, const char *name, bool force_f32)
{
    const om_tensor_desc *t = om_weights_find(w, name);

    if (force_f32 || !t || (t->type != GGML_TYPE_F16 && t->type != GGML_TYPE_BF16))
        return GGML_TYPE_F32;
    return (enum ggml_type)t->type;
}

static int declare(om_vocoder_weights *vw, const om_weights *w, bool force_f32)
{
    size_t n = (size_t)vw->plan->n_convs;
    int rc = om_pool_begin(&vw->pool, 2 * n);

    if (rc)
        return rc;
    vw->weight = om_calloc(n, sizeof(struct ggml_tensor *));
    vw->bias = om_calloc(n, sizeof(struct ggml_tensor *));
    if (!vw->weight || !vw->bias)
        return om_fail(OMNI_ERR_MEMORY, "no memory for the weights of the vocoder");
    for (size_t i = 0; i < n; i++) {
        const om_voc_conv *c = &vw->plan->convs[i];
        int64_t rows = (int64_t)c->out * c->stride;

        vw->weight[i] = ggml_new_tensor_2d(vw->pool.ctx, type_of(w, c->weight, force_f32),
                                           (int64_t)c->in * c->taps, rows);
        vw->bias[i] = ggml_new_tensor_1d(vw->pool.ctx, GGML_TYPE_F32, rows);
    }
    return OMNI_OK;
}

static void set_rows(struct ggml_tensor *t, const float *x, void *room)
{
    int64_t n = ggml_nelements(t);

    if (t->type == GGML_TYPE_F16)
        ggml_fp32_to_fp16_row(x, room, n);
    else if (t->type == GGML_TYPE_BF16)
        ggml_fp32_to_bf16_row(x, room, n);
    om_tensor_set(t, t->type == GGML_TYPE_F32 ? (const void *)x : room, 0, ggml_nbytes(t));
}

static int fill(om_vocoder_weights *vw, const om_weights *w, int i)
{
    const om_voc_conv *c = &vw->plan->convs[i];
    int64_t shape[3], out = c->out;
    size_t n = (size_t)ggml_nelements(vw->weight[i]), at = 0;
    float *weight = NULL, *bias = NULL, *turned = om_aligned(2 * n, sizeof *turned);
    source src = { .c = c, .width = c->out };
    int rc = turned ? OMNI_OK : om_fail(OMNI_ERR_MEMORY, "no memory for tensor %s", c->weight);

    file_shape(c, shape);
    if (!rc)
        rc = om_voc_read(w, c->weight, 3, shape, &weight);
    if (!rc)
        rc = om_voc_read(w, c->bias, 1, &out, &bias);
    if (rc)
        goto done;
    src.w = weight;
    for (int lane = 0; lane < c->out * c->stride; lane++)
        for (int tap = 0; tap < c->taps; tap++)
            for (int channel = 0; channel < c->in; channel++)
                turned[at++] = weight_at(&src, lane, tap, channel);
    set_rows(vw->weight[i], turned, turned + n);
    for (int r = 0; r < c->stride; r++)
        om_tensor_set(vw->bias[i], bias, (size_t)r * (size_t)out * sizeof *bias, (size_t)out * sizeof *bias);
done:
    om_free(weight);
    om_free(bias);
    om_free(turned);
    return rc;
}

static int load_plain(om_vocoder_weights *vw, const om_weights *w, om_device *dev, bool force_f32)
{
    int rc = declare(vw, w, force_f32);

    if (!rc)
        rc = om_pool_alloc(&vw->pool, dev);
    for (int i = 0; i < vw->plan->n_convs && !rc; i++)
        rc = fill(vw, w, i);
    return rc;
}

/* ---- load ----------------------------------------------------------------- */

/* Every weight is checked before any is read: ggml aborts on shapes, and half a model helps nobody. */
static int check(const om_vocoder_weights *vw, const om_weights *w, bool *all_bf16)
{
    const om_tensor_desc *t;
    int rc = OMNI_OK;

    *all_bf16 = true;
    for (int i = 0; i < vw->plan->n_convs && !rc; i++) {
        int64_t shape[3];

        file_shape(&vw->plan->convs[i], shape);
        rc = om_weights_need(w, vw->plan->convs[i].weight, 3, shape, &t);
        if (!rc)
            *all_bf16 = *all_bf16 && t->type == GGML_TYPE_BF16;
    }
    return rc;
}

int om_vocoder_load_with(const om_weights *w, const om_hparams *hp, om_device *dev, bool force_f32,
                         bool plain, om_vocoder_weights **out)
{
    int64_t table[2] = { hp->dec.units, hp->voc.embd };
    om_vocoder_weights *vw = om_calloc(1, sizeof *vw);
    bool all_bf16 = false;
    int rc;

    if (!vw)
        return om_fail(OMNI_ERR_MEMORY, "no memory for the vocoder");
    vw->hp = *hp;
    vw->plain = plain || !om_device_is_cpu(dev);
    rc = om_voc_plan_new(hp, &vw->plan);
    if (!rc)
        rc = check(vw, w, &all_bf16);
    if (!rc)
        rc = om_voc_read(w, "voc.embd", 2, table, &vw->embd);
    if (!rc)
        rc = om_voc_duration_load(w, hp, &vw->duration);
    vw->bf16 = all_bf16 && !force_f32 && om_voc_conv_has(OM_VOC_BF16);
    if (!rc)
        rc = vw->plain ? load_plain(vw, w, dev, force_f32) : load_packed(vw, w);
    if (rc)
        om_vocoder_unload(vw);
    else
        *out = vw;
    return rc;
}

int om_vocoder_load(const om_weights *w, const om_hparams *hp, om_device *dev, bool force_f32,
                    om_vocoder_weights **out)
{
    return om_vocoder_load_with(w, hp, dev, force_f32, false, out);
}

void om_vocoder_unload(om_vocoder_weights *vw)
{
    if (!vw)
        return;
    for (int i = 0; vw->packed && i < vw->plan->n_convs; i++)
        om_voc_conv_free(&vw->packed[i]);
    om_free(vw->packed);
    om_free(vw->weight);
    om_free(vw->bias);
    om_pool_free(&vw->pool);
    om_voc_duration_unload(&vw->duration);
    om_free(vw->embd);
    om_voc_plan_free(vw->plan);
    om_free(vw);
}
