"""The page in Chromium with a fake microphone, served by omni serve. Screenshots stay in the build folder (page/)."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import unittest

import numpy as np

from program import BUILD, read_wav, remove, scratch, wav_bytes, write
from realtime_client import Server

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.environ["OMNI_TEST_MODEL"]


def install():
    """The folder with playwright-core, by the lock file, and the driver."""
    source = os.path.join(HERE, "page")
    with open(os.path.join(source, "package-lock.json"), "rb") as f:
        name = "page-" + hashlib.sha256(f.read()).hexdigest()[:12]
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(cache, "llama-omni", name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(os.path.join(folder, "complete")):
            for file in ("package.json", "package-lock.json"):
                shutil.copy(os.path.join(source, file), folder)
            subprocess.run(["npm", "ci", "--silent", "--ignore-scripts"], cwd=folder, check=True, timeout=600)
            write(os.path.join(folder, "complete"), "")
        shutil.copy(os.path.join(source, "drive.mjs"), folder)
    return folder


class Page(unittest.TestCase):
    def test_conversation_in_a_browser(self):
        browser = shutil.which("chromium")
        self.assertTrue(browser, "chromium is missing: scripts/setup.sh test")
        folder, here, shots = install(), scratch("page"), os.path.join(BUILD, "page")
        self.addCleanup(remove, here)
        os.makedirs(shots, exist_ok=True)
        rate, question = read_wav(f"{MODEL}/questions/2.wav")
        def quiet(seconds):
            return np.zeros(int(seconds * rate))
        x = question / 32768
        write(f"{here}/question.wav", wav_bytes(x, rate))
        # 1.6 s after the question: its 0.5 s of silence have passed and the answer sounds, also when all is slow
        write(f"{here}/microphone.wav", wav_bytes(np.concatenate([quiet(1.5), x, quiet(1.6), x, quiet(60)]), rate))
        write(f"{here}/right.wav", wav_bytes(np.stack([0 * x, x], axis=1), rate))
        write(f"{here}/long.wav", wav_bytes(np.concatenate([x, x, x, x]), rate))
        write(f"{here}/silence.wav", wav_bytes(quiet(1), rate))
        with Server("-np", "3") as server, Server("--api-key", "sesame") as keyed, Server("-np", "1") as full:
            env = dict(os.environ, URL=f"http://127.0.0.1:{server.port}/", KEYED=f"http://127.0.0.1:{keyed.port}/",
                       FULL=f"http://127.0.0.1:{full.port}/", FILES=here, SHOTS=shots,
                       BROWSER=browser, QUESTION="how much is two plus two", HOME=here)
            r = subprocess.run(["node", "drive.mjs"], cwd=folder, env=env, capture_output=True, timeout=300)
        print(r.stdout.decode())
        self.assertEqual(r.returncode, 0, r.stdout.decode() + r.stderr.decode())


if __name__ == "__main__":
    unittest.main()
