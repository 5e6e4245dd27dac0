/* page: the files of apps/web, inside the program (written by cmake/embed.cmake at build time). */
#ifndef SRV_PAGE_H
#define SRV_PAGE_H

#include <stddef.h>

typedef struct srv_file {
    const char *path;               /* "/index.html" */
    const unsigned char *bytes;
    size_t n;
} srv_file;

extern const srv_file srv_files[];  /* ends with path NULL */

#endif
