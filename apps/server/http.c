/* http: see http.h. */
#include "http.h"

#include "chat.h"
#include "ephemeral.h"
#include "gate.h"
#include "page.h"
#include "visitors.h"

#include <jansson.h>

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static const char policy[] =
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/* ---- answering ------------------------------------------------------------------------ */

static const char *status_name(unsigned status)
{
    static const struct { unsigned status; const char *name; } known[] = {
        {200, "200"}, {204, "204"}, {400, "400"}, {401, "401"}, {403, "403"}, {404, "404"}, {405, "405"},
        {413, "413"}, {426, "426"}, {429, "429"}, {500, "500"}, {501, "501"}, {503, "503"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].status == status) return known[i].name;
    return "other";
}

void srv_add_headers(const srv_request *r, struct MHD_Response *response)
{
    bool allowed;
    const char *origin = srv_origin(r, &allowed);
    MHD_add_response_header(response, "X-Request-Id", r->id);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (!origin) return;
    MHD_add_response_header(response, "Vary", "Origin");
    if (!allowed) return;
    MHD_add_response_header(response, "Access-Control-Allow-Origin", origin);
    MHD_add_response_header(response, "Access-Control-Expose-Headers", "x-request-id");
}

static enum MHD_Result finish(srv_request *r, unsigned status, struct MHD_Response *response)
{
    srv_add_headers(r, response);
    srv_count(r->server->metrics, SRV_REQUESTS, status_name(status), 1);
    const enum MHD_Result rc = MHD_queue_response(r->connection, status, response);
    MHD_destroy_response(response);
    return rc;
}

enum MHD_Result srv_respond(srv_request *r, unsigned status, const char *type, char *body, const srv_header *more)
{
    struct MHD_Response *response = body ? MHD_create_response_from_buffer(strlen(body), body, MHD_RESPMEM_MUST_FREE) : NULL;
    if (!response) {
        free(body);
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    if (status == 401) MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (status == 429 || status == 503) MHD_add_response_header(response, "Retry-After", "1");
    for (; more && more->name; more++) MHD_add_response_header(response, more->name, more->value);
    return finish(r, status, response);
}

static char *error_json(const char *kind, const char *code, const char *param, const char *message)
{
    json_t *j = json_pack("{s:{s:s, s:s, s:s?, s:s?}}", "error", "message", message, "type", kind, "param", param,
                          "code", code);
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    return text;
}

enum MHD_Result srv_refuse(srv_request *r, unsigned status, const char *kind, const char *code, const char *param,
                           const char *message)
{
    return srv_respond(r, status, "application/json", error_json(kind, code, param, message), NULL);
}

enum MHD_Result srv_refuse_with(srv_request *r, unsigned status, const char *message, const srv_header *more)
{
    return srv_respond(r, status, "application/json", error_json("invalid_request_error", NULL, NULL, message), more);
}

static enum MHD_Result respond_json(srv_request *r, json_t *j)
{
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    return srv_respond(r, 200, "application/json", text, NULL);
}

/* ---- routes ------------------------------------------------------------------------------ */

static enum MHD_Result get_health(srv_request *r)
{
    const srv *server = r->server;
    if (!server->draining && srv_worker_alive(server->worker)) return respond_json(r, json_pack("{s:s}", "status", "ok"));
    return srv_refuse(r, 503, "server_error", "unavailable", NULL,
                      server->draining ? "the server is shutting down" : "the engine has failed");
}

static json_t *model_json(const srv *server)
{
    return json_pack("{s:s, s:s, s:I, s:s}", "id", server->model_name, "object", "model", "created",
                     (json_int_t)0, "owned_by", "llama-omni");
}

static enum MHD_Result get_models(srv_request *r)
{
    return respond_json(r, json_pack("{s:s, s:[o]}", "object", "list", "data", model_json(r->server)));
}

static enum MHD_Result get_model(srv_request *r, const char *name)
{
    if (strcmp(name, r->server->model_name) == 0) return respond_json(r, model_json(r->server));
    return srv_refuse(r, 404, "invalid_request_error", "model_not_found", "model", "there is no model of this name");
}

static enum MHD_Result get_props(srv_request *r)
{
    const srv *s = r->server;
    const omni_model_info *i = s->info;
    return respond_json(
        r, json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:f, s:i, s:b, s:i}", "build", omni_version(), "model",
                     s->model_name, "llm", i->llm_description, "total_slots", s->options->engine.n_slots,
                     "sample_rate_in", i->sample_rate_in, "sample_rate_out", i->sample_rate_out, "window_seconds",
                     (double)i->window_samples / i->sample_rate_in, "max_tokens", s->options->max_tokens,
                     "transcribes_input", 0, "session_seconds", s->options->session_seconds));
}

static enum MHD_Result get_metrics(srv_request *r)
{
    srv *s = r->server;
    const srv_gauges gauges = {.active = s->n_active, .active_beta = s->n_beta, .seats = s->options->engine.n_slots,
                               .free_seats = srv_worker_free_seats(s->worker), .waiting = s->n_waiting,
                               .sockets = s->n_sockets};
    return srv_respond(r, 200, "text/plain; version=0.0.4", srv_metrics_text(s->metrics, &gauges), NULL);
}

static enum MHD_Result post_chat(srv_request *r)
{
    return srv_chat_begin(r);
}

/* 400 and 404, not 501: clients try again after that. */
static enum MHD_Result post_speech(srv_request *r)
{
    return srv_refuse(r, 400, "invalid_request_error", "unsupported_value", "model",
                      "this model answers questions, it does not read texts aloud; ask it by /v1/chat/completions "
                      "with modalities [\"text\", \"audio\"]");
}

static enum MHD_Result not_here(srv_request *r)
{
    return srv_refuse(r, 404, "invalid_request_error", "not_supported", NULL,
                      "this server has WebSocket sessions only: no WebRTC or SIP");
}

typedef struct route {
    const char *method, *path;
    bool open;                      /* no key wanted */
    enum MHD_Result (*answer)(srv_request *r);
} route;

static const route routes[] = {
    {"GET", "/health", true, get_health},
    {"GET", "/v1/health", true, get_health},
    {"GET", "/metrics", true, get_metrics},
    {"GET", "/props", false, get_props},
    {"GET", "/v1/models", false, get_models},
    {"GET", "/v1/realtime", true, srv_upgrade},     /* a key that is wrong is told inside */
    {"POST", "/v1/chat/completions", false, post_chat},
    {"POST", "/v1/audio/speech", false, post_speech},
    {"POST", "/v1/realtime/client_secrets", false, srv_client_secrets},
    {"POST", "/v1/realtime/sessions", false, srv_beta_sessions},
    {"POST", "/v1/realtime/transcription_sessions", false, srv_beta_transcription_sessions},
    {"POST", "/v1/realtime/calls", false, not_here},
};
enum { ROUTES = sizeof routes / sizeof *routes };

static const char *type_of(const char *path)
{
    static const char *const types[][2] = {{".html", "text/html; charset=utf-8"}, {".css", "text/css; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"}, {".svg", "image/svg+xml"}, {".wav", "audio/wav"},
        {".ico", "image/x-icon"}, {".png", "image/png"}};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
        if (strcmp(dot, types[i][0]) == 0) return types[i][1];
    return "application/octet-stream";
}

static const srv_file *find_file(const char *path)
{
    if (strcmp(path, "/") == 0) path = "/index.html";
    for (const srv_file *f = srv_files; f->path; f++)
        if (strcmp(f->path, path) == 0) return f;
    return NULL;
}

static enum MHD_Result get_file(srv_request *r, const srv_file *file)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(file->n, (void *)(uintptr_t)file->bytes, MHD_RESPMEM_PERSISTENT);
    if (!response) return MHD_NO;
    MHD_add_response_header(response, "Content-Type", type_of(file->path));
    MHD_add_response_header(response, "Content-Security-Policy", policy);
    MHD_add_response_header(response, "Permissions-Policy", "microphone=(self), camera=(), geolocation=()");
    MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(response, "Cross-Origin-Opener-Policy", "same-origin");
    MHD_add_response_header(response, "Cache-Control", "no-cache");
    return finish(r, 200, response);
}

static enum MHD_Result preflight(srv_request *r)
{
    bool allowed;
    srv_origin(r, &allowed);
    const char *wanted = MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, "Access-Control-Request-Headers");
    struct MHD_Response *response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (!response) return MHD_NO;
    if (allowed) {
        MHD_add_response_header(response, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
        MHD_add_response_header(response, "Access-Control-Allow-Headers", wanted ? wanted : "authorization, content-type");
        MHD_add_response_header(response, "Access-Control-Max-Age", "600");
    }
    return finish(r, 204, response);
}

static enum MHD_Result wrong_method(srv_request *r, const char *allow)
{
    const srv_header more[] = {{"Allow", allow}, {NULL, NULL}};
    return srv_refuse_with(r, 405, "this path has another method; see Allow", more);
}

static bool has_key(const srv_request *r, bool *given)
{
    char key[SRV_KEY_BYTES + 1];
    *given = srv_given_key(r, key);
    return !r->server->options->api_key || (*given && srv_key_ok(r->server, key));
}

static enum MHD_Result refuse_key(srv_request *r, bool given)
{
    return srv_refuse(r, 401, "invalid_request_error", "invalid_api_key", NULL,
                      given ? "the API key is not the one this server was started with"
                            : "no API key: send Authorization: Bearer KEY");
}

static const route *find_route(const char *path)
{
    for (size_t i = 0; i < ROUTES; i++)
        if (strcmp(routes[i].path, path) == 0) return &routes[i];
    return NULL;
}

/* Will somebody read its body? Known from the headers: bodies of those who may not come in are not kept, only the answer
 * waits for their end. */
static bool wants_body(const srv_request *r, const char *method, const char *path)
{
    const route *at = find_route(path);
    bool allowed, given;
    srv_origin(r, &allowed);
    return at && strcmp(method, "POST") == 0 && strcmp(at->method, "POST") == 0 && allowed && srv_host_ok(r) &&
           (at->open || has_key(r, &given));
}

static enum MHD_Result dispatch(srv_request *r, const char *method, const char *path)
{
    const bool reads = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    bool given, allowed;
    if (strcmp(method, "OPTIONS") == 0) return preflight(r);
    if (!srv_host_ok(r))
        return srv_refuse(r, 403, "invalid_request_error", "host_not_allowed", NULL,
                          "without an API key this server answers to addresses, localhost and its --host only");
    if (r->too_large) return srv_refuse(r, 413, "invalid_request_error", NULL, NULL, "the request is too large");
    const route *at = find_route(path);
    const srv_file *file = at ? NULL : find_file(path);
    if (file) return reads ? get_file(r, file) : wrong_method(r, "GET, HEAD");
    const bool model = strncmp(path, "/v1/models/", 11) == 0;
    if (!at && !model) return srv_refuse(r, 404, "invalid_request_error", NULL, NULL, "there is nothing at this path");
    const bool upgrades = at && at->answer == srv_upgrade;      /* of a HEAD it would make a conversation */
    if (strcmp(at ? at->method : "GET", reads && !upgrades ? "GET" : method) != 0) return wrong_method(r, at ? at->method : "GET");
    srv_origin(r, &allowed);
    if (!allowed && !reads)
        return srv_refuse(r, 403, "invalid_request_error", "origin_not_allowed", NULL,
                          "pages of this origin may not use this server; see --cors-origin");
    if (!(at && at->open) && !has_key(r, &given)) return refuse_key(r, given);
    return at ? at->answer(r) : get_model(r, path + 11);
}

/* ---- microhttpd's calls --------------------------------------------------------------------- */

static void take_body(srv_request *r, const char *data, size_t n)
{
    if (r->deaf) return;
    if (r->too_large || r->n + n > SRV_BODY_BYTES) {
        r->too_large = true;
        return;
    }
    if (r->n + n + 1 > r->cap) {
        const size_t cap = (r->n + n + 1) * 2;
        char *bigger = realloc(r->body, cap);
        if (!bigger) {
            r->too_large = true;
            return;
        }
        r->body = bigger;
        r->cap = cap;
    }
    memcpy(r->body + r->n, data, n);
    r->n += n;
    r->body[r->n] = 0;
}

enum { FORWARDED_BYTES = 1024 };

/* All X-Forwarded-For lines as one list; of too long a list the end, which our side wrote. */
static enum MHD_Result add_forwarded(void *user, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void)kind;
    char *list = user;
    if (strcasecmp(name, "X-Forwarded-For") != 0 || !value) return MHD_YES;
    const size_t n = strlen(value);
    if (n >= FORWARDED_BYTES - 2) value += n - (FORWARDED_BYTES - 3);
    const size_t have = strlen(list), more = strlen(value) + 1;
    const size_t over = have + more >= FORWARDED_BYTES ? have + more - FORWARDED_BYTES + 1 : 0;
    memmove(list, list + over, have - over + 1);
    snprintf(list + (have - over), FORWARDED_BYTES - (have - over), ",%s", value);
    return MHD_YES;
}

static bool come_in(srv_request *r)
{
    char forwarded[FORWARDED_BYTES] = "";
    if (!r->server->visitors) return true;
    const union MHD_ConnectionInfo *peer = MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    MHD_get_connection_values(r->connection, MHD_HEADER_KIND, add_forwarded, forwarded);
    return !peer || srv_visitor_come(r->server->visitors, peer->client_addr, forwarded, &r->who);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *path, const char *method,
                                  const char *version, const char *data, size_t *n_data, void **state)
{
    (void)version;
    srv_request *r = *state;
    if (!r) {
        r = calloc(1, sizeof *r);
        if (!r) return MHD_NO;
        r->server = cls;
        r->connection = connection;
        srv_new_id("req", r->id);
        *state = r;
        if (!come_in(r)) {
            srv_count(r->server->metrics, SRV_REFUSED, "address", 1);
            return srv_refuse(r, 429, "rate_limit_error", "rate_limit_exceeded", NULL, "your address has too many requests open");
        }
        const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
        if (length && strtoull(length, NULL, 10) > SRV_BODY_BYTES) {
            r->too_large = true;
            return dispatch(r, method, path);
        }
        r->deaf = !wants_body(r, method, path);
        return MHD_YES;
    }
    if (*n_data) {
        take_body(r, data, *n_data);
        *n_data = 0;
        return MHD_YES;
    }
    return r->chat ? srv_chat_answer(r) : dispatch(r, method, path);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    (void)cls;
    (void)connection;
    (void)code;
    srv_request *r = *state;
    if (!r) return;
    if (r->chat) srv_chat_gone(r->chat);
    srv_upgrade_free(r->upgrade);
    srv_visitor_go(r->who);
    free(r->body);
    free(r);
    *state = NULL;
}

/* ---- open, close ------------------------------------------------------------------------------- */

static int open_at(const struct addrinfo *a)
{
    const int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, 256) == 0) return fd;
    const int why = errno;
    close(fd);
    errno = why;
    return -1;
}

/* A name may have several addresses: the first that can be had. */
static int listen_at(const char *host, int port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    const int rc = getaddrinfo(host, service, &hints, &found);
    if (rc != 0) return fprintf(stderr, "omni: --host %s: %s\n", host, gai_strerror(rc)), -1;
    int fd = -1;
    for (const struct addrinfo *a = found; a && fd < 0; a = a->ai_next) fd = open_at(a);
    if (fd < 0) fprintf(stderr, "omni: %s port %d: %s; choose another with --port\n", host, port, strerror(errno));
    freeaddrinfo(found);
    return fd;
}

int srv_http_open(srv *server)
{
    const srv_options *o = server->options;
    server->listen_fd = listen_at(o->host, o->port);
    if (server->listen_fd < 0) return 1;
    struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)o->key},
                                   {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)o->certificate},
                                   {MHD_OPTION_END, 0, NULL}};
    const struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    const unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE | (o->key ? MHD_USE_TLS : 0u);
    server->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, server, MHD_OPTION_LISTEN_SOCKET, server->listen_fd,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_CONNECTION_LIMIT, (unsigned)SRV_CONNECTIONS,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, server->visitors ? 0u : (unsigned)SRV_PER_ADDRESS, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)SRV_HTTP_IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)SRV_HEADER_BYTES * 2,
        MHD_OPTION_ARRAY, o->key ? tls : none, MHD_OPTION_END);
    if (server->daemon) return 0;
    close(server->listen_fd);
    fprintf(stderr, "omni: the HTTP server could not start%s\n", o->key ? "; are certificate and key PEM files that belong together?" : "");
    return 1;
}

void srv_http_quiet(srv *server)
{
    const MHD_socket fd = MHD_quiesce_daemon(server->daemon);
    if (fd != MHD_INVALID_SOCKET) close(fd);
    server->listen_fd = -1;
}

void srv_http_close(srv *server)
{
    if (server->daemon) MHD_stop_daemon(server->daemon);
}

int srv_http_epoll_fd(const srv *server)
{
    return MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
}

void srv_http_run(srv *server)
{
    MHD_run(server->daemon);
}

int srv_http_timeout(const srv *server, int most)
{
    MHD_UNSIGNED_LONG_LONG ms;
    if (MHD_get_timeout(server->daemon, &ms) != MHD_YES) return most;
    return ms < (MHD_UNSIGNED_LONG_LONG)most ? (int)ms : most;
}
