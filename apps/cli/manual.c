/* One table, four readers. */
#include "manual.h"

#include <omni.h>

#include <stdio.h>
#include <string.h>

static const char *const global_options[][2] = {
    {"--help", "this text; omni COMMAND --help tells about one command"},
    {"--version", "the program's version"},
    {"--man", "the manual page in man's format"},
    {"--completion bash", "completion for bash: source <(omni --completion bash)"},
};
enum { N_GLOBAL = sizeof global_options / sizeof *global_options };

static const char *const exit_codes[][2] = {
    {"0", "done"},
    {"1", "failed; one line on standard error says what, where, what was found, what wanted, how to mend it"},
    {"2", "the command line was not understood"},
    {"130", "stopped by Ctrl-C or another signal (talk and serve, once they run: 0)"},
    {"141", "the reader of standard output went away"},
};
enum { N_CODES = sizeof exit_codes / sizeof *exit_codes };

/* text in lines of at most width columns, each after indent spaces; the first one continues at column. */
static void wrapped(const char *text, int column, int indent, int width)
{
    int at = column;
    while (*text) {
        const int n = (int)strcspn(text, " ");
        if (at > indent && at + 1 + n > width) {
            printf("\n%*s", indent, "");
            at = indent;
        } else if (at > indent) {
            putchar(' ');
            at++;
        }
        printf("%.*s", n, text);
        at += n;
        text += n;
        while (*text == ' ') text++;
    }
    putchar('\n');
}

/* "  left" and the text beside it, or below when left is long. */
static void entry(const char *left, const char *text)
{
    enum { COLUMN = 28, WIDTH = 96 };
    int at = printf("  %s", left);
    if (at > COLUMN - 2) {
        printf("\n%*s", COLUMN, "");
    } else {
        printf("%*s", COLUMN - at, "");
    }
    wrapped(text, COLUMN, COLUMN, WIDTH);
}

static void option_names(const cli_option *o, char *text, size_t size)
{
    char shorter[16] = "";
    if (o->short_name) snprintf(shorter, sizeof shorter, "-%s, ", o->short_name);
    snprintf(text, size, "%s--%s%s%s", shorter, o->long_name, o->argument ? " " : "",
             o->argument ? o->argument : "");
}

void cli_help(void)
{
    printf("omni %s - speech in, text and speech out\n\nusage: omni COMMAND [OPTIONS]\n\ncommands\n",
           omni_version());
    for (size_t i = 0; i < cli_n_commands; i++) entry(cli_commands[i].name, cli_commands[i].line);
    printf("\noptions\n");
    for (size_t i = 0; i < N_GLOBAL; i++) entry(global_options[i][0], global_options[i][1]);
    printf("\nexit codes\n");
    for (size_t i = 0; i < N_CODES; i++) entry(exit_codes[i][0], exit_codes[i][1]);
    printf("\nexample\n  omni ask question.wav -o answer.wav\n");
}

void cli_command_help(const cli_command *command)
{
    printf("usage: omni %s %s\n\n", command->name, command->arguments);
    wrapped(command->text, 0, 0, 96);
    printf("\noptions\n");
    for (size_t i = 0; i < CLI_OPTION_COUNT; i++) {
        char names[160];
        if (!cli_option_belongs(&cli_options[i], command)) continue;
        option_names(&cli_options[i], names, sizeof names);
        entry(names, cli_options[i].help);
    }
}

/* ---- man ------------------------------------------------------------------------- */

/* roff: dashes and backslashes escaped, no line that starts with a dot or quote. */
static void roff(const char *text)
{
    for (const char *c = text; *c; c++) {
        if (*c == '-') fputs("\\-", stdout);
        else if (*c == '\\') fputs("\\e", stdout);
        else if (*c == '|') fputs("|\\:", stdout);     /* long lists of choices may break here */
        else putchar(*c);
    }
}

static void roff_line(const char *before, const char *text)
{
    fputs(before, stdout);
    if (*text == '.' || *text == '\'') fputs("\\&", stdout);
    roff(text);
    putchar('\n');
}

static void man_entry(const char *left, const char *text)
{
    roff_line(".TP\n.B ", left);
    roff_line("", text);
}

static void man_command(const cli_command *command)
{
    printf(".SS ");
    roff(command->name);
    printf("\n.B omni ");
    roff(command->name);
    putchar(' ');
    roff(command->arguments);
    printf("\n.PP\n");
    roff_line("", command->text);
    for (size_t i = 0; i < CLI_OPTION_COUNT; i++) {
        char names[160];
        if (!cli_option_belongs(&cli_options[i], command)) continue;
        option_names(&cli_options[i], names, sizeof names);
        man_entry(names, cli_options[i].help);
    }
}

static const char files_text[] =
    ".SH FILES\n"
    "A model is a folder with two files:\n"
    ".TP\n.I NAME\\-TYPE.gguf\nthe language model, which llama.cpp can run by itself\n"
    ".TP\n.I NAME\\-speech\\-TYPE.gguf\nencoder, adaptor, speech decoder and vocoder\n"
    ".TP\n.I /usr/share/doc/llama\\-omni\nthe documents, README.md first; under another prefix "
    "PREFIX/share/doc/llama\\-omni\n"
    ".SH ENVIRONMENT\n"
    ".TP\n.B OMNI_MODEL\nthe model when \\-m is not given\n"
    ".SH EXAMPLES\n"
    ".nf\n"
    "omni ask question.wav \\-o answer.wav\n"
    "omni ask first.wav second.flac \\-\\-text \"and in winter?\" \\-o answers.wav\n"
    "arecord \\-f S16_LE \\-r 16000 \\-d 4 | omni ask \\- \\-o \\- | aplay \\-f S16_LE \\-r 16000\n"
    "omni probe \\-\\-stage units question.wav \\-o units.npy\n"
    "omni bench \\-\\-compare\\-text\\-only\n"
    ".fi\n";

void cli_man_page(void)
{
    printf(".\\\" Made by omni --man from the option table; do not edit.\n"
           ".TH OMNI 1 \"\" \"llama\\-omni %s\" \"User Commands\"\n"
           ".SH NAME\nomni \\- speech in, text and speech out\n"
           ".SH SYNOPSIS\n.B omni\n.I COMMAND\n[\\fIOPTIONS\\fR]\n"
           ".SH DESCRIPTION\n"
           "Answers spoken questions in text and speech, both as they come, with a model of the LLaMA\\-Omni "
           "family.\n"
           ".SH OPTIONS\n",
           omni_version());
    for (size_t i = 0; i < N_GLOBAL; i++) man_entry(global_options[i][0], global_options[i][1]);
    printf(".SH COMMANDS\n");
    for (size_t i = 0; i < cli_n_commands; i++) man_command(&cli_commands[i]);
    printf(".SH EXIT STATUS\n");
    for (size_t i = 0; i < N_CODES; i++) man_entry(exit_codes[i][0], exit_codes[i][1]);
    fputs(files_text, stdout);
}

/* ---- bash ------------------------------------------------------------------------ */

static void bash_command(const cli_command *command)
{
    printf("    %s)\n        options='", command->name);
    for (size_t i = 0; i < CLI_OPTION_COUNT; i++)
        if (cli_option_belongs(&cli_options[i], command)) printf("--%s ", cli_options[i].long_name);
    printf("'\n        case $before in\n");
    for (size_t i = 0; i < CLI_OPTION_COUNT; i++) {
        const cli_option *o = &cli_options[i];
        if (!cli_option_belongs(o, command) || !o->argument) continue;
        printf("        --%s", o->long_name);
        if (o->short_name) printf("|-%s", o->short_name);
        if (o->kind == CLI_KIND_WORD) {
            printf(") words='");
            for (const char *c = o->argument; *c; c++) putchar(*c == '|' ? ' ' : *c);
            printf("' ;;\n");
        } else {
            printf(o->kind == CLI_KIND_FILE ? ") files=1 ;;\n" : ") return ;;\n");
        }
    }
    printf("        *) files=1 ;;\n        esac ;;\n");
}

void cli_bash_completion(void)
{
    printf("# bash completion for omni, made by omni --completion bash\n"
           "_omni()\n{\n"
           "    local now=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
           "    local options='' words='' files=''\n"
           "    COMPREPLY=()\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W '");
    for (size_t i = 0; i < cli_n_commands; i++) printf("%s ", cli_commands[i].name);
    printf("help ");
    for (size_t i = 0; i < N_GLOBAL; i++)
        printf("%.*s ", (int)strcspn(global_options[i][0], " "), global_options[i][0]);
    printf("' -- \"$now\"))\n        return\n    fi\n    case ${COMP_WORDS[1]} in\n");
    for (size_t i = 0; i < cli_n_commands; i++) bash_command(&cli_commands[i]);
    printf("    help) words='");
    for (size_t i = 0; i < cli_n_commands; i++) printf("%s ", cli_commands[i].name);
    printf("' ;;\n    --completion) words=bash ;;\n    esac\n"
           "    case $now in\n"
           "    -*) [ -z \"$words\" ] && COMPREPLY=($(compgen -W \"$options\" -- \"$now\")) ;;\n"
           "    *) [ -n \"$words\" ] && COMPREPLY=($(compgen -W \"$words\" -- \"$now\"))\n"
           "       [ -n \"$files\" ] && mapfile -t COMPREPLY < <(compgen -f -- \"$now\") ;;\n"
           "    esac\n}\n"
           "complete -o filenames -F _omni omni\n");
}
