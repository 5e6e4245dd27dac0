/*
 * graph: devices, pools of tensors, and graphs that are built once and computed often.
 *
 * On the CPU we call ggml_graph_compute with our own work buffer and thread pool:
 * the pool is shared with libllama, and running out of memory is a status, not an exception.
 */
#include "base/graph.h"

#include "base/cores.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/status.h"

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"

#include <stdint.h>

/* Idle threads spin this long before they sleep: about 2 ms, a bit more than
 * the time between two graphs of a turn. libllama's default of 50 burns 0.1 s. */
enum { POLL = 1 };

struct om_device {
    ggml_backend_t backend;
    ggml_backend_dev_t dev;
    ggml_threadpool_t threads;
    int n_threads;
    bool cpu;
    bool (*abort)(void *user);
    void *abort_user;
    uint8_t *work;
    size_t work_size;
};

/* ---- device --------------------------------------------------------------- */

static ggml_backend_dev_t find_gpu(void)
{
    ggml_backend_dev_t dev = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_GPU);

    return dev ? dev : ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_IGPU);
}

/* Our own kernels look at the CPU when they run; a portable ggml was built for what scripts/llama.sh says. */
static bool cpu_fits(void)
{
#if defined(OMNI_PORTABLE) && defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("f16c");
#else
    return true;
#endif
}

bool om_gpu_found(void)
{
    om_log_capture();
    return cpu_fits() && find_gpu() != NULL;
}

int om_device_new(int n_threads, bool use_gpu, om_device **out)
{
    struct ggml_threadpool_params params;
    om_device *dev;

    if (!cpu_fits())
        return om_fail(OMNI_ERR_BACKEND, "this CPU lacks AVX2, FMA, F16C or BMI2, which this build needs (x86-64-v3, "
                                         "2013 and later); build from source on this machine");
    if (n_threads < 0 || n_threads > OM_MAX_THREADS)
        return om_fail(OMNI_ERR_ARG, "%d threads asked for, wanted 0 (one per core) to %d", n_threads,
                       OM_MAX_THREADS);
    om_log_capture();
    dev = om_calloc(1, sizeof *dev);
    if (!dev)
        return om_fail(OMNI_ERR_MEMORY, "device: out of memory");
    dev->n_threads = n_threads ? n_threads : om_cores();
    dev->cpu = !use_gpu;
    dev->dev = use_gpu ? find_gpu() : ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (!dev->dev) {
        om_free(dev);
        return om_fail(OMNI_ERR_BACKEND,
                       use_gpu ? "no GPU was found; build with OMNI_CUDA=ON, or ask for 0 GPU layers"
                               : "this ggml was built without its CPU backend");
    }
    if (!om_torture_hit())
        dev->backend = ggml_backend_dev_init(dev->dev, NULL);
    if (!dev->backend) {
        int rc = om_fail(OMNI_ERR_BACKEND, "%s could not be started: %s", ggml_backend_dev_name(dev->dev),
                         om_log_error());

        om_device_free(dev);
        return rc;
    }
    /* One thread is the caller: a pool of one has no threads of its own. */
    ggml_threadpool_params_init(&params, dev->n_threads);
    params.poll = POLL;
    if (!om_torture_hit())
        dev->threads = ggml_threadpool_new(&params);
    if (!dev->threads) {
        om_device_free(dev);
        return om_fail(OMNI_ERR_MEMORY, "device: %d threads could not be started", params.n_threads);
    }
    *out = dev;
    return OMNI_OK;
}

void om_device_free(om_device *dev)
{
    if (!dev)
        return;
    if (dev->threads)
        ggml_threadpool_free(dev->threads);
    if (dev->backend)
        ggml_backend_free(dev->backend);
    om_free(dev->work);
    om_free(dev);
}

bool om_device_is_cpu(const om_device *dev)
{
    return dev->cpu;
}

int om_device_threads(const om_device *dev)
{
    return dev->n_threads;
}

double om_device_slice(const om_device *dev)
{
    return 30e9 * om_device_threads(dev);
}

const char *om_device_name(const om_device *dev)
{
    return ggml_backend_dev_description(dev->dev);
}

void *om_device_threadpool(const om_device *dev)
{
    return dev->threads;
}

void om_device_set_abort(om_device *dev, bool (*abort)(void *user), void *user)
{
    dev->abort = abort;
    dev->abort_user = user;
}

/* ---- pool ----------------------------------------------------------------- */

/* ggml's own allocation aborts on failure; with a buffer of ours it can not fail. */
static struct ggml_context *new_context(void *memory, size_t size)
{
    struct ggml_init_params params = { size, memory, true };

    return ggml_init(params);
}

int om_pool_begin(om_pool *pool, size_t max_tensors)
{
    size_t size;
    void *memory = NULL;

    pool->ctx = NULL;
    pool->buffer = NULL;
    if (om_mul_ok(max_tensors + 1, ggml_tensor_overhead(), &size))
        memory = om_aligned(size, 1);
    if (!memory)
        return om_fail(OMNI_ERR_MEMORY, "no memory for a pool of %zu tensors", max_tensors);
    pool->ctx = new_context(memory, size);
    if (!pool->ctx) {
        om_free(memory);
        return om_fail(OMNI_ERR_MEMORY, "no memory for a pool of %zu tensors", max_tensors);
    }
    return OMNI_OK;
}

int om_pool_alloc(om_pool *pool, om_device *dev)
{
    ggml_backend_buffer_type_t type = ggml_backend_get_default_buffer_type(dev->backend);
    ggml_backend_buffer_t buffer = NULL;
    size_t bytes;

    if (!ggml_get_first_tensor(pool->ctx))
        return OMNI_OK;
    om_log_capture();
    bytes = ggml_backend_alloc_ctx_tensors_from_buft_size(pool->ctx, type);
    if (!om_torture_hit())
        buffer = ggml_backend_alloc_ctx_tensors_from_buft(pool->ctx, type);
    if (!buffer)
        return om_fail(OMNI_ERR_MEMORY, "no memory for %zu bytes of tensors on %s", bytes,
                       om_device_name(dev));
    ggml_backend_buffer_clear(buffer, 0);
    pool->buffer = buffer;
    return OMNI_OK;
}

size_t om_pool_bytes(const om_pool *pool)
{
    return pool->buffer ? ggml_backend_buffer_get_size(pool->buffer) : 0;
}

void om_pool_free(om_pool *pool)
{
    void *memory = pool->ctx ? ggml_get_mem_buffer(pool->ctx) : NULL;

    if (pool->buffer)
        ggml_backend_buffer_free(pool->buffer);
    if (pool->ctx)
        ggml_free(pool->ctx);
    om_free(memory);
    pool->ctx = NULL;
    pool->buffer = NULL;
}

void om_tensor_set(struct ggml_tensor *t, const void *data, size_t offset, size_t size)
{
    ggml_backend_tensor_set(t, data, offset, size);
}

void om_tensor_get(const struct ggml_tensor *t, void *data, size_t offset, size_t size)
{
    ggml_backend_tensor_get(t, data, offset, size);
}

void om_tensor_zero(struct ggml_tensor *t, size_t offset, size_t size)
{
    ggml_backend_tensor_memset(t, 0, offset, size);
}

void *om_tensor_host(struct ggml_tensor *t)
{
    ggml_backend_buffer_t buffer = t->view_src ? t->view_src->buffer : t->buffer;

    return buffer && ggml_backend_buffer_is_host(buffer) ? t->data : NULL;
}

/* ---- graph ---------------------------------------------------------------- */

int om_graph_begin(om_graph *g, size_t max_nodes)
{
    size_t overhead, size;

    if (g->ctx)
        ggml_free(g->ctx);
    g->ctx = NULL;
    g->graph = NULL;
    /* Twice: leaves, views and constants are tensors too. */
    if (max_nodes > SIZE_MAX / 4 || !om_mul_ok(2 * max_nodes, ggml_tensor_overhead(), &overhead))
        return om_fail(OMNI_ERR_MEMORY, "graph of %zu nodes", max_nodes);
    size = overhead + ggml_graph_overhead_custom(max_nodes, false) + 4096;
    if (size > g->meta_size) {
        om_free(g->meta);
        g->meta_size = 0;
        g->meta = om_aligned(size, 1);
        if (!g->meta)
            return om_fail(OMNI_ERR_MEMORY, "no memory for a graph of %zu nodes", max_nodes);
        g->meta_size = size;
    }
    g->max_nodes = max_nodes;
    g->ctx = new_context(g->meta, g->meta_size);
    if (!g->ctx)
        return om_fail(OMNI_ERR_MEMORY, "no memory for a graph of %zu nodes", max_nodes);
    g->graph = ggml_new_graph_custom(g->ctx, max_nodes, false);
    return OMNI_OK;
}

struct ggml_tensor *om_graph_input(om_graph *g, struct ggml_tensor *t)
{
    (void)g;
    ggml_set_input(t);
    return t;
}

struct ggml_tensor *om_graph_output(om_graph *g, struct ggml_tensor *t)
{
    ggml_set_output(t);
    ggml_build_forward_expand(g->graph, t);
    return t;
}

void om_graph_expand(om_graph *g, struct ggml_tensor *t)
{
    ggml_build_forward_expand(g->graph, t);
}

static int grow_work(om_device *dev, size_t size)
{
    if (size <= dev->work_size)
        return OMNI_OK;
    om_free(dev->work);
    dev->work_size = 0;
    dev->work = om_aligned(size, 1);
    if (!dev->work)
        return om_fail(OMNI_ERR_MEMORY, "no memory for a work buffer of %zu bytes", size);
    dev->work_size = size;
    return OMNI_OK;
}

int om_graph_prepare(om_graph *g, om_device *dev)
{
    bool ok = false;

    om_log_capture();
    if (!g->alloc && !om_torture_hit())
        g->alloc = ggml_gallocr_new(ggml_backend_get_default_buffer_type(dev->backend));
    if (g->alloc && !om_torture_hit())
        ok = ggml_gallocr_alloc_graph(g->alloc, g->graph);
    if (!ok)
        return om_fail(OMNI_ERR_MEMORY, "no memory for the arrays of a graph on %s", om_device_name(dev));
    /* Also the work buffer, so that computing does not allocate. */
    return dev->cpu ? grow_work(dev, ggml_graph_plan(g->graph, dev->n_threads, dev->threads).work_size)
                    : OMNI_OK;
}

static enum ggml_status compute_on_cpu(om_graph *g, om_device *dev, int *rc)
{
    struct ggml_cplan plan = ggml_graph_plan(g->graph, dev->n_threads, dev->threads);

    *rc = grow_work(dev, plan.work_size);
    if (*rc)
        return GGML_STATUS_ALLOC_FAILED;
    plan.work_data = dev->work;
    plan.abort_callback = dev->abort;
    plan.abort_callback_data = dev->abort_user;
    return ggml_graph_compute(g->graph, &plan);
}

int om_graph_compute(om_graph *g, om_device *dev)
{
    enum ggml_status status;
    int rc = OMNI_OK;

    if (dev->cpu)
        status = compute_on_cpu(g, dev, &rc);
    else if (dev->abort && dev->abort(dev->abort_user))
        status = GGML_STATUS_ABORTED;
    else
        status = ggml_backend_graph_compute(dev->backend, g->graph);
    if (rc)
        return rc;
    switch (status) {
    case GGML_STATUS_SUCCESS:
        return OMNI_OK;
    case GGML_STATUS_ABORTED:
        return om_fail(OMNI_ERR_STATE, "the computation was cancelled");
    case GGML_STATUS_ALLOC_FAILED:
        return om_fail(OMNI_ERR_MEMORY, "%s ran out of memory while computing", om_device_name(dev));
    default:
        return om_fail(OMNI_ERR_BACKEND, "%s failed: %s", om_device_name(dev), om_log_error());
    }
}

size_t om_graph_bytes(const om_graph *g)
{
    return g->alloc ? ggml_gallocr_get_buffer_size(g->alloc, 0) : 0;
}

void om_graph_free(om_graph *g)
{
    if (g->alloc)
        ggml_gallocr_free(g->alloc);
    if (g->ctx)
        ggml_free(g->ctx);
    om_free(g->meta);
    *g = (om_graph){0};
}
