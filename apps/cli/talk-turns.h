/* talk-turns: the table of times at the end of a conversation. */
#ifndef CLI_TALK_TURNS_H
#define CLI_TALK_TURNS_H

#include <omni.h>

#include <stdbool.h>
#include <stdio.h>

typedef struct talk_turn {
    double asked, first_text, first_sound, spoken;      /* seconds; negative: none */
    bool stopped;
} talk_turn;

typedef struct talk_turns {
    talk_turn *rows;
    size_t n, room;
} talk_turns;

/* One turn. asked_us, first_us: monotonic times of the question's end and of the first sound (0: none). A row that
 * finds no memory is left out. */
void talk_turns_add(talk_turns *turns, const omni_stats *stats, const omni_model_info *info, int64_t asked_us,
                    int64_t first_us, bool stopped);
void talk_turns_table(const talk_turns *turns, FILE *file, unsigned underruns, unsigned overruns);
void talk_turns_free(talk_turns *turns);

#endif
