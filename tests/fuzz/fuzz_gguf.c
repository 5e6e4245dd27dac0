/* Any bytes as a model file: header, tables, tensors. */
#include "fuzz/gguf_walk.h"
#include "fuzz/memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    walk_file(memory_file(data, size));
    return 0;
}
