/* omni convert: a published checkpoint becomes the two files of a model. */
#include "interrupt.h"
#include "options.h"
#include "report.h"

#include "../../lab/convert/convert.h"
#include "../../lab/convert/part-file.h"

#include <omni.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int see_progress(void *user, const char *what, double done)
{
    (void)user;
    cli_progress(what, done);
    return cli_interrupted();
}

static void see_note(void *user, const char *line)
{
    if (!*(const bool *)user || strncmp(line, "warning", 7) == 0) cli_note("%s", line);
}

static void print_file(const char *path)
{
    struct stat st;
    if (path && stat(path, &st) == 0) printf("%s: %.2f GB\n", path, (double)st.st_size * 1e-9);
}

int cli_convert(const cli_args *args)
{
    bool quiet = cli_given(args, CLI_QUIET);
    const om_convert_options options = {
        .hf = cli_text(args, CLI_HF, NULL),
        .base = cli_text(args, CLI_BASE, NULL),
        .whisper = cli_text(args, CLI_WHISPER, NULL),
        .vocoder = cli_text(args, CLI_VOCODER, NULL),
        .vocoder_config = cli_text(args, CLI_VOCODER_CONFIG, NULL),
        .out = cli_text(args, CLI_SYNTH_OUT, NULL),
        .name = cli_text(args, CLI_NAME, NULL),
        .llm_type = cli_text(args, CLI_CONVERT_LLM_TYPE, NULL),
        .speech_type = cli_text(args, CLI_CONVERT_SPEECH_TYPE, NULL),
        .verify = cli_given(args, CLI_VERIFY),
        .allow_unknown = cli_given(args, CLI_ALLOW_UNKNOWN),
        .force = cli_given(args, CLI_FORCE),
    };
    if (!options.hf) return cli_usage("convert: --hf is missing: wanted the folder of a Hugging Face checkpoint");
    if (!options.out) return cli_usage("convert: -o FOLDER is missing");
    if (args->n_inputs) return cli_usage("convert: found '%s', wanted options only", args->inputs[0].text);
    const om_convert_watch watch = {.user = &quiet, .progress = see_progress, .note = see_note, .unstoppable = cli_interrupt_at_once};
    om_convert_result result = {NULL, NULL};
    om_part_file_tell(cli_interrupt_add_file, cli_interrupt_remove_file);
    cli_interrupt_watch(true);
    const int rc = om_convert(&options, &watch, &result);
    cli_interrupt_watch(false);
    cli_progress_end();
    if (rc == OMNI_AGAIN) return CLI_INTERRUPTED;
    if (rc != OMNI_OK) return cli_library_error(), rc == OMNI_ERR_ARG ? CLI_USAGE : CLI_FAILED;
    print_file(result.llm);
    print_file(result.speech);
    free(result.llm);
    free(result.speech);
    return cli_stdout_flush();
}
