/* Any bytes as tokenizer.json. */
#include "convert/tokenizer-json.h"
#include "fuzz/memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    om_tokenizer t;

    if (om_tokenizer_read_files(memory_file(data, size), NULL, NULL, 600, &t) == 0) {
        if (!t.pre || t.n_tokens != 600)
            abort();
        for (int i = 0; i < t.n_tokens; i++)
            if (!t.tokens[i] || t.types[i] == 0)
                abort();
        for (int i = 0; i < t.n_merges; i++)
            if (!t.merges[i])
                abort();
        om_tokenizer_free(&t);
    } else if (t.tokens) {
        abort();
    }
    return 0;
}
