"""omni convert of LoRA checkpoints: what it merges is what torch merges (f32), and what it can not merge it refuses by name."""

import json
import os
import shutil
import unittest

import numpy as np
import torch

from checkpoint import CASES, arguments, copy, probe
from gguf_file import tensors
from program import gguf_string, remove, run, scratch, write

import checkpoint_files as files    # of tests/oracle

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
CONFIG = {      # what PEFT writes, as of several versions
    "alpha_pattern": {}, "auto_mapping": None, "bias": "none", "eva_config": None, "exclude_modules": None, "fan_in_fan_out": False,
    "inference_mode": True, "init_lora_weights": True, "layer_replication": None, "layers_pattern": None,
    "layers_to_transform": None, "loftq_config": {}, "lora_alpha": 16, "lora_bias": False, "lora_dropout": 0.05,
    "megatron_config": None, "megatron_core": "megatron.core", "modules_to_save": None, "peft_type": "LORA", "r": 4,
    "rank_pattern": {}, "revision": None, "target_modules": TARGETS, "task_type": "CAUSAL_LM", "use_dora": False,
    "use_rslora": False}


def read_shards(folder):
    """{name: tensor} of a Hugging Face folder."""
    found = {}
    for file in sorted(f for f in os.listdir(folder) if f.endswith(".safetensors")):
        with open(f"{folder}/{file}", "rb") as f:
            header, data = json.loads(f.read(int.from_bytes(f.read(8), "little"))), bytearray(f.read())
        for name, about in header.items():
            if name != "__metadata__":
                begin, end = about["data_offsets"]
                found[name] = torch.frombuffer(data[begin:end], dtype=TYPES[about["dtype"]]).reshape(about["shape"])
    return found


def remove_shards(folder):
    for file in os.listdir(folder):
        if "safetensors" in file:
            os.remove(f"{folder}/{file}")


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


class Lora(unittest.TestCase):
    def setUp(self):
        self.dir = scratch("convert-lora")
        self.addCleanup(remove, self.dir)

    def make(self, name, kind="safetensors", plain_base=False, **config):
        """DIR/base, DIR/adapter and DIR/merged of one of the toy checkpoints; returns what was changed."""
        torch.manual_seed(7)
        base, merged = copy(name, f"{self.dir}/base"), copy(name, f"{self.dir}/merged")
        config = dict(CONFIG, base_model_name_or_path=f"{base}/hf", **config)
        rank = config["r"]
        scale = config["lora_alpha"] / (rank ** 0.5 if config["use_rslora"] else rank)
        whole, pairs, changed = read_shards(f"{base}/hf"), {}, set()
        trained = {n: t * 1.25 for n, t in whole.items() if n.startswith(("model.speech_projector.", "speech_generator.in"))}
        result = dict(whole, **trained)
        for weight in sorted(n for n in whole if n.split(".")[-2] in TARGETS):
            rows, columns = whole[weight].shape
            a, b = torch.randn(rank, columns) * 0.1, torch.randn(rows, rank) * 0.1
            if kind == "bin":       # as training often has them
                a, b = a.bfloat16(), b.t().contiguous().t()
            pairs[f"base_model.model.{weight[:-7]}.lora_A.weight"], pairs[f"base_model.model.{weight[:-7]}.lora_B.weight"] = a, b
            result[weight] = whole[weight].float() + scale * (b.float() @ a.float())
            changed.add(weight)
        if plain_base:      # a model that was never taught to listen
            trained = {n: t for n, t in result.items() if n.startswith(("model.speech_", "speech_generator.")) and n not in changed}
            trained.update({n: whole[n] for n in changed if n.startswith("speech_generator.")})
            for part in list(trained):
                del whole[part]
            for part in [n for n in changed if n.startswith("speech_generator.")]:
                result[part] = trained[part]
                changed.remove(part)
                for half in "AB":
                    del pairs[f"base_model.model.{part[:-7]}.lora_{half}.weight"]
        self.write(base, merged, whole, result, pairs, trained, config, kind)
        return changed, set(trained)

    def write(self, base, merged, whole, result, pairs, trained, config, kind):
        adapter = f"{self.dir}/adapter"
        os.makedirs(adapter)
        for folder, content in ((base, whole), (merged, result)):
            remove_shards(f"{folder}/hf")
            files.write_shards(f"{folder}/hf", content, 2)
        shutil.copy(f"{base}/hf/config.json", adapter)
        files.write_json(f"{adapter}/adapter_config.json", config)
        if kind == "bin":
            torch.save(pairs, f"{adapter}/adapter_model.bin")
        else:
            files.write_safetensors(f"{adapter}/adapter_model.safetensors", pairs)
        torch.save({f"base_model.model.{n}": t for n, t in trained.items()}, f"{adapter}/non_lora_trainables.bin")

    def arguments(self, name, folder):
        """Of omni convert, with folder's checkpoint and the base's other files."""
        return ["--hf", folder, *arguments(name, f"{self.dir}/base")[2:]]

    def convert(self, name, folder, out, *options, kind="f32"):
        return run("convert", *self.arguments(name, folder), "-o", f"{self.dir}/{out}", "--llm-type", kind, "--speech-type", kind,
                   "--name", "toy", *options)

    def compare(self, name, changed, kind="f32", tolerance=2.0 ** -22):
        """Both conversions have equal tensors; returns how many are not the base's."""
        r = self.convert(name, f"{self.dir}/adapter", f"ours-{kind}", "--verify", kind=kind)
        self.assertEqual(r.returncode, 0, r.stderr.decode())
        self.assertIn(f"LoRA changes {len(changed)} of its matrices".encode(), r.stderr)
        r = self.convert(name, f"{self.dir}/merged/hf", f"torch-{kind}", kind=kind)
        self.assertEqual(r.returncode, 0, r.stderr.decode())
        files_made = sorted(os.listdir(f"{self.dir}/ours-{kind}"))
        self.assertEqual(files_made, sorted(os.listdir(f"{self.dir}/torch-{kind}")))
        self.assertEqual(len(files_made), 2)
        inexact = 0
        for file in files_made:
            ours, theirs = tensors(f"{self.dir}/ours-{kind}/{file}"), tensors(f"{self.dir}/torch-{kind}/{file}")
            self.assertEqual(sorted(ours), sorted(theirs))
            for tensor, x in theirs.items():
                worst = np.abs(ours[tensor] - x).max()
                self.assertLessEqual(worst, tolerance * np.abs(x).max(), tensor)
                inexact += worst > 0
        self.assertLessEqual(inexact, len(changed))
        return inexact

    def test_torch_merges_the_same(self):
        for name, options in (("published", {}), ("pairs", {"kind": "bin", "lora_alpha": 7, "use_rslora": True}),
                              ("one-file", {"r": 1, "lora_alpha": 0.5}), ("tied", {"r": 33, "target_modules": ".*proj"})):
            with self.subTest(name=name):
                changed, trained = self.make(name, **options)
                layers = load(f"{CASES}/{name}/hf/config.json")["num_hidden_layers"]
                self.assertGreater(len(changed), 7 * layers)
                self.assertTrue(trained)
                self.compare(name, changed)
                wanted = probe(name, f"{self.dir}/torch-f32", "tokens", self.dir)
                self.assertEqual(probe(name, f"{self.dir}/ours-f32", "tokens", self.dir).tolist(), wanted.tolist())
                r = self.convert(name, f"{self.dir}/base/hf", "base")
                self.assertEqual(r.returncode, 0, r.stderr.decode())
                before, after = (tensors(f"{self.dir}/{made}/toy-F32.gguf") for made in ("base", "ours-f32"))
                self.assertEqual(sum(not np.array_equal(before[n], after[n]) for n in after), 7 * layers)
                remove(self.dir)
                os.mkdir(self.dir)

    def test_a_base_that_only_reads(self):
        """The base is a text model; speech comes with the adapter, the encoder from Whisper's file or with it."""
        changed, trained = self.make("both", plain_base=True)
        self.assertGreater(len(trained), 20)
        self.compare("both", changed)

    def test_16_bits_are_rounded_once(self):
        """Of the sum, not of each part: at most one in the last place is apart where f32 rounding moved a tie."""
        changed, _ = self.make("published")
        self.compare("published", changed, kind="f16", tolerance=2.0 ** -10)
        ours, theirs = (tensors(f"{self.dir}/{who}-f16/toy-F16.gguf") for who in ("ours", "torch"))
        apart = sum(int((ours[n] != theirs[n]).sum()) for n in ours)
        self.assertLess(apart, 1e-3 * sum(x.size for x in ours.values()))

    def test_other_numbers_are_another_model(self):
        changed, _ = self.make("published")
        self.assertTrue(changed)
        def stale(*options):
            r = self.convert("published", f"{self.dir}/adapter", "out", *options)
            self.assertEqual(r.returncode, 0, r.stderr.decode())
            return r.stderr.count(b"left as it is")
        self.assertEqual((stale(), stale()), (0, 2))
        config = f"{self.dir}/adapter/adapter_config.json"
        files.write_json(config, dict(load(config), lora_alpha=17))
        self.assertEqual((stale(), stale()), (0, 2))
        write(f"{self.dir}/base/hf/chat_template.jinja", "{{ messages }}")
        self.assertEqual((stale(), stale()), (0, 2))
        with open(f"{self.dir}/out/toy-F32.gguf", "rb") as f:
            made = f.read()
        for source in ("adapter_config.json", "adapter_model.safetensors", "non_lora_trainables.bin", "chat_template.jinja"):
            self.assertIn(gguf_string(source), made)

    # ---- what is refused ---------------------------------------------------------------

    def refused(self, *says, options=(), hf=None, left=()):
        r = self.convert("published", hf or f"{self.dir}/adapter", "out", *options)
        lines = [line for line in r.stderr.decode().splitlines() if not line.startswith("omni: note:")]
        self.assertGreater(r.returncode, 0, lines)
        self.assertEqual(len(lines), 1, lines)
        for word in says:
            self.assertIn(word, lines[0])
        out = f"{self.dir}/out"
        self.assertEqual(os.listdir(out) if os.path.isdir(out) else [], list(left))
        remove(out)

    def test_bases(self):
        self.make("published")
        config = f"{self.dir}/adapter/adapter_config.json"
        for name in ("meta-llama/Llama-3.1-8B-Instruct", "/nowhere", f"{config}"):
            files.write_json(config, dict(load(config), base_model_name_or_path=name))
            self.refused("base_model_name_or_path", name, "--base")
        for name in ("", None):
            files.write_json(config, dict(load(config), base_model_name_or_path=name))
            self.refused("--base")
        self.refused("/nowhere", "--base", options=("--base", "/nowhere"))
        self.refused("yet another", options=("--base", f"{self.dir}/adapter"))
        self.refused("--base", hf=f"{self.dir}/base/hf", options=("--base", f"{self.dir}/base/hf"))
        r = self.convert("published", f"{self.dir}/adapter", "given", "--base", f"{self.dir}/base/hf")
        self.assertEqual(r.returncode, 0, r.stderr)

    def test_what_is_not_plain_lora(self):
        self.make("published")
        path = f"{self.dir}/adapter/adapter_config.json"
        good = load(path)
        for key, value in (("use_dora", True), ("modules_to_save", ["lm_head"]), ("bias", "all"), ("bias", "lora_only"),
                           ("lora_bias", True), ("rank_pattern", {"q_proj": 8}), ("alpha_pattern", {"q_proj": 8}),
                           ("fan_in_fan_out", True), ("layer_replication", [[0, 2]]), ("init_lora_weights", "pissa_niter_4"),
                           ("init_lora_weights", "olora"), ("init_lora_weights", 3), ("peft_type", "ADALORA"), ("peft_type", None),
                           ("trainable_token_indices", [1]), ("something_new", 1), ("r", 0), ("r", 5), ("r", 1 << 40), ("r", "4"),
                           ("r", 4097), ("lora_alpha", 0), ("lora_alpha", -1), ("lora_alpha", None), ("use_rslora", 1),
                           ("target_modules", []), ("target_modules", [1]), ("target_modules", {"q_proj": 1}),
                           ("target_modules", TARGETS + ["lm_head"]), ("target_modules", TARGETS[1:]),
                           ("base_model_name_or_path", 7)):
            with self.subTest(key=key, value=value):
                files.write_json(path, dict(good, **{key: value}))
                self.refused("adapter_config.json", key)
        for text in ("", "[]", "{", '{"r":1,"r":2}', "[" * 100000):
            write(path, text)
            self.refused("adapter_config.json")
        os.remove(path)
        self.refused("adapter_config.json", "missing", options=("--base", f"{self.dir}/base/hf"))

    def test_matrices(self):
        self.make("published")
        path = f"{self.dir}/adapter/adapter_model.safetensors"
        good = read_shards(f"{self.dir}/adapter")
        a, b = (f"base_model.model.model.layers.1.mlp.up_proj.lora_{x}.weight" for x in "AB")
        rows, columns = good[b].shape[0], good[a].shape[1]
        for change, says in (
                ({b: None}, (a, "lora_B is missing")), ({a: None}, ("pairs",)),
                ({a: torch.zeros(5, columns)}, (a, "wanted 4 x")), ({a: torch.zeros(4, columns + 1)}, (a, f"4 x {columns}")),
                ({b: torch.zeros(rows, 5)}, (b, f"{rows} x 4")), ({a: torch.zeros(4 * columns)}, (a, "1 dimensions")),
                ({a.replace("layers.1", "layers.9"): good[a], b.replace("layers.1", "layers.9"): good[b]}, ("layers.9", "no")),
                ({"base_model.model.lora_A.weight": good[a]}, ("base_model.model.lora_A.weight", "empty")),
                ({"up_proj.lora_A.weight": good[a]}, ("up_proj.lora_A.weight", "wanted base_model.model.")),
                ({a.replace("lora_A.weight", "lora_magnitude_vector"): good[a]}, ("DoRA",)),
                ({a.replace("up_proj.lora_A.weight", "up_proj.bias"): good[a]}, ("bias",)),
                ({"base_model.model.model.embed_tokens.lora_embedding_A": good[a]}, ("embedding",)),
                ({a: torch.full_like(good[a], float("nan"))}, ("model.layers.1.mlp.up_proj.weight", "not finite"))):
            with self.subTest(says=says):
                files.write_safetensors(path, {n: t for n, t in dict(good, **change).items() if t is not None})
                self.refused(*says)
        files.write_safetensors(path, {})
        self.refused("adapter_model.safetensors")
        os.remove(path)
        self.refused("adapter_model.safetensors", "adapter_model.bin")

    def test_whole_tensors(self):
        self.make("published")
        path = f"{self.dir}/adapter/non_lora_trainables.bin"
        good = torch.load(path)
        name = "base_model.model.model.speech_projector.linear1.weight"
        for change, says in (({name: torch.zeros(3, 3)}, ("model.speech_projector.linear1.weight", "non_lora_trainables.bin", "[3][3]")),
                             ({"base_model.model.model.extra": torch.zeros(3)}, ("model.extra", "non_lora_trainables.bin")),
                             ({name: torch.full_like(good[name], float("inf"))}, (name[17:], "non_lora_trainables.bin", "not finite")),
                             ({name[11:]: good[name]}, ("twice",))):
            with self.subTest(says=says):
                torch.save(dict(good, **change), path)
                self.refused(*says, left=["toy-F32.gguf"] if "not finite" in says else [])      # the LLM file is whole by then
        write(path, b"not a checkpoint")
        self.refused("non_lora_trainables.bin")

    def test_a_projector_alone(self):
        """What the reference's first stage saves: no LoRA, a base, and its own projector."""
        base = copy("published", f"{self.dir}/base")
        whole = read_shards(f"{base}/hf")
        os.makedirs(f"{self.dir}/adapter")
        shutil.copy(f"{base}/hf/config.json", f"{self.dir}/adapter")
        projector = {n: t * 2 for n, t in whole.items() if "speech_projector" in n}
        torch.save(projector, f"{self.dir}/adapter/speech_projector.bin")
        self.refused("--base")
        r = self.convert("published", f"{self.dir}/adapter", "out", "--base", f"{base}/hf")
        self.assertEqual(r.returncode, 0, r.stderr)
        found = tensors(f"{self.dir}/out/toy-speech-F32.gguf")["adaptor.1.weight"]
        self.assertTrue(np.array_equal(found, projector["model.speech_projector.linear1.weight"].float().numpy()))


if __name__ == "__main__":
    unittest.main()
