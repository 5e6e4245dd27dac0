/* omni serve: options, key and certificates for the server in apps/server. */
#include "conversation.h"
#include "interrupt.h"
#include "options.h"
#include "report.h"
#include "small-file.h"

#include "../server/server.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (strcmp(host, "localhost") == 0) return true;
    if (inet_pton(AF_INET, host, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static int read_tls(const cli_args *args, char **certificate, char **key)
{
    const char *cert_path = cli_text(args, CLI_SSL_CERT, NULL), *key_path = cli_text(args, CLI_SSL_KEY, NULL);
    if (!cert_path != !key_path) return cli_usage("serve: --ssl-cert-file and --ssl-key-file belong together");
    if (!cert_path) return CLI_OK;
    const int rc = cli_small_file(cert_path, certificate);
    return rc != CLI_OK ? rc : cli_small_file(key_path, key);
}

/* RFC 7230's token, which a WebSocket sub-protocol has to be. */
static bool is_token(const char *text)
{
    static const char allowed[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!#$%&'*+-.^_`|~";
    return text[strspn(text, allowed)] == 0;
}

/* Other clients send the key in a header, so it is no error. */
static void note_key(const char *key)
{
    if (!key || is_token(key)) return;
    cli_note("serve: browsers can not send this API key: it goes as a WebSocket sub-protocol there, wanted letters, digits "
             "and !#$%%&'*+-.^_`|~ only; make one with: head -c 24 /dev/urandom | base64 | tr '+/' '-_'");
}

static srv_options read_options(const cli_args *args)
{
    srv_options o = {.host = cli_text(args, CLI_HOST, "127.0.0.1"), .engine = omni_engine_default_params()};
    o.port = (int)cli_integer(args, CLI_PORT, 8080);
    o.insecure = cli_given(args, CLI_INSECURE);
    o.proxies = cli_text(args, CLI_TRUSTED_PROXY, NULL);
    o.origins = cli_text(args, CLI_ORIGIN, NULL);
    o.alias = cli_text(args, CLI_ALIAS, NULL);
    o.strict_model = cli_given(args, CLI_STRICT_MODEL);
    o.max_ttfa_ms = (int)cli_integer(args, CLI_MAX_TTFA, 0);
    o.session_seconds = (int)cli_integer(args, CLI_SESSION_SECONDS, 3600);
    o.max_tokens = (int)cli_integer(args, CLI_SERVE_PREDICT, 256);
    o.early_audio = cli_given(args, CLI_SERVE_EARLY);
    o.no_speculation = cli_given(args, CLI_NO_SPECULATE);
    o.engine.n_slots = (int)cli_integer(args, CLI_PARALLEL, 4);
    o.engine.n_threads = (int)cli_integer(args, CLI_THREADS, 0);
    o.engine.n_ctx = (int)cli_integer(args, CLI_CTX, 0);
    o.stop = cli_interrupted;
    o.drain = cli_drained;
    return o;
}

int cli_serve(const cli_args *args)
{
    if (args->n_inputs) return cli_usage("serve: found '%s', wanted options only", args->inputs[0].text);
    srv_options o = read_options(args);
    if (o.proxies && !srv_proxies_ok(o.proxies))
        return cli_usage("serve: --trusted-proxy: found '%s', wanted addresses like 10.0.0.7 or 10.0.0.0/8, with commas", o.proxies);
    char *key_file = NULL, *certificate = NULL, *private_key = NULL;
    omni_model *model = NULL;
    int rc = cli_api_key(args, "serve", CLI_API_KEY, CLI_API_KEY_FILE, &key_file, &o.api_key);
    if (rc == CLI_OK) rc = read_tls(args, &certificate, &private_key);
    o.certificate = certificate;
    o.key = private_key;
    if (rc == CLI_OK && !o.api_key && !o.insecure && !is_loopback(o.host))
        rc = cli_usage("serve: --host %s lets other machines in; protect it with --api-key-file FILE, or say --insecure", o.host);
    if (rc == CLI_OK) rc = cli_model_load(args, NULL, &model);
    if (rc == CLI_OK) {
        note_key(o.api_key);
        cli_interrupt_watch(true);
        cli_drain_watch();
        rc = srv_run(&o, model) == 0 ? CLI_OK : CLI_FAILED;
        cli_interrupt_watch(false);
    }
    omni_model_free(model);
    free(key_file);
    free(certificate);
    free(private_key);
    return rc;
}
