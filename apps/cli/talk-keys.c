#include "talk-keys.h"

#include "interrupt.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static struct termios before, single;
static bool raw, ended;
static atomic_bool continued;

static void on_continue(int signal_number)
{
    (void)signal_number;
    atomic_store(&continued, true);
}

void talk_keys_open(void)
{
    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &before) != 0) return;
    single = before;
    single.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    single.c_cc[VMIN] = 1;
    single.c_cc[VTIME] = 0;
    cli_interrupt_terminal(&before);
    struct sigaction act = {.sa_handler = on_continue, .sa_flags = SA_RESTART};
    sigemptyset(&act.sa_mask);
    sigaction(SIGCONT, &act, NULL);
    raw = tcsetattr(STDIN_FILENO, TCSANOW, &single) == 0;
}

void talk_keys_close(void)
{
    if (raw) tcsetattr(STDIN_FILENO, TCSANOW, &before);
    cli_interrupt_terminal(NULL);
    signal(SIGCONT, SIG_DFL);
    raw = false;
}

/* After Ctrl-Z the shell set its own modes, and the program goes on with those. In the background, where setting
 * modes would stop it once more, it waits for its turn. */
static bool take_terminal_back(void)
{
    if (!raw || !atomic_load(&continued) || tcgetpgrp(STDIN_FILENO) != getpgrp()) return false;
    atomic_store(&continued, false);
    tcsetattr(STDIN_FILENO, TCSANOW, &single);
    return true;
}

static talk_key meaning(unsigned char c)
{
    static unsigned char last = '\n';
    const unsigned char previous = last;
    last = c;
    switch (c) {
    case ' ':
        return TALK_KEY_TALK;
    case '\n':      /* the end of a line that said something else says nothing more */
        return raw || previous == '\n' ? TALK_KEY_TALK : TALK_KEY_NONE;
    case 's':
        return TALK_KEY_STOP;
    case 'q':
    case 4:
        return TALK_KEY_QUIT;
    default:
        return TALK_KEY_NONE;
    }
}

talk_key talk_keys_next(int wait_ms)
{
    if (take_terminal_back()) return TALK_KEY_CONTINUE;
    struct pollfd in = {.fd = ended ? -1 : STDIN_FILENO, .events = POLLIN};
    if (poll(&in, 1, wait_ms) <= 0) return TALK_KEY_NONE;
    unsigned char c;
    if (read(STDIN_FILENO, &c, 1) == 1) return meaning(c);
    ended = true;
    return TALK_KEY_END;
}
