/* metrics: see metrics.h. */
#include "metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LABELS = 96, BUCKETS = 14, RECENT = 32 };

static const double bounds[BUCKETS] = {0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2, 5, 10};

typedef struct series { const char *label; double n; } series;
typedef struct histogram { double sum; unsigned long long n, bucket[BUCKETS]; } histogram;

struct srv_metrics {
    series counter[SRV_COUNTERS][LABELS];
    int n_series[SRV_COUNTERS];
    histogram histogram[SRV_HISTOGRAMS];
    struct { double at, seconds; } recent[RECENT];
    unsigned n_recent;
};

static const struct { const char *name, *label, *help; } counters[SRV_COUNTERS] = {
#define COUNTER(id, name, label, help) {name, label, help},
#define HISTOGRAM(id, name, help)
#include "metrics.def"
#undef COUNTER
#undef HISTOGRAM
};

static const struct { const char *name, *help; } histograms[SRV_HISTOGRAMS] = {
#define COUNTER(id, name, label, help)
#define HISTOGRAM(id, name, help) {name, help},
#include "metrics.def"
#undef COUNTER
#undef HISTOGRAM
};

srv_metrics *srv_metrics_new(void)
{
    srv_metrics *m = calloc(1, sizeof *m);
    for (int i = 0; m && i < SRV_COUNTERS; i++)
        if (!counters[i].label[0]) srv_count(m, (srv_counter)i, "", 0);
    return m;
}

void srv_metrics_free(srv_metrics *m)
{
    free(m);
}

void srv_count(srv_metrics *m, srv_counter counter, const char *label, double n)
{
    series *all = m->counter[counter];
    for (int i = 0; i < m->n_series[counter]; i++) {
        if (strcmp(all[i].label, label) != 0) continue;
        all[i].n += n;
        return;
    }
    if (m->n_series[counter] < LABELS) all[m->n_series[counter]++] = (series){label, n};
}

void srv_observe(srv_metrics *m, srv_histogram which, double value)
{
    histogram *h = &m->histogram[which];
    h->sum += value;
    h->n++;
    for (int i = 0; i < BUCKETS; i++) h->bucket[i] += value <= bounds[i];
}

void srv_observe_turn(srv_metrics *m, const omni_stats *s, int sample_rate_out)
{
    const double total = (double)s->t_total * 1e-6;
    srv_observe(m, SRV_H_RESPONSE, total);
    if (s->n_samples_out) srv_observe(m, SRV_H_RTF, total / ((double)s->n_samples_out / sample_rate_out));
    srv_observe(m, SRV_H_MEL, (double)s->t_mel * 1e-6);
    srv_observe(m, SRV_H_ENCODER, (double)s->t_encoder * 1e-6);
    srv_observe(m, SRV_H_PREFILL, (double)s->t_prefill * 1e-6);
    srv_observe(m, SRV_H_LLM, (double)s->t_llm * 1e-6);
    srv_observe(m, SRV_H_DECODER, (double)s->t_decoder * 1e-6);
    srv_observe(m, SRV_H_VOCODER, (double)s->t_vocoder * 1e-6);
    srv_count(m, SRV_TOKENS, "", s->n_tokens);
    srv_count(m, SRV_AHEAD, "", s->t_ahead > 0);
    srv_count(m, SRV_THROWN, "", s->n_thrown_away);
}

void srv_note_ttfa(srv_metrics *m, double now, double seconds)
{
    srv_observe(m, SRV_H_TTFA, seconds);
    m->recent[m->n_recent % RECENT].at = now;
    m->recent[m->n_recent++ % RECENT].seconds = seconds;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double srv_recent_ttfa_ms(const srv_metrics *m, double now)
{
    double times[RECENT];
    int n = 0;
    for (unsigned i = 0; i < RECENT && i < m->n_recent; i++)
        if (now - m->recent[i].at < 60) times[n++] = m->recent[i].seconds;
    if (n == 0) return 0;
    qsort(times, (size_t)n, sizeof *times, by_size);
    return times[(n * 95 + 99) / 100 - 1] * 1000;
}

static void head(FILE *f, const char *name, const char *help, const char *type)
{
    fprintf(f, "# HELP %s %s.\n# TYPE %s %s\n", name, help, name, type);
}

static void gauge(FILE *f, const char *name, const char *help, int value)
{
    head(f, name, help, "gauge");
    fprintf(f, "%s %d\n", name, value);
}

char *srv_metrics_text(const srv_metrics *m, const srv_gauges *g)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f) return NULL;
    for (int i = 0; i < SRV_COUNTERS; i++) {
        head(f, counters[i].name, counters[i].help, "counter");
        for (int k = 0; k < m->n_series[i]; k++) {
            const series *s = &m->counter[i][k];
            if (counters[i].label[0])
                fprintf(f, "%s{%s=\"%s\"} %.17g\n", counters[i].name, counters[i].label, s->label, s->n);
            else
                fprintf(f, "%s %.17g\n", counters[i].name, s->n);
        }
    }
    for (int i = 0; i < SRV_HISTOGRAMS; i++) {
        const histogram *h = &m->histogram[i];
        const char *name = histograms[i].name;
        head(f, name, histograms[i].help, "histogram");
        for (int k = 0; k < BUCKETS; k++) fprintf(f, "%s_bucket{le=\"%g\"} %llu\n", name, bounds[k], h->bucket[k]);
        fprintf(f, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.9g\n%s_count %llu\n", name, h->n, name, h->sum, name, h->n);
    }
    head(f, "s2s_sessions_active", "Realtime sessions open now", "gauge");
    fprintf(f, "s2s_sessions_active{dialect=\"ga\"} %d\ns2s_sessions_active{dialect=\"beta\"} %d\n",
            g->active - g->active_beta, g->active_beta);
    gauge(f, "s2s_slots", "Conversations the engine has room for", g->seats);
    gauge(f, "s2s_slots_free", "Slots nobody has", g->free_seats);
    gauge(f, "s2s_queue_depth", "HTTP requests waiting for a slot", g->waiting);
    gauge(f, "s2s_sockets", "Open WebSockets", g->sockets);
    if (fclose(f) == 0) return text;
    free(text);
    return NULL;
}
