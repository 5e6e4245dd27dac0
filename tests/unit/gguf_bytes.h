/*
 * GGUF files made byte by byte, so that a test can write what no writer would.
 *
 *   gguf_bytes f;
 *   gguf_begin(&f, 3, n_tensors, n_pairs);
 *   gguf_u32(&f, "key", 7); ...
 *   gguf_tensor(&f, "name", 2, (uint64_t[]){4, 3}, GGML_TYPE_F32, offset); ...
 *   gguf_pad(&f); gguf_raw(&f, data, size);
 *   gguf_save(&f, path);
 */
#ifndef GGUF_BYTES_H
#define GGUF_BYTES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { unsigned char bytes[1 << 16]; size_t n; } gguf_bytes;

enum { G_U8, G_I8, G_U16, G_I16, G_U32, G_I32, G_F32, G_BOOL, G_STR, G_ARRAY, G_U64, G_I64, G_F64 };

static inline void gguf_raw(gguf_bytes *f, const void *data, size_t n)
{
    if (n > sizeof f->bytes - f->n)
        abort();
    memcpy(f->bytes + f->n, data, n);
    f->n += n;
}

static inline void gguf_n32(gguf_bytes *f, uint32_t v) { gguf_raw(f, &v, sizeof v); }
static inline void gguf_n64(gguf_bytes *f, uint64_t v) { gguf_raw(f, &v, sizeof v); }

static inline void gguf_text(gguf_bytes *f, const char *s)
{
    gguf_n64(f, strlen(s));
    gguf_raw(f, s, strlen(s));
}

static inline void gguf_begin(gguf_bytes *f, uint32_t version, uint64_t n_tensors, uint64_t n_pairs)
{
    f->n = 0;
    gguf_raw(f, "GGUF", 4);
    gguf_n32(f, version);
    gguf_n64(f, n_tensors);
    gguf_n64(f, n_pairs);
}

static inline void gguf_key(gguf_bytes *f, const char *key, uint32_t type)
{
    gguf_text(f, key);
    gguf_n32(f, type);
}

static inline void gguf_u32(gguf_bytes *f, const char *key, uint32_t v)
{
    gguf_key(f, key, G_U32);
    gguf_n32(f, v);
}

static inline void gguf_f32(gguf_bytes *f, const char *key, float v)
{
    gguf_key(f, key, G_F32);
    gguf_raw(f, &v, sizeof v);
}

static inline void gguf_bool(gguf_bytes *f, const char *key, int v)
{
    unsigned char byte = v != 0;

    gguf_key(f, key, G_BOOL);
    gguf_raw(f, &byte, 1);
}

static inline void gguf_str(gguf_bytes *f, const char *key, const char *v)
{
    gguf_key(f, key, G_STR);
    gguf_text(f, v);
}

static inline void gguf_i32s(gguf_bytes *f, const char *key, const int32_t *v, size_t n)
{
    gguf_key(f, key, G_ARRAY);
    gguf_n32(f, G_I32);
    gguf_n64(f, n);
    gguf_raw(f, v, n * sizeof *v);
}

static inline void gguf_tensor(gguf_bytes *f, const char *name, uint32_t n_dims, const uint64_t *ne,
                               uint32_t type, uint64_t offset)
{
    gguf_text(f, name);
    gguf_n32(f, n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        gguf_n64(f, ne[i]);
    gguf_n32(f, type);
    gguf_n64(f, offset);
}

static inline void gguf_pad(gguf_bytes *f)
{
    while (f->n % 32)
        gguf_raw(f, "", 1);
}

static inline void gguf_save(const gguf_bytes *f, const char *path)
{
    FILE *file = fopen(path, "wb");

    if (!file || fwrite(f->bytes, 1, f->n, file) != f->n || fclose(file) != 0)
        abort();
}

#endif
