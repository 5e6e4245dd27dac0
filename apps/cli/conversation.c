/* One session in one engine of one slot: all the commands need. */
#include "conversation.h"

#include "interrupt.h"
#include "report.h"
#include "resample.h"

#include "../../lab/pull/pull.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ALL_LAYERS = 999 };

/* Where the bundled model may lie, seen from the executable's folder: source and build trees, installed. */
static const char *const bundled[] = {
    "models/tiny", "../models/tiny", "../../models/tiny", "../../../models/tiny", "../../../../models/tiny",
    "../share/llama-omni/models/tiny",
    OMNI_DATA_DIR "/models/tiny",       /* where the installation was told to put it */
};

bool cli_bundled_model(char *path, size_t size)
{
    char exe[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0 || !path) return false;     /* gcc under the undefined sanitizer thinks it might be NULL */
    exe[n] = 0;
    char *slash = strrchr(exe, '/');
    if (slash) *slash = 0;
    for (size_t i = 0; i < sizeof bundled / sizeof *bundled; i++) {
        const bool absolute = bundled[i][0] == '/';
        const int wanted = snprintf(path, size, "%s%s%s", absolute ? "" : exe, absolute ? "" : "/", bundled[i]);
        if (wanted > 0 && (size_t)wanted < size && access(path, R_OK) == 0) return true;
    }
    return false;
}

int cli_gpu_layers(const cli_args *args)
{
    const bool rpc = cli_given(args, CLI_RPC);
    return (int)cli_integer(args, CLI_GPU_LAYERS, rpc ? ALL_LAYERS : omni_model_default_params().n_gpu_layers);
}

/* The library says what is wrong inside of a folder; this, that it is none. */
static int check_model_path(const char *path)
{
    static const char wanted[] = "wanted a model: a folder with NAME-TYPE.gguf and NAME-speech-TYPE.gguf, the path of the "
                                 "former, or a name that omni pull has fetched";
    const char *dot = strrchr(path, '.');
    struct stat st;
    if (stat(path, &st) != 0) return cli_error("%s: %s; %s", path, strerror(errno), wanted);
    if (!S_ISDIR(st.st_mode) && (!dot || strcmp(dot, ".gguf") != 0)) return cli_error("%s: found another kind of file, %s", path, wanted);
    return CLI_OK;
}

int cli_model_load(const cli_args *args, const char *path, omni_model **model)
{
    char found[PATH_MAX + 64];
    if (!path) path = cli_text(args, CLI_MODEL, NULL);
    if (!path) path = getenv("OMNI_MODEL");
    if (!path || !*path) {
        if (!cli_bundled_model(found, sizeof found))
            return cli_error("no model: -m is not given, OMNI_MODEL is not set, and no models/tiny is found "
                             "near the program or in " OMNI_DATA_DIR "; name a model with -m MODEL");
        path = found;
    }
    char *pulled = NULL;        /* a name means what omni pull made of it, unless a file is called so */
    if (om_name_is(path) && access(path, F_OK) != 0) {
        if (om_pulled_find(path, &pulled) != OMNI_OK) return cli_library_error();
        path = pulled;
    }
    if (check_model_path(path) != CLI_OK) {
        free(pulled);
        return CLI_FAILED;
    }
    omni_model_params params = omni_model_default_params();
    params.rpc = cli_text(args, CLI_RPC, NULL);
    params.n_gpu_layers = cli_gpu_layers(args);
    params.use_mmap = !cli_given(args, CLI_NO_MMAP);
    params.force_f32 = strcmp(cli_text(args, CLI_TYPE, "file"), "f32") == 0;
    const int rc = omni_model_load(path, &params, model);
    free(pulled);
    return rc == OMNI_OK ? CLI_OK : cli_library_error();
}

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int cli_conversation_open(cli_conversation *c, const cli_args *args)
{
    *c = (cli_conversation){.model = NULL};
    const double start = now_seconds();
    cli_busy("loading the model");
    const int rc = cli_model_load(args, NULL, &c->model);
    if (rc != CLI_OK) return rc;
    c->info = omni_model_get_info(c->model);
    omni_engine_params params = omni_engine_default_params();
    params.n_threads = (int)cli_integer(args, CLI_THREADS, 0);
    params.n_ctx = (int)cli_integer(args, CLI_CTX, 0);
    if (omni_engine_new(c->model, &params, &c->engine) != OMNI_OK) return cli_library_error();
    cli_progress_end();
    c->load_seconds = now_seconds() - start;
    return CLI_OK;
}

int cli_session_begin(cli_conversation *c, const omni_session_params *params)
{
    cli_interrupt_session(NULL);
    omni_session_free(c->session);
    c->session = NULL;
    if (omni_session_new(c->engine, params, &c->session) != OMNI_OK) return cli_library_error();
    cli_interrupt_session(c->session);
    return CLI_OK;
}

void cli_conversation_close(cli_conversation *c)
{
    cli_interrupt_session(NULL);
    omni_session_free(c->session);
    omni_engine_free(c->engine);
    omni_model_free(c->model);
    *c = (cli_conversation){.model = NULL};
}

int cli_push_recording(cli_conversation *c, cli_audio *audio)
{
    const int rc = cli_resample(audio, c->info->sample_rate_in);
    if (rc != CLI_OK) return rc;
    /* A session holds two windows of pending input; the second one only tells it that something was cut. */
    const size_t most = 2 * (size_t)c->info->window_samples;
    const size_t n = audio->n < most ? audio->n : most;
    if (omni_session_push_audio(c->session, audio->samples, n) != OMNI_OK ||
        omni_session_end_input(c->session) != OMNI_OK)
        return cli_library_error();
    return CLI_OK;
}

/* The next event, stepping the engine until there is one. */
static int next_event(cli_conversation *c, omni_event *event)
{
    bool idle = false;
    for (;;) {
        /* A signal that came before the turn found nothing to cancel. */
        if (cli_interrupted()) omni_session_cancel(c->session);
        int rc = omni_session_next_event(c->session, event);
        if (rc == OMNI_OK) return CLI_OK;
        if (rc < 0) return cli_library_error();
        if (idle) return cli_error("the engine has nothing to do, but the answer has not ended");
        rc = omni_engine_step(c->engine);
        if (rc < 0) return cli_library_error();
        idle = rc == OMNI_AGAIN;   /* events may still have appeared: look once more */
    }
}

int cli_turn(cli_conversation *c, int (*see)(void *user, const omni_event *event), void *user)
{
    int verdict = CLI_OK;
    for (;;) {
        omni_event event;
        const int rc = next_event(c, &event);
        if (rc != CLI_OK) return rc;
        if (verdict == CLI_OK) {
            verdict = see(user, &event);
            if (verdict != CLI_OK) omni_session_cancel(c->session);
        }
        if (event.type == OMNI_EVENT_FAILED)
            return cli_error("%s", event.text ? event.text : "the answer failed");
        if (event.type == OMNI_EVENT_CANCELLED) return verdict != CLI_OK ? verdict : CLI_INTERRUPTED;
        if (event.type == OMNI_EVENT_END) return verdict;
    }
}
