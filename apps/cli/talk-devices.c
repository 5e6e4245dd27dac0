/* A device is opened at its own rate; resampling is better done here than by a driver. */
#include "talk-devices.h"

#include "options.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Standard error to nowhere, and back: the descriptor to give to unhush. */
static int hush(void)
{
    fflush(stderr);
    const int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (saved >= 0 && nowhere >= 0) dup2(nowhere, STDERR_FILENO);
    if (nowhere >= 0) close(nowhere);
    return saved;
}

static void unhush(int saved)
{
    if (saved < 0) return;
    dup2(saved, STDERR_FILENO);
    close(saved);
}

int talk_devices_begin(void)
{
    const int saved = hush();
    const PaError error = Pa_Initialize();
    unhush(saved);
    if (error != paNoError) return cli_error("sound system: %s; is one installed?", Pa_GetErrorText(error));
    return CLI_OK;
}

void talk_devices_end(void)
{
    const int saved = hush();
    Pa_Terminate();
    unhush(saved);
}

void talk_devices_list(void)
{
    const int n = Pa_GetDeviceCount();
    if (n <= 0) puts("no sound devices");
    for (int i = 0; i < n; i++) {
        const PaDeviceInfo *d = Pa_GetDeviceInfo(i);
        const bool in = d->maxInputChannels > 0, out = d->maxOutputChannels > 0;
        const bool own = i == Pa_GetDefaultInputDevice() || i == Pa_GetDefaultOutputDevice();
        printf("%3d%c %-14s %6.0f Hz  %s (%s)\n", i, own ? '*' : ' ',
               in && out ? "input, output" : in ? "input" : "output", d->defaultSampleRate, d->name,
               Pa_GetHostApiInfo(d->hostApi)->name);
    }
    if (n > 0) puts("  * the system's own, taken unless --input-device or --output-device names another");
}

static int channels_of(const PaDeviceInfo *d, bool input)
{
    return input ? d->maxInputChannels : d->maxOutputChannels;
}

/* Its number, or -1 after an error line. */
static int find(bool input, const char *name)
{
    const char *option = input ? "--input-device" : "--output-device";
    const int n = Pa_GetDeviceCount();
    if (!name) {
        const int own = input ? Pa_GetDefaultInputDevice() : Pa_GetDefaultOutputDevice();
        if (own == paNoDevice)
            cli_error("there is no %s; connect one, or choose with %s (--list-devices shows them)",
                      input ? "microphone" : "loudspeaker", option);
        return own == paNoDevice ? -1 : own;
    }
    char *end;
    errno = 0;
    const long number = strtol(name, &end, 10);
    const bool is_number = !errno && end != name && !*end;
    for (int pass = 0; pass < 2; pass++) {      /* the whole name before a part of one */
        for (int i = 0; i < n; i++) {
            const PaDeviceInfo *d = Pa_GetDeviceInfo(i);
            if (channels_of(d, input) < 1) continue;
            if (is_number ? i == number : pass == 0 ? strcmp(d->name, name) == 0 : strcasestr(d->name, name) != NULL)
                return i;
        }
    }
    cli_error("%s: found '%s', wanted the number or a part of the name of an %s device (--list-devices)", option,
              name, input ? "input" : "output");
    return -1;
}

int talk_device_open(talk_device *device, bool input, const char *name)
{
    *device = (talk_device){.stream = NULL};
    const int index = find(input, name);
    if (index < 0) return CLI_FAILED;
    device->info = Pa_GetDeviceInfo(index);
    device->rate = (int)device->info->defaultSampleRate;
    PaError error = paNoError;
    const int saved = hush();
    /* Some devices have no mono. */
    for (device->channels = 1; device->channels <= 2; device->channels++) {
        const PaStreamParameters p = {
            .device = index, .channelCount = device->channels, .sampleFormat = paFloat32,
            .suggestedLatency = input ? device->info->defaultLowInputLatency : 0.04,
        };
        const unsigned long block = (unsigned long)device->rate / 100;
        error = Pa_OpenStream(&device->stream, input ? &p : NULL, input ? NULL : &p, device->rate, block,
                              paNoFlag, NULL, NULL);
        if (error == paNoError || channels_of(device->info, input) < 2) break;
    }
    if (error == paNoError) error = Pa_StartStream(device->stream);
    unhush(saved);
    if (error != paNoError) {
        const PaHostErrorInfo *host = Pa_GetLastHostErrorInfo();
        talk_device_close(device);
        return cli_error("%s '%s': %s%s%s; is another program using it?", input ? "input device" : "output device",
                         Pa_GetDeviceInfo(index)->name, Pa_GetErrorText(error),
                         error == paUnanticipatedHostError ? ": " : "",
                         error == paUnanticipatedHostError && host ? host->errorText : "");
    }
    const PaStreamInfo *info = Pa_GetStreamInfo(device->stream);
    device->latency = info ? input ? info->inputLatency : info->outputLatency : 0.04;
    return CLI_OK;
}

void talk_device_close(talk_device *device)
{
    if (!device->stream) return;
    const int saved = hush();
    Pa_AbortStream(device->stream);
    Pa_CloseStream(device->stream);
    unhush(saved);
    device->stream = NULL;
}
