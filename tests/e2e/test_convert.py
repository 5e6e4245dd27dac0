"""omni convert: what the converted toy checkpoints compute is what the reference path computes (tests/oracle)."""

import os
import unittest

import numpy as np

from checkpoint import CASES, DECISIONS, STAGES, arguments, case, convert, expected, names, probe, relative
from program import remove, run, scratch

# Decisions may differ where the two best candidates are this near, in parts of the largest logit; this share of the
# symbols must be farther apart, else nothing is tested.
NEAR = {"f16": 2.0 ** -7, "q8_0": 2.0 ** -4}
CLEAR = {"f16": 0.8, "q8_0": 0.5}


def ahead(logits):
    top = np.sort(logits, axis=-1)
    return top[:, -1] - top[:, -2]


def contents(folder):
    def read(path):
        with open(path, "rb") as f:
            return f.read()
    return {name: read(f"{folder}/{name}") for name in os.listdir(folder)}


class Convert(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = scratch("convert")

    @classmethod
    def tearDownClass(cls):
        remove(cls.dir)

    def converted(self, name, kind):
        out = f"{self.dir}/{name}-{kind}"
        if not os.path.isdir(out):
            r = convert(name, out, "--llm-type", kind, "--speech-type", kind, "--verify")
            self.assertEqual(r.returncode, 0, (name, r.stderr.decode()))
            self.assertEqual(len(os.listdir(out)), 2, os.listdir(out))
            self.assertIn(b"verified", r.stderr)
        return out

    def test_there_are_enough_cases(self):
        self.assertGreaterEqual(len(names()), 8)

    def test_f32_is_the_reference(self):
        for name in names():
            model = self.converted(name, "f32")
            for stage in STAGES:
                with self.subTest(name=name, stage=stage):
                    found, wanted = probe(name, model, stage, self.dir, "--type", "f32"), expected(name, stage)
                    self.assertEqual(found.shape, wanted.shape)
                    if stage in DECISIONS:
                        self.assertEqual(found.tolist(), wanted.tolist())
                    elif stage in ("mel", "wave"):
                        self.assertLessEqual(np.abs(found - wanted).max(), 1e-5 if stage == "mel" else 1e-4)
                    else:
                        self.assertLessEqual(relative(found, wanted), 1e-4)

    def compare_decisions(self, name, kind):
        """Tokens and symbols, up to the first that was a near-tie; returns how many symbols were compared."""
        model, near = self.converted(name, kind), NEAR[kind]
        tokens, wanted = probe(name, model, "tokens", self.dir), expected(name, "tokens")
        same = 0
        while same < min(len(tokens), len(wanted)) and tokens[same] == wanted[same]:
            same += 1
        if same < len(wanted):      # a different token is another text: what follows can not be compared
            margin = expected(name, "token_margin")[same] / expected(name, "token_scale")[same]
            self.assertLess(margin, near, f"token {same}: found {tokens[same:same + 1]}, wanted {wanted[same]}")
        logits, symbols = expected(name, "ctc"), expected(name, "symbols")
        block = len(logits) // len(wanted)
        n = min(len(wanted), same + 1) * block       # the state that predicted the different token is still the same
        found = probe(name, model, "symbols", self.dir)[:n]
        clear = ahead(logits[:n]) > near * np.abs(logits).max()
        self.assertEqual(found[clear].tolist(), symbols[:n][clear].tolist(), "symbols outside near-ties")
        return clear.sum(), len(symbols)

    def test_f16_and_q8_0_decide_the_same(self):
        for kind in NEAR:
            compared = total = 0
            for name in names():
                with self.subTest(name=name, kind=kind):
                    n, of = self.compare_decisions(name, kind)
                    compared, total = compared + n, total + of
            self.assertGreater(compared, CLEAR[kind] * total, f"{kind}: of {total} symbols")

    def test_the_copy_inside_serves_without_whisper(self):
        """Case "both": without --whisper its own copy is taken, which is another encoder there."""
        out = f"{self.dir}/inside"
        r = run("convert", *arguments("both")[:4], "--vocoder-config", f"{CASES}/both/vocoder-config/config.json",
                "-o", out, "--llm-type", "f32", "--speech-type", "f32")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn(b"copy inside", r.stderr)
        found = probe("both", out, "encoder", self.dir, "--type", "f32")
        self.assertGreater(relative(found, expected("both", "encoder")), 0.1)

    def test_again_is_the_same(self):
        out = self.converted("published", "f16")
        before = contents(out)
        for options in ((), ("--force",)):
            r = convert("published", out, "--llm-type", "f16", "--speech-type", "f16", *options)
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertEqual(contents(out), before, options)

    def test_a_quantised_file_is_not_what_convert_makes(self):
        """llama.cpp copies the fingerprint of the file it reads."""
        out = self.converted("published", "f16")
        before = contents(out)
        llm = next(f"{out}/{name}" for name in before if "-speech" not in name)
        r = run("quantize", llm, f"{self.dir}/other.gguf", "q8_0")
        self.assertEqual(r.returncode, 0, r.stderr)
        os.replace(f"{self.dir}/other.gguf", llm)
        r = convert("published", out, "--llm-type", "f16", "--speech-type", "f16")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertTrue(contents(out) == before)

    def test_types_of_the_quantiser(self):
        for kind in ("bf16", "q4_0", "q4_k_m", "q6_k"):
            out = f"{self.dir}/wide-{kind}"
            r = convert("wide", out, "--llm-type", kind, "--speech-type", "bf16", "--verify")
            self.assertEqual(r.returncode, 0, (kind, r.stderr.decode()))
            self.assertEqual(len(probe("wide", out, "tokens", self.dir)), case("wide")["max_tokens"])


if __name__ == "__main__":
    unittest.main()
