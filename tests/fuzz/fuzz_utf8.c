/*
 * Token bytes to text: the first byte says how the rest is cut into pushes. Whatever comes in, what
 * goes out is UTF-8, the same however it was cut, and what was valid is not changed.
 */
#include "core/text.h"
#include "fuzz/memory_file.h"

#include <string.h>

static char *stream(const char *bytes, size_t n, size_t step, size_t *n_out)
{
    om_text t = { 0 };
    char *out = malloc(3 * n + 1);      /* U+FFFD has three bytes */
    size_t filled = 0;

    if (!out)
        abort();
    for (size_t at = 0; at <= n; at += step) {
        size_t now = n - at < step ? n - at : step, ready;

        if ((now ? om_text_push(&t, bytes + at, now) : 0) || (at + step > n && om_text_finish(&t)))
            abort();
        ready = om_text_ready(&t);
        if (ready > 3 * n - filled || !om_utf8_valid(t.bytes, ready))
            abort();
        memcpy(out + filled, t.bytes ? t.bytes : "", ready);
        filled += ready;
        om_text_take(&t, ready);
    }
    om_text_free(&t);
    *n_out = filled;
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data + 1, *stripped = bytes;
    size_t n, n_whole, n_cut, n_stripped;
    char *whole, *cut;

    if (size == 0)
        return 0;
    n = n_stripped = size - 1;
    whole = stream(bytes, n, n + 1, &n_whole);
    cut = stream(bytes, n, (size_t)data[0] % 7 + 1, &n_cut);
    if (n_whole != n_cut || memcmp(whole, cut, n_cut) != 0)
        abort();
    stripped = om_text_strip(bytes, &n_stripped);
    if (om_utf8_valid(bytes, n) && (n_stripped != n_whole || memcmp(stripped, whole, n_whole) != 0))
        abort();
    free(whole);
    free(cut);
    return 0;
}
