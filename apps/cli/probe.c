/* omni probe: the numbers between two stages, as an NPY file. */
#include "conversation.h"
#include "npy.h"
#include "options.h"
#include "report.h"
#include "resample.h"

#include <omni.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int check_usage(const cli_args *args, bool units)
{
    if (!cli_given(args, CLI_STAGE))
        return cli_usage("probe: --stage is missing (omni probe --help lists the stages)");
    if (!cli_given(args, CLI_PROBE_OUT)) return cli_usage("probe: -o OUT.npy is missing");
    if (units != cli_given(args, CLI_UNITS))
        return cli_usage(units ? "probe: --stage vocoder wants --units UNITS.npy"
                               : "probe: --units goes only with --stage vocoder");
    if (args->n_inputs != (units ? 0u : 1u))
        return cli_usage("probe: found %zu recordings, wanted %d", args->n_inputs, units ? 0 : 1);
    if (strcmp(cli_text(args, CLI_PROBE_OUT, ""), "-") == 0 && isatty(STDOUT_FILENO))
        return cli_usage("probe: -o -: will not write an array to a terminal; give a file name");
    return CLI_OK;
}

static int probe_recording(cli_conversation *talk, const cli_args *args, cli_audio *audio, omni_array *array)
{
    cli_audio_tell(audio);
    const int rc = cli_resample(audio, talk->info->sample_rate_in);
    if (rc != CLI_OK) return rc;
    const size_t window = (size_t)talk->info->window_samples;
    if (audio->n > window) {
        cli_note("%s: %.1f s long; the model hears the first %.1f s", args->inputs[0].text, audio->seconds,
                 (double)window / talk->info->sample_rate_in);
        audio->n = window;
    }
    const int most = (int)cli_integer(args, CLI_PREDICT, omni_session_default_params().max_tokens);
    const char *stage = cli_text(args, CLI_STAGE, "");
    if (omni_probe(talk->engine, stage, audio->samples, audio->n, most, array) != OMNI_OK)
        return cli_library_error();
    return CLI_OK;
}

int cli_probe(const cli_args *args)
{
    const bool vocoder = strcmp(cli_text(args, CLI_STAGE, ""), "vocoder") == 0;
    int rc = check_usage(args, vocoder);
    if (rc != CLI_OK) return rc;
    cli_conversation talk = {.model = NULL};
    cli_audio audio = {.samples = NULL};
    cli_output out = {.fd = -1};
    omni_array array = {.data = NULL};
    int32_t *units = NULL;
    size_t n_units = 0;
    rc = vocoder ? cli_npy_read_integers(cli_text(args, CLI_UNITS, ""), &units, &n_units)
                 : cli_audio_read(args->inputs[0].text, &audio);
    if (rc == CLI_OK) rc = cli_output_open(&out, cli_text(args, CLI_PROBE_OUT, ""));
    if (rc == CLI_OK) rc = cli_conversation_open(&talk, args);
    if (rc == CLI_OK && vocoder) {
        if (omni_probe_vocoder(talk.engine, units, n_units, &array) != OMNI_OK)
            rc = cli_error("%s: %s", cli_text(args, CLI_UNITS, ""), omni_last_error());
    } else if (rc == CLI_OK) {
        rc = probe_recording(&talk, args, &audio, &array);
    }
    if (rc == CLI_OK) {
        cli_npy_write(&out, &array);
        rc = cli_output_commit(&out);
    }
    cli_output_discard(&out);
    omni_array_free(&array);
    cli_conversation_close(&talk);
    cli_audio_free(&audio);
    free(units);
    return rc;
}
