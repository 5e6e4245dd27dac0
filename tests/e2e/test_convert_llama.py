"""The LLM files that omni convert writes are llama.cpp's: it loads them and its own greedy sampler says what ours says.

llama_greedy.c is built here against the same libllama (scripts/llama.sh), without any of our code.
"""

import os
import subprocess
import unittest

from checkpoint import case, convert, names, probe
from checkpoint_tokens import PROMPT
from program import SOURCE, remove, scratch


class Llama(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = scratch("convert-llama")
        prefix = subprocess.run([f"{SOURCE}/scripts/llama.sh"], stdout=subprocess.PIPE, check=True).stdout.decode().strip()
        libraries = [f"{prefix}/lib/lib{name}.a" for name in ("llama", "ggml", "ggml-cpu", "ggml-base")]
        cls.program = f"{cls.dir}/llama_greedy"
        object_file = cls.program + ".o"
        subprocess.run(["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-c", f"{SOURCE}/tests/e2e/llama_greedy.c", "-I",
                        f"{prefix}/include", "-o", object_file], check=True)
        subprocess.run(["c++", object_file, "-Wl,--start-group", *libraries, "-Wl,--end-group", "-lpthread", "-ldl", "-lm",
                        "-o", cls.program], check=True)

    @classmethod
    def tearDownClass(cls):
        remove(cls.dir)

    def compare(self, name, kind):
        out = f"{self.dir}/{name}-{kind}"
        r = convert(name, out, "--llm-type", kind, "--speech-type", "f32")
        self.assertEqual(r.returncode, 0, r.stderr.decode())
        llm = [f for f in os.listdir(out) if "-speech-" not in f]
        rows = probe(name, out, "adaptor", self.dir)
        rows.tofile(f"{self.dir}/rows")
        got = subprocess.run([self.program, f"{out}/{llm[0]}", PROMPT[0], f"{self.dir}/rows", str(rows.shape[1]), PROMPT[1],
                              str(case(name)["max_tokens"])], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
        self.assertEqual(got.returncode, 0, got.stderr.decode())
        before, after, tokens = ([int(n) for n in line.split()] for line in got.stdout.decode().splitlines())
        self.assertEqual(before + [-200] + after, probe(name, out, "prompt", self.dir).tolist())
        self.assertEqual(tokens, probe(name, out, "tokens", self.dir).tolist())

    def test_every_case(self):
        for name in names():
            with self.subTest(name=name):
                self.compare(name, "f16")

    def test_quantised(self):
        for kind in ("f32", "bf16", "q8_0", "q4_0", "q4_k_m"):
            with self.subTest(kind=kind):
                self.compare("wide", kind)


if __name__ == "__main__":
    unittest.main()
