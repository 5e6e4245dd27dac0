/*
 * source: a foreign checkpoint as a list of named arrays, whatever file it came from.
 *
 * One reader per format fills it (safetensors.c, torch-file.c); the converter reads rows of it as f32. A reader
 * copies nothing of the data: it checks that every array lies inside its file, and remembers where. So a source
 * of 18 GB costs a few hundred KB, and reading is bounded by the rows asked for.
 */
#ifndef OM_SOURCE_H
#define OM_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OM_SOURCE_MAX_DIMS 8

typedef enum om_source_type {
    OM_SOURCE_F32, OM_SOURCE_F16, OM_SOURCE_BF16, OM_SOURCE_F64,
    OM_SOURCE_I64, OM_SOURCE_I32, OM_SOURCE_U8, OM_SOURCE_BOOL      /* listed, never converted */
} om_source_type;

/* A change of a matrix that is kept beside it (lora.h). */
typedef struct om_lora_pair om_lora_pair;

typedef struct om_source_tensor {
    const char    *name;                          /* as in the file, e.g. "model.layers.0.mlp.up_proj.weight" */
    om_source_type type;
    int            n_dims;                        /* 0: a number                                             */
    int64_t        shape[OM_SOURCE_MAX_DIMS];     /* C order, slowest first                                  */
    int64_t        stride[OM_SOURCE_MAX_DIMS];    /* in elements; contiguous unless the file says otherwise  */
    int            file;                          /* index into om_source.files                              */
    uint64_t       offset;                        /* bytes from the file's beginning to element [0]...[0]    */
    const om_lora_pair *lora;                     /* what is added when it is read; NULL: nothing            */
} om_source_tensor;

typedef struct om_source_file {
    char    *path;
    int      fd;
    uint64_t size;
} om_source_file;

typedef struct om_source {
    om_source_file   *files;
    int               n_files;
    om_source_tensor *tensors;                    /* sorted by name, names distinct */
    int               n_tensors;
} om_source;

/* An empty source / everything it owns: descriptors, names, lists. NULL is fine to free. */
om_source *om_source_new(void);
void       om_source_free(om_source *s);

/* Readers add to these. The path and the name are copied; fd becomes the source's. ERR_MEMORY; om_source_add also
 * ERR_FORMAT when the array does not lie within the file or its size overflows (the reason is the last error). */
int om_source_add_file(om_source *s, const char *path, int fd, uint64_t size, int *index);
int om_source_add(om_source *s, const om_source_tensor *t);
/* Sorts; ERR_FORMAT when a name is there twice. */
int om_source_finish(om_source *s);

/* Moves the files and arrays of from into s, in the place of arrays of the same names; both are finished, s stays so.
 * from is freed, also on failure. ERR_MEMORY. */
int om_source_take_over(om_source *s, om_source *from);

/* NULL when there is none of that name (after finish). */
const om_source_tensor *om_source_find(const om_source *s, const char *name);
int64_t om_source_count(const om_source_tensor *t);      /* elements */

/* Elements [first, first + n) of the array in C order, as f32, with what its lora adds. ERR_IO (short read), ERR_ARG
 * (range, integer type), ERR_MEMORY (lora). */
int om_source_read(const om_source *s, const om_source_tensor *t, int64_t first, int64_t n, float *out);

/* Bytes of an element, and the type's name in safetensors' spelling. */
size_t      om_source_type_size(om_source_type type);
const char *om_source_type_name(om_source_type type);
/* Sets the strides of an array without gaps from its shape. */
void        om_source_contiguous(om_source_tensor *t);

#endif
