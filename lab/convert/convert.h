/*
 * convert: a published checkpoint becomes the two files of a model (docs/convert.md).
 *
 * Files are streamed: memory stays at some tens of MB whatever the checkpoint's size. Each output is written to
 * NAME.part and renamed when it is complete and on the disk; a run that was killed leaves nothing else behind.
 */
#ifndef OM_CONVERT_H
#define OM_CONVERT_H

#include <stdbool.h>

typedef struct om_convert_options {
    const char *hf;             /* folder of the Hugging Face checkpoint                                         */
    const char *base;           /* folder of the model that hf holds LoRA matrices for; NULL: as they say            */
    const char *whisper;        /* large-v3.pt; NULL: the encoder inside the checkpoint                          */
    const char *vocoder;        /* g_00500000; NULL: a file of that name in hf or hf/vocoder                     */
    const char *vocoder_config; /* its config.json; NULL: beside the vocoder                                     */
    const char *out;            /* folder for the two files; made when it is not there                           */
    const char *name;           /* what the files are called; NULL: after hf                                     */
    const char *llm_type;       /* f32, f16, bf16, q8_0, q4_0, q4_k_m, ... (om_llm_types); NULL: as the checkpoint */
    const char *speech_type;    /* f32, f16, bf16, q8_0; NULL: f16                                               */
    bool        verify;         /* read both files again and compare every tensor with its source               */
    bool        allow_unknown;  /* go on when the checkpoint holds tensors that nothing is known about           */
    bool        force;          /* write files anew that are there and match                                     */
} om_convert_options;

/* Called from om_convert's thread. Any may be NULL. */
typedef struct om_convert_watch {
    void *user;
    int  (*progress)(void *user, const char *what, double done);   /* done in [0, 1]; non-zero stops             */
    void (*note)(void *user, const char *line);                    /* what was decided, and warnings             */
    /* Before (begins) and after work that asks nobody: to stop it is to end the process. Non-zero when it begins stops. */
    int  (*unstoppable)(void *user, const char *what, bool begins);
} om_convert_watch;

/* Paths of the two files, for the caller to om_free. */
typedef struct om_convert_result {
    char *llm, *speech;
} om_convert_result;

/* OK; AGAIN when progress stopped it; ERR_ARG (types, missing options), ERR_IO, ERR_FORMAT, ERR_MODEL, ERR_MEMORY.
 * Nothing is left under the final names unless complete. result may be NULL; it is set on OK alone. */
int om_convert(const om_convert_options *options, const om_convert_watch *watch, om_convert_result *result);

#endif
