#include "talk-keys.h"

#include "interrupt.h"

#include <poll.h>
#include <stdbool.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static struct termios before;
static bool raw, ended;

void talk_keys_open(void)
{
    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &before) != 0) return;
    struct termios now = before;
    now.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    now.c_cc[VMIN] = 1;
    now.c_cc[VTIME] = 0;
    cli_interrupt_terminal(&before);
    raw = tcsetattr(STDIN_FILENO, TCSANOW, &now) == 0;
}

void talk_keys_close(void)
{
    if (raw) tcsetattr(STDIN_FILENO, TCSANOW, &before);
    cli_interrupt_terminal(NULL);
    raw = false;
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
    struct pollfd in = {.fd = ended ? -1 : STDIN_FILENO, .events = POLLIN};
    if (poll(&in, 1, wait_ms) <= 0) return TALK_KEY_NONE;
    unsigned char c;
    if (read(STDIN_FILENO, &c, 1) == 1) return meaning(c);
    ended = true;
    return TALK_KEY_END;
}
