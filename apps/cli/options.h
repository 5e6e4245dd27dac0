/* options: the command line, read by the tables options.def and commands.def. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_INTERRUPTED = 130, CLI_PIPE = 141 }; /* exit codes */

typedef enum cli_option_id {
#define OPTION(id, commands, short_name, long_name, argument, kind, low, high, help) CLI_##id,
#include "options.def"
#undef OPTION
    CLI_OPTION_COUNT
} cli_option_id;

typedef enum cli_kind {
    CLI_KIND_SWITCH, CLI_KIND_INTEGER, CLI_KIND_REAL, CLI_KIND_WORD, CLI_KIND_FILE, CLI_KIND_QUESTION
} cli_kind;

typedef struct cli_option {
    unsigned commands;          /* bit per subcommand */
    const char *short_name;     /* without the dash; may have several letters (ngl); NULL: none */
    const char *long_name;
    const char *argument;
    cli_kind kind;
    double low, high;
    const char *help;
} cli_option;

typedef struct cli_value {
    bool given;
    long long integer;
    double real;
    const char *text;
} cli_value;

/* A question: a recording's path, or typed text. */
typedef struct cli_input {
    bool typed;
    const char *text;
} cli_input;

typedef struct cli_args {
    cli_value option[CLI_OPTION_COUNT];
    cli_input *inputs;          /* [n_inputs], in the order of the command line */
    size_t n_inputs;
} cli_args;

typedef struct cli_command {
    const char *name, *arguments, *line, *text;
    int (*run)(const cli_args *args);
} cli_command;

extern const cli_option  cli_options[CLI_OPTION_COUNT];
extern const cli_command cli_commands[];
extern const size_t      cli_n_commands;

/* The command called name, or NULL after an error line. */
const cli_command *cli_command_find(const char *name);
bool cli_option_belongs(const cli_option *option, const cli_command *command);

/* Reads argv[0..argc) into *args: CLI_OK, or CLI_USAGE after an error line. Texts are
 * borrowed from argv. Free with cli_args_free. */
int  cli_args_read(const cli_command *command, int argc, char **argv, cli_args *args);
void cli_args_free(cli_args *args);

/* The values, or what the caller takes as default. */
long long   cli_integer(const cli_args *args, cli_option_id id, long long otherwise);
double      cli_real(const cli_args *args, cli_option_id id, double otherwise);
const char *cli_text(const cli_args *args, cli_option_id id, const char *otherwise);
bool        cli_given(const cli_args *args, cli_option_id id);

/* The subcommands; each returns an exit code. */
int cli_ask(const cli_args *args);
int cli_info(const cli_args *args);
int cli_probe(const cli_args *args);
int cli_bench(const cli_args *args);
int cli_bench_serve(const cli_args *args);      /* bench with --serve */
int cli_synth_model(const cli_args *args);
int cli_convert(const cli_args *args);
int cli_quantize(const cli_args *args);
int cli_pull(const cli_args *args);
int cli_serve(const cli_args *args);
int cli_talk(const cli_args *args);

#endif
