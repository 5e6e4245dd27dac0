/* Any bytes as a ZIP container: accepted entries lie within the file and do not overlap. */
#include "base/status.h"
#include "convert/file-read.h"
#include "convert/zip-read.h"
#include "fuzz/memory_file.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = memory_file(data, size);
    om_zip *zip = NULL;
    uint64_t bytes;
    int fd;

    if (om_file_open(path, &fd, &bytes) != OMNI_OK || bytes != size)
        abort();
    if (om_zip_open(fd, bytes, path, &zip) == OMNI_OK) {
        size_t sum = 0;

        for (size_t i = 0; i < om_zip_count(zip); i++) {
            const om_zip_entry *e = om_zip_entry_at(zip, i);

            if (e->size > size || e->offset > size - e->size || e->header >= e->offset ||
                om_zip_find(zip, e->name) != e || e->name[0] == '/' || strncmp(e->name, "../", 3) == 0 ||
                strstr(e->name, "/../"))
                abort();
            sum += e->size;
        }
        if (sum > size)
            abort();
    } else if (zip || !om_last_error()[0]) {
        abort();
    }
    om_zip_free(zip);
    close(fd);
    return 0;
}
