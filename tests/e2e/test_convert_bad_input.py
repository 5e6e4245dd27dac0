"""omni convert with checkpoints that are broken or hostile: one line that names the fault, and nothing left behind."""

import json
import os
import resource
import shutil
import subprocess
import unittest
import zipfile

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

    def test_headers_that_lie(self):
        name = "model.layers.0.self_attn.q_proj.weight"
        with open(self.path(self.shard_of(name)), "rb") as f:
            whole = f.read()
        for change, says in (
                (lambda h: h[name].update(dtype="F8_E4M3"), "F8_E4M3"), (lambda h: h[name].update(shape=[1 << 62, 4]), name),
                (lambda h: h[name].update(shape=[2] * 9), name), (lambda h: h[name].update(shape=[-64, -64]), name),
                (lambda h: h[name].update(extra=1), name), (lambda h: h.update({name: 7}), name),
                (lambda h: h.pop(name), "hole"), (lambda h: h.update(more=dict(h[name], shape=[0], data_offsets=[0, 0])), "more")):
            write(self.path(self.shard_of(name)), whole)
            self.edit_header(name, change)
            self.refused("safetensors", says)
        text = whole[8:8 + int.from_bytes(whole[:8], "little")]
        twice = text.replace(b"{", b'{"' + name.encode() + b'":{"dtype":"F16","shape":[0],"data_offsets":[0,0]},', 1)
        for header, says in ((twice, "duplicate"), (b"[" * 100000, "depth"), (b'{"a":' * 100000, "depth"), (b"\xff" + text[1:], "decode"),
                             (text.replace(b"F16", b"F\0" b"6", 1), "control")):
            write(self.path(self.shard_of(name)), len(header).to_bytes(8, "little") + header + whole[8 + len(text):])
            self.refused("safetensors", says)

    def test_names_are_printed_harmlessly(self):
        """A tensor's name may hold what a terminal obeys."""
        self.edit_header("model.norm.weight", lambda h: h.update({"\x1b[31m\n\x07red": 7}))
        line = self.refused("safetensors", "red")
        self.assertTrue(line.isprintable(), line)

    def test_git_lfs_pointers(self):
        """What a clone without git-lfs leaves in the place of big files."""
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 4976698672\n"
        write(self.path("hf/model-00002-of-00004.safetensors"), pointer)
        self.refused("model-00002-of-00004.safetensors", "git lfs pull")
        shutil.copy(f"{CASES}/published/hf/model-00002-of-00004.safetensors", self.path("hf"))
        write(self.path("vocoder/g_00500000"), pointer)
        self.refused("g_00500000", "git lfs pull")

    def test_what_is_no_file(self):
        """Pipes are not waited for, folders and loops are not read."""
        for name in ("hf/config.json", "hf/generation_config.json", "hf/tokenizer.json", "hf/tokenizer_config.json", INDEX,
                     "hf/chat_template.jinja", "hf/model-00002-of-00004.safetensors", "vocoder/g_00500000", "vocoder/config.json"):
            for make in (os.mkfifo, os.mkdir, lambda path: os.symlink(path, path)):
                path = self.path(name)
                before = os.path.exists(path) and os.rename(path, f"{self.dir}/before") is None
                make(path)
                if make in (os.mkfifo, os.mkdir):
                    self.refused(os.path.basename(name), "regular file")
                elif name.endswith(("safetensors", INDEX, "hf/config.json", "tokenizer.json", "g_00500000")):   # others: as if missing
                    self.refused(os.path.basename(path) if name != INDEX else "model.safetensors")
                (os.rmdir if make is os.mkdir else os.remove)(path)
                if before:
                    os.rename(f"{self.dir}/before", path)

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

    def test_tokens_that_contradict(self):
        tokenizer = load(self.path("hf/tokenizer.json"))
        model, added = tokenizer["model"], tokenizer["added_tokens"]
        first = min(model["vocab"], key=model["vocab"].get)
        for change, says in (
                ({"model": dict(model, vocab=dict(model["vocab"], zzz=0))}, "same id"),
                ({"added_tokens": [dict(added[0], content=first)] + added[1:]}, "twice"),
                ({"added_tokens": [dict(added[0], id=5)] + added[1:]}, "same id"),
                ({"added_tokens": [dict(added[0], id="5")] + added[1:]}, "id"),
                ({"added_tokens": [dict(added[0], content=None)]}, "content"), ({"added_tokens": {"a": 1}}, "added_tokens"),
                ({"model": dict(model, vocab=[["a", 0.5]])}, "vocab"), ({"model": dict(model, merges={"a": "b"})}, "merges"),
                ({"model": dict(model, merges=[["a", "b", "c"]])}, "merges"), ({"model": 7}, "model"),
                ({"pre_tokenizer": None}, "pre_tokenizer"), ({"pre_tokenizer": {"type": "Whitespace"}}, "pre_tokenizer")):
            write(self.path("hf/tokenizer.json"), json.dumps(dict(tokenizer, **change)))
            self.refused("tokenizer.json", says)
        for text in (b"", b"\xff\xfe{}", b"[" * 100000, b'{"model":{"type":"BPE"},"model":{}}', b'{"model":"\\u0000"}', b" " * (25 << 20)):
            write(self.path("hf/tokenizer.json"), text)
            self.refused("tokenizer.json")

    def test_sizes_that_are_not_the_tensors(self):
        vocabulary = load(self.path("hf/config.json"))["vocab_size"]
        for key, value, says in (
                ("num_attention_heads", 3, "num_attention_heads"), ("num_key_value_heads", 3, "num_key_value_heads"),
                ("num_attention_heads", 8, "k_proj"), ("num_key_value_heads", 4, "k_proj"), ("head_dim", 7, "head_dim"),
                ("vocab_size", vocabulary + 1, "embed_tokens"), ("vocab_size", vocabulary - 1, "vocab_size"),
                ("num_hidden_layers", 3, "layers.2"), ("num_hidden_layers", 1, "layers.1"), ("intermediate_size", 97, "mlp"),
                ("hidden_size", 128, "embed_tokens"), ("tie_word_embeddings", "no", "tie_word_embeddings"),
                ("attention_bias", True, "q_proj.bias"), ("mlp_bias", True, "gate_proj.bias"),
                ("ctc_decoder_config", "(2,64,0,96)", "ctc_decoder_config"), ("ctc_decoder_config", "(2,64,5,96)", "ctc_decoder_config"),
                ("ctc_decoder_config", "(3,64,4,96)", "speech_generator.layers.2"), ("ctc_decoder_config", "(1,64,4,96)", "speech_generator"),
                ("ctc_decoder_config", "(2,32,4,96)", "speech_generator"), ("unit_vocab_size", 51, "unit_vocab_size"),
                ("speech_encoder_ds_rate", 4, "speech_projector"), ("ctc_upsample_factor", 0, "ctc_upsample_factor"),
                ("speech_encoder_hidden_size", 1280, "speech_encoder_hidden_size"), ("speech_encoder_type", "hubert", "speech_encoder_type"),
                ("bos_token_id", 1 << 30, "bos_token_id"), ("eos_token_id", [-1], "eos_token_id"),
                ("rope_theta", 0, "rope_theta"), ("rope_scaling", {"rope_type": "llama3", "factor": 0}, "factor"),
                ("max_position_embeddings", 1 << 40, "max_position_embeddings")):
            with self.subTest(key=key, value=value):
                shutil.copy(f"{CASES}/published/hf/config.json", self.path("hf/config.json"))
                self.edit("hf/config.json", **{key: value})
                self.refused(says)
        shutil.copy(f"{CASES}/published/hf/config.json", self.path("hf/config.json"))
        self.edit("hf/generation_config.json", eos_token_id=[vocabulary])
        self.refused("generation_config.json", "eos_token_id", str(vocabulary))
        write(self.path("hf/config.json"), b'{"model_type":"llama","model_type":"llama"}')
        self.refused("config.json", "duplicate")

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

    def test_hostile_checkpoints_of_torch(self):
        """Nothing is run, nothing is unpacked, nothing grows: the fault is named."""
        start, path = b"\x80\x02", self.path("whisper.pt")

        def tensor(count, shape):
            """{"a": a tensor of that shape in a storage of count numbers}"""
            numbers = b"".join(b"\x8a\x08" + n.to_bytes(8, "little") for n in [count, *shape])
            return (start + b"}U\x01actorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpu" + numbers[:10] +
                    b"tQK\x00(" + numbers[10:] + b"t(" + b"K\x01" * len(shape) + b"t\x89}tRs.")

        pickles = {
            "posix.system": start + b"cposix\nsystem\n(U\x04truetR.", "builtins.eval": start + b"cbuiltins\neval\n(U\x011tR.",
            "within themselves": start + b"]q\x00h\x00a.", "a memo": start + b"h\x07.", "too many open groups": start + b"(" * 5000,
            "text longer": start + b"X\xff\xff\xff\x7f", "without a single array": start + b"}.",
            "found fewer bytes": tensor(1 << 60, [1]), "behind its storage": tensor(4, [1 << 40]),
            "instruction 0x49 (INT)": start + b"I1\n.", "protocol 2 to 5": b"I1\n.",
        }
        for says, data in pickles.items():
            with zipfile.ZipFile(path, "w") as z:
                z.writestr("archive/data.pkl", data)
                z.writestr("archive/data/0", bytes(16))
            self.refused("whisper.pt", says, options=("--whisper", path))
        for name, kind, says in (("archive/data.pkl", zipfile.ZIP_DEFLATED, "compressed"), ("../data.pkl", zipfile.ZIP_STORED, "leads elsewhere"),
                                 ("/etc/data.pkl", zipfile.ZIP_STORED, "leads elsewhere"), ("a/other.pkl", zipfile.ZIP_STORED, "no data.pkl")):
            with zipfile.ZipFile(path, "w", kind) as z:
                z.writestr(name, bytes(10 << 20) if kind else b"\x80\x02}.")
            self.refused("whisper.pt", says, options=("--whisper", path))

    def test_a_bit_of_the_vocoder(self):
        """Its publisher gives no checksum; the container has one of each storage."""
        path = self.path("vocoder/g_00500000")
        torch.save(torch.load(f"{CASES}/published/vocoder/g_00500000"), path)
        with zipfile.ZipFile(path) as z:
            biggest = max(z.infolist(), key=lambda i: i.file_size)
        with open(path, "rb") as f:
            data = bytearray(f.read())
        data[biggest.header_offset + 1000] ^= 1
        write(path, bytes(data))
        self.refused("g_00500000", "CRC-32", biggest.filename)

    def test_whisper_of_other_sizes(self):
        """A true file, which does not fit: dims that lie, a width that is not the configuration's."""
        good = torch.load(f"{CASES}/wide/whisper.pt")
        path = self.path("whisper.pt")
        for dims, says in ((dict(good["dims"], n_audio_head=0), "n_audio_head"), (dict(good["dims"], n_audio_head=7), "head"),
                           (dict(good["dims"], n_audio_head="4"), "n_audio_head"), ({}, "n_audio_head")):
            torch.save(dict(good, dims=dims), path)
            self.refused(says, options=("--whisper", path))
        state = dict(good["model_state_dict"])
        del state["encoder.blocks.1.attn.key.weight"]
        torch.save(dict(good, model_state_dict=state), path)
        self.refused("whisper.pt", "encoder.blocks.1.attn.key.weight", options=("--whisper", path))
        torch.save(dict(good, model_state_dict={n: t for n, t in state.items() if "encoder" not in n}), path)
        self.refused("whisper.pt", "encoder.conv1.weight", options=("--whisper", path))

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
