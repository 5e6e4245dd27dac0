"""omni serve: cases 153 to 174, hostile and careless clients, doors, limits, the end of the server."""

import base64
import json
import os
import signal
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import program
from realtime_case import KEY, QUESTION, Case, b64
from realtime_client import Closed, Refused, Server, Socket, speech


class Hardening(Case):
    # ---- level 4

    def test_153_large_append_whole_and_in_many_frames(self):
        c = self.connect()
        data = json.dumps({"type": "input_audio_buffer.append", "audio": b64(bytes(15 << 20))}).encode()
        c.frame(1, data)
        c.send("input_audio_buffer.clear")
        c.until("input_audio_buffer.cleared")
        small = json.dumps({"type": "input_audio_buffer.append", "audio": b64(bytes(48000))}).encode()
        step = len(small) // 999
        parts = [small[i:i + step] for i in range(0, len(small), step)]
        for i, part in enumerate(parts):
            c.frame(1 if i == 0 else 0, part, fin=i == len(parts) - 1)
        c.send("input_audio_buffer.commit")
        c.until("conversation.item.done")
        c.send("conversation.item.retrieve", item_id=c.events[-1]["item"]["id"])
        self.assertEqual(len(base64.b64decode(c.until("conversation.item.retrieved")["item"]["content"][0]["audio"])), 48000)

    def test_154_155_too_large_and_not_utf8(self):
        for opcode_data, code in (((1, b'"' + b"x" * (25 << 20) + b'"'), 1009), ((1, b"\xff\xfe"), 1007)):
            c = self.connect()
            try:
                c.frame(*opcode_data)
            except (BrokenPipeError, ConnectionResetError):
                pass
            try:
                c.silence(20)
                self.fail("still open")
            except Closed as closed:
                self.assertIn(closed.code, (code, 1006) if code == 1009 else (code,))
            except ConnectionResetError:
                self.assertEqual(code, 1009)
            if code == 1007:        # wslay closed by itself, and is counted with what it said
                self.assertGreaterEqual(self.server.metric('s2s_ws_closes_total{code="1007"}'), 1)
        self.connect().session()

    def test_156_157_hostile_json(self):
        c = self.connect()
        for raw in ("[" * 10000, '{"type":' + '{"a":' * 10000, '{"type":"\\ud800"}', '{"type":"a\\u0000b"}'):
            c.frame(1, raw.encode())
            self.assertEqual(c.until("error")["error"]["code"], "invalid_json", raw[:20])
        c.send({"type": "conversation.item.create", "item": {"type": "message", "id": "x" * (1 << 20), "role": "user", "content": []}})
        self.assertEqual(c.until("error")["error"]["param"], "item.id")
        for event_id in (5, {"a": 1}):
            c.send({"type": "nope", "event_id": event_id})
            self.assertIsNone(c.until("error")["error"]["event_id"])
        c.frame(1, b'{"type":"nope","type":"input_audio_buffer.clear"}')
        c.until("input_audio_buffer.cleared")

    def test_157_event_ids_are_bounded(self):
        c = self.connect()
        c.send({"type": "nope", "event_id": "x" * 512})
        self.assertEqual(c.until("error")["error"]["event_id"], "x" * 512)
        for n in (513, 1 << 20):
            c.send("input_audio_buffer.clear", event_id="x" * n)
            e = c.until("error")["error"]
            self.assertEqual((e["code"], e["param"], e["event_id"]), ("invalid_value", "event_id", None))
            self.assertIn(str(n), e["message"])
        c.say(QUESTION)
        c.send("response.create")
        c.send("response.cancel")
        c.send("response.create", event_id="x" * (1 << 20), response={"input": 5})     # would have waited
        self.assertEqual(c.until("error")["error"]["param"], "event_id")
        while "response.done" not in c.types():
            c.next()
        c.session()
        self.assertNotIn("input_audio_buffer.cleared", c.types())

    def test_157_many_values_are_refused_before_they_are_kept(self):
        c, before = self.connect(), self.server.rss()
        for values in ("{}," * (8 << 20 >> 2), "0," * (8 << 20 >> 1)):
            many = '{"type":"x","a":[' + values + "0]}"
            for _ in range(4):
                c.frame(1, many.encode())
                self.assertEqual(c.until("error")["error"]["code"], "invalid_json")
            self.assertIn("too many values", c.events[-1]["error"]["message"])
            for path in ("/v1/chat/completions", "/v1/realtime/client_secrets"):
                status, _, body = self.server.request("POST", path, many)
                self.assertEqual((status, json.loads(body)["error"]["type"]), (400, "invalid_request_error"))
        self.assertLess(self.server.rss() - before, 60 << 20)
        c.session()

    def test_159_a_receiver_that_stops_reading_is_dropped_alone(self):
        c, other = self.connect(), self.connect()
        c.append(bytes(480000), chunk=480000)
        c.send("input_audio_buffer.commit")
        item = c.until("conversation.item.done")["item"]["id"]
        before = self.server.rss()
        try:
            for _ in range(60):         # 40 MB of answers that nobody reads
                c.send("conversation.item.retrieve", item_id=item)
        except OSError:
            pass
        other.say(QUESTION)
        self.assertEqual(other.respond()["status"], "completed")
        with self.assertRaises((Closed, OSError)) as closed:
            for _ in range(60):
                c.next(20)
        self.assertNotIsInstance(closed.exception, TimeoutError)
        self.assertLess(self.server.rss() - before, 64 << 20)
        c.events.clear()                # cut anywhere

    def dropped(self, c, data, times):
        """data is sent until the server has had enough."""
        try:
            for _ in range(times):
                c.sock.sendall(data)
            c.sock.settimeout(20)
            while c.sock.recv(1 << 16):
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass
        c.events.clear()

    def test_pongs_that_nobody_takes(self):
        c, before = self.connect(), self.server.rss()
        pings = b"\x89\xfd\0\0\0\0" + bytes(125)
        self.dropped(c, pings * 1000, 500)          # 62 MB
        self.assertLess(self.server.rss() - before, 40 << 20)
        self.connect().session()

    def test_a_message_of_crumbs(self):
        c = self.connect()
        c.frame(1, b" ", fin=False)
        self.dropped(c, b"\x00\x81\0\0\0\0 " * 10000, 10)
        self.connect().session()

    def test_a_reference_repeated(self):
        c = self.connect()
        c.say("a" * 250000, id="long")
        refers = lambda n: {"type": "response.create", "response": {
            "conversation": "none", "input": [{"type": "item_reference", "id": "long"}] * n}}
        before = self.server.rss()
        self.fails(c, refers(2001), "array_above_max_length", "response.input", "response.create")
        self.fails(c, refers(200), "string_above_max_length", "response.input", "response.create")
        self.assertLess(self.server.rss() - before, 40 << 20)

    def test_items_and_settings_fit_into_events(self):
        c = self.connect()
        output = lambda n: {"type": "function_call_output", "call_id": "c", "output": "x" * n}
        c.send("conversation.item.create", item=output(262144))
        c.until("conversation.item.done")
        self.fails(c, {"type": "conversation.item.create", "item": output(400000)}, "string_above_max_length", "item")
        parts = [{"type": "input_text", "text": ""}] * 5000
        self.fails(c, {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": parts}},
                   "string_above_max_length", "item")
        c.session(instructions="x" * 500000)
        self.fails(c, {"type": "session.update", "session": {"type": "realtime", "prompt": {"id": "x" * 30000}}},
                   "string_above_max_length", "session")
        self.fails(c, {"type": "response.create", "response": {"metadata": {"a": "x" * 5000}}},
                   "string_above_max_length", "response.metadata", "response.create")

    def test_033_interruption_switched_off(self):
        c = self.connect(manual=False)
        c.session(audio={"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}})
        c.append(self.voice + self.voice)
        for _ in range(2):
            self.assertEqual(c.until("response.done")["response"]["status"], "completed")

    def test_many_connections_leave_no_descriptor(self):
        before = None
        for i in range(200):
            c = self.connect(manual=False)
            c.sock.close()
            if i == 20:
                before = self.server.descriptors()
        deadline = time.monotonic() + 30
        while self.server.descriptors() > before and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertLessEqual(self.server.descriptors(), before)

    def test_160_commits_while_a_response_runs(self):
        c = self.connect()
        c.say(QUESTION)
        c.send("response.create")
        c.until("response.created")
        for _ in range(15):
            c.append(bytes(9600))
            c.send("input_audio_buffer.commit")
        while c.types().count("input_audio_buffer.committed") < 15 or "response.done" not in c.types():
            c.next()
        c.session()
        self.assertEqual(c.types().count("response.created"), 1)

    def test_161_bursts_of_create_and_cancel(self):
        c = self.connect()
        c.say(QUESTION)
        for _ in range(100):
            c.send("response.create")
            c.send("response.cancel")
        c.session_types = None
        c.send("session.update", session={"type": "realtime", "instructions": "last"})
        seen = False
        while not seen or c.types().count("response.created") != c.types().count("response.done"):
            seen |= c.next()["type"] == "session.updated"
        self.assertGreaterEqual(c.types().count("response.created"), 1)

    def test_162_long_items_are_retrieved_without_audio(self):
        c = self.connect()
        c.append(bytes(60 * 48000), chunk=480000)
        c.send("input_audio_buffer.commit")
        c.send("conversation.item.retrieve", item_id=c.until("conversation.item.done")["item"]["id"])
        self.assertNotIn("audio", c.until("conversation.item.retrieved")["item"]["content"][0])

    def test_171_172_handshakes(self):
        c = self.connect(headers={"Sec-WebSocket-Extensions": "permessage-deflate; server_max_window_bits=99"})
        self.assertNotIn("sec-websocket-extensions", c.headers)
        for change, status in (({"Sec-WebSocket-Key": None}, 400), ({"Sec-WebSocket-Key": "x"}, 400),
                               ({"Sec-WebSocket-Version": "8"}, 426), ({"Upgrade": None}, 426)):
            with self.assertRaises(Refused) as refused:
                Socket(self.server, headers=change)
            self.assertEqual(refused.exception.status, status, change)
            self.assertIn("message", json.loads(refused.exception.body)["error"])

    def test_174_members_that_are_kept(self):
        c = self.connect()
        given = {"tracing": "auto", "truncation": "disabled", "include": ["item.input_audio_transcription.logprobs"],
                 "parallel_tool_calls": False, "prompt": {"id": "p"}, "reasoning": {"effort": "low"}}
        s = c.session(**given)
        self.assertEqual({k: s[k] for k in given}, given)

    def test_wrong_origin_is_refused(self):
        with self.assertRaises(Refused) as refused:
            Socket(self.server, headers={"Origin": "https://evil.example"})
        self.assertEqual(refused.exception.status, 403)
        self.connect(headers={"Origin": "http://127.0.0.1:%d" % self.server.port})

    def test_foreign_host_names_are_refused_without_a_key(self):
        with self.assertRaises(Refused) as refused:
            Socket(self.server, headers={"Host": "evil.example"})
        self.assertEqual(refused.exception.status, 403)


class Doors(unittest.TestCase):
    """Servers with other options."""

    def closed(self, c):
        error = c.until("error")["error"]
        with self.assertRaises(Closed) as closed:
            c.next()
        c.sock.close()
        return error["code"], closed.exception.code, closed.exception.reason

    def test_023_122_170_keys(self):
        with Server("--api-key", KEY, "-np", "5") as server:
            wrong = "invalid_request_error.invalid_api_key"
            self.assertEqual(self.closed(Socket(server, key="no")), ("invalid_api_key", 3000, wrong))
            self.assertEqual(self.closed(Socket(server)), (None, 3000, "invalid_request_error"))
            for way in ({"key": KEY}, {"protocols": ["realtime", "openai-insecure-api-key." + KEY]}, {"headers": {"api-key": KEY}}):
                with Socket(server, **way) as c:
                    self.assertEqual(c.next()["type"], "session.created")
            self.assertNotIn(KEY, server.request("GET", "/metrics")[2].decode())
            self.assertEqual(server.request("GET", "/v1/models")[0], 401)
            self.assertEqual(server.request("GET", "/v1/models", headers={"Authorization": "Bearer " + KEY})[0], 200)

    def test_of_a_refused_socket_nothing_is_kept(self):
        with Server("--api-key", KEY) as server:
            before, doors = server.rss(), []
            for _ in range(6):      # all but the last byte of a frame
                doors.append(Socket(server, key="no"))
                doors[-1].sock.sendall(b"\x81\xff" + (20 << 20).to_bytes(8, "big") + bytes(4) + b"x" * ((20 << 20) - 1))
            self.assertLess(server.rss() - before, 30 << 20)
            for c in doors:         # what was sent meanwhile hides neither the reason nor the close
                self.assertEqual(self.closed(c), ("invalid_api_key", 3000, "invalid_request_error.invalid_api_key"))

    def test_keys_are_compared_whole(self):
        key = "k" * 511
        with Server("--api-key", key) as server:
            for given, status in ((key, 200), (key + "k", 401), (key[:-1], 401)):
                self.assertEqual(server.request("GET", "/v1/models", headers={"Authorization": "Bearer " + given})[0], status)

    def test_a_key_that_browsers_can_not_send_is_noted(self):
        for key, notes in (("a-_1!#$%&'*+.^`|~", 0), ("Zm9v/YmFy", 1), ("Zm9v=", 1), ("two words", 1), ("schl\u00fcssel", 1)):
            with Server("--api-key", key) as server:
                headers = {"Authorization": b"Bearer " + key.encode()}
                self.assertEqual(server.request("GET", "/v1/models", headers=headers)[0], 200)
                server.process.send_signal(signal.SIGTERM)
                err = server.process.stderr.read().decode()
                self.assertEqual((err.count("\n"), err.count("omni: note: serve: browsers can not send")), (notes, notes), err)
                self.assertNotIn(key, err)

    def test_a_body_without_a_key_is_not_kept(self):
        with Server("--api-key", KEY) as server:
            before, doors = server.rss(), []
            for _ in range(4):
                s = server.connect()
                s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (20 << 20))
                s.sendall(bytes((20 << 20) - 1))
                doors.append(s)
            self.assertLess(server.rss() - before, 30 << 20)
            for s in doors:             # the answer comes at the end, and the connection goes on
                s.sendall(b"x" + b"GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                got = b""
                while True:
                    more = s.recv(65536)
                    if not more:
                        break
                    got += more
                s.close()
                self.assertTrue(got.startswith(b"HTTP/1.1 401 ") and b"HTTP/1.1 200 " in got, got)

    def test_a_body_that_was_read_is_not_kept(self):
        body = json.dumps({"messages": [{"role": "user", "content": QUESTION}], "x": "x" * (20 << 20)}).encode()
        with Server("-np", "1") as server:
            with Socket(server) as c:           # has the only slot
                c.next()
                before, doors = server.rss(), []
                for _ in range(4):
                    s = server.connect()
                    s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                    doors.append(s)
                until = time.monotonic() + 30
                while server.metric("s2s_queue_depth") < len(doors) and time.monotonic() < until:
                    time.sleep(0.02)
                self.assertEqual(server.metric("s2s_queue_depth"), len(doors))
                self.assertLess(server.rss() - before, 30 << 20)
            for s in doors:
                self.assertTrue(s.recv(100).startswith(b"HTTP/1.1 200 "))
                s.close()

    def test_121_model_names(self):
        with Server("--strict-model", "--alias", "mine") as server:
            bad = "invalid_request_error.invalid_model"
            self.assertEqual(self.closed(Socket(server, path="/v1/realtime?model=x")), ("invalid_model", 4000, bad))
            missing = "invalid_request_error.missing_model"
            self.assertEqual(self.closed(Socket(server, path="/v1/realtime")), ("missing_model", 4000, missing))
            with Socket(server, path="/v1/realtime?model=mine") as c:
                self.assertEqual(c.next()["session"]["model"], "mine")
            for name in ("x" + 60 * "\u00e4", "xx" + 60 * "\u20ac"):     # quoted to the middle of a character
                body = {"model": name, "messages": [{"role": "user", "content": "x"}]}
                status, _, text = server.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
                self.assertEqual((status, json.loads(text)["error"]["code"]), (404, "model_not_found"))

    def test_164_session_age(self):
        with Server("--session-seconds", "1") as server:
            c = Socket(server)
            c.next()
            code, close, reason = self.closed(c)
            self.assertEqual((code, close), ("session_expired", 1001))
            self.assertTrue(reason)

    def test_165_shutdown_closes_properly(self):
        server = Server()
        c = Socket(server)
        c.next()
        server.process.terminate()
        with self.assertRaises(Closed) as closed:
            while True:
                c.next()
        self.assertEqual(closed.exception.code, 1001)
        c.sock.close()
        server.process.communicate(timeout=60)
        self.assertEqual(server.process.returncode, 0)

    def test_166_no_slot_is_told_before_the_upgrade(self):
        with Server("-np", "1") as server:
            with Socket(server) as c:
                c.next()
                with self.assertRaises(Refused) as refused:
                    Socket(server)
                self.assertEqual(refused.exception.status, 503)
                self.assertEqual(refused.exception.headers["retry-after"], "1")

    def test_166_fifty_at_once(self):
        with Server("-np", "40") as server:
            talks, refused = [], 0
            for i in range(50):
                try:
                    talks.append(Socket(server, beta=i % 2 == 1))
                except Refused as refusal:
                    self.assertEqual(refusal.status, 503)
                    refused += 1
            self.assertEqual((len(talks), refused), (40, 10))
            pcm = speech()
            for i, c in enumerate(talks):
                c.next()
                if i % 4 < 2:       # half of them typed, half spoken; half of them with speech
                    c.manual()
                    c.say(QUESTION)
                    c.send("response.create", response={"modalities" if c.beta else "output_modalities": ["text"]})
                else:
                    c.append(pcm, chunk=len(pcm))
            # All at once: who waited its turn unread would be taken for dead by a slow server.
            with ThreadPoolExecutor(len(talks)) as pool:
                for done in pool.map(lambda c: c.until("response.done"), talks):
                    self.assertEqual(done["response"]["status"], "completed")
            for c in talks:
                c.__exit__(None, None, None)

    def test_usage_errors(self):
        for options, word in ((["--host", "0.0.0.0"], "--insecure"), (["--ssl-key-file", "x"], "belong together"),
                              (["--api-key", "x", "--api-key-file", "y"], "contradict"),
                              (["--api-key", "k" * 512], "1 to 511 bytes")):
            r = program.run("serve", *options, threads=False)
            self.assertEqual(r.returncode, 2)
            self.assertIn(word, r.stderr.decode())
            self.assertEqual(r.stderr.decode().count("\n"), 1)

    def test_key_files(self):
        folder = program.scratch("keys")
        self.addCleanup(program.remove, folder)
        path = os.path.join(folder, "key")
        for data, word in ((None, "No such file"), (b"", "empty file"), (b"\nkey\n", "1 to 511 bytes"), (b"k" * 512 + b"\n", "1 to 511 bytes"),
                           (bytes(2 << 20), "at most 1048576 bytes")):
            if data is not None:
                with open(path, "wb") as f:
                    f.write(data)
            r = program.run("serve", "--api-key-file", path, threads=False)
            self.assertEqual(r.returncode, 1)
            self.assertIn(word, r.stderr.decode())


if __name__ == "__main__":
    unittest.main()
