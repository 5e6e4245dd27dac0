/* settings: see settings.h. */
#include "settings.h"

#include "limits.h"
#include "tools.h"

#include <stdio.h>
#include <string.h>

/* ---- checks: a new value to keep, or NULL after filling *t -------------------------------- */

typedef json_t *check(const json_t *value, const char *path, bool beta, srv_trouble *t);

static json_t *bad_value(srv_trouble *t, const char *path, const json_t *value, const char *wanted)
{
    char *found = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    srv_trouble_set(t, "invalid_value", path, "Invalid value: '%.80s'. Supported values are: %s.", found ? found : "?", wanted);
    free(found);
    return NULL;
}

static json_t *bad_type(srv_trouble *t, const char *path, const json_t *value, const char *wanted)
{
    srv_trouble_set(t, "invalid_type", path, "Invalid type for '%s': expected %s, but got %s instead.", path, wanted,
                    srv_json_kind(value));
    return NULL;
}

static json_t *keep(const json_t *value)
{
    return json_deep_copy(value);
}

static json_t *check_any(const json_t *value, const char *path, bool beta, srv_trouble *t)
{
    (void)path, (void)beta, (void)t;
    return keep(value);
}

static json_t *check_text(const json_t *value, const char *path, bool beta, srv_trouble *t)
{
    (void)beta;
    return json_is_string(value) ? keep(value) : bad_type(t, path, value, "a string");
}

static json_t *check_tools(const json_t *value, const char *path, bool beta, srv_trouble *t)
{
    (void)beta;
    return srv_tools_ok(value, path, false, t) ? keep(value) : NULL;
}

static json_t *check_object(const json_t *value, const char *path, bool beta, srv_trouble *t)
{
    (void)beta;
    return json_is_object(value) || json_is_null(value) ? keep(value) : bad_type(t, path, value, "an object or null");
}

static json_t *check_choice(const json_t *value, const char *path, bool beta, srv_trouble *t)
{
    (void)beta;
    return srv_tool_choice_ok(value, path, t) ? keep(value) : NULL;
}

static json_t *check_modalities(const json_t *value, const char *path, bool beta, srv_trouble *t)
{
    bool text = false, audio = false, other = !json_is_array(value) || json_array_size(value) == 0;
    size_t i;
    const json_t *word;
    json_array_foreach(value, i, word) {
        const char *w = json_is_string(word) ? json_string_value(word) : "";
        if (strcmp(w, "text") == 0) text = true;
        else if (strcmp(w, "audio") == 0) audio = true;
        else other = true;
    }
    if (other || (beta ? !text : text == audio))
        return bad_value(t, path, value, beta ? "['text'] and ['audio', 'text']" : "['text'] and ['audio']");
    return json_pack("[s]", audio ? "audio" : "text");
}

static json_t *check_voice(const json_t *value, const char *path, bool beta, srv_trouble *t)
{
    (void)beta;
    const json_t *name = json_is_object(value) ? json_object_get(value, "id") : value;
    return json_is_string(name) && json_string_length(name) <= 64 ? keep(name) : bad_type(t, path, value, "a string");
}

static json_t *check_speed(const json_t *value, const char *path, bool beta, srv_trouble *t)
{
    (void)beta;
    return srv_number_ok(value, path, false, 0.25, 1.5, t) ? keep(value) : NULL;
}

static json_t *check_temperature(const json_t *value, const char *path, bool beta, srv_trouble *t)
{
    (void)beta;
    return srv_number_ok(value, path, false, 0.6, 1.2, t) ? keep(value) : NULL;
}

static json_t *check_tokens(const json_t *value, const char *path, bool beta, srv_trouble *t)
{
    (void)beta;
    if (json_is_string(value) && strcmp(json_string_value(value), "inf") == 0) return keep(value);
    return srv_number_ok(value, path, true, 1, 4096, t) ? keep(value) : NULL;
}

static json_t *check_noise(const json_t *value, const char *path, bool beta, srv_trouble *t)
{
    (void)beta;
    if (json_is_null(value)) return keep(value);
    const char *type = json_string_value(json_object_get(value, "type"));
    if (type && (strcmp(type, "near_field") == 0 || strcmp(type, "far_field") == 0)) return keep(value);
    return bad_value(t, path, value, "null, {'type': 'near_field'} and {'type': 'far_field'}");
}

static const struct { const char *ga, *beta; } formats[] = {
    [SRV_PCM16] = {"audio/pcm", "pcm16"}, [SRV_ULAW] = {"audio/pcmu", "g711_ulaw"}, [SRV_ALAW] = {"audio/pcma", "g711_alaw"}};

static json_t *format_json(srv_format f)
{
    return f == SRV_PCM16 ? json_pack("{s:s, s:i}", "type", formats[f].ga, "rate", 24000)
                          : json_pack("{s:s}", "type", formats[f].ga);
}

static json_t *check_format(const json_t *value, const char *path, bool beta, srv_trouble *t)
{
    char inner[180];
    const char *name = json_string_value(beta ? value : json_object_get(value, "type"));
    if (beta ? !json_is_string(value) : !json_is_object(value))
        return bad_type(t, path, value, beta ? "a string" : "an object");
    for (int f = SRV_PCM16; name && f <= SRV_ALAW; f++) {
        if (strcmp(name, beta ? formats[f].beta : formats[f].ga) != 0) continue;
        const json_t *rate = beta ? NULL : json_object_get(value, "rate");
        snprintf(inner, sizeof inner, "%s.rate", path);
        const double wanted = srv_format_rate((srv_format)f);
        return rate && !srv_number_ok(rate, inner, true, wanted, wanted, t) ? NULL : format_json((srv_format)f);
    }
    snprintf(inner, sizeof inner, "%s%s", path, beta ? "" : ".type");
    return bad_value(t, inner, beta ? value : json_object_get(value, "type"),
                     beta ? "'pcm16', 'g711_ulaw', and 'g711_alaw'" : "'audio/pcm', 'audio/pcmu', and 'audio/pcma'");
}

/* ---- turn detection ----------------------------------------------------------------------- */

typedef struct turn_member { const char *name; char kind; double low, high, standard; } turn_member;   /* kind: f i b n(ull or i) */

static const turn_member server_vad[] = {
    {"threshold", 'f', 0, 1, 0.5}, {"prefix_padding_ms", 'i', 0, 5000, 300}, {"silence_duration_ms", 'i', 100, 10000, 500},
    {"idle_timeout_ms", 'n', 5000, 30000, 0}, {"create_response", 'b', 0, 0, 1}, {"interrupt_response", 'b', 0, 0, 1}, {NULL, 0, 0, 0, 0}};
static const turn_member semantic_vad[] = {
    {"eagerness", 's', 0, 0, 0}, {"create_response", 'b', 0, 0, 1}, {"interrupt_response", 'b', 0, 0, 1}, {NULL, 0, 0, 0, 0}};

static bool turn_member_ok(const turn_member *m, const json_t *v, const char *path, srv_trouble *t)
{
    if (m->kind == 'b') return json_is_boolean(v) || bad_type(t, path, v, "a boolean");
    if (m->kind == 'n' && json_is_null(v)) return true;
    if (m->kind != 's') return srv_number_ok(v, path, m->kind != 'f', m->low, m->high, t);
    const char *word = json_is_string(v) ? json_string_value(v) : "";
    static const char *const known[] = {"low", "medium", "high", "auto"};
    for (size_t i = 0; i < 4; i++)
        if (strcmp(word, known[i]) == 0) return true;
    return bad_value(t, path, v, "'low', 'medium', 'high', and 'auto'") != NULL;
}

static json_t *turn_standard(const turn_member *m)
{
    if (m->kind == 's') return json_string("auto");
    if (m->kind == 'n') return json_null();
    if (m->kind == 'b') return json_boolean(m->standard > 0);
    return m->kind == 'f' ? json_real(m->standard) : json_integer((json_int_t)m->standard);
}

static json_t *check_turns(const json_t *value, const char *path, bool beta, srv_trouble *t)
{
    (void)beta;
    char inner[180];
    if (json_is_null(value)) return keep(value);
    if (!json_is_object(value)) return bad_type(t, path, value, "an object or null");
    const json_t *given = json_object_get(value, "type");
    const char *type = given ? json_string_value(given) : "server_vad";
    const bool semantic = type && strcmp(type, "semantic_vad") == 0;
    snprintf(inner, sizeof inner, "%s.type", path);
    if (!type || (!semantic && strcmp(type, "server_vad") != 0))
        return bad_value(t, inner, given, "'server_vad' and 'semantic_vad'");
    json_t *kept = json_pack("{s:s}", "type", type);
    const turn_member *members = semantic ? semantic_vad : server_vad;
    for (const turn_member *m = members; m->name; m++) json_object_set_new(kept, m->name, turn_standard(m));
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)value, name, v) {
        const turn_member *m = members;
        if (strcmp(name, "type") == 0) continue;
        while (m->name && strcmp(m->name, name) != 0) m++;
        snprintf(inner, sizeof inner, "%s.%.60s", path, name);
        if (!m->name) srv_trouble_set(t, "unknown_parameter", inner, "Unknown parameter: '%s'.", inner);
        if (!m->name || !turn_member_ok(m, v, inner, t)) {
            json_decref(kept);
            return NULL;
        }
        json_object_set(kept, name, v);
    }
    return kept;
}

/* ---- the table --------------------------------------------------------------------------------- */

typedef struct setting { const char *path, *beta; check *check; bool per_response; } setting;

static const setting table[] = {
#define SETTING(path, beta, kind, per_response, effect) {path, beta, check_##kind, per_response},
#include "settings.def"
#undef SETTING
};
enum { ROWS = sizeof table / sizeof *table };

static const char *key_of(const setting *row)
{
    return *row->path ? row->path : row->beta;
}

json_t *srv_settings_new(void)
{
    json_t *s = json_pack("{s:[s], s:s, s:s, s:f, s:o, s:o, s:[], s:s, s:s, s:f, s:s, s:b}", "output_modalities", "audio",
                          "instructions", "", "audio.output.voice", "alloy", "audio.output.speed", 1.0,
                          "audio.output.format", format_json(SRV_PCM16), "audio.input.format", format_json(SRV_PCM16),
                          "tools", "tool_choice", "auto", "max_output_tokens", "inf", "temperature", 0.8, "truncation",
                          "auto", "parallel_tool_calls", 1);
    for (int i = 0; s && i < ROWS; i++)
        if (!json_object_get(s, key_of(&table[i]))) json_object_set_new(s, key_of(&table[i]), json_null());
    srv_trouble t;
    json_t *empty = json_object();
    json_object_set_new(s, "audio.input.turn_detection", check_turns(empty, "", false, &t));
    json_decref(empty);
    return s;
}

typedef struct change {
    json_t *settings;
    const char *where;
    bool beta, response;
    srv_trouble *t;
} change;

/* A member that is no setting. */
static bool is_skipped(const change *c, const char *name)
{
    const char *skip = c->response ? " conversation metadata input " :
                       c->beta ? " model id object expires_at client_secret " : " type model id object expires_at ";
    char word[80];
    if (snprintf(word, sizeof word, " %s ", name) >= (int)sizeof word) return false;
    return strstr(skip, word) != NULL;
}

/* -1: unknown, -2: an object that holds rows */
static int find_row(const change *c, const char *path)
{
    const size_t n = strlen(path);
    int found = -1;
    for (int i = 0; i < ROWS; i++) {
        const char *name = c->beta ? table[i].beta : table[i].path;
        if (c->response && !table[i].per_response) {
            if (strncmp(name, path, n) != 0 || name[n] != '.') continue;
        }
        if (*name && strcmp(name, path) == 0) return i;
        if (!c->beta && strncmp(name, path, n) == 0 && name[n] == '.') found = -2;
    }
    /* a response may also call it by the session's name */
    if (c->beta && c->response && strcmp(path, "max_output_tokens") == 0) return find_row(c, "max_response_output_tokens");
    return found;
}

static bool change_members(change *c, const json_t *given, const char *path)
{
    const char *name;
    json_t *value;
    char inner[120], shown[160];
    json_object_foreach((json_t *)(uintptr_t)given, name, value) {
        if (!*path && is_skipped(c, name)) continue;
        snprintf(inner, sizeof inner, "%s%s%.50s", path, *path ? "." : "", name);
        snprintf(shown, sizeof shown, "%s.%s", c->where, inner);
        const int row = find_row(c, inner);
        if (row == -1) return srv_trouble_set(c->t, "unknown_parameter", shown, "Unknown parameter: '%s'.", shown);
        if (row == -2) {
            if (!json_is_object(value)) return bad_type(c->t, shown, value, "an object");
            if (!change_members(c, value, inner)) return false;
            continue;
        }
        json_t *kept = table[row].check(value, shown, c->beta, c->t);
        if (!kept) return false;
        json_object_set_new(c->settings, key_of(&table[row]), kept);
    }
    return true;
}

json_t *srv_settings_change(const json_t *settings, const json_t *given, bool beta, const char *where, srv_trouble *t)
{
    change c = {json_copy((json_t *)(uintptr_t)settings), where, beta, strcmp(where, "response") == 0, t};
    if (!c.settings) return srv_trouble_set(t, NULL, NULL, "out of memory"), NULL;
    bool ok = change_members(&c, given, "");
    if (ok && json_dumpb(c.settings, NULL, 0, JSON_COMPACT) > SRV_SETTINGS_BYTES)     /* they are shown whole */
        ok = srv_trouble_set(t, "string_above_max_length", where, "Invalid '%s': at most %d bytes of JSON in all.", where, SRV_SETTINGS_BYTES);
    if (ok) return c.settings;
    json_decref(c.settings);
    return NULL;
}

/* ---- showing ------------------------------------------------------------------------------------- */

json_t *srv_format_show(const json_t *format, bool beta)
{
    const char *type = json_string_value(json_object_get(format, "type"));
    for (int f = SRV_PCM16; beta && f <= SRV_ALAW; f++)
        if (strcmp(type, formats[f].ga) == 0) return json_string(formats[f].beta);
    return keep(format);
}

static json_t *show_value(const setting *row, const json_t *value, bool beta)
{
    if (row->check == check_format) return srv_format_show(value, beta);
    if (beta && row->check == check_modalities && strcmp(json_string_value(json_array_get(value, 0)), "audio") == 0)
        return json_pack("[ss]", "audio", "text");
    return keep(value);
}

json_t *srv_settings_show(const json_t *settings, bool beta)
{
    json_t *shown = beta ? json_object() : json_pack("{s:{s:{}, s:{}}}", "audio", "input", "output");
    json_t *audio = json_object_get(shown, "audio");
    for (int i = 0; i < ROWS; i++) {
        const char *name = beta ? table[i].beta : table[i].path;
        const json_t *value = json_object_get(settings, key_of(&table[i]));
        if (!*name) continue;
        /* without a value these are left out: some readers take no null */
        if (json_is_null(value) && (strcmp(name, "reasoning") == 0)) continue;
        json_t *into = shown;
        if (strncmp(name, "audio.", 6) == 0) {
            into = json_object_get(audio, name[6] == 'i' ? "input" : "output");
            name = strrchr(name, '.') + 1;
        }
        json_object_set_new(into, name, show_value(&table[i], value, beta));
    }
    return shown;
}

/* ---- reading ---------------------------------------------------------------------------------------- */

srv_format srv_settings_format(const json_t *settings, const char *path)
{
    const char *type = json_string_value(json_object_get(json_object_get(settings, path), "type"));
    return strcmp(type, "audio/pcmu") == 0 ? SRV_ULAW : strcmp(type, "audio/pcma") == 0 ? SRV_ALAW : SRV_PCM16;
}

bool srv_settings_speech(const json_t *settings)
{
    const json_t *first = json_array_get(json_object_get(settings, "output_modalities"), 0);
    return strcmp(json_string_value(first), "audio") == 0;
}

int srv_settings_tokens(const json_t *settings, int most)
{
    const json_t *n = json_object_get(settings, "max_output_tokens");
    return json_is_integer(n) && json_integer_value(n) < most ? (int)json_integer_value(n) : most;
}

const char *srv_settings_voice(const json_t *settings)
{
    return json_string_value(json_object_get(settings, "audio.output.voice"));
}

json_t *srv_settings_turns(const json_t *settings)
{
    json_t *turns = json_object_get(settings, "audio.input.turn_detection");
    return json_is_object(turns) ? turns : NULL;
}

json_t *srv_settings_tools(const json_t *settings)
{
    return srv_tools_offered(json_object_get(settings, "tools"), json_object_get(settings, "tool_choice"));
}

bool srv_settings_one_call(const json_t *settings)
{
    return json_is_false(json_object_get(settings, "parallel_tool_calls"));
}

bool srv_settings_transcribe(const json_t *settings)
{
    return json_is_object(json_object_get(settings, "audio.input.transcription"));
}
