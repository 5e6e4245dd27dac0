"""omni convert, killed at any moment: the final names are absent or complete, and the next run finishes and tidies."""

import os
import random
import signal
import subprocess
import time
import unittest

from checkpoint import arguments, convert
from program import OMNI, remove, scratch

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


if __name__ == "__main__":
    unittest.main()
