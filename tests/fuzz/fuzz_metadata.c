/* Metadata behind a valid header: the first byte counts the pairs, the rest is their encoding. */
#include "fuzz/gguf_walk.h"
#include "fuzz/memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned char file[1 << 16] = { 'G', 'G', 'U', 'F', 3 };     /* no tensors */
    const size_t head = 24;

    if (size == 0 || size - 1 > sizeof file - head)
        return 0;
    file[16] = data[0];
    memcpy(file + head, data + 1, size - 1);
    walk_file(memory_file(file, head + size - 1));
    return 0;
}
