/* The main of a fuzz target without a fuzzer: every file of the folders given, once, then a few cuts of each.
 */
#include "fuzz/memory_file.h"

#include <dirent.h>
#include <string.h>

/* How often it ran; -1: the file can not be read. */
static long replay_file(const char *path)
{
    static unsigned char bytes[1 << 20];
    FILE *file = fopen(path, "rb");
    size_t n;
    long runs = 0;

    if (!file)
        return -1;
    n = fread(bytes, 1, sizeof bytes, file);
    const int failed = ferror(file);

    fclose(file);
    if (failed)
        return -1;
    LLVMFuzzerTestOneInput(bytes, n);
    for (size_t cut = 0; cut < n; cut += n / 16 + 1, runs++) {
        unsigned char kept = bytes[cut];

        LLVMFuzzerTestOneInput(bytes, cut);             /* truncated */
        bytes[cut] = (unsigned char)(kept ^ 0xFF);      /* corrupted */
        LLVMFuzzerTestOneInput(bytes, n);
        bytes[cut] = kept;
    }
    return 2 * runs + 1;
}

int main(int argc, char **argv)
{
    long runs = 0;

    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);

        if (!folder) {
            fprintf(stderr, "%s: no such folder\n", argv[i]);
            return 1;
        }
        for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
            char path[4096];

            snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
            const long more = entry->d_name[0] == '.' ? 0 : replay_file(path);
            if (more < 0) {
                fprintf(stderr, "%s: can not be read\n", path);
                return 1;
            }
            runs += more;
        }
        closedir(folder);
    }
    printf("%ld runs\n", runs);
    return runs > 10 ? 0 : 1;       /* an empty corpus proves nothing */
}
