/* Whom a request counts for: the peer, or what a trusted proxy says; networks of 64 bits; the limit. */
#include "unit/cmocka_all.h"

#include "../apps/server/limits.h"
#include "../apps/server/server.h"
#include "../apps/server/visitors.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

static srv_visitor *come(srv_visitors *v, const char *peer, const char *forwarded)
{
    struct sockaddr_storage s = {0};
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    srv_visitor *who = NULL;
    if (inet_pton(AF_INET, peer, &v4.sin_addr) == 1) {
        memcpy(&s, &v4, sizeof v4);
    } else {
        assert_int_equal(inet_pton(AF_INET6, peer, &v6.sin6_addr), 1);
        memcpy(&s, &v6, sizeof v6);
    }
    assert_true(srv_visitor_come(v, (const struct sockaddr *)&s, forwarded, &who));
    return who;
}

static void lists(void **state)
{
    (void)state;
    static const char *const good[] = {"127.0.0.1", "::1", "10.0.0.0/8", "10.1.2.3,fd00::/8", "0.0.0.0/0", "1.2.3.4/32,::1/128"};
    static const char *const bad[] = {"", ",", "127.0.0.1,", ",127.0.0.1", "localhost", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1",
                                      "::1/129", "10.0.0.0/8/8", "1.2.3.4:80", "[::1]", "1.2.3.4 ", "10.0.0.0/0x8"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_true(srv_proxies_ok(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(srv_proxies_ok(bad[i]));
}

static void who_it_is(void **state)
{
    (void)state;
    srv_visitors *v = srv_visitors_new("127.0.0.1,10.1.0.0/16,fd00::/9");
    assert_non_null(v);
    srv_visitor *client = come(v, "127.0.0.1", "203.0.113.9");
    /* the same client: by two proxies, with a port, by itself, behind what it wrote itself */
    static const char *const same[][2] = {{"127.0.0.1", "203.0.113.9, 10.1.44.5"}, {"10.1.255.255", " 203.0.113.9:1234 "},
        {"203.0.113.9", NULL}, {"203.0.113.9", "198.51.100.1"}, {"127.0.0.1", "198.51.100.1, 203.0.113.9"},
        {"fd7f::1", ",,x, 203.0.113.9,fd00::2"}, {"127.0.0.1", "::ffff:203.0.113.9"}};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) assert_ptr_equal(come(v, same[i][0], same[i][1]), client);
    assert_int_equal(srv_visitor_open(client), 1 + (int)(sizeof same / sizeof *same));
    /* others: not a proxy's word, just outside of the networks */
    assert_ptr_not_equal(come(v, "10.2.0.1", "203.0.113.9"), client);
    assert_ptr_not_equal(come(v, "fd80::1", "203.0.113.9"), client);
    /* a proxy's own requests, or words nobody understands */
    static const char *const own[] = {NULL, "", "unknown", "203.0.113.9, unknown", "203.0.113.9,", "_hidden", "10.1.2.3"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) assert_null(come(v, "127.0.0.1", own[i]));
    srv_visitors_free(v);
}

static void networks_of_v6(void **state)
{
    (void)state;
    srv_visitors *v = srv_visitors_new("::1");
    srv_visitor *client = come(v, "::1", "2001:db8:1:2:3:4:5:6");
    assert_ptr_equal(come(v, "::1", "[2001:db8:1:2::9]:443"), client);
    assert_ptr_equal(come(v, "2001:db8:1:2:ffff::", NULL), client);
    assert_ptr_not_equal(come(v, "::1", "2001:db8:1:3::"), client);
    srv_visitors_free(v);
}

static void the_limit(void **state)
{
    (void)state;
    srv_visitors *v = srv_visitors_new("127.0.0.1");
    srv_visitor *who = NULL, *one = NULL;
    const struct sockaddr_in proxy = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct sockaddr *peer = (const struct sockaddr *)&proxy;
    for (int i = 0; i < SRV_PER_ADDRESS; i++) assert_true(srv_visitor_come(v, peer, "192.0.2.1", &one));
    assert_false(srv_visitor_come(v, peer, "192.0.2.1", &who));
    assert_null(who);
    assert_true(srv_visitor_come(v, peer, "192.0.2.2", &who));
    srv_visitor_go(one);
    assert_true(srv_visitor_come(v, peer, "192.0.2.1", &who));
    assert_ptr_equal(who, one);
    for (int i = 0; i < 10 * SRV_CONNECTIONS; i++) {    /* who has gone leaves no trace */
        char text[16];
        const uint32_t address = htonl(0xc6336400u + (uint32_t)i);
        assert_non_null(inet_ntop(AF_INET, &address, text, sizeof text));
        assert_true(srv_visitor_come(v, peer, text, &who));
        srv_visitor_go(who);
    }
    srv_visitor_go(NULL);
    srv_visitors_free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(lists), cmocka_unit_test(who_it_is), cmocka_unit_test(networks_of_v6),
                                       cmocka_unit_test(the_limit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
