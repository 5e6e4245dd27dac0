/* mapped: tensors of ours as feeds from tensors of theirs, and the account of which of theirs were used. */
#ifndef OM_MAPPED_H
#define OM_MAPPED_H

#include "gguf-out.h"
#include "source.h"

typedef enum om_how { OM_HOW_COPY, OM_HOW_QUERY, OM_HOW_KEY, OM_HOW_FOLD, OM_HOW_TABLE } om_how;

/* A checkpoint and which of its tensors were taken. */
typedef struct om_origin {
    om_source *source;
    bool      *used;        /* [n_tensors] */
} om_origin;

/* One tensor of ours. */
typedef struct om_mapped {
    const om_source        *source;
    const om_source_tensor *tensor;     /* FOLD: the direction; NULL for TABLE */
    om_how how;
    int    heads;           /* QUERY, KEY */
    float *table;           /* TABLE, FOLD: the numbers themselves */
    enum ggml_type type;    /* of the output */
    int     n_dims;
    int64_t shape[4];       /* C order */
    char    name[64];
} om_mapped;

/* The tensors of one output file; addresses stay valid. */
typedef struct om_mapped_list {
    om_mapped *items;
    int n, cap;
} om_mapped_list;

/* Takes over source, also on failure. ERR_MEMORY. */
int  om_origin_new(om_source *source, om_origin *out);
void om_origin_free(om_origin *o);
/* The tensor called name, marked as used; it must have this shape. ERR_MODEL naming it. */
int  om_origin_take(om_origin *o, const char *name, int n_dims, const int64_t *shape, const om_source_tensor **out);
/* Marks what begins with prefix as used. */
void om_origin_skip(om_origin *o, const char *prefix);
/* How many tensors were neither used nor are known to be unneeded; *first is one of them. */
int  om_origin_left(const om_origin *o, const om_source_tensor **first);

int  om_mapped_list_new(int cap, om_mapped_list *out);      /* ERR_MEMORY */
void om_mapped_list_free(om_mapped_list *l);
om_mapped *om_mapped_add(om_mapped_list *l);                /* the next one, zeroed; NULL when full */
/* Adds every tensor to the file in the order in which they lie in the sources. What om_gguf_out_add returns. */
int  om_mapped_put(om_mapped_list *l, om_gguf_out *out);

/* A feed's read for an om_mapped: elements in C order. */
int  om_mapped_read(const void *mapped, int64_t first, int64_t n, float *out);
/* A feed's name for it: the file and tensor of theirs. */
void om_mapped_name(const void *mapped, char *text, size_t room);

#endif
