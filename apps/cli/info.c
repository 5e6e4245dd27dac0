/* omni info: what a model is. */
#include "conversation.h"
#include "json-line.h"
#include "options.h"
#include "report.h"

#include "../../lab/convert/tensor-sums.h"

#include <omni.h>

#include <stdio.h>
#include <string.h>

/* "1.23 M" and the like. */
static const char *big(uint64_t n, char *text, size_t size)
{
    static const char *const steps[] = {"", " K", " M", " G"};
    double x = (double)n;
    size_t i = 0;
    while (x >= 1000 && i < 3) x /= 1000, i++;
    snprintf(text, size, i ? "%.2f%s" : "%.0f%s", x, steps[i]);
    return text;
}

static void file_line(const char *what, const char *path, uint64_t bytes, uint64_t parameters)
{
    char b[32], p[32];
    cli_print("%-12s %s, %sB, %s parameters\n", what, path, big(bytes, b, sizeof b),
           big(parameters, p, sizeof p));
}

static void print_info(const omni_model_info *m)
{
    cli_print("%-12s %s (%s)\n", "model", m->name, m->llm_description);
    file_line("llm file", m->llm_path, m->llm_bytes, m->llm_parameters);
    file_line("speech file", m->speech_path, m->speech_bytes, m->speech_parameters);
    printf("%-12s %d Hz in, at most %.2f s per question; %d Hz out\n", "sound", m->sample_rate_in,
           (double)m->window_samples / m->sample_rate_in, m->sample_rate_out);
    printf("%-12s %d mel bands, %d positions of %d, %d layers\n", "encoder", m->n_mels, m->encoder_positions,
           m->encoder_width, m->encoder_layers);
    printf("%-12s %d rows to 1: %d rows per question\n", "adaptor", m->adaptor_stack, m->speech_rows);
    printf("%-12s width %d, %d layers, %d tokens, trained on %d positions\n", "llm", m->llm_width,
           m->llm_layers, m->llm_vocab, m->llm_context_trained);
    printf("%-12s %d positions per token, width %d, %d layers, %d units\n", "decoder", m->upsample,
           m->decoder_width, m->decoder_layers, m->units);
    printf("%-12s %d samples per frame, exact audio waits for %d samples (%.0f ms)\n", "vocoder",
           m->samples_per_frame, m->vocoder_lookahead, 1e3 * m->vocoder_lookahead / m->sample_rate_out);
}

static int see_metadata(void *user, const char *file, const char *key, const char *value)
{
    if (*(const bool *)user) return cli_json_metadata(stdout, file, key, value);
    cli_print("%-7s %s = %s\n", file, key, value);
    return 0;
}

typedef struct listing {
    bool json;
    om_tensor_sums *sums;
} listing;

static int see_tensor(void *user, const omni_tensor_info *t)
{
    const listing *l = user;
    char sum[OM_TENSOR_SUM];
    const int rc = om_tensor_sums_get(l->sums, t->name, sum);
    if (rc != OMNI_OK) return rc;
    if (l->json) return cli_json_tensor(stdout, t, sum);
    char shape[96] = "";
    for (int i = 0; i < t->n_dims; i++) {
        const size_t at = strlen(shape);
        snprintf(shape + at, sizeof shape - at, "[%lld]", (long long)t->shape[i]);
    }
    cli_print("%-28s %-6s %-20s %12llu  %s\n", t->name, t->type, shape, (unsigned long long)t->bytes, sum);
    return 0;
}

static int list_tensors(const omni_model *model, bool json)
{
    listing l = {.json = json};
    int rc = om_tensor_sums_open(omni_model_get_info(model)->speech_path, &l.sums);
    if (rc == OMNI_OK) rc = omni_model_each_tensor(model, see_tensor, &l);
    om_tensor_sums_free(l.sums);
    return rc;
}

int cli_info(const cli_args *args)
{
    if (args->n_inputs > 1) return cli_usage("info: found %zu models, wanted one", args->n_inputs);
    if (args->n_inputs && cli_given(args, CLI_MODEL))
        return cli_usage("info: found '%s' and -m %s, wanted one model", args->inputs[0].text, cli_text(args, CLI_MODEL, ""));
    omni_model *model = NULL;
    bool json = cli_given(args, CLI_JSON);
    int rc = cli_model_load(args, args->n_inputs ? args->inputs[0].text : NULL, &model);
    if (rc != CLI_OK) return rc;
    if (json) rc = cli_json_info(stdout, omni_model_get_info(model));
    else print_info(omni_model_get_info(model));
    if (rc == CLI_OK && cli_given(args, CLI_METADATA))
        rc = omni_model_each_metadata(model, see_metadata, &json);
    if (rc == CLI_OK && cli_given(args, CLI_TENSORS)) rc = list_tensors(model, json);
    omni_model_free(model);
    if (rc < 0) rc = cli_library_error();
    return rc != CLI_OK ? rc : cli_stdout_flush();
}
