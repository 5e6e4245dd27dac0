/* talk-keys: single keys from a terminal, lines from anything else. */
#ifndef CLI_TALK_KEYS_H
#define CLI_TALK_KEYS_H

typedef enum talk_key { TALK_KEY_NONE, TALK_KEY_TALK, TALK_KEY_STOP, TALK_KEY_QUIT, TALK_KEY_CONTINUE, TALK_KEY_END } talk_key;

/* On a terminal keys come without Enter from here on; the terminal is restored by close and by signals. */
void talk_keys_open(void);
void talk_keys_close(void);

/* The next key within wait_ms: space or Enter TALK, s STOP, q or Ctrl-D QUIT. Without a terminal an empty line is
 * TALK, "s" and "q" as above, and END comes once when there will be no more. CONTINUE is no key: the program was
 * stopped (Ctrl-Z) and has the terminal again, on which others have written meanwhile. */
talk_key talk_keys_next(int wait_ms);

#endif
