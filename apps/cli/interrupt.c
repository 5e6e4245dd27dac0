/* The signal handler touches only lock-free atomics, unlink, tcsetattr, _exit and omni_session_cancel. */
#include "interrupt.h"

#include "options.h"
#include "report.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <termios.h>
#include <unistd.h>

enum { FILES = 4 };

static _Atomic(omni_session *) running;
static atomic_int watched, count, drain;
static _Atomic(const char *) files[FILES];
static _Atomic(const struct termios *) terminal;

static void on_signal(int signal_number)
{
    (void)signal_number;
    const int before = atomic_fetch_add(&count, 1);
    omni_session *session = atomic_load(&running);
    if (before == 0 && (session || atomic_load(&watched))) {
        if (session) omni_session_cancel(session);
        return;
    }
    for (int i = 0; i < FILES; i++) {
        const char *path = atomic_load(&files[i]);
        if (path) unlink(path);
    }
    const struct termios *before_us = atomic_load(&terminal);
    if (before_us) tcsetattr(STDIN_FILENO, TCSANOW, before_us);
    _exit(CLI_INTERRUPTED);
}

void cli_interrupt_install(void)
{
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&act.sa_mask);
    const int ending[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof ending / sizeof *ending; i++) {
        struct sigaction old;
        /* Started with the signal ignored (nohup, a background job): leave it so. */
        if (sigaction(ending[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN) continue;
        sigaction(ending[i], &act, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

void cli_interrupt_session(omni_session *session)
{
    atomic_store(&running, session);
}

void cli_interrupt_watch(bool on)
{
    atomic_store(&watched, on);
}

int cli_interrupt_at_once(void *user, const char *what, bool on)
{
    (void)user;
    if (on) cli_busy(what);
    else cli_progress_end();
    atomic_store(&watched, !on);
    return on && cli_interrupted();
}

bool cli_interrupted(void)
{
    return atomic_load(&count) > 0;
}

void cli_interrupt_terminal(const struct termios *before)
{
    atomic_store(&terminal, before);
}

static void on_drain(int signal_number)
{
    (void)signal_number;
    atomic_store(&drain, 1);
}

void cli_drain_watch(void)
{
    struct sigaction act = {.sa_handler = on_drain, .sa_flags = SA_RESTART};
    sigemptyset(&act.sa_mask);
    sigaction(SIGUSR1, &act, NULL);
}

bool cli_drained(void)
{
    return atomic_load(&drain) > 0;
}

int cli_interrupt_add_file(const char *path)
{
    for (int i = 0; i < FILES; i++) {
        const char *none = NULL;
        if (atomic_compare_exchange_strong(&files[i], &none, path)) return i;
    }
    return -1;
}

void cli_interrupt_remove_file(int slot)
{
    if (slot >= 0) atomic_store(&files[slot], NULL);
}
