"""omni probe: shapes and types of every stage, and stages that agree with each other."""

import os
import unittest

import numpy as np

from program import remove, run, scratch, synth, tone, wav_bytes, write

N = 9


def collapsed(symbols, blank):
    units, before = [], -1
    for s in symbols:
        if s != before and s != blank:
            units.append(s)
        before = s
    return units


class Probe(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = scratch("probe")
        synth(f"{cls.dir}/model")
        cls.wav = write(f"{cls.dir}/q.wav", wav_bytes(tone(1.3)))
        cls.got = {stage: cls.probe(stage) for stage in
                   "mel encoder adaptor prompt tokens hidden ctc symbols units durations wave".split()}

    @classmethod
    def tearDownClass(cls):
        remove(cls.dir)

    @classmethod
    def probe(cls, stage, *options, wav=None):
        out = f"{cls.dir}/{stage}.npy"
        if os.path.exists(out):
            os.remove(out)
        r = run("probe", "-m", f"{cls.dir}/model", "--stage", stage, wav or cls.wav, "-o", out, "-n", N, *options)
        assert r.returncode == 0, (stage, r.stderr.decode())
        assert (r.stdout, r.stderr) == (b"", b""), (stage, r.stderr)
        return np.load(out, allow_pickle=False)

    def test_shapes_and_types(self):
        wanted = {"mel": (200, 80), "encoder": (100, 64), "adaptor": (20, 64), "tokens": (N,), "hidden": (N, 64),
                  "ctc": (25 * N, 51), "symbols": (25 * N,)}
        for stage, x in self.got.items():
            ints = stage in ("prompt", "tokens", "symbols", "units", "durations")
            self.assertEqual(x.dtype, np.int32 if ints else np.float32, stage)
            self.assertTrue(np.isfinite(x).all(), stage)
            if stage in wanted:
                self.assertEqual(x.shape, wanted[stage], stage)
            else:
                self.assertEqual(x.ndim, 1, stage)

    def test_prompt(self):
        p = self.got["prompt"]
        self.assertEqual((p == -200).sum(), 1)      # stands for all speech rows
        first = 700 - 256       # the synthetic vocabulary's <|begin_of_text|>; it comes twice
        self.assertEqual(list(p[:2]), [first, first])
        self.assertEqual(p[2], first + 6)

    def test_symbols_are_the_likeliest(self):
        self.assertTrue((self.got["ctc"].argmax(1) == self.got["symbols"]).all())

    def test_units_are_the_collapsed_symbols(self):
        self.assertEqual(list(self.got["units"]), collapsed(self.got["symbols"], 50))
        self.assertGreater(len(self.got["units"]), 1)

    def test_durations_fill_the_wave(self):
        d = self.got["durations"]
        self.assertEqual(len(d), len(self.got["units"]))
        self.assertTrue((d >= 1).all())
        self.assertEqual(len(self.got["wave"]), 320 * d.sum())
        self.assertLessEqual(np.abs(self.got["wave"]).max(), 1)

    def test_vocoder_alone_gives_the_same_wave(self):
        for kind in (np.int32, np.int64, ">i2", np.uint8):
            units = f"{self.dir}/u.npy"
            np.save(units, self.got["units"].astype(kind))
            out = f"{self.dir}/alone.npy"
            r = run("probe", "-m", f"{self.dir}/model", "--stage", "vocoder", "--units", units, "-o", out)
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertEqual(np.load(out).tobytes(), self.got["wave"].tobytes())

    def test_repeats_exactly(self):
        for stage in ("encoder", "hidden", "wave"):
            self.assertEqual(self.probe(stage).tobytes(), self.got[stage].tobytes())

    def test_forced_f32_is_near_but_not_the_same(self):
        a, b = self.got["encoder"], self.probe("encoder", "--type", "f32")
        self.assertEqual(a.shape, b.shape)
        self.assertFalse(np.array_equal(a, b))
        self.assertLess(np.abs(a - b).max() / np.abs(b).max(), 2e-2)

    def test_other_rate_is_resampled(self):
        path = write(f"{self.dir}/48k.wav", wav_bytes(tone(1.3, 48000), rate=48000))
        near = self.probe("mel", wav=path)
        self.assertLess(np.abs(near - self.got["mel"]).mean(), 0.05)

    def test_standard_output(self):
        r = run("probe", "-m", f"{self.dir}/model", "--stage", "tokens", self.wav, "-o", "-", "-n", N)
        self.assertEqual(r.returncode, 0, r.stderr)
        path = write(f"{self.dir}/piped.npy", r.stdout)
        self.assertTrue(np.array_equal(np.load(path), self.got["tokens"]))

    def test_too_long_recording(self):
        path = write(f"{self.dir}/long.wav", wav_bytes(tone(3.0)))
        r = run("probe", "-m", f"{self.dir}/model", "--stage", "mel", path, "-o", f"{self.dir}/l.npy")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn(b"first 2.0 s", r.stderr)
        self.assertEqual(np.load(f"{self.dir}/l.npy").shape, (200, 80))


if __name__ == "__main__":
    unittest.main()
