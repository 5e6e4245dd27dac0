#include "talk-turns.h"

#include "times-table.h"

#include <stdlib.h>

void talk_turns_add(talk_turns *t, const omni_stats *stats, const omni_model_info *info, int64_t asked_us,
                    int64_t first_us, bool stopped)
{
    if (t->n == t->room) {
        const size_t room = t->room ? 2 * t->room : 16;
        talk_turn *rows = realloc(t->rows, room * sizeof *rows);
        if (!rows) return;
        t->rows = rows;
        t->room = room;
    }
    t->rows[t->n++] = (talk_turn){
        .asked = (double)stats->n_samples_in / info->sample_rate_in,
        .first_text = stats->t_first_text ? (double)stats->t_first_text * 1e-6 : -1,
        .first_sound = first_us ? (double)(first_us - asked_us) * 1e-6 : -1,
        .spoken = (double)stats->n_samples_out / info->sample_rate_out,
        .stopped = stopped,
    };
}

static const char *duration(double seconds, char *text, size_t size)
{
    return seconds < 0 ? "-" : cli_duration(seconds, text, size);
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void talk_turns_table(const talk_turns *t, FILE *file, unsigned underruns, unsigned overruns)
{
    char a[32], b[32];
    size_t n = 0;
    double *sounds = malloc((t->n + 1) * sizeof *sounds);
    if (!sounds || t->n == 0) {
        free(sounds);
        return;
    }
    fprintf(file, "  %4s %10s %14s %14s %10s\n", "turn", "question", "first text", "first sound", "answer");
    for (size_t i = 0; i < t->n; i++) {
        const talk_turn *r = &t->rows[i];
        fprintf(file, "  %4zu %8.2f s %14s %14s %8.2f s%s\n", i + 1, r->asked,
                duration(r->first_text, a, sizeof a), duration(r->first_sound, b, sizeof b), r->spoken,
                r->stopped ? "  interrupted" : "");
        if (r->first_sound >= 0) sounds[n++] = r->first_sound;
    }
    qsort(sounds, n, sizeof *sounds, by_size);
    if (n > 0)
        fprintf(file, "  first sound: median %s after the end of the question, device included; %u underruns, "
                "%u overruns\n", duration(sounds[n / 2], a, sizeof a), underruns, overruns);
    free(sounds);
}

void talk_turns_free(talk_turns *t)
{
    free(t->rows);
    *t = (talk_turns){.rows = NULL};
}
