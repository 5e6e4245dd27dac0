/* ephemeral: see ephemeral.h. Of a key only its digest is kept. */
#include "ephemeral.h"

#include "json-bounds.h"
#include "realtime.h"
#include "settings.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SECRET_BYTES = 32, DIGEST_BYTES = 32, STANDARD_SECONDS = 600 };

typedef struct entry {
    uint8_t digest[DIGEST_BYTES];
    double until;                   /* srv_now() */
    bool transcription;
    char *settings;                 /* JSON, smaller than what jansson makes of it; NULL: the entry is free */
    size_t n_settings;
} entry;

struct srv_ephemerals {
    entry at[SRV_EPHEMERAL_KEYS];
    size_t n_bytes;                 /* of all settings */
};

srv_ephemerals *srv_ephemerals_new(void)
{
    return calloc(1, sizeof(srv_ephemerals));
}

void srv_ephemerals_free(srv_ephemerals *all)
{
    for (int i = 0; all && i < SRV_EPHEMERAL_KEYS; i++) free(all->at[i].settings);
    free(all);
}

void srv_ephemerals_tick(srv_ephemerals *all, double now)
{
    for (entry *e = all->at; e < all->at + SRV_EPHEMERAL_KEYS; e++) {
        if (!e->settings || e->until > now) continue;
        all->n_bytes -= e->n_settings;
        free(e->settings);
        e->settings = NULL;
    }
}

json_t *srv_ephemeral_find(const srv_ephemerals *all, const char *key, bool *transcription)
{
    uint8_t digest[DIGEST_BYTES];
    const entry *found = NULL;
    const double now = srv_now();
    if (!all || gnutls_hash_fast(GNUTLS_DIG_SHA256, key, strlen(key), digest) != 0) return NULL;
    for (int i = 0; i < SRV_EPHEMERAL_KEYS; i++)
        if (gnutls_memcmp(all->at[i].digest, digest, DIGEST_BYTES) == 0 && all->at[i].settings && all->at[i].until > now)
            found = &all->at[i];
    if (!found) return NULL;
    *transcription = found->transcription;
    return json_loadb(found->settings, found->n_settings, 0, NULL);
}

/* A new key of "ek_" and 256 random bits in hexadecimal. false: the table is full. */
static bool make(srv_ephemerals *all, const json_t *settings, bool transcription, double seconds, char out[4 + 2 * SECRET_BYTES])
{
    uint8_t secret[SECRET_BYTES];
    entry *e = NULL;
    const double now = srv_now();
    srv_ephemerals_tick(all, now);
    for (int i = 0; i < SRV_EPHEMERAL_KEYS && !e; i++)
        if (!all->at[i].settings) e = &all->at[i];
    char *text = e ? json_dumps(settings, JSON_COMPACT) : NULL;
    const size_t n = text ? strlen(text) : 0;
    if (!text || all->n_bytes + n > SRV_EPHEMERAL_BYTES || gnutls_rnd(GNUTLS_RND_KEY, secret, sizeof secret) != 0) {
        free(text);
        return false;
    }
    memcpy(out, "ek_", 4);
    for (int i = 0; i < SECRET_BYTES; i++) {
        static const char digits[] = "0123456789abcdef";
        out[3 + 2 * i] = digits[secret[i] >> 4];
        out[4 + 2 * i] = digits[secret[i] & 15];
    }
    out[3 + 2 * SECRET_BYTES] = 0;
    gnutls_memset(secret, 0, sizeof secret);
    gnutls_hash_fast(GNUTLS_DIG_SHA256, out, strlen(out), e->digest);
    e->settings = text;
    e->n_settings = n;
    all->n_bytes += n;
    e->transcription = transcription;
    e->until = now + seconds;
    return true;
}

/* ---- requests ----------------------------------------------------------------------------- */

static enum MHD_Result refuse(srv_request *r, const srv_trouble *t)
{
    return srv_refuse(r, 400, "invalid_request_error", t->code, t->param[0] ? t->param : NULL, t->message);
}

/* An object, also for an empty body; NULL after filling *t. */
static json_t *read_body(const srv_request *r, srv_trouble *t)
{
    char why[JSON_ERROR_TEXT_LENGTH];
    if (r->n == 0) return json_object();
    json_t *body = srv_json_load(r->body, r->n, 0, why);
    if (json_is_object(body)) return body;
    srv_trouble_set(t, NULL, NULL, "The body could not be read as a JSON object: %s.", body ? "it is an array" : why);
    json_decref(body);
    return NULL;
}

static bool read_expiry(const json_t *body, double *seconds, srv_trouble *t)
{
    const json_t *after = json_object_get(body, "expires_after");
    if (!after || json_is_null(after)) return true;
    if (!json_is_object(after)) return srv_member(body, "", "expires_after", JSON_OBJECT, t) != NULL;
    const json_t *anchor = json_object_get(after, "anchor"), *n = json_object_get(after, "seconds");
    if (anchor && (!json_is_string(anchor) || strcmp(json_string_value(anchor), "created_at") != 0))
        return srv_trouble_set(t, "invalid_value", "expires_after.anchor", "Invalid value. Supported values are: 'created_at'.");
    if (!n) return true;
    if (!srv_number_ok(n, "expires_after.seconds", true, 10, 7200, t)) return false;
    *seconds = json_number_value(n);
    return true;
}

static bool check_model(const srv *server, const json_t *session, const char *path, srv_trouble *t)
{
    const json_t *model = json_object_get(session, "model");
    if (!model || json_is_null(model)) return true;
    if (!json_is_string(model)) return srv_trouble_set(t, "invalid_type", path, "Invalid type for '%s': expected a string.", path);
    return srv_model_ok(server, json_string_value(model)) || srv_trouble_set(t, "model_not_found", path, "There is no model of this name here.");
}

static bool read_type(const json_t *session, bool *transcription, srv_trouble *t)
{
    const json_t *type = json_object_get(session, "type");
    const char *word = type ? json_string_value(type) : "realtime";
    *transcription = word && strcmp(word, "transcription") == 0;
    return (word && (*transcription || strcmp(word, "realtime") == 0)) ||
           srv_trouble_set(t, "invalid_value", "session.type", "Invalid value. Supported values are: 'realtime' and 'transcription'.");
}

/* Makes the key and answers: GA {value, expires_at, session}, beta the session with its client_secret. */
static enum MHD_Result answer(srv_request *r, json_t *settings, bool beta, bool transcription, double seconds)
{
    char key[4 + 2 * SECRET_BYTES], id[40];
    const json_int_t expires = (json_int_t)time(NULL) + (json_int_t)seconds;
    srv_new_id("sess", id);
    json_t *session = srv_session_show(r->server, settings, beta, transcription, id, expires), *j;
    if (!make(r->server->ephemerals, settings, transcription, seconds, key)) {
        json_decref(session);
        return srv_refuse(r, 429, "rate_limit_error", "rate_limit_exceeded", NULL, "too many ephemeral keys are valid already, or with too many settings");
    }
    if (beta) {
        json_object_set_new(session, "client_secret", json_pack("{s:s, s:I}", "value", key, "expires_at", expires));
        j = session;
    } else {
        j = json_pack("{s:s, s:I, s:o}", "value", key, "expires_at", expires, "session", session);
    }
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    return srv_respond(r, 200, "application/json", text, NULL);
}

static enum MHD_Result mint(srv_request *r, const json_t *session, bool beta, bool transcription, double seconds)
{
    srv_trouble t = {.code = NULL};
    json_t *standard = srv_settings_new();
    json_t *settings = standard && check_model(r->server, session, beta ? "model" : "session.model", &t)
                           ? srv_settings_change(standard, session, beta, "session", &t)
                           : NULL;
    json_decref(standard);
    const enum MHD_Result rc = settings ? answer(r, settings, beta, transcription, seconds) : refuse(r, &t);
    json_decref(settings);
    return rc;
}

enum MHD_Result srv_client_secrets(srv_request *r)
{
    srv_trouble t = {.code = NULL};
    double seconds = STANDARD_SECONDS;
    bool transcription = false, ok = false;
    json_t *body = read_body(r, &t), *none = json_object();
    const json_t *session = body ? json_object_get(body, "session") : NULL;
    if (!session || json_is_null(session)) session = none;
    if (body && !json_is_object(session)) srv_trouble_set(&t, "invalid_type", "session", "Invalid type for 'session': expected an object.");
    else ok = body && read_expiry(body, &seconds, &t) && read_type(session, &transcription, &t);
    const enum MHD_Result rc = ok ? mint(r, session, false, transcription, seconds) : refuse(r, &t);
    json_decref(none);
    json_decref(body);
    return rc;
}

static enum MHD_Result beta_sessions(srv_request *r, bool transcription)
{
    srv_trouble t = {.code = NULL};
    json_t *body = read_body(r, &t);
    const enum MHD_Result rc = body ? mint(r, body, true, transcription, STANDARD_SECONDS) : refuse(r, &t);
    json_decref(body);
    return rc;
}

enum MHD_Result srv_beta_sessions(srv_request *r)
{
    return beta_sessions(r, false);
}

enum MHD_Result srv_beta_transcription_sessions(srv_request *r)
{
    return beta_sessions(r, true);
}
