"""omni serve over HTTP: chat completions with speech, models, health, metrics, limits, errors, TLS.

The numbers in the names are those of the project's list of conformance cases.
"""

import base64
import http.client
import io
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import unittest
import wave

import program
from realtime_client import DEADLINE, Server, speech

TEXT = [{"role": "user", "content": "What is the capital of France?"}]
JSON = {"Content-Type": "application/json"}


def chat(**more):
    return dict({"model": "m", "messages": TEXT}, **more)


def spoken(data, form="wav"):
    return [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": data, "format": form}}]}]


def wav(pcm, rate=24000, channels=1):
    out = io.BytesIO()
    with wave.open(out, "wb") as w:
        w.setnchannels(channels)
        w.setsampwidth(2)
        w.setframerate(rate)
        w.writeframes(pcm)
    return out.getvalue()


class Http(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("-np", "2")

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__(None, None, None)

    def post(self, body, path="/v1/chat/completions", status=200):
        got, headers, data = self.server.request("POST", path, body, JSON)
        self.assertEqual(got, status, data[:300])
        self.assertTrue(headers["x-request-id"])
        return data

    def ask(self, **more):
        return json.loads(self.post(chat(**more)))

    def refused(self, body, status, code, param, path="/v1/chat/completions"):
        e = json.loads(self.post(body, path, status))["error"]
        self.assertEqual((e["code"], e["param"]), (code, param), e)

    def chunks(self, **more):
        text = self.post(chat(stream=True, **more)).decode()
        lines = text.split("\n\n")
        self.assertEqual(lines[-2:], ["data: [DONE]", ""])
        return [json.loads(line[6:]) for line in lines[:-2]]

    def test_016_146_text(self):
        _, headers, data = self.server.request("POST", "/v1/chat/completions", chat(), JSON)
        self.assertEqual(headers["content-type"], "application/json")
        self.assertTrue(headers["x-request-id"])
        r = json.loads(data)
        c = r["choices"][0]
        self.assertEqual((r["object"], c["index"], c["finish_reason"], c["message"]["role"]), ("chat.completion", 0, "stop", "assistant"))
        self.assertTrue(c["message"]["content"])
        self.assertEqual(r["usage"]["total_tokens"], r["usage"]["prompt_tokens"] + r["usage"]["completion_tokens"])

    def test_017_speech(self):
        m = self.ask(modalities=["text", "audio"], audio={"voice": "alloy", "format": "wav"})["choices"][0]["message"]
        self.assertIsNone(m["content"])
        self.assertTrue(m["audio"]["transcript"] and m["audio"]["id"] and m["audio"]["expires_at"] > time.time())
        with wave.open(io.BytesIO(base64.b64decode(m["audio"]["data"]))) as w:
            self.assertEqual((w.getframerate(), w.getnchannels()), (24000, 1))
            self.assertGreater(w.getnframes(), 2400)

    def test_018_133_spoken_questions(self):
        pcm = speech(silence=0.2)
        folder = program.scratch("serve")
        self.addCleanup(program.remove, folder)
        import numpy as np
        mp3 = program.encode(os.path.join(folder, "q.mp3"), np.frombuffer(pcm, "<i2") / 32768.0, 24000, "mp3")
        with open(mp3, "rb") as f:
            recordings = {"wav": wav(pcm), "mp3": f.read(), "pcm16": pcm}
        for form, data in recordings.items():
            r = self.ask(messages=spoken(base64.b64encode(data).decode(), form))
            self.assertGreater(r["usage"]["prompt_tokens_details"]["audio_tokens"], 0)
            self.assertTrue(r["choices"][0]["message"]["content"])

    def test_019_128_129_stream(self):
        chunks = self.chunks(modalities=["text", "audio"], audio={"voice": "alloy", "format": "pcm16"}, stream_options={"include_usage": True})
        self.assertEqual(len({(c["id"], c["object"], c["created"], c["model"]) for c in chunks}), 1)
        self.assertEqual(chunks[0]["choices"][0]["delta"]["role"], "assistant")
        audio = [c["choices"][0]["delta"].get("audio", {}) for c in chunks if c["choices"]]
        data = [base64.b64decode(a["data"]) for a in audio if "data" in a]
        self.assertTrue(data and all(len(d) % 6 == 0 for d in data[:-1]))
        self.assertTrue("".join(a.get("transcript", "") for a in audio))
        self.assertEqual(sum("expires_at" in a for a in audio), 1)
        self.assertEqual(chunks[-2]["choices"][0]["finish_reason"], "stop")
        self.assertEqual((chunks[-1]["choices"], chunks[-1]["usage"]["completion_tokens"] > 0), ([], True))
        whole = self.ask(modalities=["text", "audio"], audio={"voice": "alloy", "format": "pcm16"})["choices"][0]["message"]["audio"]
        self.assertEqual(base64.b64decode(whole["data"]), b"".join(data))
        self.assertNotIn("usage", self.chunks()[-1])

    def test_020_149_models(self):
        name = json.loads(self.server.request("GET", "/v1/models")[2])["data"][0]["id"]
        self.assertEqual(json.loads(self.server.request("GET", "/v1/models/" + name)[2])["object"], "model")
        status, _, body = self.server.request("GET", "/v1/models/nope")
        self.assertEqual((status, json.loads(body)["error"]["code"]), (404, "model_not_found"))

    def test_021_health_props_metrics(self):
        for path in ("/health", "/v1/health"):
            self.assertEqual(json.loads(self.server.request("GET", path)[2]), {"status": "ok"})
        status, headers, text = self.server.request("GET", "/metrics")
        self.assertEqual((status, headers["content-type"]), (200, "text/plain; version=0.0.4"))
        for line in text.decode().splitlines():
            if not line.startswith("#"):
                float(line.rsplit(" ", 1)[1])
        self.assertEqual(json.loads(self.server.request("GET", "/props")[2])["total_slots"], 2)

    def test_130_131_132_135_136_145_bad_requests(self):
        audio = {"modalities": ["text", "audio"]}
        data, form = "messages[0].content[0].input_audio.data", "messages[0].content[0].input_audio.format"
        cut = base64.b64encode(wav(bytes(4800))[:20]).decode()
        for body, code, param in (
                (chat(stream=True, **audio, audio={"voice": "x", "format": "wav"}), "unsupported_value", "audio.format"),
                (chat(**audio, audio={"voice": "x", "format": "aac"}), "unsupported_value", "audio.format"),
                (chat(**audio), "missing_required_parameter", "audio"),
                (chat(messages=spoken("%%%")), "invalid_value", data), (chat(messages=spoken(cut)), "invalid_value", data),
                (chat(messages=spoken(cut, "ogg")), "invalid_value", form),
                ({"model": "m"}, "missing_required_parameter", "messages"), (chat(messages=[]), "invalid_value", "messages"),
                (chat(messages=[{"role": "x", "content": "y"}]), "invalid_value", "messages[0].role"),
                (chat(messages=[{"role": "user", "content": 5}]), "invalid_type", "messages[0].content"),
                (chat(n=2), "unsupported_value", "n"),
                (chat(modalities=["video"]), "invalid_value", "modalities[0]"), (chat(modalities=["text", 5]), "invalid_type", "modalities[1]"),
                (chat(modalities="audio"), "invalid_type", "modalities"), (chat(modalities=[]), "invalid_value", "modalities"),
                (chat(stream="true"), "invalid_type", "stream"), (chat(stream_options=True), "invalid_type", "stream_options"),
                (chat(stream=True, stream_options={"include_usage": 1}), "invalid_type", "stream_options.include_usage"),
                (chat(top_p=-0.1), "decimal_below_min_value", "top_p"), (chat(top_p=1.1), "decimal_above_max_value", "top_p")):
            self.refused(body, 400, code, param)

    def test_members_that_are_null_or_at_their_ends(self):
        greedy = self.ask()["choices"][0]["message"]["content"]
        self.assertEqual(self.ask(modalities=None, stream=None, stream_options=None, top_p=None)["choices"][0]["message"]["content"], greedy)
        self.assertEqual(self.ask(top_p=0, temperature=2, seed=7)["choices"][0]["message"]["content"], greedy)
        self.assertTrue(self.ask(top_p=1, temperature=2)["choices"])

    def test_recordings_are_what_they_say(self):
        import numpy as np
        folder = program.scratch("recordings")
        self.addCleanup(program.remove, folder)
        flac = program.encode(os.path.join(folder, "q.flac"), np.zeros(24000), 24000, "flac")
        with open(flac, "rb") as f:
            data = f.read()
        for form, recording in (("wav", data), ("mp3", data), ("mp3", wav(bytes(48000))), ("wav", wav(bytes(48000), channels=3)),
                                ("wav", wav(bytes(48000), rate=384000)), ("wav", wav(bytes(16 << 20), rate=8000))):
            messages = spoken(base64.b64encode(recording).decode(), form)
            self.refused(chat(messages=messages), 400, "invalid_value", "messages[0].content[0].input_audio.data")

    def test_of_a_long_recording_the_beginning_is_heard(self):
        answers, pcm = set(), speech(silence=0.2) + bytes(48000 * 300)
        for seconds in (60, 300):
            for form, sound in (("wav", wav(pcm[:48000 * seconds])), ("pcm16", pcm[:48000 * seconds])):
                answers.add(self.ask(messages=spoken(base64.b64encode(sound).decode(), form))["choices"][0]["message"]["content"])
        self.assertEqual(len(answers), 1)

    def test_of_many_recordings_the_last_is_heard(self):
        sound = base64.b64encode(wav(speech(silence=0.2))).decode()
        other = base64.b64encode(wav(bytes(48000))).decode()
        one, several = (self.ask(messages=[{"role": "user", "content": [spoken(s)[0]["content"][0] for s in sounds]}])
                        for sounds in ([sound], [other, "%%%", sound]))
        self.assertEqual(one["choices"][0]["message"]["content"], several["choices"][0]["message"]["content"])

    def test_nesting(self):
        for depth, status in ((60, 200), (70, 400)):
            self.post('{"x":%s%s,%s' % ("[" * depth, "]" * depth, json.dumps(chat())[1:]), status=status)
            self.post('{"x":%s%s}' % ("[" * depth, "]" * depth), "/v1/realtime/client_secrets", status)

    def test_a_question_larger_than_anything(self):
        for words in ("and " * 70000, "and " * 400000):
            self.refused(chat(messages=[{"role": "user", "content": words}]), 400, "invalid_value", "messages[0].content")
        self.refused(chat(messages=[{"role": "user", "content": "and and"}] * 60000), 400, "invalid_value", "messages[59999].content")

    def test_a_question_larger_than_the_context(self):
        long = [{"role": "user", "content": "and " * 40000}]
        self.refused(chat(messages=long), 400, "context_length_exceeded", "messages")
        text = self.post(chat(messages=long, stream=True)).decode()
        error = json.loads(text.strip().split("\n\n")[-1][6:])["error"]
        self.assertEqual((error["type"], error["code"]), ("invalid_request_error", "context_length_exceeded"))

    def test_135_containers(self):
        magic = {"mp3": (b"\xff", b"ID3"), "flac": (b"fLaC",), "opus": (b"OggS",)}
        for form, starts in magic.items():
            m = self.ask(modalities=["text", "audio"], audio={"voice": "x", "format": form})["choices"][0]["message"]
            self.assertTrue(base64.b64decode(m["audio"]["data"]).startswith(starts), form)

    def test_137_not_json_empty_too_large(self):
        self.refused("not json", 400, None, None)
        self.refused("", 400, None, None)
        c = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=DEADLINE)
        c.putrequest("POST", "/v1/chat/completions")
        c.putheader("Content-Length", str(100 << 20))
        c.endheaders()
        self.assertEqual(c.getresponse().status, 413)
        c.close()

    def test_142_a_client_that_goes_frees_its_slot(self):
        for _ in range(3):
            c = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=DEADLINE)
            c.request("POST", "/v1/chat/completions", json.dumps(chat(stream=True, modalities=["text", "audio"], audio={"voice": "x", "format": "pcm16"})))
            c.getresponse().read(10)
            c.close()
        deadline = time.monotonic() + 30
        while self.server.metric("s2s_slots_free") < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertEqual(self.server.metric("s2s_slots_free"), 2)

    def test_143_length(self):
        self.assertEqual(self.ask(max_completion_tokens=2)["choices"][0]["finish_reason"], "length")

    def test_147_148_reading_aloud_is_refused(self):
        for more in ({}, {"stream_format": "sse"}, {"response_format": "wav", "speed": 2}):
            self.refused(dict({"model": "m", "input": "x", "voice": "y"}, **more), 400, "unsupported_value", "model", "/v1/audio/speech")

    def test_126_150_151_paths_and_methods(self):
        self.refused({}, 404, "not_supported", None, "/v1/realtime/calls")
        self.assertEqual(self.server.request("GET", "/v1/chat/completions")[0], 405)
        self.assertEqual(self.server.request("GET", "/v1/chat/completions")[1]["allow"], "POST")
        self.assertEqual(self.server.request("GET", "/nope")[0], 404)
        self.assertEqual(self.server.request("HEAD", "/v1/models")[0], 200)
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        for method in ("HEAD", "POST"):
            status, headers, _ = self.server.request(method, "/v1/realtime?model=m", headers=upgrade)
            self.assertEqual((status, headers["allow"]), (405, "GET"), method)
        origin = "http://127.0.0.1:%d" % self.server.port
        status, headers, _ = self.server.request("OPTIONS", "/v1/chat/completions", headers={
            "Origin": origin, "Access-Control-Request-Headers": "authorization, x-stainless-lang"})
        self.assertEqual(status, 204)
        self.assertIn("x-stainless-lang", headers["access-control-allow-headers"])
        self.assertEqual(headers["access-control-allow-origin"], origin)
        got = self.server.request("POST", "/v1/chat/completions", chat(), dict(JSON, Origin="https://evil.example"))
        self.assertEqual(got[0], 403)

    def test_152_chunked_and_expect(self):
        body = json.dumps(chat()).encode()
        s = socket.create_connection(("127.0.0.1", self.server.port), timeout=DEADLINE)
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        self.assertTrue(s.recv(100).startswith(b"HTTP/1.1 100"))
        for i in range(0, len(body), 40):
            part = body[i:i + 40]
            s.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        s.sendall(b"0\r\n\r\n")
        got = b""
        while True:
            more = s.recv(65536)
            if not more:
                break
            got += more
        s.close()
        self.assertTrue(got.startswith(b"HTTP/1.1 200"), got[:100])

    def test_the_page_and_its_policy(self):
        for path, kind in (("/", "text/html"), ("/app.js", "text/javascript"), ("/worklets.js", "text/javascript"), ("/style.css", "text/css")):
            status, headers, body = self.server.request("GET", path)
            self.assertEqual((status, headers["content-type"]), (200, kind + "; charset=utf-8"))
            self.assertTrue(body)
            self.assertIn("default-src 'none'", headers["content-security-policy"])
            self.assertEqual(headers["x-content-type-options"], "nosniff")
        self.assertEqual(self.server.request("GET", "/../README.md")[0], 404)

    def test_requests_wait_for_a_slot_in_turn(self):
        waiting = [http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=DEADLINE) for _ in range(6)]
        for c in waiting:
            c.request("POST", "/v1/chat/completions", json.dumps(chat()), JSON)
        for c in waiting:
            self.assertEqual(c.getresponse().status, 200)
            c.close()


class Tls(unittest.TestCase):
    def test_https_and_wss_with_a_certificate(self):
        if not shutil.which("openssl"):
            self.fail("openssl is missing: scripts/setup.sh test installs it")
        folder = program.scratch("tls")
        self.addCleanup(program.remove, folder)
        cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
        with Server("--ssl-cert-file", cert, "--ssl-key-file", key) as server:
            context = ssl.create_default_context(cafile=cert)
            c = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=DEADLINE)
            c.request("GET", "/health")
            self.assertEqual(c.getresponse().status, 200)
            c.close()
            s = context.wrap_socket(socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE), server_hostname="127.0.0.1")
            s.sendall(b"GET /v1/realtime?model=m HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            got = b""
            while b"session.created" not in got:
                more = s.recv(65536)
                self.assertTrue(more, got)
                got += more
            self.assertIn(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", got)
            s.close()
        r = program.run("serve", "--ssl-cert-file", key, "--ssl-key-file", key, "--port", "0", "-m", os.environ["OMNI_TEST_MODEL"], threads=False)
        self.assertEqual(r.returncode, 1)
        self.assertIn("PEM", r.stderr.decode())


if __name__ == "__main__":
    unittest.main()
