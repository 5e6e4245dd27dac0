/* talk-devices: which sound devices there are and opening one. talk-*.c are the only includers of portaudio.h. */
#ifndef CLI_TALK_DEVICES_H
#define CLI_TALK_DEVICES_H

#include <portaudio.h>

#include <stdbool.h>

typedef struct talk_device {
    PaStream *stream;
    const PaDeviceInfo *info;
    int rate, channels;
    double latency;             /* seconds */
} talk_device;

/* Sound libraries write to standard error whatever they like when started; not with us.
 * Begin and end once each, list and open between. CLI_OK, or CLI_FAILED after an error line. */
int  talk_devices_begin(void);
void talk_devices_end(void);
void talk_devices_list(void);

/* Opens and starts a device for 10 ms blocks of floats. name: a number of the list, a part of a name, or NULL
 * for the system's own. CLI_OK, or CLI_FAILED after an error line. */
int  talk_device_open(talk_device *device, bool input, const char *name);
void talk_device_close(talk_device *device);    /* {0} is allowed */

#endif
