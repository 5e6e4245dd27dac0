"""The examples do what their first lines say, on a random model whose context ends the answers early."""

import os
import re
import subprocess
import unittest

from program import BUILD, encode, read_wav, remove, scratch, synth, tone, wav_bytes, write


class Examples(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = scratch("examples")
        cls.model = f"{cls.dir}/model"
        synth(cls.model, **{"llm.context_length": 96})      # a spoken question takes 83
        cls.question = write(f"{cls.dir}/q.wav", wav_bytes(tone(1.0)))

    @classmethod
    def tearDownClass(cls):
        remove(cls.dir)

    def example(self, name, *args):
        return subprocess.run([os.path.join(BUILD, "examples", name), self.model, *args], capture_output=True, timeout=600)

    def test_hello(self):
        out = f"{self.dir}/a.wav"
        r = self.example("hello", self.question, out)
        self.assertEqual((r.returncode, r.stderr), (0, b""))
        self.assertGreater(len(r.stdout), 10)
        rate, x = read_wav(out)
        self.assertEqual(rate, 16000)
        self.assertEqual(len(x) % 320, 0)
        self.assertTrue(x.any())

    def test_hello_wants_the_right_rate(self):
        r = self.example("hello", write(f"{self.dir}/8k.wav", wav_bytes(tone(1.0, 8000), rate=8000)), f"{self.dir}/none.wav")
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"8000 Hz", r.stderr)

    def test_hello_says_what_is_wrong(self):
        r = subprocess.run([os.path.join(BUILD, "examples", "hello"), f"{self.dir}/nothing", self.question, "/dev/null"],
                           capture_output=True, timeout=600)
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"nothing", r.stderr)

    def test_hello_reads_a_flac_that_does_not_know_its_length(self):
        whole = encode(f"{self.dir}/whole.flac", tone(1.0), 16000, "flac")
        path = encode(f"{self.dir}/piped.flac", tone(1.0), 16000, "flac")
        with open(path, "r+b") as f:
            data = bytearray(f.read())
            self.assertEqual(data[:5], b"fLaC\0")      # the description of the stream comes first; its samples: 36 bits
            data[21] &= 0xF0
            data[22:26] = bytes(4)
            f.seek(0)
            f.write(data)
        known, piped = self.example("hello", whole, f"{self.dir}/k.wav"), self.example("hello", path, f"{self.dir}/p.wav")
        self.assertEqual((piped.returncode, piped.stderr), (0, b""))
        self.assertEqual(piped.stdout, known.stdout)

    def test_hello_says_that_it_can_not_write(self):
        for out in (f"{self.dir}/none/a.wav", "/dev/full"):
            r = self.example("hello", self.question, out)
            self.assertEqual((r.returncode, r.stderr.count(b"\n")), (1, 1), r.stderr)

    def test_streaming(self):
        r = self.example("streaming", self.question)
        self.assertEqual((r.returncode, r.stderr), (0, b""))
        lines = r.stdout.decode(errors="replace").splitlines()
        self.assertTrue(any("  text   " in s for s in lines))
        sounds = [tuple(map(float, re.findall(r"([\d.]+) s", s))) for s in lines if "  audio  " in s]
        self.assertGreater(len(sounds), 0)
        for (start, length), (following, _) in zip(sounds, sounds[1:]):
            self.assertAlmostEqual(start + length, following, delta=0.0011)

    def test_two_sessions(self):
        r = self.example("two-sessions", "how are you", "what is new")
        self.assertEqual((r.returncode, r.stderr), (0, b""))
        # The text of a random model may hold anything, line ends included.
        self.assertRegex(r.stdout, re.compile(rb"^how are you ->.+ \([1-9]\d* samples\)\n"
                                              rb"what is new ->.+ \([1-9]\d* samples\)\n$", re.DOTALL))


if __name__ == "__main__":
    unittest.main()
