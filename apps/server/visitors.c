/*
 * visitors: see visitors.h.
 *
 * X-Forwarded-For alone is read: its last addresses are those that the proxies wrote. Forwarded (RFC 7239) passes most
 * proxies as the client wrote it. IPv6 clients own a network of 64 bits, so that is what is counted.
 */
#include "visitors.h"

#include "limits.h"
#include "server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { PROXIES = 64, WORD_BYTES = 64, NETWORK_BYTES = 8 };

typedef struct place { uint8_t bytes[16]; } place;     /* an IPv6 address, IPv4 as ::ffff:a.b.c.d */
typedef struct network { place at; int bits; } network;

struct srv_visitor { place at; int open; };

struct srv_visitors {
    network proxies[PROXIES];
    int n_proxies;
    srv_visitor all[SRV_CONNECTIONS];       /* open 0: free. Each has a connection, of which there are no more */
};

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static bool is_v4(const place *p)
{
    return memcmp(p->bytes, mapped, sizeof mapped) == 0;
}

static void set_v4(place *p, const void *bytes)
{
    memcpy(p->bytes, mapped, sizeof mapped);
    memcpy(p->bytes + sizeof mapped, bytes, 4);
}

static bool read_address(const char *text, size_t n, place *p)
{
    char word[WORD_BYTES];
    struct in_addr v4;
    if (n == 0 || n >= sizeof word) return false;
    memcpy(word, text, n);
    word[n] = 0;
    if (inet_pton(AF_INET, word, &v4) != 1) return inet_pton(AF_INET6, word, p->bytes) == 1;
    set_v4(p, &v4);
    return true;
}

/* In the ways proxies write it: 1.2.3.4, 1.2.3.4:567, 1::2, [1::2], [1::2]:567. */
static bool read_place(const char *text, size_t n, place *p)
{
    const char *end;
    if (n > 0 && *text == '[') {
        end = memchr(text, ']', n);
        if (!end) return false;
        text++;
        n = (size_t)(end - text);
    } else if ((end = memchr(text, ':', n)) && !memchr(end + 1, ':', n - (size_t)(end + 1 - text))) {
        n = (size_t)(end - text);
    }
    return read_address(text, n, p);
}

static bool of_peer(const struct sockaddr *peer, place *p)
{
    if (peer->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, peer, sizeof v4);
        set_v4(p, &v4.sin_addr);
    } else if (peer->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, peer, sizeof v6);
        memcpy(p->bytes, &v6.sin6_addr, sizeof p->bytes);
    } else {
        return false;
    }
    return true;
}

/* ---- the proxies --------------------------------------------------------------------- */

/* ADDR or ADDR/BITS */
static bool read_network(const char *text, size_t n, network *net)
{
    const char *slash = memchr(text, '/', n);
    const size_t n_address = slash ? (size_t)(slash - text) : n;
    char digits[4] = "";
    if (!read_address(text, n_address, &net->at)) return false;
    const int most = is_v4(&net->at) ? 32 : 128;
    net->bits = 128;
    if (!slash) return true;
    const size_t n_digits = n - n_address - 1;
    if (n_digits < 1 || n_digits >= sizeof digits) return false;
    memcpy(digits, slash + 1, n_digits);
    if (strspn(digits, "0123456789") != n_digits || strtol(digits, NULL, 10) > most) return false;
    net->bits = 128 - most + (int)strtol(digits, NULL, 10);
    return true;
}

static bool read_proxies(const char *list, srv_visitors *v)
{
    while (*list) {
        const size_t n = strcspn(list, ",");
        if (v->n_proxies == PROXIES || !read_network(list, n, &v->proxies[v->n_proxies++])) return false;
        list += n;
        if (*list == ',' && !*++list) return false;
    }
    return v->n_proxies > 0;
}

static bool is_within(const place *p, const network *net)
{
    const size_t whole = (size_t)net->bits / 8;
    const int rest = net->bits % 8;
    if (memcmp(p->bytes, net->at.bytes, whole) != 0) return false;
    return rest == 0 || ((p->bytes[whole] ^ net->at.bytes[whole]) >> (8 - rest)) == 0;
}

static bool is_proxy(const srv_visitors *v, const place *p)
{
    for (int i = 0; i < v->n_proxies; i++)
        if (is_within(p, &v->proxies[i])) return true;
    return false;
}

bool srv_proxies_ok(const char *list)
{
    srv_visitors v = {.n_proxies = 0};
    return read_proxies(list, &v);
}

/* ---- visitors -------------------------------------------------------------------------- */

srv_visitors *srv_visitors_new(const char *proxies)
{
    srv_visitors *v = calloc(1, sizeof *v);
    if (v && read_proxies(proxies, v)) return v;
    free(v);
    return NULL;
}

void srv_visitors_free(srv_visitors *v)
{
    free(v);
}

/* From the right, which the nearest proxy wrote, to the first address that is not one of ours. */
static void follow(const srv_visitors *v, const char *forwarded, place *p)
{
    size_t n = forwarded ? strlen(forwarded) : 0;
    while (n > 0 && is_proxy(v, p)) {
        size_t start = n;
        while (start > 0 && forwarded[start - 1] != ',') start--;
        const char *word = forwarded + start + strspn(forwarded + start, " \t");
        size_t end = n;
        while (end > start && (forwarded[end - 1] == ' ' || forwarded[end - 1] == '\t')) end--;
        place next;
        if (word >= forwarded + end || !read_place(word, (size_t)(forwarded + end - word), &next)) return;
        *p = next;
        n = start > 0 ? start - 1 : 0;
    }
}

static srv_visitor *find(srv_visitors *v, const place *p)
{
    srv_visitor *free_one = NULL;
    for (int i = 0; i < SRV_CONNECTIONS; i++) {
        srv_visitor *at = &v->all[i];
        if (at->open > 0 && memcmp(&at->at, p, sizeof *p) == 0) return at;
        if (at->open == 0 && !free_one) free_one = at;
    }
    if (free_one) free_one->at = *p;
    return free_one;
}

bool srv_visitor_come(srv_visitors *v, const struct sockaddr *peer, const char *forwarded, srv_visitor **who)
{
    place p;
    *who = NULL;
    if (!of_peer(peer, &p)) return true;
    follow(v, forwarded, &p);
    if (is_proxy(v, &p)) return true;
    if (!is_v4(&p)) memset(p.bytes + NETWORK_BYTES, 0, sizeof p.bytes - NETWORK_BYTES);
    srv_visitor *at = find(v, &p);
    if (!at || at->open >= SRV_PER_ADDRESS) return false;
    at->open++;
    *who = at;
    return true;
}

void srv_visitor_go(srv_visitor *who)
{
    if (who) who->open--;
}

int srv_visitor_open(const srv_visitor *who)
{
    return who->open;
}
