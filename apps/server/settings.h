/* settings: the configuration of a session, or of one response, read by the table settings.def. */
#ifndef SRV_SETTINGS_H
#define SRV_SETTINGS_H

#include "sound.h"
#include "trouble.h"

/* A flat object: path in GA (or name in beta where GA has none) to value, every row present. NULL: no memory. */
json_t *srv_settings_new(void);
/* A copy of settings with the members of given changed; all of them are valid, or NULL after filling *t.
 * where: "session" or "response"; what else belongs to one of these, its id or its input, is somebody else's to read. */
json_t *srv_settings_change(const json_t *settings, const json_t *given, bool beta, const char *where, srv_trouble *t);
/* As the dialect shows it, new: nested in GA, flat in beta. */
json_t *srv_settings_show(const json_t *settings, bool beta);

srv_format  srv_settings_format(const json_t *settings, const char *path);
bool        srv_settings_speech(const json_t *settings);        /* speech, or text alone? */
int         srv_settings_tokens(const json_t *settings, int most);
const char *srv_settings_voice(const json_t *settings);
json_t     *srv_settings_turns(const json_t *settings);         /* borrowed; NULL: manual */
json_t     *srv_settings_tools(const json_t *settings);         /* as srv_tools_offered */
bool        srv_settings_one_call(const json_t *settings);      /* at most one call in an answer? */
bool        srv_settings_transcribe(const json_t *settings);
json_t     *srv_format_show(const json_t *format, bool beta);   /* new */

#endif
