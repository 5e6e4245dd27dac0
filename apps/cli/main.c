/* omni: one program, one file per subcommand (commands.def lists them). */
#include "interrupt.h"
#include "manual.h"
#include "options.h"
#include "report.h"

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
    if (rc == CLI_OK) rc = command->run(&args);
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
