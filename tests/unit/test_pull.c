/* Names, the hub's JSON, the shared cache's layout, parts that go on after a kill. */
#include "unit/cmocka_all.h"

#include "pull/hub-cache.h"
#include "pull/http.h"
#include "pull/hub-json.h"
#include "pull/licence.h"
#include "pull/name.h"
#include "pull/parts.h"
#include "pull/paths.h"
#include "pull/pull.h"

#include <omni.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define SUM COMMIT "0123456789abcdef01234567"

static char folder[] = "/tmp/omni-pull.XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    char command[64];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* ---- names ---------------------------------------------------------------------------- */

static void test_names(void **state)
{
    om_name n;
    (void)state;
    assert_int_equal(om_name_parse("llama-omni-8b", &n), OMNI_OK);
    assert_string_equal(n.repo, "ICTNLP/Llama-3.1-8B-Omni");
    assert_string_equal(n.id, "ICTNLP--Llama-3.1-8B-Omni");
    assert_non_null(n.set);
    assert_int_equal(om_name_parse("hf:ictnlp/llama-3.1-8b-omni", &n), OMNI_OK);    /* the hub knows no case */
    assert_null(n.set);
    assert_non_null(n.terms);
    assert_int_equal(om_name_parse("hf:a/b_c.d-e@refs/pr/3", &n), OMNI_OK);
    assert_string_equal(n.repo, "a/b_c.d-e");
    assert_string_equal(n.revision, "refs/pr/3");
    assert_null(n.terms);
    static const char *const bad[] = {"", "a/b", "hf:", "hf:a", "hf:/b", "hf:a/", "hf:a/b/c", "hf:../b", "hf:a/..", "hf:a/b--c",
        "hf:a/-b", "hf:a/b.", "hf:a b/c", "hf:a/b@", "hf:a/b@..", "hf:a/b@x/../y", "hf:a/b@/x", "hf:a/b@x/", "hf:a/b@-x",
        "hf:a/b@x y", "hf:a/b@x?y", "hf:a/b#c", "hf:a@x/b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (om_name_parse(bad[i], &n) != OMNI_ERR_ARG) fail_msg("%s was taken", bad[i]);
    char longer[400] = "hf:a/";
    memset(longer + 5, 'b', 300);
    assert_int_equal(om_name_parse(longer, &n), OMNI_ERR_ARG);
    assert_true(om_name_is("hf:x"));
    assert_false(om_name_is("models/tiny"));
}

static void test_safe_paths(void **state)
{
    static const char *const good[] = {"a", "a/b", "...", "..a", "a..", "\xc3\xa4/b", ".hidden"};
    static const char *const bad[] = {"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\nb", "a\\b", "\x7f"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!om_is_safe_path(good[i])) fail_msg("%s was refused", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (om_is_safe_path(bad[i])) fail_msg("%s was taken", bad[i]);
    assert_true(om_is_commit(COMMIT));
    assert_false(om_is_commit("0123456789ABCDEF0123456789abcdef01234567"));
    assert_false(om_is_commit(SUM));
    assert_int_equal(om_pull_wanted("model-00001-of-00004.safetensors"), OM_WANTED_CHECKPOINT);
    assert_int_equal(om_pull_wanted("sub/model.safetensors"), 0);
    assert_int_equal(om_pull_wanted("README.md"), 0);
    assert_int_equal(om_pull_wanted(".gguf"), 0);
}

/* ---- JSON ----------------------------------------------------------------------------- */

static int tree(const char *text, om_hub_list *list)
{
    return om_hub_read_tree(text, strlen(text), "here", list);
}

static void test_tree(void **state)
{
    om_hub_list list = {.n = 0};
    (void)state;
    assert_int_equal(tree("[{\"type\":\"directory\",\"path\":\"..\"},"
                          "{\"type\":\"file\",\"path\":\"a\",\"size\":3,\"oid\":\"" COMMIT "\"},"
                          "{\"type\":\"file\",\"path\":\"b\",\"size\":5,\"oid\":\"" COMMIT "\","
                          "\"lfs\":{\"oid\":\"" SUM "\",\"size\":5,\"pointerSize\":130}}]", &list), OMNI_OK);
    assert_int_equal(list.n, 2);
    assert_string_equal(list.files[0].path, "a");
    assert_int_equal(list.files[0].size, 3);
    assert_string_equal(om_hub_etag(&list.files[0]), COMMIT);
    assert_string_equal(om_hub_etag(&list.files[1]), SUM);
    assert_int_equal(tree("[{\"type\":\"file\",\"path\":\"a\",\"size\":3,\"oid\":\"" COMMIT "\"}]", &list), OMNI_ERR_FORMAT);
    assert_non_null(strstr(omni_last_error(), "twice"));
    om_hub_list_free(&list);
    static const char *const bad[] = {"", "{", "{}", "3", "[{\"type\":\"file\"}]",
        "[{\"type\":\"file\",\"path\":\"../a\",\"size\":3,\"oid\":\"" COMMIT "\"}]",
        "[{\"type\":\"file\",\"path\":\"a\",\"size\":3.5,\"oid\":\"" COMMIT "\"}]",
        "[{\"type\":\"file\",\"path\":\"a\",\"size\":99999999999999999,\"oid\":\"" COMMIT "\"}]",
        "[{\"type\":\"file\",\"path\":\"a\",\"size\":3,\"oid\":\"x\"}]",
        "[{\"type\":\"file\",\"path\":\"a\",\"size\":3,\"size\":4,\"oid\":\"" COMMIT "\"}]",
        "[{\"type\":\"file\",\"path\":\"a\",\"size\":3,\"oid\":\"" COMMIT "\",\"lfs\":{\"oid\":\"../x\",\"size\":3}}]",
        "[{\"type\":\"file\",\"path\":\"a\",\"size\":3,\"oid\":\"" COMMIT "\",\"lfs\":{\"oid\":\"" SUM "\",\"size\":4}}]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (tree(bad[i], &list) != OMNI_ERR_FORMAT) fail_msg("%s was taken", bad[i]);
        om_hub_list_free(&list);
    }
}

static void test_revision(void **state)
{
    om_hub_revision r;
    const char good[] = "{\"sha\":\"" COMMIT "\",\"gated\":false,\"cardData\":{\"license\":\"mit\"}}";
    (void)state;
    assert_int_equal(om_hub_read_revision(good, strlen(good), "here", &r), OMNI_OK);
    assert_string_equal(r.commit, COMMIT);
    assert_string_equal(r.licence, "mit");
    assert_int_equal(om_hub_read_revision("{\"sha\":\"main\"}", 14, "here", &r), OMNI_ERR_FORMAT);
    assert_int_equal(om_hub_read_revision("[]", 2, "here", &r), OMNI_ERR_FORMAT);
}

static void test_links(void **state)
{
    static const struct { const char *value, *next; } links[] = {
        {"<http://a/2>; rel=\"next\"", "http://a/2"}, {"<http://a/2>; rel=next", "http://a/2"},
        {"<http://a/0>; rel=\"prev\", <http://a/2>; rel=\"next\"", "http://a/2"},
        {"<http://a/2>; title=\"a, <b>\"; rel=\"x next\", <http://a/9>; rel=\"last\"", "http://a/2"},
        {"<http://a/9>; rel=\"last\"", ""}, {"<http://a/9>; rel=\"nextish\"", ""}, {"<http://a/9>", ""}, {"", ""},
        {"<http://a/2; rel=\"next\"", ""}};
    char longer[1200] = "<";
    (void)state;
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        om_http_answer a = {.next = ""};
        om_http_keep_next(links[i].value, strlen(links[i].value), &a);
        assert_string_equal(a.next, links[i].next);
        assert_false(a.next_too_long);
    }
    om_http_answer a = {.next = ""};
    memset(longer + 1, 'a', 1100);
    memcpy(longer + 1101, ">; rel=next", 12);
    om_http_keep_next(longer, strlen(longer), &a);
    assert_true(a.next_too_long && !a.next[0]);
}

/* Only the first address decides: what was asked for by https is never fetched by http, not even after more hops. */
static void test_redirects(void **state)
{
    (void)state;
    assert_int_equal(om_http_may_follow("https://a/x", "https://a/x", "https://b/y"), OMNI_OK);
    assert_int_equal(om_http_may_follow("http://a/x", "http://a/x", "HTTP://b/y"), OMNI_OK);
    assert_int_equal(om_http_may_follow("http://a/x", "https://b/y", "http://c/z"), OMNI_OK);
    assert_int_equal(om_http_may_follow("https://a/x", "https://b/y", "http://c/z"), OMNI_ERR_FORMAT);
    assert_non_null(strstr(omni_last_error(), "from https to http"));
    assert_int_equal(om_http_may_follow("HTTPS://a/x", "https://a/x", "Http://a/x"), OMNI_ERR_FORMAT);
    assert_int_equal(om_http_may_follow("http://a/x", "http://a/x", "file:///etc/passwd"), OMNI_ERR_FORMAT);
    assert_int_equal(om_http_may_follow("http://a/x", "http://a/x", "httpx://a"), OMNI_ERR_FORMAT);
}

/* ---- cache ---------------------------------------------------------------------------- */

static void test_cache(void **state)
{
    om_hub_cache c;
    char commit[41], target[256];
    (void)state;
    setenv("HF_HUB_CACHE", folder, 1);
    assert_int_equal(om_hub_cache_open("a--b", &c), OMNI_OK);
    assert_int_equal(om_hub_cache_ref(&c, "main", commit), OMNI_AGAIN);
    assert_int_equal(om_hub_cache_ref(&c, COMMIT, commit), OMNI_OK);
    assert_int_equal(om_hub_cache_set_ref(&c, "refs/pr/1", COMMIT), OMNI_OK);
    assert_int_equal(om_hub_cache_ref(&c, "refs/pr/1", commit), OMNI_OK);
    assert_string_equal(commit, COMMIT);
    assert_int_equal(om_hub_cache_link(&c, COMMIT, "x/y", SUM), OMNI_OK);
    assert_int_equal(om_hub_cache_link(&c, COMMIT, "x/y", SUM), OMNI_OK);       /* again is fine */
    char *link = om_path("%s/models--a--b/snapshots/%s/x/y", folder, COMMIT);
    const ssize_t n = readlink(link, target, sizeof target - 1);
    assert_true(n > 0);
    target[n] = '\0';
    assert_string_equal(target, "../../../blobs/" SUM);
    free(link);
    char *ref = om_path("%s/refs/main", c.repo);
    assert_int_equal(om_write_whole(ref, "../../x", 7), OMNI_OK);
    assert_int_equal(om_hub_cache_ref(&c, "main", commit), OMNI_ERR_FORMAT);
    free(ref);
    om_hub_cache_close(&c);
    unsetenv("HF_HUB_CACHE");
}

static void test_token(void **state)
{
    char *token = NULL;
    (void)state;
    setenv("HF_TOKEN", "  hf_abc \n", 1);
    assert_int_equal(om_hub_token(&token), OMNI_OK);
    assert_string_equal(token, "hf_abc");
    free(token);
    setenv("HF_TOKEN", "hf_\x01", 1);
    assert_int_equal(om_hub_token(&token), OMNI_ERR_ARG);
    assert_null(strstr(omni_last_error(), "hf_\x01"));
    unsetenv("HF_TOKEN");
    setenv("HF_HOME", folder, 1);
    assert_int_equal(om_hub_token(&token), OMNI_OK);
    assert_null(token);
    unsetenv("HF_HOME");
}

static void test_licences(void **state)
{
    bool accepted = true;
    (void)state;
    setenv("XDG_CONFIG_HOME", folder, 1);
    assert_int_equal(om_licence_accepted("x", &accepted), OMNI_OK);
    assert_false(accepted);
    assert_int_equal(om_licence_accept("x"), OMNI_OK);
    assert_int_equal(om_licence_accept("xy"), OMNI_OK);
    assert_int_equal(om_licence_accepted("x", &accepted), OMNI_OK);
    assert_true(accepted);
    assert_int_equal(om_licence_accepted("y", &accepted), OMNI_OK);
    assert_false(accepted);
    unsetenv("XDG_CONFIG_HOME");
}

/* ---- parts ---------------------------------------------------------------------------- */

static void test_parts(void **state)
{
    om_parts p;
    char text[12] = "";
    char *final = om_path("%s/final", folder);
    (void)state;
    assert_int_equal(om_parts_open(&p, final, SUM, 10, 3), OMNI_OK);
    for (uint64_t size = 0; size < 40; size++) {        /* the parts tile the file, whatever its size */
        for (int n = 1; n <= OM_PARTS_MAX; n++) {
            const om_parts q = {.size = size, .n = n};
            assert_int_equal(om_part_begin(&q, 0), 0);
            for (int i = 0; i < n; i++) assert_true(om_part_begin(&q, i) <= om_part_end(&q, i));
            assert_int_equal(om_part_end(&q, n - 1), size);
        }
    }
    assert_int_equal(om_part_write(&p, 1, "45", 2), OMNI_OK);
    assert_int_equal(om_part_write(&p, 1, "678", 3), OMNI_ERR_FORMAT);
    assert_int_equal(om_part_write(&p, 0, "0123", 4), OMNI_OK);
    om_parts_close(&p);
    assert_int_equal(om_parts_open(&p, final, SUM, 10, 5), OMNI_OK);    /* goes on with the parts there are */
    assert_int_equal(p.n, 3);
    assert_int_equal(p.found, 6);
    assert_true(om_part_is_done(&p, 0));
    assert_int_equal(om_part_write(&p, 1, "67", 2), OMNI_OK);
    assert_int_equal(om_part_write(&p, 2, "89", 2), OMNI_OK);
    assert_int_equal(access(final, F_OK), -1);
    assert_int_equal(om_parts_commit(&p, final), OMNI_OK);
    om_parts_close(&p);
    assert_int_equal(om_read_whole(final, text, sizeof text), OMNI_OK);
    assert_string_equal(text, "0123456789");
    unlink(final);
    free(final);
}

/* Notes that lie are not believed: the file is begun again. */
static void test_parts_notes(void **state)
{
    om_parts p;
    char *final = om_path("%s/other", folder), *notes = om_path("%s/other.omni-parts", folder);
    (void)state;
    assert_int_equal(om_parts_open(&p, final, SUM, 10, 2), OMNI_OK);
    assert_int_equal(om_part_write(&p, 0, "01234", 5), OMNI_OK);
    om_parts_close(&p);
    assert_int_equal(om_parts_open(&p, final, SUM, 11, 2), OMNI_OK);    /* another size */
    assert_int_equal(p.found, 0);
    assert_int_equal(om_part_write(&p, 0, "01234", 5), OMNI_OK);
    om_parts_close(&p);
    assert_int_equal(om_parts_open(&p, final, COMMIT, 11, 2), OMNI_OK); /* another content */
    assert_int_equal(p.found, 0);
    assert_int_equal(om_part_write(&p, 0, "01234", 5), OMNI_OK);
    assert_int_equal(ftruncate(p.data, 3), 0);
    om_parts_close(&p);
    assert_int_equal(om_parts_open(&p, final, COMMIT, 11, 2), OMNI_OK); /* bytes that are not there */
    assert_int_equal(p.found, 0);
    om_parts_close(&p);
    assert_int_equal(om_write_whole(notes, "OMNPRT1 and then nothing", 24), OMNI_OK);
    assert_int_equal(om_parts_open(&p, final, COMMIT, 11, 2), OMNI_OK);
    assert_int_equal(p.found, 0);
    om_parts_discard(&p);
    om_parts_close(&p);
    free(final);
    free(notes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names), cmocka_unit_test(test_safe_paths), cmocka_unit_test(test_tree),
        cmocka_unit_test(test_revision), cmocka_unit_test(test_links), cmocka_unit_test(test_redirects), cmocka_unit_test(test_cache), cmocka_unit_test(test_token),
        cmocka_unit_test(test_licences), cmocka_unit_test(test_parts), cmocka_unit_test(test_parts_notes),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
