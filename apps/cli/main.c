/* omni: one program, one file per subcommand (commands.def lists them). */
#include "interrupt.h"
#include "manual.h"
#include "options.h"
#include "report.h"

#include "../../src/base/cores.h"

#include <omni.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* --help and the like; CLI_USAGE when there is no such option. */
static int run_global(int argc, char **argv)
{
    if (is_help(argv[1])) {
        cli_help();
    } else if (strcmp(argv[1], "--version") == 0) {
        printf("omni %s\n", omni_version());
    } else if (strcmp(argv[1], "--man") == 0) {
        cli_man_page();
    } else if (strcmp(argv[1], "--completion") == 0) {
        if (argc != 3 || strcmp(argv[2], "bash") != 0)
            return cli_usage("--completion: found '%s', wanted bash", argc > 2 ? argv[2] : "nothing");
        cli_bash_completion();
    } else {
        return cli_usage("unknown option '%s'; options come after a command (omni --help)", argv[1]);
    }
    return cli_stdout_flush();
}

/* Compute threads spin while they wait for each other: with more of them than processors an answer that took a tenth
 * of a second may take a minute. */
static void limit_threads(cli_args *args)
{
    static const cli_option_id ids[] = {CLI_THREADS, CLI_QUANTIZE_THREADS};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        cli_value *v = &args->option[ids[i]];
        const int most = v->given ? om_processors() : 0;
        if (!v->given || v->integer <= most) continue;
        if (!cli_given(args, CLI_QUIET))
            cli_note("--threads: found %lld, but this process may use %d processor%s; taking %d", v->integer, most,
                     most == 1 ? "" : "s", most);
        v->integer = most;
    }
}

static int run_command(int argc, char **argv)
{
    const cli_command *command = cli_command_find(argv[1]);
    if (!command) return CLI_USAGE;
    for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (!is_help(argv[i])) continue;
        cli_command_help(command);
        return cli_stdout_flush();
    }
    cli_args args;
    int rc = cli_args_read(command, argc - 2, argv + 2, &args);
    if (rc == CLI_OK) {
        limit_threads(&args);
        rc = command->run(&args);
    }
    cli_args_free(&args);
    return rc;
}

int main(int argc, char **argv)
{
    /* Room for every text: then only cli_stdout_flush writes, and learns the reason when it can not. */
    static char room[1 << 16];

    cli_interrupt_install();
    if (!isatty(STDOUT_FILENO)) setvbuf(stdout, room, _IOFBF, sizeof room);
    if (argc < 2)
        return cli_usage("no command: wanted ask, info, convert or another one (omni --help lists them)");
    if (strcmp(argv[1], "help") == 0) {      /* omni help [COMMAND] */
        argv[1] = argc > 2 ? argv[2] : "--help";
        if (argc > 2) argv[2] = "--help";
    }
    return argv[1][0] == '-' ? run_global(argc, argv) : run_command(argc, argv);
}
