"""The published clients (openai 7, 6, 4 beta; @openai/agents-realtime; openai-realtime-api), unmodified, and scripts that use them.

They are installed once, by the committed lock file, into ${XDG_CACHE_HOME:-~/.cache}/llama-omni/clients-<lock>.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import unittest

import program
from realtime_client import Server, speech

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


class Case(unittest.TestCase):
    """Two servers, one of them with TLS, and node."""
    model = None

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
        cls.plain = Server(*options, model=cls.model)
        cls.secure = Server(*options, "--ssl-cert-file", cert, "--ssl-key-file", key, model=cls.model)
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
