/* load-svg: first audio over time, and sorted, in one drawing. The colours are told apart on white and on black paper. */
#include "load-report.h"

#include "options.h"
#include "output-file.h"
#include "report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { WIDTH = 860, HEIGHT = 380, TOP = 56, BOTTOM = 330, LEFT = 62, MIDDLE = 520, RIGHT = 836, GAP = 62 };

/* One of the two plots: x from low to high lies between left and right; both have the same y, from 0 to most. */
typedef struct plot {
    FILE *file;
    double left, right, low, high, most;
} plot;

static double at_x(const plot *p, double x)
{
    return p->left + (p->right - p->left) * (x - p->low) / (p->high - p->low);
}

static double at_y(const plot *p, double y)
{
    return BOTTOM - (BOTTOM - TOP) * y / p->most;
}

/* 1, 2 or 5 times a power of ten: about n steps to most. */
static double step_of(double most, int n)
{
    const double power = pow(10, floor(log10(most / n))), digit = most / n / power;
    return power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
}

static void frame(const plot *p, const char *title, const char *below)
{
    fprintf(p->file, "<text x=\"%.0f\" y=\"%d\" class=\"b\">%s</text>\n", p->left, TOP - 12, title);
    fprintf(p->file, "<text x=\"%.0f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", (p->left + p->right) / 2, BOTTOM + 38, below);
    const double step = step_of(p->most, 6);
    for (double y = 0; y <= p->most * 1.0001; y += step) {
        fprintf(p->file, "<path class=\"g\" d=\"M%.1f %.1fH%.1f\"/>", p->left, at_y(p, y), p->right);
        fprintf(p->file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.0f</text>\n", p->left - 6, at_y(p, y) + 4, y);
    }
}

static void tick(const plot *p, double x, const char *name)
{
    fprintf(p->file, "<path class=\"g\" d=\"M%.1f %dV%d\"/>", at_x(p, x), BOTTOM, BOTTOM + 5);
    fprintf(p->file, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", at_x(p, x), BOTTOM + 19, name);
}

/* Every answer a dot, the percentiles as lines. */
static void over_time(const plot *p, const load_report *r)
{
    const load_series *s = &r->tally->first;
    char name[32];
    frame(p, "first audio, ms", "seconds since the beginning");
    const double step = step_of(p->high, 6);
    for (double x = 0; x <= p->high; x += step) {
        snprintf(name, sizeof name, "%.0f", x);
        tick(p, x, name);
    }
    fputs("<path class=\"d\" d=\"", p->file);
    for (size_t i = 0; i < s->n; i++) fprintf(p->file, "M%.1f %.1fh0", at_x(p, s->at[i]), at_y(p, s->ms[i]));
    fputs("\"/>\n", p->file);
    const struct { const char *name; double ms, below; } lines[] = {{"p50", r->first.p50, 14}, {"p95", r->first.p95, -5}};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        fprintf(p->file, "<path class=\"p\" d=\"M%.1f %.1fH%.1f\"/>", p->left, at_y(p, lines[i].ms), p->right);
        fprintf(p->file, "<text x=\"%.1f\" y=\"%.1f\" class=\"o\">%s %.0f</text>\n", p->left + 4,
                at_y(p, lines[i].ms) + lines[i].below,
                lines[i].name, lines[i].ms);
    }
}

/* How rare a percentile is: 0 for the half, 1 for nine tenths, 2 for 99 of 100. */
static double rarity(double share)
{
    return -log10(1 - share);
}

static void curve(const plot *p, const load_series *s, const char *class)
{
    double *sorted = load_series_sorted(s);
    if (!sorted) return;
    fprintf(p->file, "<path class=\"%s\" d=\"", class);
    for (size_t i = 0; i < s->n; i++) {
        const double x = rarity((double)i / (double)s->n);
        fprintf(p->file, "%c%.1f %.1f", i ? 'L' : 'M', at_x(p, x < p->high ? x : p->high), at_y(p, sorted[i]));
    }
    fputs("\"/>\n", p->file);
    free(sorted);
}

static void by_rank(const plot *p, const load_report *r)
{
    static const struct { const char *name; double share; } ticks[] = {
        {"0", 0}, {"50", 0.5}, {"75", 0.75}, {"90", 0.9}, {"95", 0.95}, {"99", 0.99}, {"99.9", 0.999}};
    frame(p, "sorted", "percentile");
    for (size_t i = 0; i < sizeof ticks / sizeof *ticks; i++)
        if (rarity(ticks[i].share) <= p->high) tick(p, rarity(ticks[i].share), ticks[i].name);
    curve(p, &r->tally->first, "c");
    curve(p, &r->tally->own, "c e");
    if (r->own.n) fprintf(p->file, "<text x=\"%.0f\" y=\"%d\" text-anchor=\"end\">dashed: after speech_stopped</text>\n", p->right, TOP - 12);
}

static void draw(FILE *f, const load_report *r)
{
    static const char style[] =
        "<style>text{font:12px sans-serif;fill:#777}.b{font-weight:bold}.o{fill:#c60}.g{stroke:#888;stroke-opacity:.35}"
        ".d{stroke:#37c;stroke-width:3.5;stroke-linecap:round;stroke-opacity:.6}.p{stroke:#e80;stroke-width:1.2}"
        ".c{stroke:#37c;stroke-width:2;fill:none}.e{stroke-dasharray:5 4}</style>\n";
    const double highest = r->first.most > 0 ? r->first.most : 1, step = step_of(highest, 6);
    const double most = step * ceil(highest / step);
    fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n%s", WIDTH, HEIGHT,
            WIDTH, HEIGHT, style);
    fprintf(f, "<title>End of speech to first audio</title>\n<text x=\"%d\" y=\"20\" class=\"b\">%d conversations, %.0f s, a pause of "
            "%d ms: first audio p50 %.0f, p95 %.0f, p99 %.0f ms; %d answers, %d underruns</text>\n", LEFT, r->sessions, r->seconds,
            r->silence_ms, r->first.p50, r->first.p95, r->first.p99, r->first.n, r->tally->underruns);
    const double last = r->first.n ? r->tally->first.at[r->first.n - 1] : 0;
    const plot time = {f, LEFT, MIDDLE, 0, last > r->seconds ? last : r->seconds, most};
    const plot rank = {f, MIDDLE + GAP, RIGHT, 0, r->first.n > 1000 ? 3 : 2, most};
    over_time(&time, r);
    by_rank(&rank, r);
    fputs("</svg>\n", f);
}

int load_write_svg(const load_report *r, cli_output *out)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f) return cli_error("%s: out of memory for the drawing", out->path);
    draw(f, r);
    if (fclose(f) != 0) {
        free(text);
        return cli_error("%s: out of memory for the drawing", out->path);
    }
    cli_output_write(out, text, n);
    free(text);
    return cli_output_commit(out);
}
