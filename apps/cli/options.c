/* Reads the command line by the option table; an unknown name is answered with the nearest known one. */
#include "options.h"

#include "report.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
#define COMMAND(id, name, run, arguments, line, text) AT_##id,
#include "commands.def"
#undef COMMAND
    AT_END
};

enum {
#define COMMAND(id, name, run, arguments, line, text) id = 1 << AT_##id,
#include "commands.def"
#undef COMMAND
    COMMAND_BITS = (1 << AT_END) - 1
};

const cli_option cli_options[CLI_OPTION_COUNT] = {
#define OPTION(id, commands, short_name, long_name, argument, kind, low, high, help) \
    [CLI_##id] = {commands, short_name, long_name, argument, CLI_KIND_##kind, low, high, help},
#include "options.def"
#undef OPTION
};

const cli_command cli_commands[] = {
#define COMMAND(id, name, run, arguments, line, text) {name, arguments, line, text, run},
#include "commands.def"
#undef COMMAND
};

const size_t cli_n_commands = AT_END;

bool cli_option_belongs(const cli_option *option, const cli_command *command)
{
    return option->commands >> (command - cli_commands) & 1u;
}

enum { NAME_CAP = 40 };

/* Letters to change, drop, add, or swap to turn a into b (restricted edit distance); names longer
 * than NAME_CAP are as far as can be. */
static size_t name_distance(const char *a, const char *b)
{
    size_t d[NAME_CAP + 1][NAME_CAP + 1];
    const size_t n = strlen(a), m = strlen(b);
    if (n > NAME_CAP || m > NAME_CAP) return NAME_CAP;
    for (size_t i = 0; i <= n; i++) d[i][0] = i;
    for (size_t j = 0; j <= m; j++) d[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        for (size_t j = 1; j <= m; j++) {
            size_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    }
    return d[n][m];
}

const cli_command *cli_command_find(const char *name)
{
    const cli_command *nearest = &cli_commands[0];
    size_t least = NAME_CAP + 1;
    for (size_t i = 0; i < cli_n_commands; i++) {
        const size_t d = name_distance(name, cli_commands[i].name);
        if (d == 0) return &cli_commands[i];
        if (d < least) least = d, nearest = &cli_commands[i];
    }
    cli_error("unknown command '%s'; did you mean '%s'? (omni --help lists them)", name, nearest->name);
    return NULL;
}

/* The option of the command called name (n letters); *nearest the one to suggest when there is none. */
static const cli_option *find_option(const cli_command *command, bool is_long, const char *name, size_t n,
                                     const cli_option **nearest)
{
    char word[NAME_CAP + 1] = "";
    size_t least = NAME_CAP + 1;
    *nearest = NULL;
    if (n > NAME_CAP) n = NAME_CAP;
    memcpy(word, name, n);
    for (size_t i = 0; i < CLI_OPTION_COUNT; i++) {
        const cli_option *o = &cli_options[i];
        if (!cli_option_belongs(o, command)) continue;
        const char *own = is_long ? o->long_name : o->short_name;
        if (own && strcmp(own, word) == 0) return o;
        const size_t d = name_distance(word, o->long_name);
        if (d < least) least = d, *nearest = o;
    }
    return NULL;
}

/* The option of "-t1" or "-oanswer.wav", where a space is missing before *argument; NULL: it looks like no such thing. */
static const cli_option *find_glued(const cli_command *command, const char *word, const char **argument)
{
    const cli_option *found = NULL;
    size_t longest = 0;
    for (size_t i = 0; word[1] != '-' && i < CLI_OPTION_COUNT; i++) {
        const cli_option *o = &cli_options[i];
        const size_t n = o->short_name ? strlen(o->short_name) : 0;
        if (n <= longest || !o->argument || !cli_option_belongs(o, command) || strncmp(word + 1, o->short_name, n) != 0) continue;
        const char *rest = word + 1 + n + (word[1 + n] == '=');
        const bool number = o->kind == CLI_KIND_INTEGER || o->kind == CLI_KIND_REAL;
        if (number ? !strchr("-0123456789", *rest) || !*rest : !strpbrk(rest, "./")) continue;
        longest = n;
        found = o;
        *argument = rest;
    }
    return found;
}

static int bad_option(const cli_command *command, const char *word, const cli_option *nearest)
{
    const char *argument;
    const cli_option *glued = find_glued(command, word, &argument);
    if (glued)
        return cli_usage("unknown option '%s'; wanted a space between option and argument: -%s %s", word, glued->short_name, argument);
    return cli_usage("unknown option '%s'; did you mean '--%s'? (omni %s --help lists them)", word,
                     nearest->long_name, command->name);
}

static int read_number(const cli_option *o, const char *word, cli_value *v)
{
    char *end = NULL;
    errno = 0;
    if (o->kind == CLI_KIND_INTEGER) {
        v->integer = strtoll(word, &end, 10);
        v->real = (double)v->integer;
    } else {
        v->real = strtod(word, &end);
    }
    if (end == word || *end || errno || !isfinite(v->real))
        return cli_usage("--%s: found '%s', wanted %s number", o->long_name, word,
                         o->kind == CLI_KIND_INTEGER ? "a whole" : "a");
    if (v->real < o->low || v->real > o->high)
        return cli_usage("--%s: found %s, wanted %.10g to %.10g", o->long_name, word, o->low, o->high);
    return CLI_OK;
}

/* Is word one of the choices a|b|c ? */
static bool is_choice(const char *choices, const char *word)
{
    const size_t n = strlen(word);
    for (const char *at = choices; at; at = strchr(at, '|')) {
        if (*at == '|') at++;
        const size_t m = strcspn(at, "|");
        if (m == n && memcmp(at, word, n) == 0) return true;
    }
    return false;
}

static void add_input(cli_args *args, bool typed, const char *text)
{
    args->inputs[args->n_inputs++] = (cli_input){.typed = typed, .text = text};
}

static int set_value(const cli_option *o, const char *word, cli_args *args)
{
    cli_value *v = &args->option[o - cli_options];
    v->given = true;
    v->text = word;
    switch (o->kind) {
    case CLI_KIND_INTEGER:
    case CLI_KIND_REAL:
        return read_number(o, word, v);
    case CLI_KIND_WORD:
        if (!is_choice(o->argument, word))
            return cli_usage("--%s: found '%s', wanted one of %s", o->long_name, word, o->argument);
        return CLI_OK;
    case CLI_KIND_QUESTION:
        if (!*word) return cli_usage("--%s: found an empty question", o->long_name);
        add_input(args, true, word);
        return CLI_OK;
    default:
        if (o->kind != CLI_KIND_SWITCH && !*word) return cli_usage("--%s: found an empty name", o->long_name);
        return CLI_OK;
    }
}

/* One word that starts with a dash, and its argument: the words used (1 or 2), 0 after an error. */
static int read_option(const cli_command *command, int argc, char **argv, cli_args *args)
{
    const char *word = argv[0];
    const bool is_long = word[1] == '-';
    const char *name = word + (is_long ? 2 : 1), *equals = is_long ? strchr(name, '=') : NULL;
    const cli_option *nearest;
    const cli_option *o =
        find_option(command, is_long, name, equals ? (size_t)(equals - name) : strlen(name), &nearest);
    if (!o) return bad_option(command, word, nearest), 0;
    if (o->kind == CLI_KIND_SWITCH) {
        if (equals) return cli_usage("--%s takes no argument, found '%s'", o->long_name, equals + 1), 0;
        args->option[o - cli_options].given = true;
        return 1;
    }
    if (!equals && argc < 2) return cli_usage("%s wants an argument: %s", word, o->argument), 0;
    if (set_value(o, equals ? equals + 1 : argv[1], args) != CLI_OK) return 0;
    return equals ? 1 : 2;
}

int cli_args_read(const cli_command *command, int argc, char **argv, cli_args *args)
{
    *args = (cli_args){.n_inputs = 0};
    args->inputs = calloc((size_t)argc + 1, sizeof *args->inputs);
    if (!args->inputs) return cli_error("out of memory reading the command line");
    bool only_inputs = false;
    for (int i = 0; i < argc;) {
        const char *word = argv[i];
        if (!only_inputs && strcmp(word, "--") == 0) {
            only_inputs = true;
            i++;
        } else if (only_inputs || word[0] != '-' || !word[1]) {
            if (!*word) return cli_usage("an argument of %s is empty; wanted a file name", command->name);
            add_input(args, false, word);
            i++;
        } else {
            const int used = read_option(command, argc - i, argv + i, args);
            if (!used) return CLI_USAGE;
            i += used;
        }
    }
    return CLI_OK;
}

void cli_args_free(cli_args *args)
{
    free(args->inputs);
    args->inputs = NULL;
}

long long cli_integer(const cli_args *args, cli_option_id id, long long otherwise)
{
    return args->option[id].given ? args->option[id].integer : otherwise;
}

double cli_real(const cli_args *args, cli_option_id id, double otherwise)
{
    return args->option[id].given ? args->option[id].real : otherwise;
}

const char *cli_text(const cli_args *args, cli_option_id id, const char *otherwise)
{
    return args->option[id].given ? args->option[id].text : otherwise;
}

bool cli_given(const cli_args *args, cli_option_id id)
{
    return args->option[id].given;
}
