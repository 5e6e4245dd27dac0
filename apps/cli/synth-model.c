/* omni synth-model: the two files of a model with random weights. */
#include "interrupt.h"
#include "options.h"
#include "output-file.h"
#include "report.h"

#include "../../lab/convert/synth.h"

#include <omni.h>

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct job {
    cli_output llm, speech;
    cli_output *now;
    uint64_t done, all;     /* bytes */
} job;

static int write_bytes(void *user, const void *bytes, size_t n)
{
    job *j = user;
    if (cli_output_write(j->now, bytes, n) != CLI_OK || cli_interrupted()) return 1;
    j->done += n;
    cli_progress("writing", (double)j->done / (double)j->all);
    return 0;
}

static int open_file(cli_output *out, const char *folder, const char *name, const char *middle,
                     const char *type)
{
    char path[PATH_MAX], upper[16] = "";
    for (size_t i = 0; type[i] && i + 1 < sizeof upper; i++) upper[i] = (char)toupper((unsigned char)type[i]);
    const int n = snprintf(path, sizeof path, "%s/%s%s-%s.gguf", folder, name, middle, upper);
    if (n < 0 || (size_t)n >= sizeof path) return cli_error("%s: the path is too long", folder);
    return cli_output_open(out, path);
}

/* Writes both files into temporary ones. */
static int write_both(job *j, const om_synth_shape *shape, const char *llm_type, const char *speech_type,
                      uint64_t seed)
{
    const om_synth_sink sink = {.user = j, .write = write_bytes};
    uint64_t a = 0, b = 0;
    int rc = om_synth_llm(shape, llm_type, seed, NULL, &a);
    if (rc == OMNI_OK) rc = om_synth_speech(shape, speech_type, seed, NULL, &b);
    j->all = a + b;
    j->now = &j->llm;
    if (rc == OMNI_OK) rc = om_synth_llm(shape, llm_type, seed, &sink, NULL);
    j->now = &j->speech;
    if (rc == OMNI_OK) rc = om_synth_speech(shape, speech_type, seed + 1, &sink, NULL);
    cli_progress_end();
    if (rc == OMNI_AGAIN) return cli_interrupted() ? CLI_INTERRUPTED : CLI_FAILED;    /* commit tells why */
    return rc == OMNI_OK ? CLI_OK : cli_library_error();
}

/* Both or none under their names. */
static int commit_both(job *j)
{
    char first[PATH_MAX];
    if (j->speech.error) return cli_output_commit(&j->speech);
    snprintf(first, sizeof first, "%s", j->llm.target ? j->llm.target : "");
    int rc = cli_output_commit(&j->llm);
    if (rc == CLI_OK) {
        rc = cli_output_commit(&j->speech);
        if (rc != CLI_OK) unlink(first);
    }
    return rc;
}

int cli_synth_model(const cli_args *args)
{
    const char *folder = cli_text(args, CLI_SYNTH_OUT, NULL), *like = cli_text(args, CLI_LIKE, NULL);
    const char *llm_type = cli_text(args, CLI_LLM_TYPE, "q4_0"),
               *speech_type = cli_text(args, CLI_SPEECH_TYPE, "q8_0");
    if (!like) return cli_usage("synth-model: --like is missing: wanted llama-omni-8b or a shape file");
    if (!folder) return cli_usage("synth-model: -o FOLDER is missing");
    if (args->n_inputs)
        return cli_usage("synth-model: found '%s', wanted options only", args->inputs[0].text);
    om_synth_shape shape;
    if (om_synth_shape_read(like, &shape) != OMNI_OK) return cli_library_error();
    const bool made = mkdir(folder, 0777) == 0;
    if (!made && errno != EEXIST) return cli_error("%s: can not be made: %s", folder, strerror(errno));
    job j = {.llm = {.fd = -1}, .speech = {.fd = -1}};
    cli_interrupt_watch(true);
    int rc = open_file(&j.llm, folder, shape.name, "", llm_type);
    if (rc == CLI_OK) rc = open_file(&j.speech, folder, shape.name, "-speech", speech_type);
    if (rc == CLI_OK)
        rc = write_both(&j, &shape, llm_type, speech_type, (uint64_t)cli_integer(args, CLI_SYNTH_SEED, 1));
    if (rc == CLI_OK || j.llm.error || j.speech.error) rc = commit_both(&j);
    cli_output_discard(&j.llm);
    cli_output_discard(&j.speech);
    cli_interrupt_watch(false);
    if (rc != CLI_OK) {
        if (made) rmdir(folder);
        return rc;
    }
    printf("%s: %s, %.2f GB\n", folder, shape.name, (double)j.all * 1e-9);
    return cli_stdout_flush();
}
