/* load-report: the table. */
#include "load-report.h"

#include <omni.h>

#include <stdio.h>

static void row(const char *name, const load_quantiles *q, const char *remark)
{
    if (q->n) printf("%-24s %6.0f %6.0f %6.0f %6.0f %8d   %s\n", name, q->p50, q->p95, q->p99, q->most, q->n, remark);
    else printf("%-24s %6s %6s %6s %6s %8d   %s\n", name, "-", "-", "-", "-", 0, remark);
}

static void words(const char *name, const load_words *w)
{
    printf("%-14s", name);
    if (!w->n) printf("none");
    for (int i = 0; i < w->n; i++) printf("%s%d of \"%s\"", i ? ", " : "", w->list[i].n, w->list[i].word);
    putchar('\n');
}

void load_print_table(const load_report *r)
{
    const load_tally *t = r->tally;
    printf("omni %s, %s\n", omni_version(), r->url);
    printf("%d conversations for %.1f s%s; %d recorded questions of %.1f to %.1f s; a pause of %d ms ends one\n\n", r->sessions,
           r->seconds, r->interrupted_early ? " (stopped early)" : "", r->n_questions, r->shortest, r->longest, r->silence_ms);
    printf("%-24s %6s %6s %6s %6s %8s\n", "milliseconds", "p50", "p95", "p99", "most", "number");
    row("first audio", &r->first, "from the last loud sample that was sent");
    row("  after speech_stopped", &r->own, "the part that is not the pause");
    row("noticing interruptions", &r->reaction, "from their first loud sample to speech_started");
    printf("\nunderruns     %d, %.2f s together, in %.0f s of sound that was played once %.0f ms of it were there\n", t->underruns,
           t->underrun_seconds, t->heard_seconds, 1e3 * r->buffer_seconds);
    printf("questions     %d: %d answered, %d not, %d answered before their end, %d without sound\n", t->questions, r->first.n,
           t->unanswered, t->cut, t->mute);
    printf("interruptions %d: %d not noticed; %d noticed though nobody spoke\n", t->interruptions, t->unheard, t->strays);
    printf("sessions      %d opened\n", t->opened);
    words("refused", &t->refused);
    words("errors", &t->errors);
    printf("the generator used %.1f s of processor; %ld of %ld chunks of sound went out more than 20 ms late (%.0f ms at most)\n",
           r->cpu_seconds, t->late, t->chunks, 1e3 * t->latest);
}
