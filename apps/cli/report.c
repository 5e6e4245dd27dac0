/* What the program says about itself, all on standard error. */
#include "report.h"

#include "options.h"

#include <omni.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int bar_percent = -1;   /* shown now; -1: no bar */

/* C0, DEL, and C1 in UTF-8 (0xC2 0x80 to 0x9F), which some terminals obey too. */
static void disarm(char *text)
{
    for (unsigned char *c = (unsigned char *)text; *c; c++) {
        if (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) c[0] = c[1] = '?', c++;
        else if (*c < 0x20 || *c == 0x7f) *c = '?';
    }
}

static void say(const char *before, const char *format, va_list args)
{
    char line[2048];
    cli_progress_end();
    vsnprintf(line, sizeof line, format, args);
    disarm(line);
    fprintf(stderr, "omni: %s%s\n", before, line);
}

int cli_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say("", format, args);
    va_end(args);
    return CLI_FAILED;
}

int cli_usage(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say("", format, args);
    va_end(args);
    return CLI_USAGE;
}

void cli_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say("note: ", format, args);
    va_end(args);
}

int cli_library_error(void)
{
    return cli_error("%s", omni_last_error());
}

void cli_print(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = n > 0 ? malloc((size_t)n + 1) : NULL;
    if (!text) return;
    va_start(args, format);
    vsnprintf(text, (size_t)n + 1, format, args);
    va_end(args);
    const bool ends = text[n - 1] == '\n';
    if (ends) text[n - 1] = '\0';
    disarm(text);
    fputs(text, stdout);
    if (ends) putchar('\n');
    free(text);
}

int cli_stdout_flush(void)
{
    static int reported;
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return CLI_OK;
    const int why = errno;
    if (why == EPIPE) return CLI_PIPE;
    if (!reported)
        cli_error("standard output: %s; make room or write elsewhere", why ? strerror(why) : "write failed");
    reported = 1;
    return CLI_FAILED;
}

bool cli_live(int fd)
{
    const char *term = getenv("TERM");
    return isatty(fd) && term && *term && strcmp(term, "dumb") != 0;
}

void cli_progress(const char *label, double done)
{
    enum { WIDTH = 40 };
    const int percent = done <= 0 ? 0 : done >= 1 ? 100 : (int)(done * 100);
    if (percent == bar_percent || !cli_live(STDERR_FILENO)) return;
    bar_percent = percent;
    char bar[WIDTH + 1];
    memset(bar, ' ', WIDTH);
    memset(bar, '#', (size_t)(percent * WIDTH / 100));
    bar[WIDTH] = 0;
    fprintf(stderr, "\r%s [%s] %3d %%", label, bar, percent);
    if (percent == 100) cli_progress_end();
}

void cli_busy(const char *label)
{
    if (!cli_live(STDERR_FILENO)) return;
    cli_progress_end();
    bar_percent = 0;
    fprintf(stderr, "\r%s ...", label);
}

void cli_progress_end(void)
{
    if (bar_percent >= 0) fputs("\r\033[K", stderr);
    bar_percent = -1;
}
