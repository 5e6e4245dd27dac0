/*
 * hub-json: the hub's answers about a repository. Nothing in them is trusted: sizes, depths and counts are bounded,
 * names must stay inside their folder.
 *
 *   /api/models/USER/REPO/revision/REV     {"sha": "<commit>", "gated": ..., "cardData": {"license": ...}, ...}
 *   /api/models/USER/REPO/tree/COMMIT      [{"type": "file", "path": ..., "size": ..., "oid": <git blob>,
 *                                            "lfs": {"oid": <SHA-256>, "size": ...}}, ...], in pages
 *
 * and *.index.json, {"weight_map": {"<tensor>": "<file>", ...}, ...}
 */
#ifndef OM_HUB_JSON_H
#define OM_HUB_JSON_H

#include <stddef.h>
#include <stdint.h>

enum { OM_HUB_MAX_FILES = 4096, OM_HUB_MAX_TEXT = 8 << 20 };
#define OM_HUB_MAX_SIZE ((uint64_t)1 << 42)    /* bytes of one file */

typedef struct om_hub_revision {
    char commit[41];
    char licence[64];       /* as the repository's card names it; "" when it does not */
} om_hub_revision;

typedef struct om_hub_file {
    char    *path;          /* relative, safe */
    uint64_t size;
    char     git[41];       /* SHA-1 of the git blob */
    char     sha256[65];    /* of the content, for files in LFS; else "" */
} om_hub_file;

typedef struct om_hub_list {
    om_hub_file *files;
    int n;
} om_hub_list;

/* where: for messages. OK, ERR_FORMAT, ERR_MEMORY. */
int om_hub_read_revision(const char *text, size_t n, const char *where, om_hub_revision *out);
/* Adds the files of one page to *list, which begins as {0}. OK, ERR_FORMAT, ERR_LIMIT, ERR_MEMORY. After a failure
 * the list holds what came before. */
int om_hub_read_tree(const char *text, size_t n, const char *where, om_hub_list *list);
/* Calls each for the files that the index of a checkpoint in shards names, some more than once, until it returns
 * other than OK, which is returned then. ERR_FORMAT, ERR_MEMORY. */
int om_hub_read_index(const char *text, size_t n, const char *where, int (*each)(void *user, const char *file), void *user);
void om_hub_list_free(om_hub_list *list);

/* What a file is called in the cache: its SHA-256, or the SHA-1 of its git blob. */
const char *om_hub_etag(const om_hub_file *file);

#endif
