/* The times of one turn, stage by stage. */
#include "times-table.h"

const char *cli_duration(double seconds, char *text, size_t size)
{
    if (seconds < 10) snprintf(text, size, "%.1f ms", seconds * 1e3);
    else snprintf(text, size, "%.2f s", seconds);
    return text;
}

static void row(FILE *file, const char *name, int64_t us, const char *remark)
{
    char text[32];
    fprintf(file, "  %-14s %12s  %s\n", name, cli_duration((double)us * 1e-6, text, sizeof text), remark);
}

void cli_times_table(FILE *file, const omni_stats *s, const omni_model_info *info, omni_end_reason reason)
{
    char remark[128];
    const double asked = (double)s->n_samples_in / info->sample_rate_in;
    const double spoken = (double)s->n_samples_out / info->sample_rate_out;
    fprintf(file, "  %-14s %12s\n", "stage", "time");
    if (s->n_samples_in) {
        snprintf(remark, sizeof remark, "%.2f s of question", asked);
        row(file, "mel", s->t_mel, remark);
        row(file, "encoder", s->t_encoder, "");
        row(file, "adaptor", s->t_adaptor, "");
    }
    snprintf(remark, sizeof remark, "%d positions, %d of them cached", s->n_prompt, s->n_prompt_cached);
    row(file, "prefill", s->t_prefill, remark);
    snprintf(remark, sizeof remark, "%d tokens, %.1f per second%s", s->n_tokens,
             s->t_llm > 0 ? s->n_tokens * 1e6 / (double)s->t_llm : 0.0,
             reason == OMNI_END_LENGTH    ? "; stopped at the limit (-n)"
             : reason == OMNI_END_CONTEXT ? "; stopped, context full (-c)"
                                          : "");
    row(file, "llm", s->t_llm, remark);
    if (s->n_samples_out) {
        snprintf(remark, sizeof remark, "%d units", s->n_units);
        row(file, "speech decoder", s->t_decoder, remark);
        snprintf(remark, sizeof remark, "%d frames, %.2f s of speech", s->n_frames, spoken);
        row(file, "vocoder", s->t_vocoder, remark);
    }
    row(file, "first text", s->t_first_text, "after the end of the question");
    if (s->n_samples_out) {
        row(file, "first audio", s->t_first_audio, "after the end of the question");
        snprintf(remark, sizeof remark, "real-time factor %.2f", (double)s->t_total * 1e-6 / spoken);
    }
    row(file, "total", s->t_total, s->n_samples_out ? remark : "");
}
