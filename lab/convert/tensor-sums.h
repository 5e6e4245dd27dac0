/* tensor-sums: SHA-256 of the tensors of a GGUF file. */
#ifndef OM_TENSOR_SUMS_H
#define OM_TENSOR_SUMS_H

enum { OM_TENSOR_SUM = 65 };

typedef struct om_tensor_sums om_tensor_sums;

/* ERR_IO, ERR_FORMAT, ERR_MEMORY. */
int  om_tensor_sums_open(const char *path, om_tensor_sums **out);
void om_tensor_sums_free(om_tensor_sums *s);
/* Of the bytes of the tensor called name, as 64 hexadecimal digits. ERR_MODEL (none of that name), ERR_IO, ERR_MEMORY,
 * ERR_BACKEND. */
int  om_tensor_sums_get(const om_tensor_sums *s, const char *name, char hex[OM_TENSOR_SUM]);

#endif
