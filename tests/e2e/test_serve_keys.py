"""omni serve: ephemeral keys (cases 123 to 125): made by who has the server's key, for realtime sessions alone."""

import json
import time
import unittest

from realtime_case import KEY, Case
from realtime_client import Closed, Server, Socket

BEARER = {"Authorization": "Bearer " + KEY, "Content-Type": "application/json"}


class Keys(Case):
    options = ("--api-key", KEY, "-np", "6")

    def mint(self, body, path="/v1/realtime/client_secrets", status=200, headers=BEARER):
        got, _, data = self.server.request("POST", path, body, headers)
        self.assertEqual(got, status, data)
        return json.loads(data)

    def test_123_a_key_with_its_settings(self):
        made = self.mint({"expires_after": {"anchor": "created_at", "seconds": 60},
                          "session": {"type": "realtime", "instructions": "x", "output_modalities": ["text"]}})
        self.assertRegex(made["value"], r"^ek_[0-9a-f]{64}$")
        self.assertAlmostEqual(made["expires_at"], time.time() + 60, delta=30)
        self.assertEqual(made["session"]["instructions"], "x")
        for way in ({"key": made["value"]}, {"protocols": ["realtime", "openai-insecure-api-key." + made["value"]]}):
            with Socket(self.server, path="/v1/realtime", **way) as c:
                s = c.next()["session"]
                self.assertEqual((s["instructions"], s["output_modalities"], s["type"]), ("x", ["text"], "realtime"))
        self.assertNotIn(made["value"], self.server.request("GET", "/metrics")[2].decode())

    def test_123_it_opens_nothing_else(self):
        key = self.mint({})["value"]
        for method, path in (("GET", "/v1/models"), ("POST", "/v1/chat/completions"), ("POST", "/v1/realtime/client_secrets")):
            self.assertEqual(self.server.request(method, path, {}, {"Authorization": "Bearer " + key})[0], 401)
        self.mint({}, status=401, headers={"Content-Type": "application/json"})

    def test_123_after_its_time_new_sessions_fail_and_running_ones_live(self):
        key = self.mint({"expires_after": {"seconds": 10}})["value"]
        with Socket(self.server, key=key) as c:
            c.next()
            until = time.monotonic() + 60
            while True:
                other = Socket(self.server, key=key)
                first = other.next()
                if first["type"] == "error" or time.monotonic() > until:
                    break
                other.sock.close()
                time.sleep(0.5)
            self.assertEqual(first["error"]["code"], "invalid_api_key")
            with self.assertRaises(Closed) as closed:
                other.next()
            self.assertEqual(closed.exception.code, 3000)
            other.sock.close()
            c.session()

    def test_123_of_another_kind(self):
        made = self.mint({"session": {"type": "transcription"}})
        self.assertEqual(made["session"]["type"], "transcription")
        with Socket(self.server, key=made["value"]) as c:
            self.assertEqual(c.next()["session"]["type"], "transcription")
        bad = "ek_" + "0" * 64
        c = Socket(self.server, key=bad)
        self.assertEqual(c.until("error")["error"]["code"], "invalid_api_key")
        c.sock.close()

    def test_124_beta(self):
        made = self.mint({"model": "gpt-4o-realtime-preview", "modalities": ["text"], "turn_detection": None}, "/v1/realtime/sessions")
        self.assertEqual((made["object"], made["modalities"], made["turn_detection"]), ("realtime.session", ["text"], None))
        with Socket(self.server, key=made["client_secret"]["value"], beta=True) as c:
            self.assertEqual(c.next()["session"]["modalities"], ["text"])
        made = self.mint({"input_audio_format": "g711_ulaw"}, "/v1/realtime/transcription_sessions")
        with Socket(self.server, key=made["client_secret"]["value"], beta=True) as c:
            first = c.next()
            self.assertEqual((first["type"], first["session"]["input_audio_format"]), ("transcription_session.created", "g711_ulaw"))

    def test_settings_of_all_keys_together(self):
        with Server("--api-key", KEY) as server:
            body = json.dumps({"session": {"type": "realtime", "instructions": "x" * 500000}})
            statuses = [server.request("POST", "/v1/realtime/client_secrets", body, BEARER)[0] for _ in range(140)]
            self.assertEqual(set(statuses), {200, 429})
            self.assertEqual(statuses, sorted(statuses))

    def test_125_limits_and_bad_bodies(self):
        for seconds in (5, 7201):
            e = self.mint({"expires_after": {"anchor": "created_at", "seconds": seconds}}, status=400)["error"]
            self.assertEqual(e["param"], "expires_after.seconds")
        for body, param in (({"session": 5}, "session"), ({"session": {"type": "x"}}, "session.type"), ({"expires_after": 1}, "expires_after"),
                            ({"session": {"type": "realtime", "nope": 1}}, "session.nope"), ("no json", None), ([], None)):
            self.assertEqual(self.mint(body, status=400)["error"]["param"], param)

    def test_the_table_is_bounded(self):
        with Server("--api-key", KEY) as server:
            for _ in range(1024):
                self.assertEqual(server.request("POST", "/v1/realtime/client_secrets", {}, BEARER)[0], 200)
            status, headers, _ = server.request("POST", "/v1/realtime/client_secrets", {}, BEARER)
            self.assertEqual((status, headers["retry-after"]), (429, "1"))


if __name__ == "__main__":
    unittest.main()
