// What llama.cpp's quantising program takes from its library of common parts: its log, which is nothing to compare, and
// an option that no test gives.
#include "llama.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

struct common_log;

common_log *common_log_main()
{
    return nullptr;
}

int common_log_get_verbosity_thold()
{
    return -1;
}

void common_log_add(common_log *, ggml_log_level, const char *, ...)
{
}

void llama_print_build_info(const char *, FILE *)
{
}

bool string_parse_kv_override(const char *, std::vector<llama_model_kv_override> &)
{
    std::abort();
}
