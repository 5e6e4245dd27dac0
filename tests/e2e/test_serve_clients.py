"""The published clients (openai 7, 6, 4 beta; @openai/agents-realtime; openai-realtime-api), unmodified, against omni serve.

A spoken question goes through each of them; the answers have the right words, and pocketsphinx understands them.

They are installed once, by the committed lock file, into ${XDG_CACHE_HOME:-~/.cache}/llama-omni/clients-<lock>.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import unittest
import wave

import numpy as np

import program
from realtime_client import Server, speech

sys.path.insert(0, os.path.join(program.SOURCE, "lab", "tiny"))
import judge      # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
KEY = "sk-proj-" + "k" * 192


def install():
    """The folder with the clients."""
    source = os.path.join(HERE, "clients")
    with open(os.path.join(source, "package-lock.json"), "rb") as f:
        name = "clients-" + hashlib.sha256(f.read()).hexdigest()[:12]
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "llama-omni")
    folder = os.path.join(cache, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(os.path.join(folder, "complete")):
            for file in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(os.path.join(source, file), folder)
            subprocess.run(["npm", "ci", "--silent"], cwd=folder, check=True, timeout=600)
            program.write(os.path.join(folder, "complete"), "")
    for name in os.listdir(source):
        if name.endswith(".mjs"):
            shutil.copy(os.path.join(source, name), os.path.join(folder, name))
    return folder


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder, cls.scratch = install(), program.scratch("clients")
        cert, key, voice = (os.path.join(cls.scratch, name) for name in ("cert.pem", "key.pem", "voice"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
        program.write(voice, speech())
        cls.answers = os.path.join(cls.scratch, "answers")
        os.mkdir(cls.answers)
        options = ("--api-key", KEY, "-np", "6")
        cls.plain, cls.secure = Server(*options), Server(*options, "--ssl-cert-file", cert, "--ssl-key-file", key)
        cls.env = dict(os.environ, PLAIN="127.0.0.1:%d" % cls.plain.port, SECURE="127.0.0.1:%d" % cls.secure.port, KEY=KEY,
                       VOICE=voice, ANSWERS=cls.answers, NODE_EXTRA_CA_CERTS=cert)

    @classmethod
    def tearDownClass(cls):
        for server in (cls.plain, cls.secure):
            server.__exit__(None, None, None)
        program.remove(cls.scratch)

    def node(self, script):
        r = subprocess.run(["node", script], cwd=self.folder, env=self.env, capture_output=True, timeout=600)
        print(r.stdout.decode())
        self.assertEqual(r.returncode, 0, r.stdout.decode() + r.stderr.decode())

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
