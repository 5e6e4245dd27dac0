/* provenance: see the header. */
#include "provenance.h"

#include "base/memory.h"
#include "base/status.h"
#include "base/weights.h"

#include <omni.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define UNKNOWN "0000000000000000000000000000000000000000000000000000000000000000"

/* Published files whose sum is known. */
static const struct { const char *name, *what, *sha256; } known[] = {
    {"large-v3.pt", "Whisper large-v3", "e5b1a55b89c1367dacf97e3e19bfd829a01529dbfdeefa8caeb59b3f1b81dadb"},
};

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

int om_fingerprint(const om_checksums *files, const char *options, char hex[OM_DIGEST_HEX])
{
    om_digest *d = om_digest_new(OM_DIGEST_SHA256);
    char line[512];
    int rc;

    if (!d)
        return OMNI_ERR_MEMORY;
    rc = om_digest_update(d, options, strlen(options));
    for (int i = 0; !rc && i < files->n; i++) {
        struct stat st;

        if (fstat(files->files[i].fd, &st) != 0) {
            rc = om_fail(OMNI_ERR_IO, "%s: %s", files->files[i].path, strerror(errno));
            break;
        }
        const int n = snprintf(line, sizeof line, "\n%.300s %lld %lld.%09ld", base_name(files->files[i].path),
                               (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
        rc = om_digest_update(d, line, (size_t)n);
    }
    if (!rc)
        rc = om_digest_hex(d, hex);
    om_digest_free(d);
    return rc;
}

int om_provenance_set(struct gguf_context *g, const om_checksums *files, const char *fingerprint)
{
    const size_t n = (size_t)files->n;
    const char **names = om_calloc(n, sizeof *names), **sums = om_calloc(n, sizeof *sums);
    uint64_t *bytes = om_calloc(n, sizeof *bytes);
    const bool enough = names && sums && bytes;

    for (size_t i = 0; enough && i < n; i++) {
        names[i] = base_name(files->files[i].path);
        sums[i] = !files->running && files->files[i].hex[0] ? files->files[i].hex : UNKNOWN;
        bytes[i] = files->files[i].bytes;
    }
    if (enough) {
        gguf_set_val_str(g, "omni.convert.version", omni_version());
        gguf_set_val_str(g, "omni.convert.fingerprint", fingerprint);
        gguf_set_arr_str(g, "omni.convert.sources", names, n);
        gguf_set_arr_data(g, "omni.convert.bytes", GGUF_TYPE_UINT64, bytes, n);
        gguf_set_arr_str(g, "omni.convert.sha256", sums, n);
    }
    om_free(names);
    om_free(sums);
    om_free(bytes);
    return enough ? OMNI_OK : om_fail(OMNI_ERR_MEMORY, "out of memory for the list of sources");
}

bool om_provenance_matches(const char *path, const char *fingerprint, int file_type)
{
    om_weights *w = NULL;
    const char *found = NULL;
    int type;
    bool same;

    if (om_weights_open(path, &w) != OMNI_OK)
        return false;
    same = om_weights_has(w, "omni.convert.fingerprint") &&
           om_weights_str(w, "omni.convert.fingerprint", &found) == OMNI_OK && strcmp(found, fingerprint) == 0 &&
           om_weights_u32(w, "general.file_type", 0, INT32_MAX, &type) == OMNI_OK && type == file_type;
    om_weights_free(w);
    return same;
}

void om_known_file(const om_checksum *file, char *line, size_t room)
{
    const char *name = base_name(file->path);

    line[0] = '\0';
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(file->hex, known[i].sha256) == 0)
            snprintf(line, room, "%s: %s as published", name, known[i].what);
        else if (strcmp(name, known[i].name) == 0)
            snprintf(line, room, "warning: %s: it is not %s as published: found SHA-256 %s, wanted %s", name,
                     known[i].what, file->hex, known[i].sha256);
    }
}
