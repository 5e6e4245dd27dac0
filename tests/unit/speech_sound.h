/* Sound that a detection of speech has to take for speech: a buzz of 120 Hz with a formant that moves, in syllables. */
#ifndef SPEECH_SOUND_H
#define SPEECH_SOUND_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

/* Adds n samples, rms about 0.35 * level, from the first sample on; `kind` varies it. */
static inline void add_speech(float *x, size_t n, float level, int kind)
{
    double pitch = 110.0 + 13.0 * kind, phase = 0.0;

    for (size_t i = 0; i < n; i++) {
        double t = (double)i / 16000.0, syllable = 0.25 + 0.75 * fabs(sin(3.1416 * 4.0 * t + 0.6)), sum = 0.0;
        double formant = 500.0 + 300.0 * sin(6.2832 * (1.1 + 0.2 * kind) * t);

        phase += 6.283185307 * pitch / 16000.0;
        for (int k = 1; k <= 24; k++) {
            double away = (k * pitch - formant) / 250.0;

            sum += sin(k * phase) / (1.0 + away * away);
        }
        x[i] += (float)(0.3 * level * syllable * sum);
    }
}

/* Adds white noise of standard deviation `level`; *seed goes on. */
static inline void add_noise(float *x, size_t n, float level, uint32_t *seed)
{
    for (size_t i = 0; i < n; i++) {
        float sum = 0.0f;

        for (int k = 0; k < 4; k++) {
            *seed = *seed * 1664525u + 1013904223u;
            sum += (float)(*seed >> 8) / 16777216.0f - 0.5f;
        }
        x[i] += level * 1.732f * sum;
    }
}

#endif
