/*
 * hub-cache: the folder that tools for the hub share.
 *
 *   ROOT/models--USER--REPO/refs/REVISION            the commit that a branch or tag meant when last asked
 *                          /blobs/ETAG               contents, named by SHA-256 (LFS) or by the git blob's SHA-1
 *                          /snapshots/COMMIT/PATH    relative links into blobs
 *   ROOT/.locks/models--USER--REPO/ETAG.lock         held (flock) while a blob is fetched
 */
#ifndef OM_HUB_CACHE_H
#define OM_HUB_CACHE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct om_hub_cache {
    char *root, *repo, *locks;      /* folders; they need not be there */
} om_hub_cache;

/* From HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub,
 * the first that is set. id: "USER--REPO". OK, ERR_IO (no home), ERR_MEMORY. */
int  om_hub_cache_open(const char *id, om_hub_cache *cache);
void om_hub_cache_close(om_hub_cache *cache);

/* $HF_TOKEN, or the first line of the file $HF_TOKEN_PATH, $HF_HOME/token, ~/.cache/huggingface/token. *token is
 * NULL without any; om_free. ERR_ARG when what is there can not be a token; ERR_IO, ERR_MEMORY. */
int om_hub_token(char **token);

/* The commit a revision is known to mean; a commit means itself. OK, AGAIN (not known), ERR_FORMAT, ERR_IO. */
int om_hub_cache_ref(const om_hub_cache *cache, const char *revision, char commit[41]);
int om_hub_cache_set_ref(const om_hub_cache *cache, const char *revision, const char *commit);

/* Paths, for om_free; NULL: no memory. */
char *om_hub_cache_blob(const om_hub_cache *cache, const char *etag);
char *om_hub_cache_snapshot(const om_hub_cache *cache, const char *commit);

/* Is there a regular file of this size behind the path? */
bool om_file_has_size(const char *path, uint64_t size);

/* snapshots/COMMIT/path becomes a link to the blob. ERR_IO, ERR_MEMORY. */
int om_hub_cache_link(const om_hub_cache *cache, const char *commit, const char *path, const char *etag);

/* Locks the file at path, which is made, waiting for whoever holds it: OK and *fd, to be closed; AGAIN when stop
 * said so; ERR_IO. waiting is called once before the first wait. Either function may be NULL. */
int om_lock_file(const char *path, int (*stop)(void *user), void (*waiting)(void *user), void *user, int *fd);

#endif
