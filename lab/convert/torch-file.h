/*
 * torch-file: PyTorch checkpoints, as torch.save writes them.
 *
 *   zip container (since 1.6)   ROOT/data.pkl, ROOT/data/KEY per storage, ROOT/byteorder ("little", or absent)
 *   legacy container            pickles: magic, 1001, machine, value, storage keys; then per key its count (i64)
 *                               and elements
 *
 * The arrays are found wherever they are in nested dicts, lists and tuples; their names are the keys joined by
 * dots: "model_state_dict.encoder.conv1.weight". Nothing is executed (pickle.h). Refused with the reason: tar
 * containers (before 0.1.10), programs (TorchScript, pickled modules), files of big-endian machines.
 */
#ifndef OM_TORCH_FILE_H
#define OM_TORCH_FILE_H

#include "source.h"

/* Adds every array of the checkpoint. Views of one storage become arrays at the same place. ERR_IO, ERR_MEMORY,
 * ERR_FORMAT (also when there is no array). After a failure the source may hold some of them. */
int om_torch_open(om_source *s, const char *path);

/* A plain number by its joined keys, e.g. "dims.n_audio_layer". ERR_IO, ERR_MEMORY, ERR_FORMAT (also when there
 * is none of that name). Only the checkpoint's pickle is read. */
int om_torch_number(const char *path, const char *key, double *out);

#endif
