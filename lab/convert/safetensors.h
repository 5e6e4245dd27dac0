/*
 * safetensors: Hugging Face's tensor files, strictly.
 *
 * A file is the header's length (u64), the header (JSON: name -> dtype, shape, data_offsets), the data. Refused:
 * duplicate names, unknown types, sizes that do not follow from the shape, data that overlaps, has holes or
 * does not end with the file.
 */
#ifndef OM_SAFETENSORS_H
#define OM_SAFETENSORS_H

#include "source.h"

/* Adds every array of one file. ERR_IO, ERR_FORMAT, ERR_MEMORY. */
int om_safetensors_open(om_source *s, const char *path);

/* Adds what a folder holds: model.safetensors, or model.safetensors.index.json and the shards it names; else
 * pytorch_model.bin or its index, through torch-file.h. An index may name only files of its own folder, and
 * must agree with them. ERR_IO, ERR_FORMAT, ERR_MEMORY. */
int om_safetensors_open_folder(om_source *s, const char *folder);

#endif
