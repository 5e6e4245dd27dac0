/* record: what a probe wants to see of the numbers between stages, collected as they pass by. */
#ifndef OM_RECORD_H
#define OM_RECORD_H

#include "omni.h"

typedef enum om_stage {
    OM_STAGE_MEL, OM_STAGE_ENCODER, OM_STAGE_ADAPTOR, OM_STAGE_PROMPT, OM_STAGE_TOKENS, OM_STAGE_HIDDEN,
    OM_STAGE_CTC, OM_STAGE_SYMBOLS, OM_STAGE_UNITS, OM_STAGE_DURATIONS, OM_STAGE_WAVE, OM_STAGES
} om_stage;

typedef struct om_record {
    om_stage stage;
    size_t n, cap;          /* elements */
    void *data;             /* float or int32_t, as the stage has it */
} om_record;

const char *om_stage_name(om_stage stage);
bool om_stage_is_int(om_stage stage);

bool om_record_wants(const om_record *r, om_stage stage);     /* r may be NULL */
/* Appends n elements when that is the stage recorded; r may be NULL. ERR_MEMORY. */
int  om_record_add(om_record *r, om_stage stage, const void *data, size_t n);

#endif
