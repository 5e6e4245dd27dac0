/* manual: help texts, the man page and the bash completion, all made from the tables. */
#ifndef CLI_MANUAL_H
#define CLI_MANUAL_H

#include "options.h"

void cli_help(void);                                /* omni --help */
void cli_command_help(const cli_command *command);  /* omni CMD --help */
void cli_man_page(void);                            /* omni --man: docs/omni.1 */
void cli_bash_completion(void);                     /* omni --completion bash */

#endif
