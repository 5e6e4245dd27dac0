"""omni serve when there is much to do: full, too slow for --max-ttfa-ms, clients that come, go and misbehave; speculation off.

The long versions are `make soak` and `make churn`.
"""

import http.client
import json
import os
import subprocess
import sys
import time
import unittest

import program
from realtime_client import Refused, Server, Socket, speech

SOAK = os.path.join(program.SOURCE, "tests", "soak")
JSON = {"Content-Type": "application/json"}
QUESTION = "What is the capital of France?"
CHAT = {"model": "m", "messages": [{"role": "user", "content": QUESTION}], "modalities": ["text", "audio"],
        "audio": {"voice": "x", "format": "pcm16"}}


def eventually(true, seconds=30):
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.02)
    return true()


class Admission(unittest.TestCase):
    def refused(self, server, reason):
        """What somebody new is told by socket, and that it was counted."""
        before = server.metric('s2s_refused_total{reason="%s"}' % reason)
        with self.assertRaises(Refused) as refused:
            Socket(server)
        e = refused.exception
        self.assertEqual((e.status, e.headers["retry-after"]), (503, "1"))
        self.assertEqual(json.loads(e.body)["error"]["code"], "server_busy")
        self.assertEqual(server.metric('s2s_refused_total{reason="%s"}' % reason), before + 1)

    def test_answers_slower_than_max_ttfa_ms_keep_newcomers_out(self):
        # No answer begins within a millisecond: the first one is enough.
        with Server("-np", "4", "--max-ttfa-ms", "1") as server:
            with Socket(server) as c:
                c.next()
                Socket(server).sock.close()         # nothing is known yet: come in
                c.say(QUESTION)
                self.assertEqual(c.respond()["status"], "completed")
                self.assertTrue(eventually(lambda: server.metric("s2s_slots_free") == 3))
                self.refused(server, "latency")
                status, headers, body = server.request("POST", "/v1/chat/completions", CHAT, JSON)
                self.assertEqual((status, headers["retry-after"]), (429, "1"))
                self.assertEqual(json.loads(body)["error"]["code"], "rate_limit_exceeded")
                c.say(QUESTION)                     # who is in stays in
                self.assertEqual(c.respond()["status"], "completed")
            # Nobody is left who could be harmed.
            self.assertTrue(eventually(lambda: server.metric("s2s_slots_free") == 4))
            with Socket(server) as c:
                c.next()

    def test_chat_completions_alone_keep_newcomers_out(self):
        with Server("-np", "2", "--max-ttfa-ms", "1") as server:
            spoken = dict(CHAT, stream=True)
            self.assertEqual(server.request("POST", "/v1/chat/completions", spoken, JSON)[0], 200)
            self.assertTrue(eventually(lambda: server.metric("s2s_slots_free") == 2))
            self.assertEqual(server.request("POST", "/v1/chat/completions", spoken, JSON)[0], 200)   # nobody is harmed
            self.assertTrue(eventually(lambda: server.metric("s2s_slots_free") == 2))
            c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            for _ in range(50):     # while one runs the next is refused; on a busy machine it may be over too soon
                c.request("POST", "/v1/chat/completions", json.dumps(spoken), JSON)
                r = c.getresponse()
                status = server.request("POST", "/v1/chat/completions", spoken, JSON)[0]
                r.read()
                if status == 429:
                    break
            self.assertEqual(status, 429)

    def test_time_in_the_line_counts(self):
        with Server("-np", "1") as server:
            spoken = dict(CHAT, stream=True)
            with Socket(server) as holder:
                holder.next()
                c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
                c.request("POST", "/v1/chat/completions", json.dumps(spoken), JSON)
                self.assertTrue(eventually(lambda: server.metric("s2s_queue_depth") == 1))
                time.sleep(2)
            self.assertTrue(c.getresponse().read().endswith(b"[DONE]\n\n"))
            self.assertGreater(server.metric("s2s_ttfa_seconds_sum"), 2)
            self.assertLess(server.metric("s2s_response_seconds_sum"), server.metric("s2s_ttfa_seconds_sum"))

    def test_answers_in_time_let_newcomers_in(self):
        with Server("-np", "2", "--max-ttfa-ms", "600000") as server:
            with Socket(server) as c:
                c.next()
                c.say(QUESTION)
                c.respond()
                with Socket(server) as other:
                    other.next()
                    self.refused(server, "slots")

    def test_speculation_can_be_switched_off(self):
        voice = speech(silence=1.0)
        cut = len(voice) - 2 * 24000 * 8 // 10      # 200 ms after the question: time to prepare, not yet to answer
        for options, prepares in (((), True), (("--no-speculate",), False)):
            with Server(*options) as server, Socket(server) as c:
                c.next()
                for _ in range(5):                  # on a busy machine the preparation may not have begun in time
                    c.append(voice[:cut])
                    time.sleep(0.7)
                    c.append(voice[cut:])
                    self.assertEqual(c.until("response.done")["response"]["status"], "completed")
                    prepared = server.metric("s2s_turns_prepared_ahead_total")
                    if prepared or not prepares:
                        break
                self.assertEqual(prepared > 0, prepares, options)


class Endurance(unittest.TestCase):
    def script(self, name, *options):
        r = subprocess.run([sys.executable, os.path.join(SOAK, name), program.OMNI, "-m", os.environ["OMNI_TEST_MODEL"], *options],
                           capture_output=True, timeout=600)
        self.assertEqual(r.returncode, 0, r.stdout.decode() + r.stderr.decode())
        return r.stdout.decode()

    def test_clients_come_and_go(self):
        self.script("churn.py", "--connections", "600", "--kills", "4", "--growth", "5")

    def test_trouble_beside_conversations(self):
        # Too short for buffers to have become as large as they get, and the machine may be busy: neither is judged. Under
        # the thread sanitizer one conversation is all that a core has time for.
        sessions = "4" if program.SLOW == 1 else "1"
        out = self.script("soak.py", "--minutes", "0.3", "--slice", "0.1", "--sessions", sessions, "--growth", "100", "--p95", "0")
        self.assertIn("soak: passed", out)
        for word in ("leaves in the middle", "talks nonsense", "half open", "reads nothing"):
            self.assertIn(word, out)


if __name__ == "__main__":
    unittest.main()
