/* turns: the protocol's turn detection, in the library's terms. The only file that knows both. */
#include "realtime-state.h"

#include <string.h>

static int ms_of(const json_t *turns, const char *name, int otherwise)
{
    const json_t *v = json_object_get(turns, name);
    return json_is_integer(v) ? (int)json_integer_value(v) : otherwise;
}

/* Eagerness as a silence: the model does not judge whether a sentence is complete. */
static int eager_ms(const json_t *turns)
{
    const char *word = json_string_value(json_object_get(turns, "eagerness"));
    if (strcmp(word, "low") == 0) return 1200;
    return strcmp(word, "high") == 0 ? 300 : 600;
}

void srv_turns_apply(srv_realtime *rt)
{
    const json_t *turns = srv_settings_turns(rt->settings);
    const bool listen = turns != NULL;
    if (!listen) {
        if (rt->listening) srv_seat_turns(rt->seat, NULL);
        rt->listening = false;
        srv_hear_anew(rt);      /* no speech_stopped comes any more */
        return;
    }
    omni_turn_params p = omni_turn_default_params();
    const bool semantic = strcmp(json_string_value(json_object_get(turns, "type")), "semantic_vad") == 0;
    if (semantic) p.silence_ms = eager_ms(turns);
    else p.silence_ms = ms_of(turns, "silence_duration_ms", p.silence_ms);
    p.prefix_ms = ms_of(turns, "prefix_padding_ms", p.prefix_ms);
    const json_t *threshold = json_object_get(turns, "threshold");
    if (json_is_number(threshold)) p.threshold = (float)json_number_value(threshold);
    p.speculate = !rt->server->options->no_speculation;
    p.answer = json_is_true(json_object_get(turns, "create_response")) && !rt->transcription;
    p.interrupt = json_is_true(json_object_get(turns, "interrupt_response"));
    srv_seat_turns(rt->seat, &p);
    rt->listening = true;
}
