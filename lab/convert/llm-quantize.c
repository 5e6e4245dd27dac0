/* llm-quantize: see the header. */
#include "llm-quantize.h"

#include "base/log.h"
#include "base/status.h"

#include "llama.h"

#include <string.h>

static const struct { const char *name; enum llama_ftype type; } types[] = {
    {"f32", LLAMA_FTYPE_ALL_F32},            {"f16", LLAMA_FTYPE_MOSTLY_F16},
    {"bf16", LLAMA_FTYPE_MOSTLY_BF16},       {"q8_0", LLAMA_FTYPE_MOSTLY_Q8_0},
    {"q6_k", LLAMA_FTYPE_MOSTLY_Q6_K},       {"q5_k_m", LLAMA_FTYPE_MOSTLY_Q5_K_M},
    {"q5_k_s", LLAMA_FTYPE_MOSTLY_Q5_K_S},   {"q5_1", LLAMA_FTYPE_MOSTLY_Q5_1},
    {"q5_0", LLAMA_FTYPE_MOSTLY_Q5_0},       {"q4_k_m", LLAMA_FTYPE_MOSTLY_Q4_K_M},
    {"q4_k_s", LLAMA_FTYPE_MOSTLY_Q4_K_S},   {"q4_1", LLAMA_FTYPE_MOSTLY_Q4_1},
    {"q4_0", LLAMA_FTYPE_MOSTLY_Q4_0},       {"iq4_nl", LLAMA_FTYPE_MOSTLY_IQ4_NL},
    {"iq4_xs", LLAMA_FTYPE_MOSTLY_IQ4_XS},   {"q3_k_l", LLAMA_FTYPE_MOSTLY_Q3_K_L},
    {"q3_k_m", LLAMA_FTYPE_MOSTLY_Q3_K_M},   {"q3_k_s", LLAMA_FTYPE_MOSTLY_Q3_K_S},
    {"q2_k", LLAMA_FTYPE_MOSTLY_Q2_K},
};

const char om_llm_types[] = "f32|f16|bf16|q8_0|q6_k|q5_k_m|q5_k_s|q5_1|q5_0|q4_k_m|q4_k_s|q4_1|q4_0|iq4_nl|iq4_xs|"
                            "q3_k_l|q3_k_m|q3_k_s|q2_k";

int om_llm_file_type(const char *type)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, type) == 0)
            return (int)types[i].type;
    return -1;
}

int om_llm_quantize(const char *in, const char *out, const char *type, int threads)
{
    struct llama_model_quantize_params p = llama_model_quantize_default_params();
    const int ftype = om_llm_file_type(type);
    ggml_log_callback log;
    void *user;

    if (ftype < 0)
        return om_fail(OMNI_ERR_ARG, "LLM type: found %s, wanted one of %s", type, om_llm_types);
    om_log_capture();
    ggml_log_get(&log, &user);
    llama_log_set(log, user);       /* libllama has a callback of its own, which prints */
    p.ftype = (enum llama_ftype)ftype;
    p.nthread = threads;
    p.max_buf_size = (size_t)256 << 20;
    if (llama_model_quantize(in, out, &p) == 0)
        return OMNI_OK;
    return om_fail(OMNI_ERR_MODEL, "%s: llama.cpp can not make %s of it: %s", in, type,
                   om_log_error()[0] ? om_log_error() : "no reason given");
}
