/* load-tally: see load-tally.h. */
#include "load-tally.h"

#include "options.h"
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int load_series_add(load_series *s, double at, double ms)
{
    if (s->n == s->room) {
        const size_t room = s->room ? 2 * s->room : 256;
        double *times = realloc(s->at, room * sizeof *times);
        if (times) s->at = times;
        double *values = times ? realloc(s->ms, room * sizeof *values) : NULL;
        if (!values) return cli_error("out of memory for %zu measurements", room);
        s->ms = values;
        s->room = room;
    }
    s->at[s->n] = at;
    s->ms[s->n++] = ms;
    return CLI_OK;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double *load_series_sorted(const load_series *s)
{
    double *sorted = s->n ? malloc(s->n * sizeof *sorted) : NULL;
    if (!sorted) return NULL;
    memcpy(sorted, s->ms, s->n * sizeof *sorted);
    qsort(sorted, s->n, sizeof *sorted, by_size);
    return sorted;
}

load_quantiles load_series_quantiles(const load_series *s)
{
    load_quantiles q = {.n = (int)s->n};
    double *sorted = load_series_sorted(s);
    if (!sorted) return q;
    q.p50 = sorted[(s->n * 50 + 99) / 100 - 1];
    q.p95 = sorted[(s->n * 95 + 99) / 100 - 1];
    q.p99 = sorted[(s->n * 99 + 99) / 100 - 1];
    q.most = sorted[s->n - 1];
    for (size_t i = 0; i < s->n; i++) q.mean += sorted[i] / (double)s->n;
    free(sorted);
    return q;
}

void load_words_add(load_words *w, const char *word)
{
    char name[sizeof w->list->word];
    int i = 0;
    snprintf(name, sizeof name, "%.71s", *word ? word : "none");
    while (i < w->n && strcmp(w->list[i].word, name) != 0) i++;
    if (i >= LOAD_WORDS - 1) {          /* no place of its own */
        i = LOAD_WORDS - 1;
        snprintf(name, sizeof name, "others");
    }
    if (i >= w->n) {
        memcpy(w->list[i].word, name, sizeof name);
        w->n = i + 1;
    }
    w->list[i].n++;
}

int load_words_sum(const load_words *w)
{
    int sum = 0;
    for (int i = 0; i < w->n; i++) sum += w->list[i].n;
    return sum;
}

void load_tally_free(load_tally *t)
{
    load_series *const all[] = {&t->first, &t->own, &t->reaction};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]->at);
        free(all[i]->ms);
    }
    *t = (load_tally){.began = 0};
}
