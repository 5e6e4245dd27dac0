/* record: see record.h. */
#include "core/record.h"

#include "base/memory.h"
#include "base/status.h"

#include <string.h>

static const struct { const char *name; bool is_int; } stages[OM_STAGES] = {
    [OM_STAGE_MEL]       = { "mel", false },
    [OM_STAGE_ENCODER]   = { "encoder", false },
    [OM_STAGE_ADAPTOR]   = { "adaptor", false },
    [OM_STAGE_PROMPT]    = { "prompt", true },
    [OM_STAGE_TOKENS]    = { "tokens", true },
    [OM_STAGE_HIDDEN]    = { "hidden", false },
    [OM_STAGE_CTC]       = { "ctc", false },
    [OM_STAGE_SYMBOLS]   = { "symbols", true },
    [OM_STAGE_UNITS]     = { "units", true },
    [OM_STAGE_DURATIONS] = { "durations", true },
    [OM_STAGE_WAVE]      = { "wave", false },
};

const char *om_stage_name(om_stage stage)
{
    return stages[stage].name;
}

bool om_stage_is_int(om_stage stage)
{
    return stages[stage].is_int;
}

bool om_record_wants(const om_record *r, om_stage stage)
{
    return r && r->stage == stage;
}

int om_record_add(om_record *r, om_stage stage, const void *data, size_t n)
{
    const size_t size = 4;      /* f32 and i32 alike */

    if (!om_record_wants(r, stage) || n == 0)
        return OMNI_OK;
    if (n > r->cap - r->n) {
        size_t cap = (r->n + n) * 2;
        void *bigger = om_realloc(r->data, cap, size);

        if (!bigger)
            return om_fail(OMNI_ERR_MEMORY, "no memory to record %zu numbers of stage %s", cap,
                           om_stage_name(stage));
        r->data = bigger;
        r->cap = cap;
    }
    memcpy((char *)r->data + r->n * size, data, n * size);
    r->n += n;
    return OMNI_OK;
}
