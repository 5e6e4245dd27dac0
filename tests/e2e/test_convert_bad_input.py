"""omni convert with checkpoints that are broken or hostile: one line that names the fault, and nothing left behind."""

import json
import os
import resource
import shutil
import subprocess
import unittest

import numpy as np
import torch

from checkpoint import CASES, arguments, copy
from program import OMNI, remove, scratch, write

INDEX = "hf/model.safetensors.index.json"


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


class BadInput(unittest.TestCase):
    def setUp(self):
        self.dir = scratch("convert-bad")
        self.addCleanup(remove, self.dir)
        self.folder = copy("published", f"{self.dir}/checkpoint")
        self.out = f"{self.dir}/out"

    def path(self, name):
        return f"{self.folder}/{name}"

    def edit(self, name, **changes):
        """A JSON file with other values; None removes the key."""
        content = load(self.path(name))
        for key, value in changes.items():
            content.pop(key, None)
            if value is not None:
                content[key] = value
        write(self.path(name), json.dumps(content))

    def shard_of(self, tensor):
        return "hf/" + load(self.path(INDEX))["weight_map"][tensor]

    def edit_header(self, tensor, change):
        """change(header) on the shard that holds tensor; the data stay as they are."""
        path = self.path(self.shard_of(tensor))
        with open(path, "rb") as f:
            header, data = json.loads(f.read(int.from_bytes(f.read(8), "little"))), f.read()
        change(header)
        text = json.dumps(header).encode()
        write(path, len(text).to_bytes(8, "little") + text + data)

    def refused(self, *words, limit=None, out=None, options=(), left=()):
        def confine():
            if limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        r = subprocess.run([OMNI, "convert", *arguments("published", self.folder), "-o", out or self.out, *options], timeout=120,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=confine)
        text = r.stderr.decode()
        lines = [line for line in text.splitlines() if not line.startswith("omni: note:")]
        self.assertGreater(r.returncode, 0, (r.returncode, text))       # neither success nor a signal
        self.assertEqual(len(lines), 1, text)
        for word in words:
            self.assertIn(word, lines[0])
        self.assertEqual(os.listdir(self.out) if os.path.isdir(self.out) else [], list(left), lines[0])
        return lines[0]

    # ---- shards and their index ---------------------------------------------

    def test_missing_shard(self):
        os.remove(self.path("hf/model-00002-of-00004.safetensors"))
        self.refused("model-00002-of-00004.safetensors")

    def test_truncated_shard(self):
        path = self.path("hf/model-00003-of-00004.safetensors")
        for keep in (os.path.getsize(path) - 10, 2000, 7, 0):
            os.truncate(path, keep)
            self.refused("model-00003-of-00004.safetensors")

    def test_index_with_a_path(self):
        for name in ("../x.safetensors", "/etc/passwd", "a/b.safetensors", ".."):
            index = load(self.path(INDEX))
            index["weight_map"]["model.norm.weight"] = name
            write(self.path(INDEX), json.dumps(index))
            self.refused("model.safetensors.index.json")

    def test_index_names_the_wrong_shard(self):
        index = load(self.path(INDEX))
        index["weight_map"]["model.norm.weight"] = index["weight_map"]["model.embed_tokens.weight"]
        write(self.path(INDEX), json.dumps(index))
        self.refused("model.norm.weight")

    def test_header(self):
        first = "hf/model-00001-of-00004.safetensors"
        with open(self.path(first), "rb") as f:
            whole = f.read()
        for head in (b"\xff" * 8, (1 << 40).to_bytes(8, "little"), b"\0" * 8):
            write(self.path(first), head + whole[8:])
            self.refused("model-00001-of-00004.safetensors")

    # ---- tensors ---------------------------------------------------------------

    def test_wrong_shape(self):
        name = "model.layers.0.self_attn.q_proj.weight"
        self.edit_header(name, lambda h: h[name].update(shape=[32, 128]))
        self.refused(name, "32", "64")

    def test_offsets(self):
        name = "model.layers.0.self_attn.q_proj.weight"
        for offsets in ([-2, 8190], [8192, 0], [0, 1 << 62], [1 << 63, (1 << 63) + 8192]):
            self.edit_header(name, lambda h, o=offsets: h[name].update(data_offsets=o))
            self.refused("safetensors", name if max(offsets) < 1 << 63 else "integer")      # more than JSON's readers hold

    def test_overlapping(self):
        first, second = "model.layers.0.self_attn.k_proj.weight", "model.layers.0.self_attn.v_proj.weight"
        self.assertEqual(self.shard_of(first), self.shard_of(second))
        self.edit_header(first, lambda h: h[second].update(data_offsets=h[first]["data_offsets"]))
        self.refused("safetensors", "v_proj")

    def test_missing_tensor(self):
        name = "speech_generator.layers.1.mlp.up_proj.weight"
        shard = self.shard_of(name)
        index = load(self.path(INDEX))
        del index["weight_map"][name]
        write(self.path(INDEX), json.dumps(index))
        path = self.path(shard)
        with open(path, "rb") as f:
            whole = f.read()
        write(path, whole.replace(name.encode(), name.replace("up_proj", "op_proj").encode()))
        self.refused("p_proj")

    def test_unknown_tensor(self):
        old, new = "model.layers.1.input_layernorm.weight", "model.layers.7.input_layernorm.weight"
        path = self.path(self.shard_of(old))
        with open(path, "rb") as f:
            whole = f.read()
        write(path, whole.replace(old.encode(), new.encode()))
        index = load(self.path(INDEX))
        index["weight_map"][new] = index["weight_map"].pop(old)
        write(self.path(INDEX), json.dumps(index))
        self.refused("input_layernorm.weight")

    def test_not_a_number(self):
        for name, value in (("model.norm.weight", np.nan), ("speech_generator.input_proj.weight", np.inf)):
            shutil.rmtree(self.folder)
            copy("published", self.folder)
            path = self.path(self.shard_of(name))
            with open(path, "rb") as f:
                size = int.from_bytes(f.read(8), "little")
                begin = 8 + size + json.loads(f.read(size))[name]["data_offsets"][0]
            with open(path, "r+b") as f:
                f.seek(begin + 6)
                f.write(np.float16(value).tobytes())
            if "norm" in name:
                self.refused("not finite", name, os.path.basename(path))
            else:       # the LLM file is whole by then, and stays
                self.refused("not finite", name, os.path.basename(path), left=["hf-F16.gguf"])

    def test_not_a_number_in_the_vocoder(self):
        """Weight norm is folded before anything is written; a folded number that f16 can not hold is theirs, too."""
        path = self.path("vocoder/g_00500000")
        for name, value, says in (("conv_pre.weight_v", np.nan, "not finite"), ("conv_pre.weight_g", np.inf, "not finite"),
                                  ("ups.0.weight_g", 1e9, "f16 can not hold"), ("conv_pre.weight_v", 0.0, "is zero")):
            whole = torch.load(f"{CASES}/published/vocoder/g_00500000")
            whole["generator"][name][0] = value
            torch.save(whole, path)
            self.refused(says, path, name.replace("weight_g", "weight_"),
                         left=["hf-F16.gguf"] if "hold" in says else [])
            shutil.rmtree(self.out, ignore_errors=True)

    # ---- JSON --------------------------------------------------------------------

    def test_tokenizer(self):
        tokenizer = load(self.path("hf/tokenizer.json"))
        model = tokenizer["model"]
        for broken in ({k: v for k, v in model.items() if k != "merges"}, dict(model, type="Unigram"), dict(model, vocab={}),
                       dict(model, merges=[1]), dict(model, vocab=dict(model["vocab"], x=1 << 40))):
            write(self.path("hf/tokenizer.json"), json.dumps(dict(tokenizer, model=broken)))
            self.refused("tokenizer.json")
        os.remove(self.path("hf/tokenizer.json"))
        self.refused("tokenizer.json")

    def test_another_architecture(self):
        self.edit("hf/config.json", model_type="qwen2", architectures=["Qwen2ForCausalLM"])
        self.refused("config.json", "model_type", "qwen2", "llama")

    def test_config(self):
        for key, value in (("hidden_size", None), ("hidden_size", -1), ("num_attention_heads", 0), ("vocab_size", 1 << 50),
                           ("num_hidden_layers", "two"), ("ctc_decoder_config", "(2,64)"), ("hidden_act", "relu"),
                           ("rope_scaling", {"rope_type": "yarn", "factor": 4.0}), ("rms_norm_eps", 1e9)):
            shutil.copy(f"{CASES}/published/hf/config.json", self.path("hf/config.json"))
            self.edit("hf/config.json", **{key: value})
            self.refused("config.json", key.split("_")[0])
        for text in ("", "{", "[1]", "[" * 100000, '{"a":' * 100000):
            write(self.path("hf/config.json"), text)
            self.refused("config.json")

    def test_vocoder_config(self):
        for key, value in (("upsample_rates", [5, 4]), ("embedding_dim", 16), ("num_embeddings", 49), ("f0", True),
                           ("upsample_initial_channel", 128), ("resblock", "2"), ("code_hop_size", 160),
                           ("dur_predictor_params", None)):
            shutil.copy(f"{CASES}/published/vocoder/config.json", self.path("vocoder/config.json"))
            self.edit("vocoder/config.json", **{key: value})
            self.refused("vocoder")

    # ---- vocoder and Whisper files -------------------------------------------------

    def test_vocoder_file(self):
        path = self.path("vocoder/g_00500000")
        size = os.path.getsize(path)
        for keep in (size - 1, size // 2, 100, 0):
            os.truncate(path, keep)
            self.refused("g_00500000")
        write(path, b"not a checkpoint at all\n" * 100)
        self.refused("g_00500000")
        os.remove(path)
        self.refused("g_00500000")

    # ---- where it goes -------------------------------------------------------------

    def test_no_folder(self):
        write(f"{self.dir}/file", "x")
        self.refused("file", out=f"{self.dir}/file")
        self.refused("nowhere", out=f"{self.dir}/nowhere/below")

    def test_not_writable(self):
        self.refused("/proc", out="/proc/omni")     # also for root

    def test_disk_full(self):
        """Neither file fits; then the first does, and stays: it is complete."""
        r = subprocess.run([OMNI, "convert", *arguments("published", self.folder), "-o", self.out], stderr=subprocess.PIPE)
        self.assertEqual(r.returncode, 0, r.stderr)
        llm, speech = (f"{self.out}/{name}" for name in sorted(os.listdir(self.out)))
        with open(llm, "rb") as f:
            whole = f.read()
        self.assertGreater(os.path.getsize(speech), len(whole) + 4096)
        shutil.rmtree(self.out)
        for limit in (4096, len(whole) - 1):
            self.refused("gguf", limit=limit)
        shutil.rmtree(self.out, ignore_errors=True)
        self.refused("speech", limit=len(whole) + 4096, left=[os.path.basename(llm)])
        with open(llm, "rb") as f:
            self.assertTrue(f.read() == whole)

    def test_types(self):
        self.refused("q9_9", options=("--llm-type", "q9_9"))
        self.refused("q4_0", options=("--speech-type", "q4_0"))

    def test_no_vocoder(self):
        shutil.rmtree(self.path("vocoder"))
        self.refused("vocoder")


if __name__ == "__main__":
    unittest.main()
