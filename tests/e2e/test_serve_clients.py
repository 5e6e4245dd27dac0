"""The published clients (openai 7, 6, 4 beta; @openai/agents-realtime; openai-realtime-api), unmodified, against omni serve.

A spoken question goes through each of them; the answers have the right words, and pocketsphinx understands them.
"""

import os
import sys
import unittest
import wave

import numpy as np

import program
import published_clients

sys.path.insert(0, os.path.join(program.SOURCE, "lab", "tiny"))
import judge      # noqa: E402


class Clients(published_clients.Case):
    def understood(self, *names):
        """The answers to the spoken question that these clients got say what omni ask says."""
        with open(os.path.join(os.environ["OMNI_TEST_MODEL"], "questions", "questions.txt")) as f:
            wanted = [line.rstrip("\n").split("\t")[3] for line in f if line.startswith("1.wav")][0]
        paths = []
        for name in names:
            with open(os.path.join(self.answers, name + ".txt")) as f:
                self.assertEqual(f.read(), wanted, name)
            pcm = np.fromfile(os.path.join(self.answers, name + ".pcm"), "<i2").astype(np.float64)
            at = np.arange(int(len(pcm) * 2 / 3)) * 1.5
            paths.append(os.path.join(self.answers, name + ".wav"))
            with wave.open(paths[-1], "wb") as w:
                w.setparams((1, 2, 16000, 0, "NONE", None))
                w.writeframes(np.interp(at, np.arange(len(pcm)), pcm).astype("<i2").tobytes())
        for name, heard in zip(names, judge.listen(paths)):
            wer, _, _ = judge.score([heard], [wanted])
            self.assertLessEqual(wer, 0.15, (name, heard, wanted))

    def test_openai(self):
        self.node("clients.mjs")
        self.understood("openai-7", "openai-6", "openai-7-browser", "openai-4-beta", "openai-4-beta-browser", "chat-7", "chat-6", "chat-4")

    def test_agents(self):
        self.node("agents.mjs")
        self.understood("agents")

    def test_client_of_the_beta(self):
        self.node("beta.mjs")
        self.understood("openai-realtime-api")


if __name__ == "__main__":
    unittest.main()
