"""The LLM files that omni convert writes are llama.cpp's: its own programs load them, say what ours says, and quantise them.

Built here against the same libllama (scripts/llama.sh), without any of our code: llama.cpp's own llama-simple and
llama-quantize, and llama_greedy.c, which also takes rows of numbers between texts, as speech comes.
"""

import os
import re
import subprocess
import unittest

from checkpoint import case, convert, names, probe
from checkpoint_tokens import PROMPT
from program import SOURCE, remove, run, scratch

SIMPLE = ["examples/simple/simple.cpp"]
QUANTIZE = ["tools/quantize/quantize.cpp", "tools/quantize/main.cpp", "common/imatrix-loader.cpp"]
HEADERS = ["common/common.h", "common/log.h", "common/imatrix-loader.h", "common/build-info.h"]
# Ordinary text only: a special token in the answer is printed by llama-simple and not by omni ask.
SPECIAL = re.compile(rb"<\|[a-z_0-9]+\|>")
QUESTION = "and in winter?"


def conversation(question):
    """PROMPT has the speech between its two texts, and a newline and a sentence after it."""
    return PROMPT[0] + question + PROMPT[1][PROMPT[1].index("<|eot_id|>"):]


class Llama(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = scratch("convert-llama")
        cls.prefix = subprocess.run([f"{SOURCE}/scripts/llama.sh"], stdout=subprocess.PIPE, check=True).stdout.decode().strip()
        tar = subprocess.run([f"{SOURCE}/scripts/llama.sh", "--source", *SIMPLE, *QUANTIZE, *HEADERS], stdout=subprocess.PIPE, check=True)
        subprocess.run(["tar", "x", "-C", cls.dir], input=tar.stdout, check=True)
        cls.greedy = cls.build("llama_greedy", [f"{SOURCE}/tests/e2e/llama_greedy.c"])
        cls.simple = cls.build("llama-simple", SIMPLE, "-include", f"{SOURCE}/tests/e2e/llama_one_thread.hpp")
        cls.quantize = cls.build("llama-quantize", [*QUANTIZE, f"{SOURCE}/tests/e2e/llama_rest.cpp"])

    @classmethod
    def build(cls, name, sources, *options):
        libraries = [f"{cls.prefix}/lib/lib{name}.a" for name in ("llama", "ggml", "ggml-cpu", "ggml-base")]
        objects = []
        for source in sources:
            objects.append(f"{cls.dir}/{os.path.basename(source)}.o")
            compiler = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror"] if source.endswith(".c") else ["c++", "-std=c++17", *options]
            subprocess.run([*compiler, "-O1", "-c", source, "-I", f"{cls.prefix}/include", "-I", "common", "-o", objects[-1]],
                           cwd=cls.dir, check=True)
        program = f"{cls.dir}/{name}"
        subprocess.run(["c++", *objects, "-Wl,--start-group", *libraries, "-Wl,--end-group", "-lpthread", "-ldl", "-lm", "-o", program],
                       check=True)
        return program

    @classmethod
    def tearDownClass(cls):
        remove(cls.dir)

    def program(self, *command):
        r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
        self.assertEqual(r.returncode, 0, r.stderr.decode())
        return r.stdout

    def convert(self, name, kind):
        """The folder and its LLM file."""
        out = f"{self.dir}/{name}-{kind}"
        if not os.path.isdir(out):
            r = convert(name, out, "--llm-type", kind, "--speech-type", "f32")
            self.assertEqual(r.returncode, 0, r.stderr.decode())
        llm = [f for f in os.listdir(out) if "-speech-" not in f]
        return out, f"{out}/{llm[0]}"

    def compare(self, name, kind):
        out, llm = self.convert(name, kind)
        rows = probe(name, out, "adaptor", self.dir)
        rows.tofile(f"{self.dir}/rows")
        got = self.program(self.greedy, llm, PROMPT[0], f"{self.dir}/rows", str(rows.shape[1]), PROMPT[1],
                           str(case(name)["max_tokens"]))
        before, after, tokens = ([int(n) for n in line.split()] for line in got.decode().splitlines())
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

    # ---- llama.cpp's own programs ----------------------------------------------------------

    def simple_says(self, llm, n):
        """The answer's bytes, without the prompt that llama-simple repeats."""
        prompt = conversation(QUESTION)
        said = self.program(self.simple, "-m", llm, "-n", str(n), "-ngl", "0", prompt)
        begin = said.index(prompt.encode()) + len(prompt.encode())
        self.assertTrue(said.endswith(b"\n"))
        return SPECIAL.sub(b"", said[begin:-1])

    def compare_simple(self, folder, llm, n=32):
        r = run("ask", "-m", folder, "--text", QUESTION, "-n", n, "--no-speech", "-q")
        self.assertEqual(r.returncode, 0, r.stderr.decode())
        said = self.simple_says(llm, n)
        self.assertGreater(len(said), 8)
        self.assertEqual(r.stdout.decode().strip(), said.decode(errors="replace").strip())     # ask leaves out blanks before the first word

    def test_llama_simple_says_the_same(self):
        for name in names():
            with self.subTest(name=name):
                self.compare_simple(*self.convert(name, "f16"))
        for kind in ("q8_0", "q4_k_m"):
            with self.subTest(kind=kind):
                self.compare_simple(*self.convert("wide", kind))

    def test_llama_quantize_makes_the_same(self):
        """From the 16-bit file that omni convert wrote; what omni quantize makes of it is the same, byte for byte."""
        _, llm = self.convert("wide", "bf16")
        for kind in ("q8_0", "q4_0", "q4_k_m", "q6_k"):
            theirs, ours = (f"{self.dir}/{who}-{kind}.gguf" for who in ("theirs", "ours"))
            self.program(self.quantize, llm, theirs, kind, "1")
            r = run("quantize", llm, ours, kind)
            self.assertEqual(r.returncode, 0, r.stderr.decode())
            with open(theirs, "rb") as a, open(ours, "rb") as b:
                self.assertTrue(a.read() == b.read(), kind)
            self.assertGreater(len(self.simple_says(theirs, 32)), 8)


if __name__ == "__main__":
    unittest.main()
