/*
 * provenance: where a file's numbers come from, as metadata of the file.
 *
 *   omni.convert.version      the program's version
 *   omni.convert.fingerprint  of the sources' names, sizes and times, and of the options: equal when a new run would
 *                             write the same file
 *   omni.convert.sources      the files read, their names alone
 *   omni.convert.bytes        their sizes
 *   omni.convert.sha256       their sums
 */
#ifndef OM_PROVENANCE_H
#define OM_PROVENANCE_H

#include "checksums.h"
#include "digest.h"

#include "gguf.h"

/* hex: the fingerprint of what is read and of the options as one text. ERR_IO, ERR_MEMORY, ERR_BACKEND. */
int om_fingerprint(const om_checksums *files, const char *options, char hex[OM_DIGEST_HEX]);

/* Sets all keys; sums that are not known yet are as long as those that will be. ERR_MEMORY. */
int om_provenance_set(struct gguf_context *g, const om_checksums *files, const char *fingerprint);

/* Is there a complete file at path with this fingerprint and this general.file_type? (A quantised file keeps the
 * fingerprint of the file it was made of.) */
bool om_provenance_matches(const char *path, const char *fingerprint, int file_type);

/* A line about a file that is known by name or sum, or "" when there is nothing to say: that it is the published
 * one, or that it is not, with both sums. */
void om_known_file(const om_checksum *file, char *line, size_t room);

#endif
