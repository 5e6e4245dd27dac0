"""omni pull and omni convert in one go, from a server that mimics the hub: a name is fetched, converted, and then answers offline."""

import json
import os
import shutil
import unittest

import torch

from checkpoint import CASES, convert
from mimic_hub import COMMIT, Hub
from program import remove, run, scratch

REPO, NAME, PUBLISHED = "toy/listener", "llama-omni-8b", "ICTNLP/Llama-3.1-8B-Omni"


def contents(folder):
    found = {}
    for name in os.listdir(folder):
        if os.path.isfile(f"{folder}/{name}"):
            with open(f"{folder}/{name}", "rb") as f:
                found[name] = f.read()
    return found


class PullAndConvert(unittest.TestCase):
    def setUp(self):
        self.dir = scratch("pull-convert")
        self.hub = Hub(lfs_from=20_000)
        self.addCleanup(remove, self.dir)
        self.addCleanup(self.hub.close)

    def env(self, **more):
        plain = {k: "" for k in os.environ if k.lower().endswith("_proxy") or k.startswith("HF_")}
        return plain | dict(HOME=f"{self.dir}/home", XDG_CACHE_HOME="", XDG_CONFIG_HOME="", HF_ENDPOINT=self.hub.url,
                            OMNI_PULL_PAUSE="0.01") | more

    def vocoder(self, name):
        return ["--vocoder", f"{CASES}/{name}/vocoder/g_00500000"]

    def pull(self, *args, **env):
        r = run("pull", *args, env=self.env(**env))
        self.assertEqual(r.returncode, 0, r.stderr.decode())
        return r.stdout.decode().strip()

    def answer(self, model, question):
        """Everything said, without times, while there is no network."""
        r = run("ask", "-m", model, question, "-n", "6", "--json", "-o", f"{self.dir}/said.wav",
                env=self.env(HF_ENDPOINT="http://127.0.0.1:1", HF_HUB_OFFLINE="1"))
        self.assertEqual(r.returncode, 0, r.stderr.decode())
        with open(f"{self.dir}/said.wav", "rb") as f:
            sound = f.read()
        events = [json.loads(line) for line in r.stdout.decode().splitlines()]
        return [e["text"] for e in events if e["event"] == "text"], sound

    def test_a_repository(self):
        """Drops on the way; then hf:USER/REPO and hf:USER/REPO@COMMIT answer, as the checkpoint converted by hand does."""
        question = f"{CASES}/published/question.wav"
        self.hub.put(REPO, contents(f"{CASES}/published/hf") | {"README.md": b"---\nlicense: mit\n---\n# Listener\n"})
        self.hub.fault("model-00002-of-00004.safetensors", "drop", times=2)
        self.hub.fault("tokenizer.json", 500)
        folder = self.pull(f"hf:{REPO}", *self.vocoder("published"), "--type", "q8_0", "--speech-type", "f16")
        self.assertEqual(sorted(os.listdir(folder)), ["listener-Q8_0.gguf", "listener-speech-F16.gguf"])
        self.assertTrue(folder.startswith(f"{self.dir}/home/.cache/llama-omni/models/toy--listener/{COMMIT}/"), folder)
        r = convert("published", f"{self.dir}/hand", "--llm-type", "q8_0")
        self.assertEqual(r.returncode, 0, r.stderr.decode())
        wanted = self.answer(f"{self.dir}/hand", question)
        self.assertEqual(len(wanted[0]) > 0 and len(wanted[1]) > 1000, True)
        n = len(self.hub.requests)
        for model in (f"hf:{REPO}", f"hf:{REPO}@{COMMIT}", folder):
            self.assertEqual(self.answer(model, question), wanted, model)
        self.assertEqual(len(self.hub.requests), n)
        # once more, offline: nothing to fetch, nothing to convert; another type is made of what is there
        before = os.stat(f"{folder}/listener-Q8_0.gguf").st_mtime_ns
        self.pull(f"hf:{REPO}", *self.vocoder("published"), "--type", "q8_0", "--offline")
        self.assertEqual(os.stat(f"{folder}/listener-Q8_0.gguf").st_mtime_ns, before)
        other = self.pull(f"hf:{REPO}", *self.vocoder("published"), "--type", "f16", "--offline")
        self.assertNotEqual(other, folder)
        self.assertEqual(len(self.hub.requests), n)
        r = run("info", "-m", f"hf:{REPO}", env=self.env())       # what was made last
        self.assertIn(b"listener-F16.gguf", r.stdout, r.stderr)
        r = run("info", "-m", f"hf:{REPO}", "--metadata", env=self.env())
        self.assertIn(b"general.license = mit\n", r.stdout, r.stderr)      # as the card says

    def test_the_published_name(self):
        """The set's Whisper and vocoder are not fetched where one's own are given: toys can not have the published checksum."""
        name = "both"
        self.hub.put(PUBLISHED, contents(f"{CASES}/{name}/hf") | {"README.md": b"---\nlicense: mit\n---\n"})
        own = ["--whisper", f"{CASES}/{name}/whisper.pt", *self.vocoder(name), "--vocoder-config",
               f"{CASES}/{name}/vocoder-config/config.json"]
        r = run("ask", "-m", NAME, f"{CASES}/{name}/question.wav", env=self.env())
        self.assertEqual((r.returncode, r.stdout), (1, b""))
        self.assertIn(b"omni pull llama-omni-8b", r.stderr)
        folder = self.pull(NAME, "--accept-licence", *own, "--type", "f16", OMNI_MIRROR="http://127.0.0.1:1")
        self.assertEqual(sorted(os.listdir(folder)), [f"{NAME}-F16.gguf", f"{NAME}-speech-F16.gguf"])
        r = run("info", "-m", folder, "--metadata", env=self.env())
        self.assertIn(b"general.license.name = academic and non-commercial", r.stdout, r.stderr)   # the terms, not the card
        r = convert(name, f"{self.dir}/hand", "--llm-type", "f16")
        self.assertEqual(r.returncode, 0, r.stderr.decode())
        question = f"{CASES}/{name}/question.wav"
        wanted = self.answer(f"{self.dir}/hand", question)
        for model in (NAME, f"hf:{PUBLISHED}"):
            self.assertEqual(self.answer(model, question), wanted, model)

    def test_lora_with_its_base(self):
        """A repository of differences: --base names what they are differences to; without it the base is told."""
        projector = f"{self.dir}/projector"
        shutil.copytree(f"{CASES}/published/hf", f"{projector}/base")
        torch.save({"model.speech_projector.linear1.bias": torch.ones(48)}, f"{projector}/speech_projector.bin")
        files = {"config.json": contents(f"{CASES}/published/hf")["config.json"]}
        with open(f"{projector}/speech_projector.bin", "rb") as f:
            files["speech_projector.bin"] = f.read()
        self.hub.put(REPO, files)
        r = run("pull", f"hf:{REPO}", *self.vocoder("published"), env=self.env())
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"--base", r.stderr)
        folder = self.pull(f"hf:{REPO}", *self.vocoder("published"), "--base", f"{projector}/base")
        self.assertEqual(len(os.listdir(folder)), 2)
        texts, sound = self.answer(f"hf:{REPO}", f"{CASES}/published/question.wav")
        self.assertGreater(len(sound), 1000)

    def test_a_checkpoint_that_can_not_be_converted(self):
        """What was fetched stays, no model is left, and -m says how to get one."""
        files = contents(f"{CASES}/published/hf")
        files["config.json"] = files["config.json"].replace(b'"silu"', b'"gelu"')
        self.hub.put(REPO, files)
        r = run("pull", "-q", f"hf:{REPO}", *self.vocoder("published"), env=self.env())
        self.assertEqual((r.returncode, r.stderr.count(b"\n")), (1, 1), r.stderr)
        self.assertIn(b"hidden_act", r.stderr)
        found = [f for _, _, names in os.walk(f"{self.dir}/home/.cache/llama-omni") for f in names]
        self.assertEqual(found, [])
        r = run("ask", "-m", f"hf:{REPO}", f"{CASES}/published/question.wav", env=self.env())
        self.assertEqual(r.returncode, 1)
        self.assertIn(f"omni pull hf:{REPO}".encode(), r.stderr)


if __name__ == "__main__":
    unittest.main()
