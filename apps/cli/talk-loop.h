/* talk-loop: a conversation from microphone to loudspeaker until the person quits. */
#ifndef CLI_TALK_LOOP_H
#define CLI_TALK_LOOP_H

#include "options.h"

int talk_run(const cli_args *args);     /* exit code */
int talk_list_devices(void);

#endif
