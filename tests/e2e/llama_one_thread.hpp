// Read before llama.cpp's example, which is compiled as it is: one thread instead of four, so that a busy machine does not matter.
#include "llama.h"

static llama_context_params one_thread()
{
    llama_context_params p = llama_context_default_params();
    p.n_threads = p.n_threads_batch = 1;
    return p;
}

#define llama_context_default_params one_thread
