"""Writes the seeds of the fuzzers of Hugging Face's formats into tests/fuzz/corpus/ (small, committed).

    python3 make_corpus_hf.py
"""

import json
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
          r"\s+(?!\S)|\s+")


def save(target, name, data):
    folder = os.path.join(HERE, "corpus", target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


def shard(tensors, data, length=None):
    header = json.dumps(tensors).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors():
    types = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}
    tensors, at = {"__metadata__": {"format": "pt"}}, 0
    for name, size in types.items():
        tensors[name] = tensor(name, [2, 3], at, at + 6 * size)
        at += 6 * size
    save("safetensors", "types", shard(tensors, bytes(range(at))))
    save("safetensors", "empty", shard({}, b""))
    save("safetensors", "number", shard({"n": tensor("F32", [], 0, 4), "none": tensor("F16", [0, 7], 4, 4)}, bytes(4)))
    save("safetensors", "overlap", shard({"a": tensor("F32", [2], 0, 8), "b": tensor("F32", [2], 4, 12)}, bytes(12)))
    save("safetensors", "hole", shard({"a": tensor("F32", [1], 0, 4), "b": tensor("F32", [1], 8, 12)}, bytes(12)))
    save("safetensors", "huge", shard({"a": tensor("F32", [2 ** 62, 4], 0, 4)}, bytes(4)))
    save("safetensors", "length", shard({}, b"", 2 ** 63 - 1))
    save("safetensors", "deep", shard({}, b"")[:8] + b"[" * 3000)


SIZES = {"model_type": "omni_speech2s_llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 96, "vocab_size": 500, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5}


def hf_config():
    speech = dict(SIZES, speech_encoder_ds_rate=5, ctc_upsample_factor=25, unit_vocab_size=1000,
                  ctc_decoder_config="(2,4096,32,11008)", eos_token_id=[401, 408],
                  rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                "original_max_position_embeddings": 8192})
    save("hf_config", "speech", json.dumps(speech).encode())
    plain = dict(SIZES, model_type="llama", head_dim=32, num_key_value_heads=2, tie_word_embeddings=True, eos_token_id=7,
                 rope_scaling={"type": "linear", "factor": 2})
    save("hf_config", "plain", json.dumps(plain).encode())
    save("hf_config", "newer", json.dumps(dict(plain, rope_scaling=None, rope_parameters={"rope_theta": 1e6})).encode())
    save("hf_config", "twice", b'{"model_type":"llama","model_type":"llama"}')
    save("hf_config", "huge", b'{"model_type":"llama","hidden_size":1e999,"num_hidden_layers":99999999999999999999}')


def adapter_config():
    plain = {"peft_type": "LORA", "r": 64, "lora_alpha": 16, "bias": "none", "target_modules": ["q_proj", "model.layers.0.mlp.up_proj"],
             "base_model_name_or_path": "user/base", "modules_to_save": None, "rank_pattern": {}, "init_lora_weights": True}
    save("adapter_config", "plain", json.dumps(plain).encode())
    save("adapter_config", "root", json.dumps(dict(plain, use_rslora=True, target_modules="all-linear", r=1)).encode())
    save("adapter_config", "dora", json.dumps(dict(plain, use_dora=True)).encode())
    save("adapter_config", "huge", b'{"peft_type":"LORA","bias":"none","r":99999999999999999999,"lora_alpha":1e999}')
    save("adapter_config", "twice", b'{"peft_type":"LORA","bias":"none","r":1,"r":2,"lora_alpha":1}')


def tokenizer():
    split = {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": LLAMA3}},
                                                    {"type": "ByteLevel", "use_regex": False}]}
    file = {"added_tokens": [{"id": 500, "content": "<|begin_of_text|>", "special": True}, {"id": 501, "content": "x"}],
            "pre_tokenizer": split, "model": {"type": "BPE", "ignore_merges": True, "merges": ["a b", ["ab", "c d"]],
                                              "vocab": {"a": 0, "b": 1, "ab": 2, "\u0120": 3}},
            "post_processor": {"type": "Sequence", "processors": [
                {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|begin_of_text|>"}}]}]}}
    save("tokenizer", "llama3", json.dumps(file).encode())
    save("tokenizer", "gpt2", json.dumps(dict(file, pre_tokenizer={"type": "ByteLevel"})).encode())
    save("tokenizer", "ids", json.dumps(dict(file, added_tokens=[{"id": 2 ** 40, "content": "far"}])).encode())
    save("tokenizer", "same", json.dumps(dict(file, added_tokens=[{"id": 0, "content": "other"}])).encode())


if __name__ == "__main__":
    safetensors(), hf_config(), adapter_config(), tokenizer()
