/* bench: what `omni bench` measured, for the table and for JSON. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include <omni.h>

/* How a question was answered. */
typedef enum cli_bench_mode {
    CLI_BENCH_EXACT, CLI_BENCH_EARLY, CLI_BENCH_TEXT, CLI_BENCH_MODES
} cli_bench_mode;

/* Medians over the runs of one mode; times in seconds. */
typedef struct cli_bench_row {
    int    runs;             /* 0: mode not measured */
    double mel, encoder, adaptor, prefill, llm, decoder, vocoder;
    double first_text, first_audio, total;
    double tokens, units, speech;        /* speech: seconds of sound */
    double prompt, prompt_cached;
    double tokens_per_second;            /* of the LLM while it answers */
    double rtf;                          /* total / speech */
    double speaking_rtf;                 /* (llm + decoder + vocoder) / speech */
} cli_bench_row;

typedef struct cli_bench_report {
    const omni_model_info *info;
    const char *processor, *question;
    int    threads, max_tokens, gpu_layers;
    double question_seconds, load_seconds;
    double peak_bytes;
    cli_bench_row row[CLI_BENCH_MODES];
    /* At the pace of real speech: 3.6 LLM tokens per second of sound, as in the public model's corpus */
    double llm_per_token, decoder_per_token, vocoder_per_second, paced_rtf;
} cli_bench_report;

#endif
