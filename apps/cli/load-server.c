/* load-server: see load-server.h. */
#include "load-server.h"

#include "options.h"
#include "report.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const struct { const char *scheme; bool tls; const char *port; } schemes[] = {
    {"ws://", false, "80"}, {"wss://", true, "443"}, {"http://", false, "80"}, {"https://", true, "443"}};
enum { SCHEMES = sizeof schemes / sizeof *schemes };

static int bad(const char *url, const char *wanted)
{
    return cli_usage("--serve: found '%s', wanted %s, such as ws://127.0.0.1:8080", url, wanted);
}

/* The host, in brackets when it has colons, and the port if one is there. */
static int read_host(load_server *s, const char *at, size_t n)
{
    const bool brackets = n > 0 && *at == '[';
    const char *end = brackets ? memchr(at, ']', n) : memchr(at, ':', n);
    if (brackets && !end) return bad(s->url, "a ']' after the address");
    const char *first = at + brackets, *rest = !end ? at + n : end + brackets;
    const size_t host = (size_t)((end ? end : at + n) - first), left = (size_t)(at + n - rest);
    if (host == 0 || host >= sizeof s->host) return bad(s->url, "a host of at most 255 letters");
    memcpy(s->host, first, host);
    s->host[host] = 0;
    if (left == 0) return CLI_OK;
    char *stop = NULL;
    const long port = *rest == ':' ? strtol(rest + 1, &stop, 10) : 0;
    if (port < 1 || port > 65535 || stop != at + n) return bad(s->url, "a port of 1 to 65535");
    snprintf(s->port, sizeof s->port, "%ld", port);
    return CLI_OK;
}

static int read_url(load_server *s)
{
    size_t i = 0;
    while (i < SCHEMES && strncmp(s->url, schemes[i].scheme, strlen(schemes[i].scheme)) != 0) i++;
    if (i == SCHEMES) return bad(s->url, "a URL that begins ws://, wss://, http:// or https://");
    for (const char *c = s->url; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f || *c == '#') return bad(s->url, "no white space and no #");
    s->tls = schemes[i].tls;
    snprintf(s->port, sizeof s->port, "%s", schemes[i].port);
    const char *at = s->url + strlen(schemes[i].scheme);
    const size_t n = strcspn(at, "/?");
    const int rc = read_host(s, at, n);
    if (rc != CLI_OK) return rc;
    const char *path = at + n;
    const size_t bare = path[0] == '/' && (!path[1] || path[1] == '?');
    const int length = snprintf(s->target, sizeof s->target, "%s%s", *path == '/' && !bare ? "" : "/v1/realtime", path + bare);
    return length < (int)sizeof s->target ? CLI_OK : bad(s->url, "a path of at most 1000 letters");
}

int load_server_open(load_server *s, const char *url, const char *key, const char *trust)
{
    *s = (load_server){.url = url, .key = key};
    int rc = read_url(s);
    if (rc == CLI_OK && key && strpbrk(key, "\r\n")) rc = cli_usage("the API key holds a line break; wanted one line");
    if (rc == CLI_OK && trust && !s->tls) rc = cli_usage("--ssl-cert-file: '%s' is not wss:// or https://", url);
    if (rc == CLI_OK && s->tls) rc = load_trust_open(trust, &s->trust);
    if (rc != CLI_OK) return rc;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    const int code = getaddrinfo(s->host, s->port, &hints, &s->addresses);
    if (code == 0) return CLI_OK;
    load_server_close(s);
    return cli_error("%s: host %s: %s", url, s->host, gai_strerror(code));
}

void load_server_close(load_server *s)
{
    if (s->addresses) freeaddrinfo(s->addresses);
    load_trust_close(s->trust);
    *s = (load_server){.url = NULL};
}
