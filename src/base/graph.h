/*
 * graph.h - our side of ggml-backend: devices, pools of tensors, graphs.
 *
 * graph.c is the only includer of ggml-cpu.h and ggml-alloc.h, with rpc.c of ggml-backend.h.
 * Stages include ggml.h and build graphs with ggml_* operators.
 *
 * Thread rule: a device and what was made from it belong to one thread at a time.
 * ggml aborts the process on shape errors: check shapes before building.
 */
#ifndef OM_GRAPH_H
#define OM_GRAPH_H

#include "ggml.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct om_device om_device;

bool om_gpu_found(void);                       /* built with a GPU backend, and a GPU is there */

/* n_threads 0: one per physical core. use_gpu: the first GPU backend, ERR_BACKEND if there is none. */
int  om_device_new(int n_threads, bool use_gpu, om_device **out);
void om_device_free(om_device *dev);
bool om_device_is_cpu(const om_device *dev);   /* custom CPU operators allowed */
int  om_device_threads(const om_device *dev);
/* Operations that a slice of work may take on the CPU, so that nobody else waits long: about 0.1 s on cores of 2023. */
double om_device_slice(const om_device *dev);
const char *om_device_name(const om_device *dev);
/* struct ggml_threadpool *, shared with libllama by lm.c; NULL on none. */
void *om_device_threadpool(const om_device *dev);
/* Polled between graph nodes (CPU): return true to abort the compute, which then gives OMNI_ERR_STATE. */
void om_device_set_abort(om_device *dev, bool (*abort)(void *user), void *user);

/* Tensors that live together in one backend buffer: weights, or the state of a stage. */
typedef struct om_pool {
    struct ggml_context *ctx;   /* create tensors here (ggml_new_tensor_*) */
    void *buffer;
} om_pool;

int  om_pool_begin(om_pool *pool, size_t max_tensors);   /* ERR_MEMORY */
int  om_pool_alloc(om_pool *pool, om_device *dev);       /* zeroed. ERR_MEMORY */
size_t om_pool_bytes(const om_pool *pool);
void om_pool_free(om_pool *pool);                        /* {0} is allowed */

/* Host <-> device, contiguous tensors; offsets and sizes in bytes. */
void om_tensor_set(struct ggml_tensor *t, const void *data, size_t offset, size_t size);
void om_tensor_get(const struct ggml_tensor *t, void *data, size_t offset, size_t size);
void om_tensor_zero(struct ggml_tensor *t, size_t offset, size_t size);
void *om_tensor_host(struct ggml_tensor *t);             /* its bytes if in host memory, else NULL */

/* A graph: begin, build with g->ctx, om_graph_expand each output or in-place
 * state update, prepare, set inputs, compute; compute may be repeated with new inputs. */
typedef struct om_graph {
    struct ggml_context *ctx;
    struct ggml_cgraph  *graph;
    void *alloc;                /* ggml_gallocr_t, kept over rebuilds */
    void *meta;                 /* memory of ctx, kept over rebuilds */
    size_t meta_size, max_nodes;
} om_graph;

/* Forgets the previous graph. There is room for max_nodes operators and as many leaves and views; ggml
 * aborts beyond. ERR_MEMORY */
int  om_graph_begin(om_graph *g, size_t max_nodes);
struct ggml_tensor *om_graph_input(om_graph *g, struct ggml_tensor *t);  /* marks and returns t */
struct ggml_tensor *om_graph_output(om_graph *g, struct ggml_tensor *t); /* marks, expands, returns t */
void om_graph_expand(om_graph *g, struct ggml_tensor *t);
int  om_graph_prepare(om_graph *g, om_device *dev);      /* allocates. ERR_MEMORY */
int  om_graph_compute(om_graph *g, om_device *dev);      /* ERR_BACKEND, ERR_STATE when aborted */
size_t om_graph_bytes(const om_graph *g);                /* of its arrays on the device */
void om_graph_free(om_graph *g);                         /* {0} is allowed */

/* ---- weights into pools (loader.c) ---------------------------------------- */

struct om_weights;
/* Loads tensor `name` of shape (C order) into a tensor of pool->ctx. Two passes:
 * before om_pool_alloc om_load_declare creates it (type = file's type, or F32 when
 * force_f32 or when the file's type is not F32/F16/BF16/quantised-2D), after it om_load_fill reads the data.
 * The list of declared tensors is kept in a loader. */
typedef struct om_loader om_loader;
/* Declares at most as many tensors as the pool was begun for (ERR_LIMIT). w and pool are borrowed. */
int  om_loader_new(const struct om_weights *w, om_pool *pool, bool force_f32, om_loader **out);
void om_loader_free(om_loader *ld);
/* Declares name with the given C-order shape; NULL on failure, which om_loader_status tells. */
struct ggml_tensor *om_load(om_loader *ld, const char *name, int n_dims, const int64_t *shape);
/* As om_load, always F32 (biases, norms, tables). */
struct ggml_tensor *om_load_f32(om_loader *ld, const char *name, int n_dims, const int64_t *shape);
/* As om_load for a convolution [out][in][k] stored as [out][k][in] for channel-contiguous compute:
 * the tensor has ne = {in*k, out}, row o is [k][in]. transposed: file layout [in][out][k] ->
 * ne = {in, out*k}, row (o*k + j) is [in] (column matrix product, then overlap-add). */
struct ggml_tensor *om_load_conv(om_loader *ld, const char *name, const int64_t shape[3], bool transposed);
int  om_loader_status(const om_loader *ld);              /* first failure, or OK */
int  om_loader_fill(om_loader *ld);                      /* after om_pool_alloc. ERR_IO, ERR_MEMORY */

#endif
