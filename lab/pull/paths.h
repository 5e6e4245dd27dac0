/* paths: names of files put together, folders made on the way, small files written whole. */
#ifndef OM_PATHS_H
#define OM_PATHS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
/* The formatted text in memory of its own (om_free), or NULL: no memory, or longer than PATH_MAX (the reason is
 * the last error). */
char *om_path(const char *format, ...);

/* The environment variable's value, NULL when it is not set or empty. */
const char *om_env(const char *name);

/* $name with a leading ~/ made the home folder; NULL when not set, empty, or without memory. om_free. */
char *om_env_path(const char *name);

/* $XDG_CACHE_HOME or ~/.cache; $XDG_CONFIG_HOME or ~/.config. NULL: no memory or no home (last error). om_free. */
char *om_cache_home(void);
char *om_config_home(void);

/* Makes the folder and those above it. OK or ERR_IO. */
int om_make_folders(const char *path);
/* The same for the folder that path lies in. */
int om_make_parents(const char *path);

/* Writes n bytes under the name path: the whole, or nothing. OK, ERR_IO, ERR_MEMORY. */
int om_write_whole(const char *path, const void *bytes, size_t n);
/* Reads at most cap - 1 bytes and ends them with NUL. OK; AGAIN: there is no such file; ERR_IO; ERR_LIMIT: longer. */
int om_read_whole(const char *path, char *text, size_t cap);

/* Makes path a symbolic link to target, in place of what is there unless that is a folder. OK, ERR_IO, ERR_MEMORY. */
int om_link_whole(const char *target, const char *path);

/* Are both in one file system, as far as they are there yet? */
bool om_same_file_system(const char *a, const char *b);

/* Is there room for `bytes` more in the file system of path (which need not be there yet)? OK; ERR_IO with both
 * numbers and what says it is for. */
int om_space_check(const char *path, uint64_t bytes, const char *what);

#endif
