/*
 * The LLM file: llama architecture, with a vocabulary built like Llama 3's.
 *
 * Ids 0..255 are the bytes in GPT-2's order, the last 256 the special tokens, and the words of the prompt sit
 * where Llama 3 has them when the vocabulary is large enough: the prompt of a full-size synthetic model
 * has the public model's very ids. All other tokens are made up (" w12345").
 */
#include "synth-file.h"

#include "convert-parts.h"

#include "base/memory.h"
#include "base/status.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TOKEN_ROOM = 40, N_SPECIAL = 256, TYPE_NORMAL = 1, TYPE_CONTROL = 3 };

/* Words of the prompt with their ids in Llama 3; _ is a space, $ a line end. */
static const struct { int id; const char *text; } words[] = {
    {264, "_a"}, {271, "$$"}, {279, "_the"}, {304, "_in"}, {311, "_to"}, {315, "_of"}, {323, "_and"}, {430, "_that"},
    {449, "_with"}, {527, "_are"}, {596, "'s"}, {882, "user"}, {1217, "_user"}, {1472, "_You"}, {1701, "_using"},
    {2262, "_content"}, {2675, "You"}, {3025, "_able"}, {3619, "_understand"}, {4221, "_language"}, {4320, "_answer"},
    {4860, "_questions"}, {5618, "Please"}, {5825, "_provides"}, {5933, "_natural"}, {6089, "_directly"},
    {7945, "_assist"}, {8205, "_variety"}, {8982, "_speech"}, {9125, "system"}, {9256, "_tasks"}, {11190, "_helpful"},
    {18328, "_assistant"}, {78191, "assistant"},
};

static const char *const specials[] = {
    "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>", "<|reserved_special_token_2|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eom_id|>", "<|eot_id|>", "<|python_tag|>",
};
enum { N_NAMED = sizeof specials / sizeof *specials };

/* A code point below 0x800 as UTF-8. */
static void put_utf8(char *out, int c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        out[1] = 0;
    } else {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 63));
        out[2] = 0;
    }
}

static bool is_shown(int byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

/* The bytes as GPT-2's vocabulary shows them: printable ones as themselves and first, the rest from U+0100
 * on. */
static void byte_tokens(char (*text)[TOKEN_ROOM])
{
    int shown = 0, hidden = 0, n_shown = 0;

    for (int b = 0; b < 256; b++)
        n_shown += is_shown(b);
    for (int b = 0; b < 256; b++) {
        if (is_shown(b)) {
            put_utf8(text[shown++], b);
        } else {
            put_utf8(text[n_shown + hidden], 256 + hidden);
            hidden++;
        }
    }
}

/* A prompt word in the vocabulary's spelling: space is U+0120, line end U+010A. */
static void word_token(char *out, const char *word)
{
    for (; *word; word++) {
        if (*word == '_' || *word == '$') {
            put_utf8(out, *word == '_' ? 0x120 : 0x10a);
            out += 2;
        } else {
            *out++ = *word;
        }
    }
    *out = 0;
}

static void vocabulary(char (*text)[TOKEN_ROOM], int32_t *kind, int n)
{
    const int n_plain = n - N_SPECIAL;
    const bool full = n_plain > 78191;      /* room for every word's own id */

    for (int i = 0; i < n; i++) {
        kind[i] = i < n_plain ? TYPE_NORMAL : TYPE_CONTROL;
        snprintf(text[i], TOKEN_ROOM, "\xc4\xa0w%d", i);
    }
    byte_tokens(text);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        word_token(text[full ? (size_t)words[i].id : 256 + i], words[i].text);
    for (int i = 0; i < N_SPECIAL; i++) {
        if (i < N_NAMED)
            snprintf(text[n_plain + i], TOKEN_ROOM, "%s", specials[i]);
        else
            snprintf(text[n_plain + i], TOKEN_ROOM, "<|reserved_special_token_%d|>", i - N_NAMED + 3);
    }
}

static int set_vocabulary(struct gguf_context *g, const om_synth_shape *s)
{
    static const char *merges[] = {"\xc4\xa0 a"}; /* whole words need no merging; the loader wants a list */
    const size_t n = (size_t)s->llm.vocab;
    const uint32_t first = (uint32_t)(s->llm.vocab - N_SPECIAL);
    char (*text)[TOKEN_ROOM] = om_calloc(n, sizeof *text);
    int32_t *kind = om_calloc(n, sizeof *kind);
    const char **pointers = om_calloc(n, sizeof *pointers);

    if (text && kind && pointers) {
        vocabulary(text, kind, s->llm.vocab);
        for (size_t i = 0; i < n; i++)
            pointers[i] = text[i];
        gguf_set_val_str(g, "tokenizer.ggml.model", "gpt2");
        gguf_set_val_str(g, "tokenizer.ggml.pre", "llama-bpe");
        gguf_set_arr_str(g, "tokenizer.ggml.tokens", pointers, n);
        gguf_set_arr_data(g, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, kind, n);
        gguf_set_arr_str(g, "tokenizer.ggml.merges", merges, 1);
        gguf_set_val_u32(g, "tokenizer.ggml.bos_token_id", first);
        gguf_set_val_u32(g, "tokenizer.ggml.eos_token_id", first + 9);
        gguf_set_val_u32(g, "tokenizer.ggml.padding_token_id", first + 4);
        gguf_set_val_bool(g, "tokenizer.ggml.add_bos_token", true);
    }
    const bool done = text && kind && pointers;
    om_free(text);
    om_free(kind);
    om_free(pointers);
    return done ? OMNI_OK : om_fail(OMNI_ERR_MEMORY, "out of memory for a vocabulary of %zu", n);
}

static void set_numbers(struct gguf_context *g, const om_synth_shape *s)
{
    const int width = s->speech.llm.width;

    gguf_set_val_str(g, "general.architecture", "llama");
    gguf_set_val_str(g, "general.name", s->name);
    gguf_set_val_u32(g, "llama.vocab_size", (uint32_t)s->llm.vocab);
    gguf_set_val_u32(g, "llama.context_length", (uint32_t)s->llm.context);
    gguf_set_val_u32(g, "llama.embedding_length", (uint32_t)width);
    gguf_set_val_u32(g, "llama.block_count", (uint32_t)s->llm.layers);
    gguf_set_val_u32(g, "llama.feed_forward_length", (uint32_t)s->llm.ff);
    gguf_set_val_u32(g, "llama.attention.head_count", (uint32_t)s->llm.heads);
    gguf_set_val_u32(g, "llama.attention.head_count_kv", (uint32_t)s->llm.heads_kv);
    gguf_set_val_f32(g, "llama.attention.layer_norm_rms_epsilon", s->llm.eps);
    gguf_set_val_u32(g, "llama.rope.dimension_count", (uint32_t)(width / s->llm.heads));
    gguf_set_val_f32(g, "llama.rope.freq_base", s->llm.rope_base);
}

static void add_rope_factors(om_synth_file *f, const om_synth_shape *s)
{
    const int64_t n = s->speech.llm.width / s->llm.heads / 2;
    float *x = om_synth_table(f, "rope_freqs.weight", 1, &n);

    if (x)
        om_rope_factors((double)s->llm.rope_base, (double)s->llm.rope_factor, (double)s->llm.rope_low,
                        (double)s->llm.rope_high, s->llm.rope_original_context, n, x);
}

static void add_matrix(om_synth_file *f, const char *format, int layer, int64_t rows, int64_t columns,
                       double gain)
{
    const int64_t shape[2] = {rows, columns};
    char name[64];

    snprintf(name, sizeof name, "blk.%d.%s.weight", layer, format);
    om_synth_noise(f, name, om_synth_matrix_type(f, columns), 2, shape, gain / sqrt((double)columns));
}

static void add_norm(om_synth_file *f, const char *what, int layer, int64_t width)
{
    char name[64];

    snprintf(name, sizeof name, "blk.%d.%s.weight", layer, what);
    om_synth_constant(f, name, width, 1.0f);
}

static void add_tensors(om_synth_file *f, const om_synth_shape *s)
{
    const int64_t width = s->speech.llm.width, vocab = s->llm.vocab, ff = s->llm.ff;
    const int64_t kv = width / s->llm.heads * s->llm.heads_kv, table[2] = {vocab, width};
    const double residual = 1.0 / sqrt(2.0 * s->llm.layers); /* so that all layers together add unit size */

    om_synth_noise(f, "token_embd.weight", om_synth_matrix_type(f, width), 2, table, 1.0);
    if (s->llm.rope_factor > 1.0f)
        add_rope_factors(f, s);
    for (int i = 0; i < s->llm.layers; i++) {
        add_norm(f, "attn_norm", i, width);
        add_matrix(f, "attn_q", i, width, width, 1);
        add_matrix(f, "attn_k", i, kv, width, 1);
        add_matrix(f, "attn_v", i, kv, width, 1);
        add_matrix(f, "attn_output", i, width, width, residual);
        add_norm(f, "ffn_norm", i, width);
        add_matrix(f, "ffn_gate", i, ff, width, 1);
        add_matrix(f, "ffn_up", i, ff, width, 1);
        add_matrix(f, "ffn_down", i, width, ff, residual);
    }
    om_synth_constant(f, "output_norm.weight", width, 1.0f);
    om_synth_noise(f, "output.weight", om_synth_output_type(f, width), 2, table, 2.0 / sqrt((double)width));
}

int om_synth_llm(const om_synth_shape *shape, const char *type, uint64_t seed, const om_synth_sink *sink,
                 uint64_t *bytes)
{
    om_synth_file *f = NULL;
    int rc = om_synth_file_new(type, &f);

    if (rc)
        return rc;
    set_numbers(om_synth_file_metadata(f), shape);
    rc = set_vocabulary(om_synth_file_metadata(f), shape);
    add_tensors(f, shape);
    if (!rc)
        rc = om_synth_file_write(f, seed, sink, bytes);
    om_synth_file_free(f);
    return rc;
}
