/* convert-job: one run of om_convert. convert-open.c says what is read and what it is called, convert.c writes. */
#ifndef OM_CONVERT_JOB_H
#define OM_CONVERT_JOB_H

#include "checksums.h"
#include "convert.h"
#include "hf-config.h"
#include "lora.h"
#include "mapped.h"
#include "tokenizer-json.h"

#include <limits.h>

typedef struct om_job {
    const om_convert_options *o;
    const om_convert_watch *watch;
    const char *what;               /* what the bar says */
    char name[200], licence[256];   /* licence "": not said */
    enum ggml_type llm_type, speech_type;       /* COUNT: llama.cpp's quantiser makes it */
    char llm_type_name[16];
    const char *speech_type_name;
    om_hf_config config;
    om_tokenizer tokenizer;
    om_origin hf, whisper, vocoder; /* source NULL: there is none */
    om_lora *lora;                  /* of hf; NULL: none */
    om_checksums sums;              /* of every file that is read */
    char base[PATH_MAX];            /* folder of the model that hf changes; "": hf is whole */
    char vocoder_path[PATH_MAX], vocoder_config[PATH_MAX];      /* vocoder_config "": the published one's numbers */
    char llm_path[PATH_MAX], speech_path[PATH_MAX];
} om_job;

/* Opens and checks every source, chooses types and names. What om_convert returns. */
int  om_job_open(om_job *j);
void om_job_close(om_job *j);

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void om_job_note(const om_job *j, const char *format, ...);

#endif
