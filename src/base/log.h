/*
 * What ggml and libllama have to say: kept per thread, never printed.
 *
 * Their callback is process-wide; it is installed by the first om_log_capture.
 */
#ifndef OM_LOG_H
#define OM_LOG_H

/* Installs the capture (once) and forgets this thread's last line. */
void om_log_capture(void);

/* The first error line since om_log_capture in this thread, without line end,
 * or "" - the reason behind a NULL from ggml or libllama. */
const char *om_log_error(void);

#endif
