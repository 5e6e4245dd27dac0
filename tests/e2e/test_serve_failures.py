"""omni serve when something goes wrong (cases 105, 140, 141, 158, 163) and over a long time (167), and what it counted (169)."""

import json
import socket
import struct
import threading
import time
import unittest
from collections import Counter

import program
from realtime_case import QUESTION, Case, b64
from realtime_client import DEADLINE, Closed, Server, Socket

STREAM = {"model": "m", "stream": True, "modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "pcm16"},
          "messages": [{"role": "user", "content": QUESTION}]}


def post(server, body, headers=""):
    """A chat completion asked, its answer not read."""
    data = json.dumps(body).encode()
    s = socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE)
    s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n"
              % (headers.encode(), len(data)) + data)
    return s


def rest(s):
    out = b""
    while True:
        more = s.recv(65536)
        if not more:
            s.close()
            return out
        out += more


class Failures(Case):
    def test_105_the_model_can_not_take_the_question(self):
        c = self.connect()
        c.say(QUESTION + " and" * 40000)
        r = c.respond()
        self.assertEqual((r["status"], r["status_details"]["type"]), ("failed", "failed"))
        self.assertEqual(r["status_details"]["error"]["type"], "invalid_request_error")
        self.assertEqual(r["status_details"]["error"]["code"], "context_length_exceeded")
        self.assertIn("context", r["status_details"]["error"]["message"])
        c.say(QUESTION)
        self.assertEqual(c.respond()["status"], "completed")

    def test_a_flood_of_long_texts_keeps_nobody_waiting(self):
        """Answers put in faster than the model could read them: others do not wait for it, and no memory is spent."""
        c, other = self.connect(), self.connect()
        other.session(output_modalities=["text"])
        stop, sent = threading.Event(), Counter()

        def flood():
            for i in range(10 ** 6):
                if stop.is_set():
                    break
                for words in (26000, 60):       # one that can not fit, and one that is read
                    item = {"type": "message", "role": "assistant", "id": "long%d-%d" % (i, words),
                            "content": [{"type": "output_text", "text": "Quixotic zephyrs? " * (words // 2)}]}
                    c.frames([json.dumps({"type": "conversation.item.create", "item": item}).encode(),
                              json.dumps({"type": "conversation.item.delete", "item_id": item["id"]}).encode()])
                    sent["items"] += 1

        def read():
            while not stop.is_set():
                try:
                    c.next(1)
                except TimeoutError:
                    pass
        threads = [threading.Thread(target=f) for f in (flood, read)]
        for t in threads:
            t.start()
        try:
            time.sleep(1)
            before, slowest = self.server.rss(), 0
            for _ in range(12):
                begun = time.monotonic()
                other.say(QUESTION)
                self.assertEqual(other.respond()["status"], "completed")
                slowest = max(slowest, time.monotonic() - begun)
            print("slowest answer beside the flood: %.0f ms; %d items" % (1e3 * slowest, sent["items"]))
            self.assertTrue(all(t.is_alive() for t in threads))
            self.assertGreater(sent["items"], 20)
            self.assertNotIn("error", c.types())
            self.assertLess(slowest, 5 * program.SLOW)
            self.assertLess(self.server.rss() - before, 64 << 20)
        finally:
            stop.set()
            for t in threads:
                t.join()

    def test_158_a_flood_of_tiny_appends_keeps_nobody_waiting(self):
        c, other = self.connect(), self.connect()
        event = json.dumps({"type": "input_audio_buffer.append", "audio": b64(b"\x00")}).encode()
        for i in range(20000):
            c.frame(1, event)
            if i == 2000:
                other.say(QUESTION)
                other.send("response.create")
        self.assertEqual(other.until("response.done")["response"]["status"], "completed")
        c.send("input_audio_buffer.commit")
        item = c.until("conversation.item.done")["item"]["id"]
        c.send("conversation.item.retrieve", item_id=item)
        part = c.until("conversation.item.retrieved")["item"]["content"][0]
        self.assertEqual(len(part["audio"]), len(b64(bytes(20000))))

    def test_163_a_cut_line_frees_the_session(self):
        c = self.connect()
        c.say(QUESTION)
        c.send("response.create")
        c.until("response.output_audio.delta")
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.sock.close()      # a reset, not a goodbye
        c.events.clear()
        again = self.connect()
        again.say(QUESTION)
        self.assertEqual(again.respond()["status"], "completed")
        again.sock.close()
        until = time.monotonic() + DEADLINE
        while self.server.metric("s2s_slots_free") < 6 and time.monotonic() < until:
            time.sleep(0.02)
        self.assertEqual(self.server.metric("s2s_slots_free"), 6)

    def test_167_five_hundred_turns(self):
        c = self.connect()
        c.session(output_modalities=["text"], max_output_tokens=4, truncation="auto")
        for i in range(500):
            c.say(QUESTION)
            self.assertIn(c.respond()["status"], ("completed", "incomplete"))
            if i == 100:
                before = self.server.rss()
        self.assertLess(self.server.rss() - before, 8 << 20)


class Ends(unittest.TestCase):
    def test_105_141_165_the_engine_goes_in_the_middle_of_answers(self):
        """Shutting down ends answers in their middle: a failure after the first delta. All that was opened is closed."""
        for _ in range(5):
            server = Server("-np", "8")
            talks, chats = [Socket(server) for _ in range(4)], []
            for c in talks:
                c.next()
                c.manual()
                c.say(QUESTION)
            for c in talks:
                c.send("response.create")
            chats = [post(server, STREAM) for _ in range(4)]
            talks[0].until("response.output_audio_transcript.delta")
            server.process.terminate()
            failed = []
            for c in talks:
                with self.assertRaises(Closed) as closed:
                    while True:
                        c.next()
                self.assertEqual(closed.exception.code, 1001)
                failed += [e["response"] for e in c.events if e["type"] == "response.done" and e["response"]["status"] == "failed"]
                c.__exit__(None, None, None)        # every stream keeps the invariants
            texts = [rest(s).decode() for s in chats]
            server.process.communicate(timeout=DEADLINE)
            self.assertEqual(server.process.returncode, 0)
            broken = [t for t in texts if '"error"' in t]
            for t in texts:
                self.assertTrue("data: [DONE]" in t or '"code":"engine_error"' in t or '"code":"server_busy"' in t, t[-300:])
            if [r for r in failed if r["output"]] and [t for t in broken if '"transcript"' in t]:
                break
        for r in failed:
            self.assertEqual((r["status_details"]["type"], r["status_details"]["error"]["type"]), ("failed", "server_error"))
        self.assertTrue([r for r in failed if r["output"]], "no answer was met in its middle")
        self.assertTrue(broken, "no stream was met in its middle")

    def test_140_too_many_wait(self):
        with Server("-np", "1") as server:
            holder = Socket(server)
            holder.next()
            waiting = [post(server, STREAM) for _ in range(64)]
            until = time.monotonic() + DEADLINE
            while server.metric("s2s_queue_depth") < 64 and time.monotonic() < until:
                time.sleep(0.02)
            status, headers, body = server.request("POST", "/v1/chat/completions", STREAM, {"Content-Type": "application/json"})
            self.assertEqual((status, headers["retry-after"], json.loads(body)["error"]["type"]), (429, "1", "rate_limit_error"))
            for s in waiting:
                s.close()
            holder.sock.close()

    def test_clients_that_left_make_room(self):
        with Server("-np", "1") as server:
            holder = Socket(server)
            holder.next()
            whole = dict(STREAM, stream=False, audio={"voice": "alloy", "format": "wav"})
            waiting = [post(server, body) for body in (STREAM, whole) * 32]
            self.until(server, "s2s_queue_depth", 64)
            for s in waiting[:60]:
                s.close()
            self.until(server, "s2s_queue_depth", 4)
            self.assertEqual(server.metric('s2s_responses_total{status="cancelled"}'), 0)      # none had begun
            holder.sock.close()
            for s in waiting[60:]:      # who stayed is answered
                s.sendall(b"")
                self.assertIn(b'"audio"', s.recv(65536) + s.recv(65536))
                s.close()

    def test_a_whole_answer_is_given_up_when_its_client_leaves(self):
        folder = program.scratch("endless")
        self.addCleanup(program.remove, folder)
        program.synth(folder)       # a random model: answers until the limit
        with Server("-np", "1", "-n", "900", model=folder) as server:
            s = post(server, dict(STREAM, stream=False, audio={"voice": "alloy", "format": "wav"}))
            self.until(server, "s2s_slots_free", 0)
            start = time.monotonic()
            s.close()
            self.until(server, "s2s_slots_free", 1)
            print("the slot was free again after %.0f ms" % (1000 * (time.monotonic() - start)))
            self.until(server, 's2s_responses_total{status="cancelled"}', 1)
            self.assertEqual(server.metric('s2s_responses_total{status="incomplete"}'), 0)
            for body in (STREAM, None):     # and in the middle of a stream, and of a conversation
                before = server.metric('s2s_responses_total{status="cancelled"}')
                if body:
                    s = post(server, body)
                    self.assertTrue(s.recv(1000))
                    self.until(server, "s2s_slots_free", 0)
                    s.close()
                else:
                    c = Socket(server)
                    c.until("session.created")
                    c.say(QUESTION)
                    c.send("response.create")
                    c.until("response.output_audio.delta")
                    c.sock.close()
                self.until(server, "s2s_slots_free", 1)
                self.until(server, 's2s_responses_total{status="cancelled"}', before + 1)

    def test_the_real_time_factor_is_of_the_models_own_rate(self):
        folder = program.scratch("rate")
        self.addCleanup(program.remove, folder)
        program.synth(folder, **{"vocoder.sample_rate": 8000})
        with Server("-np", "1", model=folder) as server:
            rest(post(server, dict(STREAM, max_completion_tokens=16), "Connection: close\r\n"))
            seconds = server.metric("s2s_audio_out_ms_total") / 1000
            self.assertGreater(seconds, 0.1)
            took = server.metric("s2s_response_seconds_sum")
            self.assertAlmostEqual(server.metric("s2s_rtf_sum") * seconds, took, delta=0.05 * took)

    def until(self, server, metric, value):
        end = time.monotonic() + DEADLINE
        while server.metric(metric) != value:
            self.assertLess(time.monotonic(), end, (metric, server.metric(metric), value))
            time.sleep(0.02)

    def test_169_metrics_are_what_happened(self):
        with Server("-np", "2") as server:
            errors, sent, received, statuses = Counter(), Counter(), Counter(), Counter()
            for beta in (False, True):
                c = Socket(server, beta=beta)
                c.next()
                c.manual()
                c.say(QUESTION)
                c.respond()
                c.respond(**({"max_response_output_tokens": 1} if beta else {"max_output_tokens": 1}))
                c.send("response.cancel")
                c.until("error")
                c.send("no.such.event")
                c.until("error")
                received.update({"session.update": 1, "conversation.item.create": 1, "response.create": 2, "response.cancel": 1, "other": 1})
                sent.update(c.types())
                errors.update(e["error"]["code"] for e in c.events if e["type"] == "error")
                statuses.update(e["response"]["status"] for e in c.events if e["type"] == "response.done")
                c.__exit__(None, None, None)
            for name, counted in (("events_sent_total{type", sent), ("events_received_total{type", received),
                                  ("errors_total{code", errors), ("responses_total{status", statuses),
                                  ("sessions_total{dialect", {"ga": 1, "beta": 1})):
                for label, n in counted.items():
                    self.assertEqual(server.metric('s2s_%s="%s"}' % (name, label)), n, (name, label))
            self.assertEqual(set(statuses), {"completed", "incomplete"})


if __name__ == "__main__":
    unittest.main()
