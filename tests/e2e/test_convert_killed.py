"""omni convert, killed at any moment: the final names are absent or complete, and the next run finishes and tidies.
Interrupted while llama.cpp quantises, it ends at once and leaves nothing."""

import os
import random
import signal
import subprocess
import time
import unittest

from checkpoint import arguments, convert
from program import OMNI, SHAPE, remove, run, scratch, synth

TIMES = 20


def contents(folder):
    def read(path):
        with open(path, "rb") as f:
            return f.read()
    return {name: read(f"{folder}/{name}") for name in os.listdir(folder)} if os.path.isdir(folder) else {}


class Killed(unittest.TestCase):
    def setUp(self):
        self.dir = scratch("killed")
        self.addCleanup(remove, self.dir)

    def test_at_random_moments(self):
        options = ["--llm-type", "f32", "--speech-type", "f32"]
        start = time.monotonic()
        r = convert("wide", f"{self.dir}/whole", *options)
        took = time.monotonic() - start
        self.assertEqual(r.returncode, 0, r.stderr)
        whole = contents(f"{self.dir}/whole")
        self.assertEqual(len(whole), 2)
        moments, killed = random.Random(17), 0
        for i in range(10 * TIMES):      # a run that was over before it was killed does not count
            if killed == TIMES:
                break
            out = f"{self.dir}/{i}"
            p = subprocess.Popen([OMNI, "convert", *arguments("wide"), "-o", out, *options], stderr=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL)
            time.sleep(moments.uniform(0, took))
            p.send_signal(signal.SIGKILL)
            killed += p.wait() == -signal.SIGKILL
            for name, data in contents(out).items():
                if name.endswith(".gguf"):
                    self.assertTrue(data == whole[name], f"{name} is there and not complete")
            r = convert("wide", out, *options)
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertTrue(contents(out) == whole, os.listdir(out))    # both, complete, and nothing else
        self.assertEqual(killed, TIMES, "runs were over before they could be killed")

    def test_interrupted_while_quantising(self):
        """llama.cpp's quantiser asks nobody whether to stop; a slow type is taken."""
        llm, _ = synth(f"{self.dir}/m", dict(SHAPE, **{"llm.embedding_length": 256, "llm.feed_forward_length": 1024,
                                                       "llm.vocab_size": 8000}))
        command = ["quantize", "-t", "1", llm, f"{self.dir}/out.gguf", "iq4_nl"]
        start = time.monotonic()
        r = run(*command)
        took = time.monotonic() - start
        self.assertEqual(r.returncode, 0, r.stderr)
        os.remove(f"{self.dir}/out.gguf")
        for pause in (0.1, took / 4):       # soon after one another; and a second that finds nobody any more
            p = subprocess.Popen([OMNI, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            while not os.path.exists(f"{self.dir}/out.gguf.part") and p.poll() is None:
                time.sleep(0.005)
            time.sleep(0.1)                 # from the file's opening into the quantiser
            start = time.monotonic()
            p.send_signal(signal.SIGINT)
            time.sleep(pause)
            p.send_signal(signal.SIGINT)
            self.assertEqual((p.wait(60), *p.communicate()), (130, b"", b""))
            self.assertLess(time.monotonic() - start, pause + took / 2)
            self.assertEqual(os.listdir(self.dir), ["m"])


if __name__ == "__main__":
    unittest.main()
