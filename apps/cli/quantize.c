/* omni quantize: one file of a model in another type, with what each tensor lost. */
#include "interrupt.h"
#include "options.h"
#include "report.h"

#include "../../lab/convert/part-file.h"
#include "../../lab/convert/quantize.h"

#include <omni.h>

#include <stdio.h>

static int see_progress(void *user, const char *what, double done)
{
    (void)user;
    cli_progress(what, done);
    return cli_interrupted();
}

static int see_tensor(void *user, const char *name, const char *from, const char *to, uint64_t bytes, double rms)
{
    bool *begun = user;
    cli_progress_end();
    if (!*begun) printf("%-28s %-14s %12s  %s\n", "tensor", "type", "bytes", "relative rms error");
    *begun = true;
    cli_print("%-28s %-5s -> %-5s %12llu  %.3e\n", name, from, to, (unsigned long long)bytes, rms);
    return cli_interrupted();
}

int cli_quantize(const cli_args *args)
{
    bool begun = false;
    const om_quantize_watch watch = {.user = &begun, .progress = see_progress, .tensor = see_tensor,
                                     .unstoppable = cli_interrupt_at_once};
    uint64_t bytes = 0;
    if (args->n_inputs != 3) return cli_usage("quantize: found %zu arguments, wanted three: IN.gguf OUT.gguf TYPE", args->n_inputs);
    const char *in = args->inputs[0].text, *out = args->inputs[1].text, *type = args->inputs[2].text;
    om_part_file_tell(cli_interrupt_add_file, cli_interrupt_remove_file);
    cli_interrupt_watch(true);
    const int rc = om_quantize(in, out, type, (int)cli_integer(args, CLI_QUANTIZE_THREADS, 0), &watch, &bytes);
    cli_interrupt_watch(false);
    cli_progress_end();
    if (rc == OMNI_AGAIN) return CLI_INTERRUPTED;
    if (rc != OMNI_OK) return cli_library_error(), rc == OMNI_ERR_ARG ? CLI_USAGE : CLI_FAILED;
    printf("%s: %s, %.3f GB\n", out, type, (double)bytes * 1e-9);
    return cli_stdout_flush();
}
