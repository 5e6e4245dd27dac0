/* files: which two files make up the model that a path names. */
#ifndef OM_FILES_H
#define OM_FILES_H

typedef struct om_files { char *llm, *speech; } om_files;

/* path: a directory with <name>-<TYPE>.gguf and <name>-speech-<TYPE>.gguf, or the path of the former.
 * ERR_IO (nothing there), ERR_MODEL (no pair, or more than one: the message lists what was found),
 * ERR_MEMORY. */
int  om_files_find(const char *path, om_files *out);
void om_files_free(om_files *files);    /* {0} is allowed */

#endif
