/* omni pull: a published model by its name, fetched and converted. */
#include "fetch-line.h"
#include "interrupt.h"
#include "options.h"
#include "report.h"

#include "../../lab/convert/convert.h"
#include "../../lab/convert/llm-quantize.h"
#include "../../lab/convert/part-file.h"
#include "../../lab/pull/licence.h"
#include "../../lab/pull/paths.h"
#include "../../lab/pull/pull.h"

#include <omni.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct pull {
    const cli_args *args;
    om_pull_options options;
    om_pull_result  result;
    cli_fetch_line  line;
} pull;

/* ---- terms ---------------------------------------------------------------------------- */

static int ask_person(const om_known_model *terms)
{
    char answer[16] = "";
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return cli_error("the terms of %s (%s) were not accepted yet; read them with omni pull %s in a terminal, or "
                         "give --accept-licence", terms->name, terms->repo, terms->name);
    fprintf(stderr, "Type yes to accept these terms: ");
    if (!fgets(answer, sizeof answer, stdin) || strcmp(answer, "yes\n") != 0)
        return cli_error("the terms were not accepted; nothing was fetched");
    return CLI_OK;
}

/* Shown until accepted, and remembered then. */
static int check_terms(const pull *p)
{
    const om_known_model *terms = p->options.name.terms;
    bool accepted = false;
    if (!terms) return CLI_OK;
    if (om_licence_accepted(terms->licence, &accepted) != OMNI_OK) return cli_library_error();
    if (accepted) return CLI_OK;
    if (cli_given(p->args, CLI_ACCEPT) || isatty(STDERR_FILENO)) fputs(terms->terms, stderr);
    if (!cli_given(p->args, CLI_ACCEPT)) {
        const int rc = ask_person(terms);
        if (rc != CLI_OK) return rc;
    }
    return om_licence_accept(terms->licence) == OMNI_OK ? CLI_OK : cli_library_error();
}

/* ---- what is going on ----------------------------------------------------------------- */

static int see_stop(void *user)
{
    (void)user;
    return cli_interrupted();
}

static void see_progress(void *user, const om_pull_state *state)
{
    cli_fetch_line_show(&((pull *)user)->line, state);
}

static void see_note(void *user, const char *line)
{
    if (cli_given(((pull *)user)->args, CLI_QUIET)) return;
    cli_fetch_line_clear();
    cli_note("%s", line);
}

static int see_convert(void *user, const char *what, double done)
{
    (void)user;
    cli_progress(what, done);
    return cli_interrupted();
}

/* ---- */

static int fetch(pull *p)
{
    const om_pull_watch watch = {.user = p, .stop = see_stop, .progress = see_progress, .note = see_note};
    const int rc = om_pull(&p->options, &watch, &p->result);
    cli_fetch_line_end(&p->line);
    if (rc == OMNI_AGAIN) return CLI_INTERRUPTED;
    return rc == OMNI_OK ? CLI_OK : cli_library_error();
}

static int convert(pull *p)
{
    const char *llm_type = cli_text(p->args, CLI_PULL_TYPE, NULL),
               *speech_type = cli_text(p->args, CLI_PULL_SPEECH_TYPE, "f16");
    char types[64];
    snprintf(types, sizeof types, "%s-%s", llm_type ? llm_type : "published", speech_type);
    char *out = om_pulled_folder(&p->options.name, p->result.commit, types);
    if (!out) return cli_library_error();
    const char *repo = strchr(p->options.name.repo, '/') + 1;
    const om_convert_options options = {
        .hf = p->result.folder, .out = out, .llm_type = llm_type, .speech_type = speech_type,
        .name = p->options.name.set ? p->options.name.set->name : repo,
        .base = cli_text(p->args, CLI_BASE, NULL),
        .whisper = cli_text(p->args, CLI_WHISPER, p->result.whisper),
        .vocoder = cli_text(p->args, CLI_VOCODER, p->result.vocoder),
        .vocoder_config = cli_text(p->args, CLI_VOCODER_CONFIG, p->result.vocoder_config),
    };
    const om_convert_watch watch = {.user = p, .progress = see_convert, .note = see_note,
                                    .unstoppable = cli_interrupt_at_once};
    int rc = om_make_parents(out);
    if (rc == OMNI_OK) rc = om_convert(&options, &watch, NULL);
    cli_progress_end();
    if (rc == OMNI_OK) rc = om_pulled_set_latest(&p->options.name, p->result.commit, types);
    if (rc == OMNI_OK) printf("%s\n", out);
    free(out);
    if (rc == OMNI_AGAIN) return CLI_INTERRUPTED;
    return rc == OMNI_OK ? CLI_OK : cli_library_error();
}

/* Nothing is converted: what was said about types has no meaning. */
static void keep_as_it_is(const pull *p)
{
    const char *option = cli_given(p->args, CLI_PULL_TYPE) ? "type" : cli_given(p->args, CLI_PULL_SPEECH_TYPE) ? "speech-type" : NULL;
    if (option && !cli_given(p->args, CLI_QUIET))
        cli_note("--%s is ignored: %s", option, p->result.ready ? "the repository holds GGUF files, which are used as they are"
                                                                : "nothing is converted");
    printf("%s\n", p->result.folder);
}

int cli_pull(const cli_args *args)
{
    pull p = {.args = args, .options = {.offline = cli_given(args, CLI_OFFLINE), .retries = -1}};
    if (args->n_inputs != 1)
        return cli_usage("pull: found %zu names, wanted one: llama-omni-8b or hf:USER/REPO", args->n_inputs);
    if (om_name_parse(args->inputs[0].text, &p.options.name) != OMNI_OK) return cli_library_error();
    p.options.connections = (int)cli_integer(args, CLI_CONNECTIONS, 0);
    p.options.retries = (int)cli_integer(args, CLI_RETRIES, -1);
    p.options.llm_type = cli_text(args, CLI_PULL_TYPE, NULL);
    p.options.own_whisper = cli_given(args, CLI_WHISPER);
    p.options.own_vocoder = cli_given(args, CLI_VOCODER);
    if (p.options.llm_type && om_llm_file_type(p.options.llm_type) < 0)     /* now, not after hours of fetching */
        return cli_usage("--type: found '%s', wanted one of %s", p.options.llm_type, om_llm_types);
    int rc = check_terms(&p);
    if (rc != CLI_OK) return rc;
    om_part_file_tell(cli_interrupt_add_file, cli_interrupt_remove_file);
    cli_interrupt_watch(true);
    rc = fetch(&p);
    if (rc == CLI_OK && !p.result.ready && !cli_given(args, CLI_NO_CONVERT)) rc = convert(&p);
    else if (rc == CLI_OK) keep_as_it_is(&p);
    cli_interrupt_watch(false);
    om_pull_result_free(&p.result);
    return rc != CLI_OK ? rc : cli_stdout_flush();
}
