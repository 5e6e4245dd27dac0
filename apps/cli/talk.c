/* omni talk: the command; the work is done by talk-loop.c, which only builds with PortAudio and speexdsp have. */
#include "options.h"
#include "report.h"

#ifdef OMNI_TALK
#include "talk-loop.h"
#endif

int cli_talk(const cli_args *args)
{
    if (args->n_inputs > 0)
        return cli_usage("talk: found '%s', wanted options only; questions come from the microphone",
                         args->inputs[0].text);
    if (cli_given(args, CLI_TALK_VAD_THRESHOLD) && cli_given(args, CLI_TALK_PUSH))
        return cli_usage("talk: --push-to-talk and --vad-threshold contradict each other");
    if (cli_given(args, CLI_TALK_PUSH) && (cli_given(args, CLI_TALK_SILENCE) || cli_given(args, CLI_TALK_INTERRUPT)))
        return cli_usage("talk: --push-to-talk and --%s contradict each other",
                         cli_given(args, CLI_TALK_SILENCE) ? "silence" : "interrupt");
#ifdef OMNI_TALK
    return cli_given(args, CLI_TALK_LIST) ? talk_list_devices() : talk_run(args);
#else
    return cli_error("talk: this program was built without sound devices; install portaudio19-dev and "
                     "libspeexdsp-dev and build again with -DOMNI_TALK=ON");
#endif
}
