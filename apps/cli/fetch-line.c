#include "fetch-line.h"

#include "report.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void cli_fetch_line_show(cli_fetch_line *line, const om_pull_state *s)
{
    enum { WIDTH = 20, NAME = 34 };
    const double now = now_seconds();
    if (!cli_live(STDERR_FILENO) || (line->begun && now - line->shown < 0.2)) return;
    if (!line->begun) *line = (cli_fetch_line){.since = now, .base = s->all_done, .begun = true};
    line->shown = now;
    const double part = s->size ? (double)s->done / (double)s->size : 1, time = now - line->since;
    const double rate = time > 0.5 && s->all_done > line->base ? (double)(s->all_done - line->base) / time : 0;
    char bar[WIDTH + 1], left[32] = "";
    memset(bar, ' ', WIDTH);
    memset(bar, '#', (size_t)(part * WIDTH));
    bar[WIDTH] = 0;
    if (rate > 0 && s->all_size >= s->all_done) {
        const double seconds = (double)(s->all_size - s->all_done) / rate;
        const long whole = seconds < 360000 ? (long)seconds : 359999;
        if (whole >= 3600) snprintf(left, sizeof left, "  %ld:%02ld:%02ld left", whole / 3600, whole / 60 % 60, whole % 60);
        else snprintf(left, sizeof left, "  %ld:%02ld left", whole / 60, whole % 60);
    }
    fprintf(stderr, "\r\033[K%.*s [%s] %3.0f %%  ", NAME, s->file, bar, part * 100);
    if (s->checking) fprintf(stderr, "checking");
    else fprintf(stderr, "%.2f of %.2f GB  %.1f MB/s%s", (double)s->all_done * 1e-9, (double)s->all_size * 1e-9,
                 rate * 1e-6, left);
    fflush(stderr);
}

void cli_fetch_line_clear(void)
{
    if (cli_live(STDERR_FILENO)) fputs("\r\033[K", stderr);
}

void cli_fetch_line_end(cli_fetch_line *line)
{
    if (line->begun) fputs("\r\033[K", stderr);
    line->begun = false;
}
