/* gate: see gate.h. */
#include "gate.h"

#include "base64.h"
#include "ephemeral.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *header(const srv_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

/* Calls visit for each member of a comma separated list, without white space around; stops at true. */
static bool each_word(const char *list, bool (*visit)(void *user, const char *word, size_t n), void *user)
{
    while (list && *list) {
        list += strspn(list, ", \t");
        size_t n = strcspn(list, ",");
        const char *next = list + n;
        while (n > 0 && (list[n - 1] == ' ' || list[n - 1] == '\t')) n--;
        if (n > 0 && visit(user, list, n)) return true;
        list = next;
    }
    return false;
}

static bool is_word(void *user, const char *word, size_t n)
{
    const char *wanted = user;
    return strlen(wanted) == n && strncasecmp(word, wanted, n) == 0;
}

static bool has_word(const char *list, const char *word)
{
    return each_word(list, is_word, (void *)(uintptr_t)word);
}

/* ---- origin and host ---------------------------------------------------------------- */

const char *srv_origin(const srv_request *r, bool *allowed)
{
    const char *origin = header(r, "Origin"), *host = header(r, "Host"), *list = r->server->options->origins;
    *allowed = true;
    if (!origin) return NULL;
    const char *name = strstr(origin, "://");
    *allowed = (name && host && strcasecmp(name + 3, host) == 0) || has_word(list, origin) || has_word(list, "*");
    return origin;
}

bool srv_host_ok(const srv_request *r)
{
    const char *host = header(r, "Host");
    unsigned char address[16];
    char name[256];
    if (r->server->options->api_key || !host) return true;
    size_t n = host[0] == '[' ? strcspn(++host, "]") : strcspn(host, ":");
    if (n >= sizeof name) return false;
    memcpy(name, host, n);
    name[n] = 0;
    return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1 ||
           strcasecmp(name, "localhost") == 0 || strcasecmp(name, r->server->options->host) == 0;
}

/* ---- the key -------------------------------------------------------------------------- */

static const char key_prefix[] = "openai-insecure-api-key.";

/* Of one that is too long nothing is left: it is wrong, as no key of a server is empty. */
static bool take_key(char *key, const char *text, size_t n)
{
    if (n > SRV_KEY_BYTES) n = 0;
    memcpy(key, text, n);
    key[n] = 0;
    return true;
}

static bool take_protocol_key(void *user, const char *word, size_t n)
{
    const size_t skip = sizeof key_prefix - 1;
    return n > skip && strncmp(word, key_prefix, skip) == 0 && take_key(user, word + skip, n - skip);
}

bool srv_given_key(const srv_request *r, char *key)
{
    const char *bearer = header(r, "Authorization"), *azure = header(r, "api-key");
    if (bearer && strncasecmp(bearer, "Bearer ", 7) == 0) {
        bearer += 7 + strspn(bearer + 7, " ");
        return take_key(key, bearer, strlen(bearer));
    }
    if (each_word(header(r, "Sec-WebSocket-Protocol"), take_protocol_key, key)) return true;
    return azure && take_key(key, azure, strlen(azure));
}

/* ---- the handshake ------------------------------------------------------------------------ */

static bool accept_word(const char *key, char out[32])
{
    char text[64];
    uint8_t digest[20], bytes[32];
    size_t n = 0;
    if (!key || strlen(key) != 24 || !srv_base64_decode(key, 24, bytes, &n) || n != 16) return false;
    snprintf(text, sizeof text, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    if (gnutls_hash_fast(GNUTLS_DIG_SHA1, text, strlen(text), digest) != 0) return false;
    srv_base64_encode(digest, sizeof digest, out);
    return true;
}

static bool wants_beta(const srv_request *r)
{
    const char *beta = header(r, "OpenAI-Beta");
    return (beta && strstr(beta, "realtime=v1")) ||
           has_word(header(r, "Sec-WebSocket-Protocol"), "openai-beta.realtime-v1");
}

static void read_hello(const srv_request *r, srv_hello *hello)
{
    const srv *server = r->server;
    char key[SRV_KEY_BYTES + 1];
    const char *model = MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, "model");
    const char *intent = MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, "intent");
    *hello = (srv_hello){.beta = wants_beta(r)};
    hello->transcription = intent && strcmp(intent, "transcription") == 0;
    const bool given = srv_given_key(r, key);
    bool transcribes = false;
    hello->preset = given ? srv_ephemeral_find(server->ephemerals, key, &transcribes) : NULL;
    hello->transcription |= transcribes;
    if (server->options->api_key && !hello->preset) hello->key = !given ? SRV_KEY_NONE : srv_key_ok(server, key) ? SRV_KEY_OK : SRV_KEY_WRONG;
    if (!model && !hello->preset && server->options->strict_model && !hello->transcription) hello->model = SRV_MODEL_NONE;
    else if (model && !srv_model_ok(server, model)) hello->model = SRV_MODEL_UNKNOWN;
}

struct srv_upgrade { srv *server; srv_hello hello; };

void srv_upgrade_free(struct srv_upgrade *u)
{
    if (!u) return;
    json_decref(u->hello.preset);
    free(u);
}

static void on_upgrade(void *cls, struct MHD_Connection *connection, void *con_cls, const char *extra, size_t n,
                       MHD_socket fd, struct MHD_UpgradeResponseHandle *urh)
{
    (void)connection;
    struct srv_upgrade *u = cls;
    srv_request *r = con_cls;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    srv_socket_adopt(u->server, fd, urh, extra, n, &u->hello);
    r->upgrade = NULL;
    srv_upgrade_free(u);
}

static enum MHD_Result no_upgrade(srv_request *r, const char *what)
{
    static const srv_header wanted[] = {{"Upgrade", "websocket"}, {"Sec-WebSocket-Version", "13"}, {NULL, NULL}};
    return srv_refuse_with(r, 426, what, wanted);
}

/* Too many, too slow, or on the way out: told before the upgrade, so that clients try again. NULL: come in. */
static const char *no_room(const srv *server)
{
    if (server->draining) return "draining";
    if (!srv_worker_alive(server->worker)) return "engine";
    if (srv_worker_free_seats(server->worker) == 0) return "slots";
    return srv_overloaded(server) ? "latency" : NULL;
}

enum MHD_Result srv_upgrade(srv_request *r)
{
    srv *server = r->server;
    char word[32];
    bool allowed;
    const char *version = header(r, "Sec-WebSocket-Version"), *offered = header(r, "Sec-WebSocket-Protocol");
    if (!has_word(header(r, "Upgrade"), "websocket") || !has_word(header(r, "Connection"), "upgrade"))
        return no_upgrade(r, "/v1/realtime speaks WebSocket: ask for an upgrade");
    if (!version || strcmp(version, "13") != 0)
        return no_upgrade(r, "Sec-WebSocket-Version: wanted 13");
    if (!accept_word(header(r, "Sec-WebSocket-Key"), word))
        return srv_refuse(r, 400, "invalid_request_error", NULL, NULL, "Sec-WebSocket-Key: wanted 16 bytes in base64");
    srv_origin(r, &allowed);
    if (!allowed) {
        srv_count(server->metrics, SRV_REFUSED, "origin", 1);
        return srv_refuse(r, 403, "invalid_request_error", "origin_not_allowed", NULL,
                          "pages of this origin may not use this server; see --cors-origin");
    }
    const char *why = no_room(server);
    if (why) {
        srv_count(server->metrics, SRV_REFUSED, why, 1);
        return srv_refuse(r, 503, "server_error", "server_busy", NULL,
                          server->draining ? "the server is shutting down" : "all conversations the server has room for are taken");
    }
    struct srv_upgrade *u = calloc(1, sizeof *u);
    struct MHD_Response *response = u ? MHD_create_response_for_upgrade(on_upgrade, u) : NULL;
    if (!response) {
        free(u);
        return MHD_NO;
    }
    r->upgrade = u;         /* its client may be gone before on_upgrade */
    u->server = server;
    read_hello(r, &u->hello);
    MHD_add_response_header(response, "Upgrade", "websocket");
    MHD_add_response_header(response, "Sec-WebSocket-Accept", word);
    /* One value of the list must come back, and never the one with the key. */
    if (has_word(offered, "realtime")) MHD_add_response_header(response, "Sec-WebSocket-Protocol", "realtime");
    srv_count(server->metrics, SRV_REQUESTS, "101", 1);
    const enum MHD_Result rc = MHD_queue_response(r->connection, MHD_HTTP_SWITCHING_PROTOCOLS, response);
    MHD_destroy_response(response);
    return rc;
}
