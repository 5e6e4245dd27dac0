/* The line of state lies right below the end of the caption: to add to the caption it is erased, the cursor goes
 * up and to the caption's end, and the line is drawn again below. */
#include "talk-screen.h"

#include "report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const struct look {
    const char *name, *sign, *color, *keys, *keys_hands_free;
} looks[] = {
    [TALK_READY]     = {"ready",     "○", "",     "space talk   q quit",           "q quit"},
    [TALK_LISTENING] = {"listening", "●", "\033[32m", "space send   q quit",       "q quit"},
    [TALK_HEARING]   = {"hearing",   "◉", "\033[32m", "space send   q quit",       "space send   q quit"},
    [TALK_THINKING]  = {"thinking",  "◌", "\033[33m", "s stop   q quit",           "s stop   q quit"},
    [TALK_SPEAKING]  = {"speaking",  "◆", "\033[36m", "space interrupt   q quit",  "speak or s to interrupt   q quit"},
};

static bool speaks_utf8(void)
{
    const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        if (value && *value) return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
    }
    return false;
}

void talk_screen_open(talk_screen *s, bool hands_free, bool quiet)
{
    const char *no_color = getenv("NO_COLOR");
    *s = (talk_screen){.hands_free = hands_free, .quiet = quiet};
    s->live = cli_live(STDOUT_FILENO) && cli_live(STDERR_FILENO);
    s->utf8 = speaks_utf8();
    s->color = s->live && !(no_color && *no_color);
}

static int width_of_terminal(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return 80;
    return size.ws_col < 100 ? size.ws_col : 100;
}

static void hide(talk_screen *s)
{
    if (s->shown) fputs("\r\033[K", stdout);
    if (s->shown && s->caption) printf("\033[A\033[%dG", s->column + 1);
    s->shown = false;
}

enum { CELLS = 16, CELLS_BYTES = 3 * CELLS + 1 };

/* level as a bar, from -50 dB up. */
static void bar(const talk_screen *s, float level, char text[CELLS_BYTES])
{
    static const char *const eighths[] = {" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"};
    const float db = 20 * log10f(fmaxf(level, 1e-5f));
    int eights = (int)((db + 50) / 50 * CELLS * 8);
    size_t n = 0;
    for (int i = 0; i < CELLS; i++, eights -= 8) {
        const char *cell = s->utf8 ? eighths[eights >= 8 ? 8 : eights > 0 ? eights : 0] : eights >= 4 ? "#" : " ";
        n += (size_t)snprintf(text + n, CELLS_BYTES - n, "%s", cell);
    }
}

static void compose(const talk_screen *s, char *line, size_t size)
{
    const struct look *look = &looks[s->state];
    const char *keys = s->hands_free ? look->keys_hands_free : look->keys;
    char cells[CELLS_BYTES];
    bar(s, s->state == TALK_SPEAKING ? s->voice : s->level, cells);
    if ((int)strlen(keys) > width_of_terminal() - 32) keys = "";
    snprintf(line, size, "%s%s %-9s%s %s%s%s%s%s", s->color ? look->color : "", s->utf8 ? look->sign : "*", look->name,
             s->color ? "\033[0m" : "", cells, *keys ? "  " : "", *keys && s->color ? "\033[2m" : "", keys,
             *keys && s->color ? "\033[0m" : "");
}

/* What stands there already is not written again: a conversation may rest for hours, at the end of a slow line. */
static void show(talk_screen *s)
{
    char line[sizeof s->line];
    if (!s->live || !s->begun) return;
    compose(s, line, sizeof line);
    if (s->shown && strcmp(line, s->line) == 0) return;
    hide(s);
    if (s->caption) putchar('\n');
    fputs(line, stdout);
    fflush(stdout);
    memcpy(s->line, line, strlen(line) + 1);
    s->shown = true;
}

void talk_screen_state(talk_screen *s, talk_state state)
{
    if (s->begun && state == s->state) return;
    s->begun = true;
    s->state = state;
    if (s->live) show(s);
    else if (!s->quiet) cli_note("%s", looks[state].name);
}

/* One word of a caption, or the space before it: to the next line when this one is full. */
static void put_word(talk_screen *s)
{
    int columns = 0;
    for (size_t i = 0; i < s->n_tail; i++) columns += ((unsigned char)s->tail[i] & 0xC0) != 0x80;
    if (s->column + columns >= width_of_terminal()) {
        fputs("\n  ", stdout);
        s->column = 2;
    }
    fwrite(s->tail, 1, s->n_tail, stdout);
    s->column += columns;
    s->n_tail = 0;
}

int talk_screen_text(talk_screen *s, const char *text, size_t n)
{
    if (!s->live) {
        while (!s->caption && n > 0 && *text == ' ') text++, n--;
        s->caption |= n > 0;
        fwrite(text, 1, n, stdout);
        return cli_stdout_flush();
    }
    hide(s);
    if (!s->caption) {
        fputs("  ", stdout);
        s->column = 2;
        s->caption = true;
    }
    for (size_t i = 0; i < n; i++) {
        const char c = (unsigned char)text[i] < 0x20 || text[i] == 0x7F ? ' ' : text[i];
        if (s->n_tail > sizeof s->tail - 8 && ((unsigned char)c & 0xC0) != 0x80) put_word(s);
        if (c == ' ' && s->column + (int)s->n_tail == 2) continue;
        s->tail[s->n_tail++] = c;
        if (c == ' ') put_word(s);
    }
    /* The word may go on with the next piece, but is shown already. */
    put_word(s);
    show(s);
    return cli_stdout_flush();
}

int talk_screen_answered(talk_screen *s, bool interrupted)
{
    hide(s);
    if (s->caption) fputs(interrupted ? s->utf8 && s->live ? " …\n" : " ...\n" : "\n", stdout);
    s->caption = false;
    s->n_tail = 0;
    s->column = 0;
    const int rc = cli_stdout_flush();
    show(s);
    return rc;
}

void talk_screen_levels(talk_screen *s, float microphone, float voice)
{
    s->level = fmaxf(microphone, 0.8f * s->level);
    s->voice = fmaxf(voice, 0.8f * s->voice);
    show(s);
}

void talk_screen_continue(talk_screen *s)
{
    s->shown = s->caption = false;
    s->n_tail = 0;
    s->column = 0;
    show(s);
}

void talk_screen_note(talk_screen *s, const char *text)
{
    if (s->quiet) return;
    hide(s);
    if (s->live && s->caption) putchar('\n');
    s->caption &= !s->live;
    fflush(stdout);
    cli_note("%s", text);
    show(s);
}

void talk_screen_close(talk_screen *s)
{
    hide(s);
    if (s->caption) putchar('\n');
    s->caption = false;
    fflush(stdout);
}
