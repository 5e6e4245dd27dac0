/* metrics: counters and histograms of metrics.def, in Prometheus' text format. Network thread only. */
#ifndef SRV_METRICS_H
#define SRV_METRICS_H

#include <omni.h>

typedef enum srv_counter {
#define COUNTER(id, name, label, help) SRV_##id,
#define HISTOGRAM(id, name, help)
#include "metrics.def"
#undef COUNTER
#undef HISTOGRAM
    SRV_COUNTERS
} srv_counter;

typedef enum srv_histogram {
#define COUNTER(id, name, label, help)
#define HISTOGRAM(id, name, help) SRV_H_##id,
#include "metrics.def"
#undef COUNTER
#undef HISTOGRAM
    SRV_HISTOGRAMS
} srv_histogram;

typedef struct srv_metrics srv_metrics;
srv_metrics *srv_metrics_new(void);                 /* NULL: out of memory */
void srv_metrics_free(srv_metrics *m);

/* label: a string of the program, kept by reference; "" for counters without label. */
void srv_count(srv_metrics *m, srv_counter counter, const char *label, double n);
void srv_observe(srv_metrics *m, srv_histogram histogram, double value);
void srv_observe_turn(srv_metrics *m, const omni_stats *stats, int sample_rate_out);

/* The 95th percentile of the first-audio times of the last 32 answers of the last minute, ms; 0: none. */
double srv_recent_ttfa_ms(const srv_metrics *m, double now);
void   srv_note_ttfa(srv_metrics *m, double now, double seconds);

typedef struct srv_gauges { int active, active_beta, seats, free_seats, waiting, sockets; } srv_gauges;
/* The whole page; free() it. NULL: out of memory. */
char *srv_metrics_text(const srv_metrics *m, const srv_gauges *gauges);

#endif
