"""omni synth-model: exact shapes and types, the public model's prompt ids, the same file from the same seed."""

import filecmp
import json
import os
import unittest

import numpy as np

from program import remove, run, scratch, synth, tone, wav_bytes, write

BEFORE = [128000, 128000, 128006, 9125, 128007, 271, 2675, 527, 264, 11190, 4221, 323, 8982, 18328, 13, 1472, 527, 3025,
          311, 3619, 279, 8982, 2262, 430, 279, 1217, 5825, 11, 323, 7945, 279, 1217, 449, 264, 8205, 315, 9256, 1701,
          5933, 4221, 13, 128009, 128006, 882, 128007, 271]
AFTER = [198, 5618, 6089, 4320, 279, 4860, 304, 279, 1217, 596, 8982, 13, 128009, 128006, 78191, 128007, 271]


class Synth(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = scratch("synth")

    @classmethod
    def tearDownClass(cls):
        remove(cls.dir)

    def test_full_vocabulary_gives_the_public_prompt(self):
        folder = f"{self.dir}/vocabulary"
        synth(folder, **{"llm.vocab_size": 128256, "llm.embedding_length": 32, "llm.head_count": 2,
                         "llm.head_count_kv": 1, "llm.block_count": 1, "llm.rope_scaling_factor": 8.0})
        wav, out = write(f"{self.dir}/q.wav", wav_bytes(tone(0.2))), f"{self.dir}/prompt.npy"
        r = run("probe", "-m", folder, "--stage", "prompt", wav, "-o", out)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual(list(np.load(out)), BEFORE + [-200] + AFTER)

    def test_every_type_runs(self):
        wav = write(f"{self.dir}/t.wav", wav_bytes(tone(0.2)))
        for llm, speech in (("q4_0", "q8_0"), ("q8_0", "q4_0"), ("bf16", "bf16"), ("f32", "f32"), ("q4_k", "f16")):
            folder = f"{self.dir}/{llm}-{speech}"
            files = synth(folder, None, "--llm-type", llm, "--speech-type", speech, **{
                "llm.embedding_length": 256, "llm.feed_forward_length": 512, "decoder.embedding_length": 64})
            self.assertIn(f"-{llm.upper()}.gguf", files[0])
            self.assertIn(f"-speech-{speech.upper()}.gguf", files[1])
            r = run("ask", "-m", folder, "-n", "4", wav, "-o", f"{folder}/a.wav")
            self.assertEqual(r.returncode, 0, (llm, speech, r.stderr))
            tensors = [json.loads(s) for s in run("info", folder, "--json", "--tensors").stdout.decode().splitlines()[1:]]
            kinds = {t["tensor"]: t["type"].lower() for t in tensors}
            self.assertEqual(kinds["dec.out.weight"], speech)
            self.assertEqual(kinds["enc.pos"], "f32")

    def test_numbers_are_sane(self):
        """Nothing overflows, nothing dies: signals of about unit size all the way, several units per token."""
        folder = f"{self.dir}/sane"
        synth(folder, dict(like="llama-omni-tiny"))
        wav = write(f"{self.dir}/s.wav", wav_bytes(tone(2.0)))
        for stage, low, high in (("encoder", 0.1, 10), ("adaptor", 0.05, 10), ("hidden", 0.1, 10), ("wave", 1e-3, 0.9)):
            x = self.load(folder, wav, stage)
            self.assertTrue(low < x.std() < high, (stage, x.std()))
        # As much speech per token as the public model's corpus has: about 8 units of 1.7 frames.
        units, frames = (self.load(folder, wav, stage) for stage in ("units", "durations"))
        self.assertTrue(4 < len(units) / 16 < 14, len(units))
        self.assertTrue(1.3 < frames.mean() < 2.2, frames.mean())

    def load(self, folder, wav, stage):
        out = f"{folder}/{stage}.npy"
        self.assertEqual(run("probe", "-m", folder, "--stage", stage, "-n", 16, wav, "-o", out).returncode, 0)
        return np.load(out)

    def test_seed(self):
        a, b, c = (f"{self.dir}/{name}" for name in "abc")
        one, two = synth(a), synth(b)
        other = synth(c, None, "--llm-type", "f16", "--speech-type", "f16", "--seed", "2")
        for x, y, z in zip(one, two, other):
            self.assertTrue(filecmp.cmp(x, y, shallow=False))
            self.assertFalse(filecmp.cmp(x, z, shallow=False))
            self.assertEqual(os.path.getsize(x), os.path.getsize(z))

    def refused(self, shape, *says):
        path = write(f"{self.dir}/shape.json", shape if isinstance(shape, str) else json.dumps(shape))
        r = run("synth-model", "--like", path, "-o", f"{self.dir}/none")
        err = r.stderr.decode()
        self.assertEqual((r.returncode, err.count("\n")), (1, 1), err)
        for word in says:
            self.assertIn(word, err)
        self.assertFalse(os.path.exists(f"{self.dir}/none"))

    def test_bad_shapes(self):
        self.refused("{", "line 1")
        self.refused("[]", "object")
        self.refused({"like": "llama-omni-9b"}, "like")
        self.refused({"name": "../evil"}, "name")
        self.refused({"llm.blocks": 3}, "llm.blocks", "unknown key")
        self.refused({"llm.block_count": "many"}, "whole number")
        self.refused({"llm.block_count": 0}, "llm.block_count", "0")
        self.refused({"prompt.stop_ids": [3]}, "prompt.stop_ids")
        self.refused({"llm.head_count": 3}, "llm.head_count")
        self.refused({"encoder.context": 1499}, "encoder.context")
        self.refused({"vocoder.upsample_rates": [5, 4, 4, 2]}, "upsample")
        self.refused({"vocoder.upsample_rates": []}, "upsample_rates")
        self.refused({"decoder.rms_epsilon": 1}, "decoder.rms_epsilon")
        r = run("synth-model", "--like", f"{self.dir}/nothing.json", "-o", f"{self.dir}/none")
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"llama-omni-8b", r.stderr)


if __name__ == "__main__":
    unittest.main()
