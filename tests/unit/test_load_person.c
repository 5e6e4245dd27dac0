/* One simulated person against a server that is played here: what is counted when things go wrong, by a clock that is
 * ours. */
#include "unit/cmocka_all.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now_s;            /* the clock */

static int our_clock(clockid_t id, struct timespec *t)
{
    (void)id;
    *t = (struct timespec){ .tv_sec = (time_t)now_s, .tv_nsec = (long)((now_s - floor(now_s)) * 1e9) };
    return 0;
}

/* A second copy of the person, whose clock and network are these. */
#define clock_gettime our_clock
#define load_now our_now
#define load_person_new our_person_new
#define load_person_free our_person_free
#define load_person_tick our_person_tick
#define load_person_fd our_person_fd
#define load_person_events our_person_events
#define load_person_ready our_person_ready
#define load_person_gave_up our_person_gave_up
#define load_person_at_rest our_person_at_rest
#define load_person_leave our_person_leave
#define load_socket_open our_socket_open
#define load_socket_close our_socket_close
#define load_socket_fd our_socket_fd
#define load_socket_events our_socket_events
#define load_socket_ready our_socket_ready
#define load_socket_phase our_socket_phase
#define load_socket_ending our_socket_ending
#define load_socket_send our_socket_send
#define load_socket_goodbye our_socket_goodbye
#define load_socket_abandon our_socket_abandon
#include "../apps/cli/load-person.c"

static load_hear *ear;
static void *whose_ear;
static load_phase phase;
static load_ending ending = { .how = LOAD_LOST, .text = "gone" };
static int truncates;

load_socket *our_socket_open(const load_server *server, load_hear *hears, void *user)
{
    static char socket;
    (void)server;
    ear = hears;
    whose_ear = user;
    phase = LOAD_OPEN;
    return (load_socket *)(void *)&socket;
}

void our_socket_close(load_socket *s) { (void)s; }
int our_socket_fd(const load_socket *s) { return (void)s, -1; }
short our_socket_events(const load_socket *s) { return (void)s, 0; }
void our_socket_ready(load_socket *s, short revents) { (void)s, (void)revents; }
load_phase our_socket_phase(const load_socket *s) { return (void)s, phase; }
const load_ending *our_socket_ending(const load_socket *s) { return (void)s, &ending; }
void our_socket_goodbye(load_socket *s) { (void)s; }
void our_socket_abandon(load_socket *s, const char *why) { (void)s, (void)why; }

void our_socket_send(load_socket *s, const char *text, size_t n)
{
    (void)s;
    truncates += n > 0 && strstr(text, "item.truncate") != NULL;
}

typedef struct world {
    load_question question;
    load_plan plan;
    load_tally tally;
    load_person *person;
} world;

static void say(const char *text)
{
    ear(whose_ear, text, strlen(text));
}

static void say_sound(double seconds)
{
    static const char before[] = "{\"type\":\"response.output_audio.delta\",\"response_id\":\"r\",\"item_id\":\"i\",\"delta\":\"";
    const size_t n = (size_t)(seconds * LOAD_RATE * 2 / 3 * 4), size = n + sizeof before + 3;
    char *text = malloc(size);
    assert_non_null(text);
    memcpy(text, before, sizeof before - 1);
    memset(text + sizeof before - 1, 'A', n);
    memcpy(text + sizeof before - 1 + n, "\"}", 3);
    say(text);
    free(text);
}

static void pass(world *w, double seconds)
{
    for (const double until = now_s + seconds - 1e-6; now_s < until; now_s += 0.02) load_person_tick(w->person, now_s);
}

static void pass_until(world *w, mood wanted)
{
    for (int i = 0; i < 3000 && w->person->mood != wanted; i++) pass(w, 0.02);
    assert_int_equal(w->person->mood, wanted);
}

/* A person who has asked, and hears the first seconds of the answer. */
static world *listening(double question_seconds, double interrupting, double seconds)
{
    world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    now_s = 100;
    truncates = 0;
    const size_t n = (size_t)(question_seconds * LOAD_RATE);
    w->question = (load_question){ .samples = calloc(n, sizeof(int16_t)), .n = n, .loud_to = n };
    w->plan = (load_plan){ .questions = &w->question, .n_questions = 1, .silence_ms = 300, .buffer_seconds = 0.06,
                           .think_seconds = 1, .interrupting = interrupting };
    w->tally.began = now_s;
    w->person = load_person_new(&w->plan, &w->tally, now_s, 1);
    load_person_tick(w->person, now_s);
    say("{\"type\":\"session.created\"}");
    say("{\"type\":\"session.updated\"}");
    pass_until(w, WAITING);
    pass(w, 0.3);
    say("{\"type\":\"response.created\",\"response\":{\"id\":\"r\"}}");
    say_sound(seconds);
    assert_int_equal(w->person->mood, LISTENING);
    return w;
}

static void close_world(world *w)
{
    load_person_free(w->person);
    load_tally_free(&w->tally);
    free(w->question.samples);
    free(w);
}

static void a_false_interruption_is_a_stray_and_no_question(void **state)
{
    world *w = listening(0.5, 0, 2);

    (void)state;
    pass(w, 0.5);
    say("{\"type\":\"input_audio_buffer.speech_started\"}");
    assert_int_equal(w->tally.strays, 1);
    assert_int_equal(truncates, 1);
    assert_int_equal(w->person->mood, THINKING);
    w->plan.ending = true;
    pass(w, ANSWER_SECONDS + 5);
    assert_int_equal(w->tally.unanswered, 0);
    assert_int_equal(w->tally.finished, 0);
    assert_true(fabs(w->tally.heard_seconds - 0.5) < 0.03);
    close_world(w);
}

static void a_gap_that_nothing_ended_is_an_underrun(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        world *w = listening(0.5, 0, 0.5);

        pass(w, 1.5);
        if (way == 0) say("{\"type\":\"input_audio_buffer.speech_started\"}");
        if (way == 1) phase = LOAD_OVER, load_person_tick(w->person, now_s);
        if (way == 2) load_person_leave(w->person);
        assert_int_equal(w->tally.underruns, 1);
        assert_true(fabs(w->tally.underrun_seconds - 1) < 0.03);
        assert_true(fabs(w->tally.heard_seconds - 0.5) < 0.001);
        assert_int_equal(w->tally.finished, 0);
        close_world(w);
    }
}

static void an_answer_that_runs_out_into_its_interruption_was_heard(void **state)
{
    world *w = listening(2, 1, 1);

    (void)state;
    say("{\"type\":\"response.done\",\"response\":{\"id\":\"r\",\"status\":\"completed\"}}");
    pass_until(w, SPEAKING);
    assert_true(w->person->interrupting);
    pass(w, 1.2);
    say("{\"type\":\"input_audio_buffer.speech_started\"}");
    assert_int_equal(w->tally.finished, 1);
    assert_true(fabs(w->tally.heard_seconds - 1) < 0.001);
    assert_int_equal(w->tally.underruns, 0);
    assert_int_equal(truncates, 0);
    close_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_false_interruption_is_a_stray_and_no_question),
        cmocka_unit_test(a_gap_that_nothing_ended_is_an_underrun),
        cmocka_unit_test(an_answer_that_runs_out_into_its_interruption_was_heard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
