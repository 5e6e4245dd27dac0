/* realtime-input: audio that comes in: append, commit, clear, and what the engine heard in it. */
#include "base64.h"
#include "realtime-state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static srv_format format_of(const srv_realtime *rt)
{
    return srv_settings_format(rt->settings, "audio.input.format");
}

static double input_ms(const srv_realtime *rt)
{
    return srv_format_ms(format_of(rt), rt->input.n);
}

/* Forgets the first n bytes of the input; the clock goes on. */
static void drop_input(srv_realtime *rt, size_t n)
{
    rt->input_start += srv_format_ms(format_of(rt), n);
    memmove(rt->input.at, rt->input.at + n, rt->input.n - n);
    rt->input.n -= n;
}

void srv_hear_anew(srv_realtime *rt)
{
    rt->heard_from = rt->pushed;
    rt->speaking = false;
}

/* What comes now is another sound: what the resampler still holds of the old one must not open it. */
static void forget_rate(srv_realtime *rt)
{
    srv_rate_free(rt->input_rate);
    rt->input_rate = NULL;
}

void srv_input_reset(srv_realtime *rt)
{
    forget_rate(rt);
    if (rt->input.n) drop_input(rt, rt->input.n);
    if (rt->idle_from >= 0 && rt->idle_from < rt->input_start) rt->idle_from = rt->input_start;
    rt->has_odd = false;
    srv_hear_anew(rt);
    if (rt->listening) srv_seat_clear(rt->seat);
}

/* To the engine's rate and on; *n_given samples went. false: out of memory, or too much is on its way. */
static bool give(srv_seat *seat, srv_rate *rate, srv_format format, const uint8_t *bytes, size_t n, bool finish,
                 size_t *n_given)
{
    enum { PIECE = 4096 };
    float samples[PIECE];
    const size_t width = srv_format_bytes(format), whole = n / width;
    for (size_t at = 0; at < whole || finish;) {
        const size_t m = whole - at < PIECE ? whole - at : PIECE;
        const float *out;
        size_t n_out;
        srv_sound_decode(format, bytes + at * width, m, samples);
        at += m;
        const bool last = finish && at == whole;
        if (!srv_rate_run(rate, samples, m, last, &out, &n_out) || !srv_seat_audio(seat, out, n_out)) return false;
        *n_given += n_out;
        if (last) break;
    }
    return true;
}

static bool listen_to(srv_realtime *rt, const uint8_t *bytes, size_t n)
{
    const srv_format format = format_of(rt);
    const int hz = rt->server->info->sample_rate_in;
    if (!rt->input_rate) rt->input_rate = srv_rate_new(srv_format_rate(format), hz);
    rt->shift = rt->input_start + input_ms(rt) - srv_format_ms(format, n) - rt->pushed;
    size_t given = 0;
    const bool ok = rt->input_rate && give(rt->seat, rt->input_rate, format, bytes, n, false, &given);
    rt->pushed += (double)given * 1000.0 / hz;
    return ok;
}

/* The last samples of what was appended, which the resampler holds, go to the engine too. */
static void end_listening(srv_realtime *rt)
{
    static const uint8_t nothing[1];
    size_t given = 0;
    if (rt->input_rate && rt->listening) give(rt->seat, rt->input_rate, format_of(rt), nothing, 0, true, &given);
    rt->pushed += (double)given * 1000.0 / rt->server->info->sample_rate_in;
    forget_rate(rt);
}

/* The n bytes at `at` of the input become an item of the conversation. */
static srv_item *commit(srv_realtime *rt, const char *id, size_t at, size_t n)
{
    srv_item *item = srv_item_message(id, "user", "completed", json_pack("[{s:s, s:n}]", "type", "input_audio", "transcript"));
    uint8_t *audio = malloc(n + 1);
    const size_t end = rt->talk.n;
    if (!item || !audio || !srv_item_insert(&rt->talk, item, end)) {
        if (item && !audio) srv_item_free(item);
        free(audio);
        return NULL;
    }
    memcpy(audio, rt->input.at + at, n);
    srv_item_keep_audio(&rt->talk, item, audio, n, format_of(rt));
    drop_input(rt, at + n);
    srv_emit(rt, SRV_EV_COMMITTED, json_pack("{s:o, s:s}", "previous_item_id", srv_previous_id(rt, end), "item_id", id));
    srv_emit_item(rt, end, true);
    if (srv_settings_transcribe(rt->settings) || rt->transcription)
        srv_emit(rt, SRV_EV_TRANSCRIPTION_FAILED,
                 json_pack("{s:s, s:i, s:{s:s, s:s, s:s}}", "item_id", id, "content_index", 0, "error", "type", "transcription_error",
                           "code", "transcription_not_supported", "message", "This model answers speech without transcribing it."));
    return item;
}

/* ---- nobody speaks (idle_timeout_ms) ---------------------------------------------------------------- */

void srv_idle_begin(srv_realtime *rt, double sound_ms)
{
    rt->idle_from = rt->input_start + input_ms(rt) + sound_ms;
}

/* The silence itself becomes a question. It is counted in audio, not in time: who sends nothing is not asked. */
static void check_idle(srv_realtime *rt)
{
    const json_t *after = json_object_get(srv_settings_turns(rt->settings), "idle_timeout_ms");
    const double now = rt->input_start + input_ms(rt);
    if (rt->idle_from < 0 || !json_is_integer(after) || !rt->listening || rt->speaking || rt->response) return;
    if (now - rt->idle_from < (double)json_integer_value(after)) return;
    char id[40];
    const double from = rt->idle_from > rt->input_start ? rt->idle_from : rt->input_start;
    const size_t at = srv_format_at(format_of(rt), from - rt->input_start);
    rt->idle_from = -1;
    srv_new_id("item", id);
    srv_emit(rt, SRV_EV_TIMEOUT_TRIGGERED, json_pack("{s:I, s:I, s:s}", "audio_start_ms", (json_int_t)from, "audio_end_ms", (json_int_t)now, "item_id", id));
    srv_item *item = commit(rt, id, at, rt->input.n - at);
    if (!item || rt->transcription) return;
    srv_response *r = srv_response_new(rt, rt->settings, NULL, false);
    if (!r) return;
    item->asked = r->spoken = true;
    item->asked_by = r->tag;
    if (!srv_ask_audio(rt, rt->seat, item, r->tag)) srv_response_fail(rt, r, "server_error", "out of memory");
}

/* While nobody speaks only a minute of the past is kept, and all that the engine may not have heard yet: what waits for it, and
 * what it holds, two windows at most. */
static void forget_past(srv_realtime *rt)
{
    enum { KEEP_MS = 60000, WINDOWS = 2 };
    const srv_format format = format_of(rt);
    size_t samples, letters;
    if (!rt->listening || rt->speaking || !srv_settings_turns(rt->settings)) return;
    srv_seat_waiting(rt->seat, &samples, &letters);
    samples += WINDOWS * (size_t)rt->server->info->window_samples;
    const size_t keep = srv_format_at(format, KEEP_MS + (double)samples * 1000.0 / rt->server->info->sample_rate_in);
    if (rt->input.n > keep + srv_format_at(format, KEEP_MS)) drop_input(rt, rt->input.n - keep);
}

bool srv_on_audio_append(srv_realtime *rt, const json_t *event, srv_trouble *t)
{
    const json_t *audio = srv_member(event, "", "audio", JSON_STRING, t);
    if (!audio) return false;
    const size_t letters = json_string_length(audio), width = srv_format_bytes(format_of(rt)), before = rt->input.n;
    if (letters == 0) return true;
    uint8_t *bytes = malloc(srv_base64_room(letters) + 1);
    size_t n = 0;
    if (!bytes) return srv_trouble_set(t, "server_error", NULL, "out of memory");
    if (rt->has_odd) bytes[0] = rt->odd;
    if (!srv_base64_decode(json_string_value(audio), letters, bytes + rt->has_odd, &n)) {
        free(bytes);
        return srv_trouble_set(t, "invalid_value", "audio", "Invalid 'audio': expected base64 of mono audio in the session's input format.");
    }
    const size_t all = n + rt->has_odd, whole = all - all % width;
    if (input_ms(rt) + srv_format_ms(format_of(rt), whole) > SRV_INPUT_SECONDS * 1000.0) {
        free(bytes);
        return srv_trouble_set(t, "input_audio_buffer_full", "audio", "More than %d seconds of audio are not committed; nothing was taken.", SRV_INPUT_SECONDS);
    }
    bool ok = srv_bytes_add(&rt->input, bytes, whole);
    rt->has_odd = all % width != 0;
    if (rt->has_odd) rt->odd = bytes[all - 1];
    srv_count(rt->server->metrics, SRV_AUDIO_IN, "", srv_format_ms(format_of(rt), whole));
    if (ok && rt->listening && whole) ok = listen_to(rt, bytes, whole);
    free(bytes);
    if (!ok) rt->input.n = before;
    if (ok) forget_past(rt);
    if (ok) check_idle(rt);
    return ok || srv_trouble_set(t, "input_audio_buffer_full", "audio", "More audio came than the engine can take; this event's was dropped.");
}

bool srv_on_audio_clear(srv_realtime *rt, const json_t *event, srv_trouble *t)
{
    (void)event;
    (void)t;
    srv_input_reset(rt);
    srv_emit(rt, SRV_EV_CLEARED, json_object());
    return true;
}

bool srv_on_audio_commit(srv_realtime *rt, const json_t *event, srv_trouble *t)
{
    (void)event;
    char id[40];
    rt->has_odd = false;
    const double ms = input_ms(rt);
    if (rt->input.n == 0)
        return srv_trouble_set(t, "input_audio_buffer_commit_empty", NULL, "Error committing input audio buffer: the buffer is empty.");
    if (ms < SRV_COMMIT_MS)
        return srv_trouble_set(t, "input_audio_buffer_commit_empty", NULL,
                               "Error committing input audio buffer: buffer too small. Expected at least %dms of audio, but buffer only has %.2fms of audio.",
                               SRV_COMMIT_MS, ms);
    srv_new_id("item", id);
    srv_item *item = commit(rt, rt->speaking ? rt->speech_item : id, 0, rt->input.n);
    if (!item) return srv_trouble_set(t, "server_error", NULL, "The conversation has no room for more.");
    end_listening(rt);
    srv_hear_anew(rt);
    if (!rt->listening) return true;
    const json_t *turns = srv_settings_turns(rt->settings);
    if (rt->transcription || !json_is_true(json_object_get(turns, "create_response")) || rt->response) {
        srv_seat_clear(rt->seat);       /* asked later, from the item */
        return true;
    }
    item->asked = true;
    srv_response *r = srv_response_new(rt, rt->settings, NULL, false);
    if (!r) return true;
    r->spoken = true;
    item->asked_by = r->tag;
    r->by_hand = srv_seat_ask(rt->seat, r->tag);
    return true;
}

/* ---- what the engine heard ------------------------------------------------------------------------ */

static double clock_ms(const srv_realtime *rt, uint64_t sample)
{
    const double ms = (double)sample * 1000.0 / rt->server->info->sample_rate_in + rt->shift;
    return ms > 0 ? ms : 0;
}

/* Speech in audio that is a question already, or gone. Onsets are told ONSET_MS late or later: of speech that goes on
 * there the engine finds an onset a little before. */
static bool is_past(const srv_realtime *rt, const omni_event *event)
{
    enum { ONSET_MS = 20 };
    return (double)event->speech_offset * 1000.0 / rt->server->info->sample_rate_in < rt->heard_from - ONSET_MS;
}

/* The answer comes all the same, but its question and it are not in the conversation. */
static void no_room(srv_realtime *rt)
{
    srv_trouble t;
    srv_trouble_set(&t, "server_error", NULL, "What was said could not be added: the conversation has no room for more than %d items, or %d bytes of them. Delete some.",
                    SRV_ITEMS, SRV_ITEMS_BYTES);
    srv_emit_trouble(rt, &t);
}

void srv_speech_started(srv_realtime *rt, const omni_event *event)
{
    if (!rt->listening) return;
    if (is_past(rt, event)) {
        rt->answered_twice = false;     /* there is more in what was committed */
        return;
    }
    rt->speaking = true;
    rt->idle_from = -1;
    rt->speech_start = clock_ms(rt, event->sample_offset);
    srv_new_id("item", rt->speech_item);
    srv_emit(rt, SRV_EV_SPEECH_STARTED, json_pack("{s:I, s:s}", "audio_start_ms", (json_int_t)rt->speech_start, "item_id", rt->speech_item));
}

void srv_speech_stopped(srv_realtime *rt, const omni_event *event)
{
    if (!rt->listening || !rt->speaking) return;
    const double end = clock_ms(rt, event->sample_offset);
    rt->speaking = false;
    srv_emit(rt, SRV_EV_SPEECH_STOPPED, json_pack("{s:I, s:s}", "audio_end_ms", (json_int_t)end, "item_id", rt->speech_item));
    size_t from = rt->speech_start > rt->input_start ? srv_format_at(format_of(rt), rt->speech_start - rt->input_start) : 0;
    size_t to = end > rt->input_start ? srv_format_at(format_of(rt), end - rt->input_start) : 0;
    if (to > rt->input.n) to = rt->input.n;
    if (from > to) from = to;
    srv_item *item = commit(rt, rt->speech_item, from, to - from);
    const json_t *turns = srv_settings_turns(rt->settings);
    if (item) item->asked = json_is_true(json_object_get(turns, "create_response"));
    else no_room(rt);
}

/* ---- a question of the conversation, to the engine ------------------------------------------------ */

bool srv_ask_audio(srv_realtime *rt, srv_seat *seat, const srv_item *item, unsigned tag)
{
    const int hz = rt->server->info->sample_rate_in;
    srv_rate *rate = srv_rate_new(srv_format_rate(item->format), hz);
    const bool own = seat == rt->seat;
    /* What the microphone gives meanwhile is not part of this question. */
    if (own && rt->listening) srv_seat_turns(seat, NULL);
    else if (own) srv_seat_clear(seat);
    size_t n = 0;
    const bool ok = rate && give(seat, rate, item->format, item->audio, item->n_audio, true, &n) && srv_seat_ask(seat, tag);
    if (own) rt->pushed += (double)n * 1000.0 / hz;
    srv_rate_free(rate);
    if (own && rt->listening) {
        srv_hear_anew(rt);
        srv_turns_apply(rt);
    }
    return ok;
}
