/* Any bytes behind a WAV file's first twelve, read as the program reads a recording. */
#include "../../apps/cli/audio-file.h"
#include "fuzz/memory_file.h"

#include <math.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned char file[1 << 16];
    cli_audio audio;
    uint32_t length = (uint32_t)size + 4;

    if (size > sizeof file - 12)
        return 0;
    memcpy(file, "RIFF", 4);
    memcpy(file + 4, &length, 4);
    memcpy(file + 8, "WAVE", 4);
    memcpy(file + 12, data, size);
    if (cli_audio_read(memory_file(file, size + 12), &audio) == 0) {
        if (audio.n == 0 || audio.rate <= 0)
            abort();
        for (size_t i = 0; i < audio.n; i++)
            if (!isfinite(audio.samples[i]))
                abort();
        cli_audio_free(&audio);
    }
    return 0;
}
