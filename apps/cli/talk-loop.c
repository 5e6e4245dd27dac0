/*
 * One thread owns engine, keys and screen; talk-sound's thread owns the devices. Every round: keys, microphone
 * to session, one slice of the engine, events to screen and loudspeaker.
 */
#include "talk-loop.h"

#include "conversation.h"
#include "interrupt.h"
#include "report.h"
#include "talk-keys.h"
#include "talk-screen.h"
#include "talk-sound.h"
#include "talk-turns.h"

#include <omni.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct talk {
    cli_conversation c;
    talk_sound *sound;
    talk_screen screen;
    talk_turns turns;           /* for the table */
    bool hands_free, quiet;
    bool recording;             /* push to talk: the microphone goes to the session */
    bool waiting;               /* a question was asked, its last event has not come */
    bool sounding;              /* its sound is not over */
    bool stopping;              /* the person wants it to end; once it has: trim to heard */
    bool hearing;               /* hands-free: the person speaks */
    bool typed_end;             /* no more keys will come */
    uint64_t heard;
    int64_t asked_us;
    size_t n_asked;             /* samples recorded for the question */
    int64_t drawn_us;
} talk;

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static bool answering(const talk *t)
{
    return t->waiting || t->sounding;
}

/* What the state line says when nothing is being answered. */
static void show_rest(talk *t)
{
    talk_screen_state(&t->screen, t->hearing                      ? TALK_HEARING
                                  : t->hands_free || t->recording ? TALK_LISTENING
                                                                  : TALK_READY);
}

/* Sound is over, events are over: the turn's row, and the history cut to what was heard. */
static int finish_turn(talk *t)
{
    const bool stopped = t->stopping;
    omni_stats stats = {0};
    if (omni_session_get_stats(t->c.session, &stats) == OMNI_OK)
        talk_turns_add(&t->turns, &stats, t->c.info, t->asked_us, talk_sound_first_us(t->sound), stopped);
    if (stopped && stats.n_samples_out > t->heard) {
        const int rc = omni_session_trim(t->c.session, t->heard, NULL);
        if (rc != OMNI_OK && rc != OMNI_ERR_STATE) return cli_library_error();
    }
    t->stopping = t->sounding = false;
    talk_sound_turn_end(t->sound);
    const int rc = talk_screen_answered(&t->screen, stopped);
    show_rest(t);
    return rc;
}

/* The answer ends here: at once for the ear, within a slice for the engine. */
static void stop_answer(talk *t)
{
    if (!answering(t) || t->stopping) return;
    t->stopping = true;
    t->heard = talk_sound_heard(t->sound);
    talk_sound_turn_end(t->sound);
    talk_sound_silence(t->sound);
    if (t->waiting) omni_session_cancel(t->c.session);
}

static int ask(talk *t)
{
    const int rc = omni_session_end_input(t->c.session);
    if (t->hands_free && rc == OMNI_ERR_AUDIO) return CLI_OK;
    t->recording = false;
    if (rc == OMNI_ERR_AUDIO) {     /* two presses at once */
        show_rest(t);
        return CLI_OK;
    }
    if (rc != OMNI_OK) return cli_library_error();
    t->asked_us = now_us();
    t->waiting = true;
    talk_screen_state(&t->screen, TALK_THINKING);
    return CLI_OK;
}

static int see_talk_key(talk *t)
{
    if (answering(t)) stop_answer(t);
    if (t->hands_free) return answering(t) ? CLI_OK : ask(t);
    if (t->recording) return ask(t);
    t->recording = true;
    t->n_asked = 0;
    if (!answering(t)) talk_screen_state(&t->screen, TALK_LISTENING);
    return CLI_OK;
}

/* CLI_INTERRUPTED: the person wants to go. */
static int see_key(talk *t, talk_key key)
{
    switch (key) {
    case TALK_KEY_TALK:
        return see_talk_key(t);
    case TALK_KEY_STOP:
        stop_answer(t);
        return CLI_OK;
    case TALK_KEY_QUIT:
        return CLI_INTERRUPTED;
    case TALK_KEY_CONTINUE:
        talk_screen_continue(&t->screen);
        return CLI_OK;
    case TALK_KEY_END:
        t->typed_end = true;
        return CLI_OK;
    default:
        return CLI_OK;
    }
}

/* All that the microphone gave since the last round. */
static int listen(talk *t, bool *advanced)
{
    float samples[1600];
    const size_t most = (size_t)t->c.info->window_samples;
    for (;;) {
        const size_t n = talk_sound_read(t->sound, samples, sizeof samples / sizeof *samples);
        if (n == 0) return CLI_OK;
        *advanced = true;
        if (!t->hands_free && !t->recording) continue;
        /* Full: the answer that runs holds it up for seconds. What was said meanwhile is lost, not the program. */
        const int rc = omni_session_push_audio(t->c.session, samples, n);
        if (rc != OMNI_OK && rc != OMNI_ERR_LIMIT) return cli_library_error();
        t->n_asked += n;
        if (t->recording && t->n_asked >= most && !answering(t)) {
            talk_screen_note(&t->screen, "the question fills the model's window and is asked as it is");
            return ask(t);
        }
    }
}

static int see_end(talk *t, const omni_event *event)
{
    t->waiting = false;
    talk_sound_turn_end(t->sound);
    if (event->type == OMNI_EVENT_FAILED) return cli_error("%s", event->text ? event->text : "the answer failed");
    if (event->type == OMNI_EVENT_CANCELLED && !t->stopping) {      /* by the session itself: the person spoke */
        t->stopping = true;
        t->heard = talk_sound_heard(t->sound);
        talk_sound_silence(t->sound);
    }
    if (event->reason == OMNI_END_LENGTH || event->reason == OMNI_END_CONTEXT)
        talk_screen_note(&t->screen, event->reason == OMNI_END_LENGTH ? "stopped at the limit (-n)"
                                                                      : "stopped, context full (-c)");
    return CLI_OK;
}

static int see_event(talk *t, const omni_event *event)
{
    switch (event->type) {
    case OMNI_EVENT_BEGIN:
        t->waiting = true;
        talk_sound_turn_begin(t->sound);
        talk_screen_state(&t->screen, TALK_THINKING);
        return CLI_OK;
    case OMNI_EVENT_CUT:
        talk_screen_note(&t->screen, "the question was longer than the model's window; its end was not heard");
        return CLI_OK;
    case OMNI_EVENT_TEXT:
        return t->stopping ? CLI_OK : talk_screen_text(&t->screen, event->text, event->n_text);
    case OMNI_EVENT_AUDIO:
        if (t->stopping) return CLI_OK;
        t->sounding = true;
        talk_screen_state(&t->screen, TALK_SPEAKING);
        return talk_sound_write(t->sound, event->audio, event->n_audio);
    case OMNI_EVENT_SPEECH_STARTED:
        t->hearing = true;
        stop_answer(t);
        if (!answering(t)) show_rest(t);
        return CLI_OK;
    case OMNI_EVENT_SPEECH_STOPPED:
        t->hearing = false;
        t->asked_us = event->time_us;
        if (!answering(t)) talk_screen_state(&t->screen, TALK_THINKING);
        return CLI_OK;
    default:
        return see_end(t, event);
    }
}

static int see_events(talk *t, bool *advanced)
{
    talk_sound_pour(t->sound);
    for (;;) {
        omni_event event;
        int rc = omni_session_next_event(t->c.session, &event);
        if (rc == OMNI_AGAIN) break;
        *advanced = true;
        rc = rc < 0 ? cli_library_error() : see_event(t, &event);
        if (rc != CLI_OK) return rc;
        /* Before the next question's events: the end of this one's. */
        if (!t->waiting && (t->stopping || t->sounding) && event.type >= OMNI_EVENT_END) break;
    }
    if (t->waiting) return CLI_OK;
    if (t->stopping) return finish_turn(t);
    if (t->sounding && !talk_sound_playing(t->sound)) return finish_turn(t);
    return CLI_OK;
}

static int round_of(talk *t)
{
    bool advanced = false;
    int rc = listen(t, &advanced);
    if (rc != CLI_OK) return rc;
    const int step = omni_engine_step(t->c.engine);
    if (step < 0) return cli_library_error();
    advanced |= step == OMNI_OK;
    rc = see_events(t, &advanced);
    if (rc == CLI_OK) rc = talk_sound_check(t->sound);
    const int64_t now = now_us();
    if (rc == CLI_OK && now - t->drawn_us > 50000) {
        t->drawn_us = now;
        talk_screen_levels(&t->screen, talk_sound_level(t->sound), talk_sound_voice_level(t->sound));
    }
    return rc != CLI_OK ? rc : see_key(t, talk_keys_next(advanced ? 0 : 4));
}

static int converse(talk *t)
{
    int rc = CLI_OK;
    cli_interrupt_watch(true);
    talk_keys_open();
    show_rest(t);
    while (rc == CLI_OK && !cli_interrupted()) {
        rc = round_of(t);
        if (t->typed_end && !t->hands_free && !answering(t) && !t->recording) break;
        if (t->typed_end && t->recording && rc == CLI_OK) rc = ask(t);
    }
    talk_keys_close();
    cli_interrupt_watch(false);
    talk_screen_close(&t->screen);
    return rc == CLI_INTERRUPTED ? CLI_OK : rc;
}

static int open_session(talk *t, const cli_args *args)
{
    omni_session_params p = omni_session_default_params();
    p.max_tokens = (int)cli_integer(args, CLI_PREDICT, p.max_tokens);
    p.temperature = (float)cli_real(args, CLI_TEMP, (double)p.temperature);
    p.top_k = (int)cli_integer(args, CLI_TOP_K, p.top_k);
    p.top_p = (float)cli_real(args, CLI_TOP_P, (double)p.top_p);
    p.seed = (uint32_t)cli_integer(args, CLI_SEED, -1);
    p.early_audio = cli_given(args, CLI_EARLY);
    const int rc = cli_session_begin(&t->c, &p);
    if (rc != CLI_OK || !t->hands_free) return rc;
    omni_turn_params turns = omni_turn_default_params();
    turns.threshold = (float)cli_real(args, CLI_TALK_VAD_THRESHOLD, (double)turns.threshold);
    turns.silence_ms = (int)cli_integer(args, CLI_TALK_SILENCE, turns.silence_ms);
    turns.interrupt_ms = (int)cli_integer(args, CLI_TALK_INTERRUPT, turns.interrupt_ms);
    return omni_session_set_turns(t->c.session, &turns) == OMNI_OK ? CLI_OK : cli_library_error();
}

int talk_list_devices(void)
{
    const int rc = talk_sound_list();
    return rc != CLI_OK ? rc : cli_stdout_flush();
}

int talk_run(const cli_args *args)
{
    talk t = {.quiet = cli_given(args, CLI_QUIET), .hands_free = !cli_given(args, CLI_TALK_PUSH)};
    int rc = cli_conversation_open(&t.c, args);
    if (rc == CLI_OK) rc = open_session(&t, args);
    if (rc == CLI_OK) {
        const talk_sound_params params = {
            .input = cli_text(args, CLI_TALK_INPUT, NULL), .output = cli_text(args, CLI_TALK_OUTPUT, NULL),
            .rate_in = t.c.info->sample_rate_in, .rate_out = t.c.info->sample_rate_out,
            .echo = !cli_given(args, CLI_TALK_NO_ECHO),
        };
        rc = talk_sound_open(&params, &t.sound);
    }
    if (rc == CLI_OK) {
        char line[512];
        talk_screen_open(&t.screen, t.hands_free, t.quiet);
        talk_sound_describe(t.sound, line, sizeof line);
        talk_screen_note(&t.screen, line);
        rc = converse(&t);
        if (!t.quiet)
            talk_turns_table(&t.turns, stderr, talk_sound_underruns(t.sound), talk_sound_overruns(t.sound));
    }
    talk_sound_close(t.sound);
    cli_conversation_close(&t.c);
    talk_turns_free(&t.turns);
    if (rc == CLI_OK) rc = cli_stdout_flush();
    return rc;
}
