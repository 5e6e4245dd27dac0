/* bench_vad [THRESHOLD [SILENCE_MS]] < f32 samples at 16 kHz: a line per event: kind, its position, samples heard by
 * then. What lab/eval/score_vad.py measures with. */
#include "stage/vad.h"

#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    static const char *const names[] = { "start", "pause", "resume", "stop" };
    om_vad_params params = { argc > 1 ? strtof(argv[1], NULL) : 0.5f,
                             argc > 2 ? (int)strtol(argv[2], NULL, 10) : 500 };
    om_vad *vad;
    om_vad_event event;
    float x[1600];
    size_t n, taken;
    unsigned long long heard = 0;

    if (om_vad_new(&params, &vad))
        return fprintf(stderr, "%s\n", om_last_error()), 1;
    while ((n = fread(x, sizeof *x, sizeof x / sizeof *x, stdin)) > 0)
        for (size_t at = 0; at < n; at += taken) {
            om_vad_push(vad, x + at, n - at, &taken);
            heard += taken;
            if (om_vad_pull(vad, &event) == 0)
                printf("%s %llu %llu\n", names[event.kind], (unsigned long long)event.at, heard);
        }
    om_vad_free(vad);
    return 0;
}
