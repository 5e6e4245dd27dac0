/* interrupt: Ctrl-C and friends end a run cleanly; closed pipes and full disks become error codes. */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <stdbool.h>

#include <omni.h>

struct termios;

/* SIGINT, SIGTERM and SIGHUP ask the run to stop, a second one ends the process at once (after
 * removing the temporary files). SIGPIPE and SIGXFSZ are ignored: writes then fail with a reason. */
void cli_interrupt_install(void);
/* While a session is given, a signal cancels its turn; with NULL and no watch it ends the process. */
void cli_interrupt_session(omni_session *session);
/* While watched, the running code promises to ask cli_interrupted often. */
void cli_interrupt_watch(bool on);
bool cli_interrupted(void);
/* on: what runs now asks nobody, so the next signal ends the process, files removed; non-zero when one has come
 * already. off: back to being watched. what is shown meanwhile; user is not used. */
int  cli_interrupt_at_once(void *user, const char *what, bool on);
/* From now on SIGUSR1 asks the run to take nothing new; without it that signal ends the process. */
void cli_drain_watch(void);
bool cli_drained(void);

/* How the terminal was before the program changed it, restored if the process is ended by a signal; NULL: it is
 * so again. Stays the caller's. */
void cli_interrupt_terminal(const struct termios *before);

/* A file to unlink if the process is ended by a signal: a slot number, or -1 when all are taken.
 * path stays the caller's and must not change until removed. */
int  cli_interrupt_add_file(const char *path);
void cli_interrupt_remove_file(int slot);

#endif
