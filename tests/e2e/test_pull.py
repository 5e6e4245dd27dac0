"""omni pull against a server that mimics the hub: every fault is overcome or told; no wrong file gets a final name."""

import email.utils
import fcntl
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import time
import unittest

from mimic_hub import COMMIT, Hub, git_blob
from program import OMNI, remove, run, scratch, synth, write

REPO = "toy/model"


def noise(n, seed=1):
    return random.Random(seed).randbytes(n)


class Pull(unittest.TestCase):
    def setUp(self):
        self.dir = scratch("pull")
        self.hub = Hub()
        self.small, self.big = b'{"model_type": "toy"}', noise(300_000)
        self.hub.put(REPO, {"config.json": self.small, "README.md": b"read me", "model.safetensors": self.big,
                            "sub/other.safetensors": noise(2000)})

    def tearDown(self):
        self.hub.close()
        remove(self.dir)

    def env(self, **more):
        plain = {k: "" for k in os.environ if k.lower().endswith("_proxy") or k.startswith("HF_")}
        ours = dict(HOME=f"{self.dir}/home", XDG_CACHE_HOME="", XDG_CONFIG_HOME="", HF_TOKEN="",
                    HF_ENDPOINT=self.hub.url, OMNI_PULL_PAUSE="0.01", HF_HUB_DOWNLOAD_TIMEOUT="1")
        return plain | ours | more

    def pull(self, *args, name=f"hf:{REPO}", env=None, **kwargs):
        return run("pull", "--no-convert", name, *args, env=self.env(**(env or {})), timeout=60, **kwargs)

    @property
    def root(self):
        return f"{self.dir}/home/.cache/huggingface/hub"

    @property
    def folder(self):
        return f"{self.root}/models--toy--model"

    def fetched(self, result=None):
        """The pull went well, and everything is where other tools look for it."""
        if result is not None:
            self.assertEqual((result.returncode, result.stdout.decode().strip()),
                             (0, f"{self.folder}/snapshots/{COMMIT}"), result.stderr.decode())
        for name, data in (("config.json", self.small), ("model.safetensors", self.big)):
            etag = hashlib.sha256(data).hexdigest() if self.hub.is_lfs(data) else git_blob(data)
            link = f"{self.folder}/snapshots/{COMMIT}/{name}"
            self.assertEqual(os.readlink(link), f"../../blobs/{etag}")
            with open(link, "rb") as f:
                self.assertEqual(f.read(), data)
        with open(f"{self.folder}/refs/main") as f:
            self.assertEqual(f.read(), COMMIT)
        self.whole()
        self.assertEqual([b for b in os.listdir(f"{self.folder}/blobs") if "." in b], [])
        self.assertEqual(sorted(set(os.listdir(f"{self.folder}/snapshots/{COMMIT}")) - {"README.md"}),
                         ["config.json", "model.safetensors"])

    def whole(self):
        """What has a final name is what the name says."""
        blobs = f"{self.folder}/blobs"
        for blob in os.listdir(blobs) if os.path.isdir(blobs) else []:
            if "." in blob:
                continue
            with open(f"{blobs}/{blob}", "rb") as f:
                data = f.read()
            self.assertEqual(blob, hashlib.sha256(data).hexdigest() if len(blob) == 64 else git_blob(data))

    def refused(self, *says, result=None, **kwargs):
        r = result or self.pull("-q", **kwargs)
        err = r.stderr.decode()
        self.assertEqual(r.returncode, 1, err)
        self.assertEqual(err.count("\n"), 1, err)
        for word in says:
            self.assertIn(word, err)
        self.whole()
        self.assertFalse(os.path.exists(f"{self.folder}/refs/main"))
        return err

    # ---- it works -----------------------------------------------------------------

    def test_layout(self):
        r = self.pull()
        self.fetched(r)
        self.assertIn(b"apache-2.0", r.stderr)
        n = len(self.hub.asked("resolve"))
        self.fetched(self.pull())                           # nothing twice
        self.assertEqual(len(self.hub.asked("resolve")), n)

    def test_folders_of_the_environment(self):
        for variables, root in (({"HF_HOME": "A"}, "A/hub"), ({"HF_HOME": "A", "HF_HUB_CACHE": "B"}, "B"),
                                ({"HF_HOME": "A", "HUGGINGFACE_HUB_CACHE": "D"}, "D"),
                                ({"XDG_CACHE_HOME": "C"}, "C/huggingface/hub")):
            r = self.pull(env={k: f"{self.dir}/{v}" for k, v in variables.items()})
            self.assertEqual(r.stdout.decode(), f"{self.dir}/{root}/models--toy--model/snapshots/{COMMIT}\n", r.stderr)

    def test_revisions(self):
        for revision in (COMMIT, "refs/pr/1"):
            self.assertEqual(self.pull(name=f"hf:{REPO}@{revision}").returncode, 0)
        with open(f"{self.folder}/refs/refs/pr/1") as f:
            self.assertEqual(f.read(), COMMIT)
        self.refused("no such revision", name=f"hf:{REPO}@other")

    def test_cache_of_another_tool(self):
        blobs, snapshot = f"{self.folder}/blobs", f"{self.folder}/snapshots/{COMMIT}"
        os.makedirs(blobs)
        os.makedirs(snapshot)
        for name, data in (("config.json", self.small), ("model.safetensors", self.big), ("README.md", b"read me")):
            etag = hashlib.sha256(data).hexdigest() if self.hub.is_lfs(data) else git_blob(data)
            write(f"{blobs}/{etag}", data)
            os.symlink(f"../../blobs/{etag}", f"{snapshot}/{name}")
        os.makedirs(f"{self.folder}/refs")
        write(f"{self.folder}/refs/main", COMMIT)
        self.fetched(self.pull("--offline", env={"HF_ENDPOINT": "http://127.0.0.1:1"}))
        self.fetched(self.pull())
        self.assertEqual(self.hub.asked("resolve"), [])

    def test_offline(self):
        self.refused("not in", "--offline", result=self.pull("--offline"))
        self.fetched(self.pull())
        n = len(self.hub.requests)
        self.fetched(self.pull("--offline"))
        self.fetched(self.pull(env={"HF_HUB_OFFLINE": "1"}))
        self.assertEqual(len(self.hub.requests), n)
        os.remove(f"{self.folder}/blobs/{hashlib.sha256(self.big).hexdigest()}")
        r = self.pull("--offline")
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"model.safetensors: No such file", r.stderr)

    def test_offline_wants_every_shard(self):
        """A commit names itself, so no ref says that all of it was fetched."""
        def offline():
            return self.pull("--offline", name=f"hf:{REPO}@{COMMIT}")
        shards = {f"model-0000{i}-of-00002.safetensors": noise(2000, i) for i in (1, 2)}
        index = json.dumps({"weight_map": {"a": min(shards), "b": max(shards)}}).encode()
        self.hub.put(REPO, {"config.json": self.small, **shards, "model.safetensors.index.json": index})
        self.assertEqual(self.pull(name=f"hf:{REPO}@{COMMIT}").returncode, 0)
        self.assertEqual(offline().returncode, 0)
        snapshot = f"{self.folder}/snapshots/{COMMIT}"
        os.remove(f"{snapshot}/{max(shards)}")
        r = offline()
        self.assertEqual(r.returncode, 1)
        self.assertIn(f"{max(shards)}: No such file".encode(), r.stderr)
        os.remove(f"{snapshot}/model.safetensors.index.json")
        r = offline()
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"index.json", r.stderr)

    def test_half_a_pair(self):
        self.hub.put(REPO, {"toy-F16.gguf": noise(2000), "toy-speech-F16.gguf": noise(2000, 2)})
        self.assertEqual(self.pull(name=f"hf:{REPO}@{COMMIT}").returncode, 0)
        os.remove(f"{self.folder}/snapshots/{COMMIT}/toy-F16.gguf")
        r = self.pull("--offline", name=f"hf:{REPO}@{COMMIT}")
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"the LLM file is missing", r.stderr)
        r = run("info", "-m", f"hf:{REPO}@{COMMIT}", env=self.env())
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"get it with: omni pull", r.stderr)

    def test_proxy(self):
        r = self.pull("--retries", "0", env={"http_proxy": "http://127.0.0.1:1"})
        self.assertEqual(r.returncode, 1)
        self.fetched(self.pull(env={"http_proxy": "http://127.0.0.1:1", "no_proxy": "127.0.0.1"}))
        remove(self.folder)
        self.hub.lfs_from = 1 << 30     # no storage: there is no such name, only the proxy can answer
        self.hub.put(REPO, {"config.json": self.small, "model.safetensors": self.big})
        self.fetched(self.pull(env={"http_proxy": self.hub.url, "HF_ENDPOINT": "http://hub.invalid"}))

    def test_parts(self):
        self.big = noise(13_000_000)
        self.hub.put(REPO, {"config.json": self.small, "model.safetensors": self.big})
        self.hub.fault("model.safetensors", "drop", times=3)
        self.fetched(self.pull("--connections", "3"))
        begins = {r[3]["Range"].split("=")[1].split("-")[0] for r in self.hub.asked("blob", role="storage")}
        self.assertTrue({"0", "4333334", "8666668"} <= begins, begins)

    # ---- faults that pass ---------------------------------------------------------

    def test_drops(self):
        self.hub.fault("model.safetensors", "drop", times=5)
        self.fetched(self.pull())
        self.assertGreater(len(self.hub.asked("blob", role="storage")), 5)

    def test_too_many_drops(self):
        self.big = noise(30_000)        # no try gets far enough to count as progress
        self.hub.put(REPO, {"config.json": self.small, "model.safetensors": self.big})
        self.hub.fault("model.safetensors", "drop", times=100)
        self.refused("gave up after 4 tries", result=self.pull("-q", "--retries", "3"))
        self.hub.faults.clear()
        self.fetched(self.pull())       # goes on
        self.assertNotIn("bytes=0-29999", [r[3]["Range"] for r in self.hub.asked("blob")][-1:])

    def test_errors_that_pass(self):
        for name in ("revision", "tree", "model.safetensors", "config.json"):
            self.hub.fault(name, 500, times=2)
        self.fetched(self.pull())

    def test_too_many_requests(self):
        self.hub.fault("model.safetensors", 429)
        begin = time.monotonic()
        r = self.pull()
        self.fetched(r)
        self.assertGreaterEqual(time.monotonic() - begin, 1)        # Retry-After
        self.assertIn(b"429", r.stderr)

    def test_long_waits(self):
        """Retry-After as a date; and one of hours, which is told instead of waited for."""
        self.hub.retry_after = email.utils.formatdate(time.time() + 2, usegmt=True)
        self.hub.fault("model.safetensors", 429)
        self.fetched(self.pull())
        remove(self.folder)
        self.hub.retry_after = 7200
        self.hub.fault("revision", 429)
        begin = time.monotonic()
        self.refused("429", "asks to wait 7200 s")
        self.assertLess(time.monotonic() - begin, 60)

    def test_renamed(self):
        """Redirects that name a path alone stay at the hub, token and all."""
        self.hub.renamed["old/name"] = REPO
        r = self.pull(name="hf:old/name", env={"HF_TOKEN": "hf_secret"})
        self.assertEqual(r.returncode, 0, r.stderr)
        with open(f"{self.root}/models--old--name/snapshots/{COMMIT}/model.safetensors", "rb") as f:
            self.assertEqual(f.read(), self.big)
        for role, _, path, headers in self.hub.requests:
            self.assertEqual("Authorization" in headers, role == "hub", path)
        self.assertTrue(self.hub.asked("old/name", role="hub") and self.hub.asked("blob/toy/model", role="storage"))

    def test_errors_that_stay(self):
        self.hub.fault("tree", 503, times=100)
        self.refused("503", "gave up", result=self.pull("-q", "--retries", "2"))
        self.assertEqual(len(self.hub.asked("/tree/")), 3)

    def test_stall(self):
        self.hub.fault("model.safetensors", "stall")
        self.fetched(self.pull())

    def test_no_ranges(self):
        self.hub.fault("model.safetensors", "drop")
        self.hub.faults["model.safetensors"].append("no-ranges")
        self.hub.faults["model.safetensors"].append("no-ranges")
        self.fetched(self.pull())

    def test_416(self):
        self.hub.fault("model.safetensors", 416)
        self.fetched(self.pull())
        remove(self.folder)
        self.hub.fault("model.safetensors", 416, times=100)
        self.refused("from the beginning")

    def test_other_bytes_than_asked_for(self):
        for fault in ("other-range", "other-size"):
            self.hub.fault("model.safetensors", fault, times=3)
            self.refused("asked for bytes", "model.safetensors")
            self.hub.faults.clear()
        self.fetched(self.pull())

    # ---- faults that do not -------------------------------------------------------

    def test_wrong_checksum(self):
        for name in ("config.json", "model.safetensors"):
            self.hub.fault(name, "wrong", times=3)
            self.refused("wrong checksum", name)
            self.assertFalse([b for b in os.listdir(f"{self.folder}/blobs") if "incomplete" in b])
            self.hub.faults.clear()
        self.fetched(self.pull())

    def test_access(self):
        self.hub.fault("revision", 401)
        self.refused("HF_TOKEN", "401")
        self.hub.fault("revision", 403)
        self.refused("accept its conditions", "HF_TOKEN", "gated")
        self.refused("no such repository", name="hf:toy/none")
        self.hub.fault("revision", 401)
        self.refused("token was not accepted", result=self.pull("-q", env={"HF_TOKEN": "hf_old"}))
        self.hub.fault("config.json", 404)
        self.refused("config.json", "not there (404)")
        self.hub.fault("model.safetensors", 403)
        self.refused("model.safetensors", "gated")
        self.fetched(self.pull())

    def test_contradictions(self):
        self.hub.etag = "0" * 64
        self.refused("contradicts")

    def test_hostile_lists(self):
        entry = {"type": "file", "oid": "0" * 40, "size": 3}
        for path in ("../x.safetensors", "/etc/x.safetensors", "a/../../x.safetensors", "x\n.safetensors",
                     "a//x.safetensors", "..", "a\\..\\x.safetensors", "x" * 300 + ".safetensors"):
            self.hub.tree = json.dumps([dict(entry, path=path)]).encode()
            self.refused("does not stay inside")
        for tree in (b"[" * 100000, b"{}", b"<html>", b'[{"type":"file","path":"a\\u0000.safetensors"}]',
                     json.dumps([dict(entry, path="a.safetensors", size=-1)]).encode(),
                     json.dumps([dict(entry, path="a.safetensors", size=1 << 60)]).encode(),
                     json.dumps([dict(entry, path="a.safetensors")] * 2).encode(),
                     json.dumps([dict(entry, path="a.safetensors", oid="../../x")]).encode(), b" " * (9 << 20)):
            self.hub.tree = tree
            self.refused("/tree/")
        self.assertFalse(os.path.exists(f"{self.dir}/home/.cache/huggingface"))

    def test_redirects(self):
        for to in ("file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x"):
            self.hub.redirect = to
            self.refused("only http and https")
        self.hub.redirect = f"{self.hub.url}/{REPO}/resolve/{COMMIT}/model.safetensors"
        self.refused("more than 10 redirects")

    def test_token(self):
        secret = "hf_secret"
        self.fetched(self.pull(env={"HF_TOKEN": secret}))
        for role, _, path, headers in self.hub.requests:
            self.assertEqual(headers.get("Authorization"), f"Bearer {secret}" if role == "hub" else None, path)
            self.assertNotIn(secret, path)
        self.assertTrue(self.hub.asked("blob", role="storage"))
        remove(self.folder)
        self.hub.requests.clear()
        write(f"{self.dir}/token", f"{secret}\n")
        self.fetched(self.pull(env={"HF_TOKEN_PATH": f"{self.dir}/token"}))
        self.assertEqual(self.hub.requests[0][3]["Authorization"], f"Bearer {secret}")
        remove(self.folder)
        self.hub.requests.clear()
        os.makedirs(f"{self.dir}/hf-home")
        os.rename(f"{self.dir}/token", f"{self.dir}/hf-home/token")
        self.assertEqual(self.pull(env={"HF_HOME": f"{self.dir}/hf-home"}).returncode, 0)
        self.assertEqual(self.hub.requests[0][3]["Authorization"], f"Bearer {secret}")
        r = self.pull(env={"HF_TOKEN": "a\r\nX-Evil: 1\x01"})
        self.assertEqual(self.hub.asked("", role="hub")[-1][3].get("X-Evil"), None)
        self.assertIn(r.returncode, (0, 1))

    def test_lists_that_go_on_elsewhere(self):
        self.hub.next = f"{self.hub.url}/{'a' * 1100}"
        self.refused("the list goes on at an address of more than 1023 bytes")
        self.hub.next = "http://127.0.0.1:1/x"
        self.refused("which is another server")

    # ---- room, signals, neighbours ------------------------------------------------

    def test_no_room(self):
        self.hub.claims["model.safetensors"] = 1 << 41
        self.refused("2199.02 GB", "are free")
        self.assertEqual(self.hub.asked("resolve"), [])

    def test_no_room_to_convert(self):
        """It could be fetched; with the 16-bit file on the way to four bits it does not fit."""
        os.makedirs(f"{self.dir}/home")
        disk = os.statvfs(self.dir)
        self.hub.claims["model.safetensors"] = disk.f_bavail * disk.f_frsize * 6 // 10
        r = run("pull", f"hf:{REPO}", "--type", "q4_k_m", "-q", env=self.env(), timeout=60)
        self.refused("fetching and converting it", "are free", result=r)
        self.assertEqual(self.hub.asked("resolve"), [])

    def test_disk_full(self):
        def small():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        self.refused("File too large", "run the same again", result=self.pull("-q", preexec_fn=small))
        self.fetched(self.pull())

    def start(self, *args):
        return subprocess.Popen([OMNI, "pull", "--no-convert", "-q", f"hf:{REPO}", *args],
                                env=dict(os.environ, **self.env()), stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def test_killed(self):
        self.big = noise(9_000_000)
        self.hub.put(REPO, {"config.json": self.small, "model.safetensors": self.big})
        chance = random.Random(11)
        for _ in range(12):
            self.hub.fault("model.safetensors", "slow", times=10)
            p = self.start()
            time.sleep(chance.uniform(0.01, 0.35))
            p.send_signal(signal.SIGKILL)
            p.communicate()
            self.whole()
        self.hub.faults.clear()
        self.fetched(self.pull())

    def test_interrupted(self):
        self.hub.fault("model.safetensors", "slow", times=10)
        self.big = noise(9_000_000)
        self.hub.put(REPO, {"config.json": self.small, "model.safetensors": self.big})
        p = self.start()
        while not self.hub.asked("blob", role="storage"):
            time.sleep(0.01)
        p.send_signal(signal.SIGINT)
        self.assertEqual((p.wait(10), p.stderr.read()), (130, b""))
        p.communicate()
        self.whole()

    def test_two_at_once(self):
        self.hub.fault("model.safetensors", "slow", times=1)
        both = [self.start(), self.start()]
        for p in both:
            out, err = p.communicate(timeout=30)
            self.assertEqual(p.returncode, 0, err)
        self.fetched()
        self.assertEqual(len(self.hub.asked("blob", role="storage")), 1)

    def test_lock_is_shared(self):
        etag = hashlib.sha256(self.big).hexdigest()
        path = f"{self.root}/.locks/models--toy--model/{etag}.lock"
        os.makedirs(os.path.dirname(path))
        with open(path, "w") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            p = self.start()
            time.sleep(0.5)
            self.assertIsNone(p.poll())
            self.assertEqual(self.hub.asked("blob", role="storage"), [])
        p.communicate(timeout=20)
        self.fetched()

    # ---- names, terms -------------------------------------------------------------

    def test_names(self):
        for name in ("hf:", "hf:a", "hf:a/b/c", "hf:../b", "hf:a/..", "hf:a/b@", "hf:a/b@../x", "hf:a/b@-x", "llama"):
            r = self.pull(name=name)
            self.assertEqual(r.returncode, 1, name)
            self.assertIn(b"wanted", r.stderr)
        self.assertEqual(self.hub.requests, [])

    def test_terms(self):
        self.hub.put("ICTNLP/Llama-3.1-8B-Omni", {"config.json": self.small, "model.safetensors": self.big})
        for name in ("llama-omni-8b", "hf:ICTNLP/Llama-3.1-8B-Omni"):
            r = self.pull(name=name)
            self.assertEqual((r.returncode, self.hub.requests), (1, []))
            self.assertIn(b"--accept-licence", r.stderr)
        name = "hf:ICTNLP/Llama-3.1-8B-Omni"
        r = self.pull("--accept-licence", name=name)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn(b"commercial", r.stderr)
        r = self.pull(name=name)
        self.assertEqual((r.returncode, r.stderr), (0, b""))

    def test_set(self):
        """The published set's other files come from a mirror here; a Whisper that is none is refused."""
        vocoder = "mhubert_vp_en_es_fr_it3_400k_layer11_km1000_lj"
        self.hub.put("ICTNLP/Llama-3.1-8B-Omni", {"config.json": self.small, "model.safetensors": self.big})
        self.hub.put("mirror/whisper", {"large-v3.pt": b"not Whisper"})
        self.hub.put(f"mirror/{vocoder}", {"config.json": b"{}", "g_00500000": b"vocoder"})
        r = self.pull("-q", "--accept-licence", name="llama-omni-8b",
                      env={"OMNI_MIRROR": f"{self.hub.storage_url}/blob/mirror"})
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"large-v3.pt: wrong checksum", r.stderr)
        self.assertEqual([f for _, _, files in os.walk(f"{self.dir}/home/.cache/llama-omni") for f in files
                          if not f.endswith(".lock")], [])

    def test_a_page_instead_of_the_vocoder(self):
        """Its publisher gives no checksum; what a network's login page sends must not be kept for ever."""
        vocoder = "mhubert_vp_en_es_fr_it3_400k_layer11_km1000_lj"
        self.hub.put("ICTNLP/Llama-3.1-8B-Omni", {"config.json": self.small, "model.safetensors": self.big})
        good, page = {"config.json": b" {}", "g_00500000": b"PK vocoder"}, b"\n<html>log in</html>"
        args = dict(name="llama-omni-8b", env={"OMNI_MIRROR": f"{self.hub.storage_url}/blob/mirror"})
        for bad in good:
            self.hub.put(f"mirror/{vocoder}", dict(good, **{bad: page}))
            r = self.pull("-q", "--accept-licence", "--whisper", "own.pt", **args)
            self.assertEqual(r.returncode, 1)
            self.assertIn(f"{bad}: what {self.hub.storage_url}".encode(), r.stderr)
            self.assertEqual([f for _, _, files in os.walk(f"{self.dir}/home/.cache/llama-omni") for f in files
                              if f.startswith(bad) and not f.endswith(".lock")], [])
        self.hub.put(f"mirror/{vocoder}", good)
        r = self.pull("-q", "--accept-licence", "--whisper", "own.pt", **args)
        self.assertEqual(r.returncode, 0, r.stderr)

    # ---- types --------------------------------------------------------------------

    def test_types(self):
        """A wrong one is told before anything is fetched; one without meaning is told too."""
        for option in ("--type", "--speech-type"):
            r = run("pull", f"hf:{REPO}", option, "q9", env=self.env())
            self.assertEqual((r.returncode, self.hub.requests), (2, []))
            self.assertIn(b"q8_0", r.stderr)
            r = self.pull(option, "q8_0")
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertIn(f"{option} is ignored".encode(), r.stderr)
            self.hub.requests.clear()

    # ---- a model by its name ------------------------------------------------------

    def test_model_by_name(self):
        llm, speech = synth(f"{self.dir}/toy")
        files = {}
        for path in (llm, speech):
            with open(path, "rb") as f:
                files[os.path.basename(path)] = f.read()
        self.hub.put("toy/ready", files)
        r = run("info", "-m", "hf:toy/ready", env=self.env())
        self.assertEqual((r.returncode, r.stderr.count(b"\n")), (1, 1))
        self.assertIn(b"get it with: omni pull hf:toy/ready", r.stderr)
        r = run("pull", "hf:toy/ready", env=self.env())
        self.assertEqual(r.returncode, 0, r.stderr)
        for args in (("-m", "hf:toy/ready"), ("hf:toy/ready",), ("-m", f"hf:toy/ready@{COMMIT}")):
            r = run("info", *args, env=self.env())
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertIn(b"toy", r.stdout)


if __name__ == "__main__":
    unittest.main()
