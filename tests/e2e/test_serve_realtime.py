"""omni serve, the Realtime protocol over bare WebSocket, GA dialect unless a name says beta.

The numbers in the names are those of the project's list of conformance cases (docs/serve.md says which are covered).
Every stream is checked for the invariants in realtime_client.py when its socket closes.
"""

import base64
import json
import os
import struct
import time
import unittest

import program
from realtime_client import Closed, Refused, Server, Socket, speech

QUESTION = "What is the capital of France?"
KEY = "sk-proj-" + "k" * 192


def b64(data):
    return base64.b64encode(data).decode()


def mu_law(pcm24):
    """Every third sample as G.711 u-law, straight from the definition."""
    import math
    samples = struct.unpack("<%dh" % (len(pcm24) // 2), pcm24)[::3]
    out = bytearray()
    for v in samples:
        sign, m = (0x80, -v) if v < 0 else (0, v)
        m = min(m, 32635) + 132
        segment = max(0, int(math.log2(m)) - 7)
        out.append(~(sign | segment << 4 | (m >> (segment + 3)) & 15) & 0xFF)
    return out


class Realtime(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("-np", "6")
        cls.voice = speech()

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__(None, None, None)

    def connect(self, manual=True, **options):
        deadline = time.monotonic() + 30
        while True:
            try:
                c = Socket(self.server, **options)
                break
            except Refused as refusal:      # a slot of the test before is being freed
                if refusal.status != 503 or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        self.addCleanup(c.__exit__, None, None, None)
        created = c.next()
        self.assertEqual(created["type"], "session.created")
        c.created = created["session"]
        if manual:
            c.manual()
        return c

    def fails(self, c, event, code, param=None, contains=""):
        """Sends event, wants one error of that code and param, with its event_id, and the connection alive."""
        event = dict(event, event_id="e1")
        c.send(event)
        e = c.until("error")["error"]
        self.assertEqual((e["code"], e["param"], e["event_id"]), (code, param, "e1"), e)
        self.assertIn(contains, e["message"])
        self.assertIsInstance(e["type"], str)

    # ---- level 1

    def test_001_first_event_is_session_created(self):
        begin = time.monotonic()
        c = self.connect(manual=False)
        self.assertLess(time.monotonic() - begin, 5)
        self.assertNotIn("sec-websocket-protocol", c.headers)
        self.assertNotIn("sec-websocket-extensions", c.headers)
        s = c.created
        self.assertEqual((s["object"], s["type"], s["output_modalities"]), ("realtime.session", "realtime", ["audio"]))
        self.assertGreater(s["expires_at"], time.time())

    def test_004_006_subprotocol_is_echoed_without_the_key(self):
        for key in ("k" * 51, KEY):
            c = self.connect(protocols=["realtime", "openai-insecure-api-key." + key, "openai-agents-sdk.1",
                                        "openai-organization.o", "openai-project.p"])
            self.assertEqual(c.headers["sec-websocket-protocol"], "realtime")
            self.assertNotIn(key, repr(c.headers))

    def test_007_text_turn_in_exact_order(self):
        c = self.connect()
        n = len(c.events)
        c.say(QUESTION)
        c.respond(output_modalities=["text"])
        types = [t for i, t in enumerate(c.types(n)) if t != "response.output_text.delta" or c.types(n)[i - 1] != t]
        self.assertEqual(types, [
            "conversation.item.added", "conversation.item.done", "response.created", "response.output_item.added",
            "conversation.item.added", "response.content_part.added", "response.output_text.delta",
            "response.output_text.done", "response.content_part.done", "conversation.item.done",
            "response.output_item.done", "response.done"])
        added = [e for e in c.events if e["type"] == "conversation.item.added"]
        self.assertEqual(added[1]["previous_item_id"], added[0]["item"]["id"])

    def test_008_011_text_in_audio_out(self):
        c = self.connect()
        c.say(QUESTION)
        r = c.respond()
        self.assertEqual((r["status"], r["status_details"]), ("completed", None))
        self.assertTrue(r["output"][0]["content"][0]["transcript"])
        self.assertGreater(len(c.audio()), 4800)
        types = c.types()
        order = [types.index("response." + t) for t in ("output_audio.done", "output_audio_transcript.done",
                                                        "content_part.done", "output_item.done", "done")]
        self.assertEqual(order, sorted(order))
        self.assertEqual(set(r["usage"]), {"total_tokens", "input_tokens", "output_tokens", "input_token_details",
                                           "output_token_details"})

    def test_009_manual_audio_turn(self):
        c = self.connect()
        n = len(c.events)
        c.append(self.voice)
        c.send("input_audio_buffer.commit")
        r = c.respond()
        self.assertEqual(c.types(n)[:4], ["input_audio_buffer.committed", "conversation.item.added",
                                          "conversation.item.done", "response.created"])
        ids = {c.events[n]["item_id"], c.events[n + 1]["item"]["id"], c.events[n + 2]["item"]["id"]}
        self.assertEqual(len(ids), 1)
        self.assertGreater(r["usage"]["input_token_details"]["audio_tokens"], 0)
        self.assertFalse([t for t in c.types() if "speech_" in t])

    def test_010_060_server_vad_turn(self):
        c = self.connect(manual=False)
        n = len(c.events)
        c.append(self.voice)
        c.until("response.done")
        kinds = ["input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped", "input_audio_buffer.committed",
                 "conversation.item.added", "conversation.item.done", "response.created"]
        self.assertEqual(c.types(n)[:6], kinds)
        first = c.events[n:n + 5]
        ids = {e.get("item_id") or e["item"]["id"] for e in first}
        self.assertEqual(len(ids), 1)
        self.assertGreaterEqual(first[0]["audio_start_ms"], 400)
        self.assertGreater(first[1]["audio_end_ms"], first[0]["audio_start_ms"] + 500)

    def test_012_two_turns_form_a_chain(self):
        c = self.connect()
        for _ in range(2):
            c.say(QUESTION)
            c.respond()
        added = [e for e in c.events if e["type"] == "conversation.item.added"]
        self.assertEqual([e["previous_item_id"] for e in added], [None] + [e["item"]["id"] for e in added[:-1]])

    def test_013_049_cancel_during_audio(self):
        c = self.connect()
        c.say(QUESTION)
        c.send("response.create")
        c.until("response.output_audio.delta")
        c.send("response.cancel", response_id=[e for e in c.events if e["type"] == "response.created"][0]["response"]["id"])
        r = c.until("response.done")["response"]
        if r["status"] != "completed":      # it may have ended just before
            self.assertEqual((r["status"], r["status_details"]), ("cancelled", {"type": "cancelled", "reason": "client_cancelled"}))
        self.fails(c, {"type": "response.cancel", "response_id": "resp_bogus"}, "response_cancel_not_active")

    def test_022_unknown_type_leaves_the_connection_usable(self):
        c = self.connect()
        self.fails(c, {"type": "foo.bar"}, "invalid_value", "type", "session.update")
        c.say(QUESTION)
        self.assertEqual(c.respond()["status"], "completed")

    # ---- level 2

    def test_024_update_before_created(self):
        c = Socket(self.server)
        self.addCleanup(c.__exit__, None, None, None)
        c.send("session.update", session={"type": "realtime", "instructions": "x"})
        self.assertEqual([c.next()["type"], c.next()["type"]], ["session.created", "session.updated"])

    def test_025_026_update_changes_what_is_given_alone(self):
        c = self.connect(manual=False)
        s = c.session(instructions="x")
        self.assertEqual(dict(c.created, instructions="x"), s)
        s = c.session(instructions="", tools=[], audio={"input": {"turn_detection": None, "transcription": None}})
        self.assertEqual((s["instructions"], s["tools"], s["audio"]["input"]["turn_detection"]), ("", [], None))

    def test_027_turn_detection_defaults_are_explicit(self):
        c = self.connect()
        s = c.session(audio={"input": {"turn_detection": {"type": "server_vad"}}})["audio"]["input"]["turn_detection"]
        self.assertEqual((s["threshold"], s["prefix_padding_ms"], s["create_response"], s["interrupt_response"]), (0.5, 300, True, True))
        s = c.session(audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}})
        s = s["audio"]["input"]["turn_detection"]
        self.assertEqual(s, {"type": "semantic_vad", "eagerness": "low", "create_response": True, "interrupt_response": True})

    def test_028_vad_without_create_response(self):
        c = self.connect(manual=False)
        c.session(audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}})
        c.append(self.voice)
        c.until("conversation.item.done")
        c.silence(0.5)
        self.assertEqual(c.respond()["status"], "completed")

    def test_029_prefix_and_silence_move_the_marks(self):
        marks = []
        for prefix, silence in ((0, 200), (400, 200), (0, 900)):
            c = self.connect(manual=False)
            c.session(audio={"input": {"turn_detection": {"type": "server_vad", "prefix_padding_ms": prefix,
                                                          "silence_duration_ms": silence}}})
            c.append(self.voice)
            start, end = c.until("input_audio_buffer.speech_started"), c.until("input_audio_buffer.speech_stopped")
            marks.append((start["audio_start_ms"], end["audio_end_ms"]))
        self.assertAlmostEqual(marks[0][0] - marks[1][0], 400, delta=40)
        self.assertLess(abs(marks[2][0] - marks[0][0]), 40)

    def test_030_041_the_clock_runs_on_and_one_append_may_hold_it_all(self):
        c = self.connect(manual=False)
        starts = []
        for _ in range(2):
            c.append(self.voice, chunk=len(self.voice))
            starts.append(c.until("input_audio_buffer.speech_started")["audio_start_ms"])
            c.until("response.done")
        self.assertAlmostEqual(starts[1] - starts[0], len(self.voice) / 48, delta=60)

    def test_031_silence_makes_no_event(self):
        c = self.connect(manual=False)
        c.append(bytes(48000 * 2))
        c.silence(1.0)

    def test_032_barge_in(self):
        c = self.connect(manual=False)
        c.append(self.voice)
        c.until("response.output_audio.delta")
        n = len(c.events)
        c.append(self.voice)
        c.until("input_audio_buffer.speech_started")
        # the answer may have been complete before the second question: then only the new turn is left to see
        c.until("input_audio_buffer.committed")
        c.until("response.created")
        c.until("response.done")
        done = [e["response"] for e in c.events[n:] if e["type"] == "response.done"]
        self.assertEqual(done[-1]["status"], "completed")
        if len(done) == 2 and done[0]["status"] == "cancelled":
            self.assertEqual(done[0]["status_details"]["reason"], "turn_detected")
            types = c.types(n)
            self.assertLess(types.index("input_audio_buffer.speech_started"), types.index("response.done"))

    def test_034_089_truncate_a_completed_item(self):
        c = self.connect()
        c.say(QUESTION)
        item = c.respond()["output"][0]["id"]
        length = len(c.audio()) // 48
        c.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=length + 100)
        c.until("conversation.item.truncated")
        c.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=500)
        e = c.until("conversation.item.truncated")
        self.assertEqual((e["item_id"], e["content_index"], e["audio_end_ms"]), (item, 0, 500))
        c.send("conversation.item.retrieve", item_id=item)
        part = c.until("conversation.item.retrieved")["item"]["content"][0]
        self.assertFalse(part["transcript"])
        self.assertEqual(len(base64.b64decode(part["audio"])), 500 * 48)
        c.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=0)
        c.until("conversation.item.truncated")

    def test_truncate_an_answer_that_is_not_complete(self):
        # Whether the answer still runs when truncate arrives is a race; in most rounds it does.
        running = 0
        for _ in range(8):
            c = self.connect()
            c.say(QUESTION)
            c.send("response.create")
            item = c.until("response.output_audio.delta")["item_id"]
            c.send("conversation.item.truncate", item_id=item, content_index=1, audio_end_ms=0)
            self.assertEqual(c.until("error")["error"]["param"], "content_index")
            c.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=20)
            c.until("conversation.item.truncated")
            if "response.done" not in c.types():
                running += 1
                c.until("response.done")
            c.send("conversation.item.retrieve", item_id=item)
            part = c.until("conversation.item.retrieved")["item"]["content"][0]
            self.assertEqual((part["transcript"], len(base64.b64decode(part["audio"]))), ("", 20 * 48))
            c.sock.close()
        self.assertGreater(running, 0)

    def test_037_038_039_clear_and_silent_append(self):
        c = self.connect()
        c.append(self.voice)
        c.silence(0.3)
        c.send("input_audio_buffer.clear")
        c.until("input_audio_buffer.cleared")
        self.fails(c, {"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty")
        c.send("input_audio_buffer.clear")
        c.until("input_audio_buffer.cleared")

    def test_040_054_odd_chunks_keep_every_whole_sample(self):
        c = self.connect()
        pcm = self.voice[60000:60000 + 9601]
        c.append(pcm, chunk=7)
        c.send("input_audio_buffer.commit")
        item = c.until("conversation.item.done")["item"]["id"]
        c.send("conversation.item.retrieve", item_id=item)
        part = c.until("conversation.item.retrieved")["item"]["content"][0]
        self.assertEqual(base64.b64decode(part["audio"]), pcm[:9600])
        self.assertIsNone(part["transcript"])

    def test_042_043_text_alone(self):
        c = self.connect()
        c.say(QUESTION)
        c.respond(output_modalities=["text"])
        self.assertFalse(c.audio())
        self.assertEqual(c.session()["output_modalities"], ["audio"])
        c.session(output_modalities=["text"])
        c.say(QUESTION)
        c.respond()
        self.assertFalse(c.audio())
        self.assertEqual(c.respond(output_modalities=["audio"])["output_modalities"], ["audio"])
        self.assertTrue(c.audio())

    def test_044_max_output_tokens(self):
        c = self.connect()
        c.say(QUESTION)
        r = c.respond(instructions="y", max_output_tokens=2)
        self.assertEqual((r["status"], r["status_details"]["reason"]), ("incomplete", "max_output_tokens"))
        self.assertEqual(r["output"][0]["status"], "incomplete")

    def test_045_metadata_is_echoed(self):
        c = self.connect()
        c.say(QUESTION)
        r = c.respond(metadata={"client_event_id": "x"})
        self.assertEqual(r["metadata"], {"client_event_id": "x"})
        created = [e for e in c.events if e["type"] == "response.created"][0]
        self.assertEqual(created["response"]["metadata"], {"client_event_id": "x"})

    def test_046_second_response_while_one_runs(self):
        c = self.connect()
        c.say(QUESTION)
        c.send("response.create")
        c.until("response.created")
        self.fails(c, {"type": "response.create"}, "conversation_already_has_active_response", None, "response.create")
        while c.types()[-1] != "response.done":
            c.next()
        self.assertEqual(c.events[-1]["response"]["status"], "completed")

    def test_048_cancel_nothing(self):
        c = self.connect()
        self.fails(c, {"type": "response.cancel"}, "response_cancel_not_active", None, "Cancellation failed")

    def test_052_053_ids_and_places_of_items(self):
        c = self.connect()
        c.say("one", id="a")
        c.say("two", id="b")
        c.send("conversation.item.create", previous_item_id="root", item={"type": "message", "id": "0", "role": "system",
               "content": [{"type": "input_text", "text": "s"}]})
        self.assertIsNone(c.until("conversation.item.done")["previous_item_id"])
        while c.events[-1]["item"]["id"] != "0" or c.types()[-1] != "conversation.item.done":
            c.next()
        c.send("conversation.item.create", previous_item_id="a", item={"type": "message", "id": "ab", "role": "assistant",
               "content": [{"type": "output_text", "text": "t"}]})
        c.until("conversation.item.added")
        self.assertEqual((c.events[-1]["previous_item_id"], c.events[-1]["item"]["id"]), ("a", "ab"))
        c.until("conversation.item.done")

    def test_055_090_delete(self):
        c = self.connect()
        c.say("one", id="a")
        c.send("conversation.item.delete", item_id="a")
        self.assertEqual(c.until("conversation.item.deleted")["item_id"], "a")
        self.fails(c, {"type": "conversation.item.retrieve", "item_id": "a"}, "item_retrieve_invalid_item_id", "item_id")
        self.fails(c, {"type": "conversation.item.delete", "item_id": "a"}, "item_delete_invalid_item_id", "item_id")

    def test_056_audio_in_an_item(self):
        c = self.connect()
        c.send("conversation.item.create", item={"type": "message", "role": "user", "content": [
            {"type": "input_audio", "audio": b64(self.voice)}]})
        self.assertEqual(c.until("conversation.item.added")["item"]["content"], [{"type": "input_audio", "transcript": None}])
        self.assertGreater(c.respond()["usage"]["input_token_details"]["audio_tokens"], 0)

    def test_057_059_transcription_fails_in_the_protocols_terms(self):
        c = self.connect()
        c.append(self.voice)
        c.send("input_audio_buffer.commit")
        c.respond()
        self.assertFalse([t for t in c.types() if "transcription" in t])
        c.session(audio={"input": {"transcription": {"model": "whisper-1"}}})
        c.append(self.voice)
        c.send("input_audio_buffer.commit")
        e = c.until("conversation.item.input_audio_transcription.failed")
        self.assertEqual((e["content_index"], e["error"]["code"]), (0, "transcription_not_supported"))
        self.assertNotIn(None, e["error"].values())

    def test_061_062_g711(self):
        c = self.connect()
        alone = {"conversation": "none", "input": [{"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": QUESTION}]}]}
        c.respond(**alone)
        length = len(c.audio()) / 48
        for law in ("audio/pcmu", "audio/pcma"):
            c.session(audio={"output": {"format": {"type": law}}})
            n = len(c.events)
            r = c.respond(**alone)
            self.assertEqual(r["audio"]["output"]["format"], {"type": law})
            self.assertAlmostEqual(len(c.audio(n)) / 8, length, delta=0.03 * length)
        c.session(audio={"input": {"format": {"type": "audio/pcmu"}, "turn_detection": {"type": "server_vad"}}})
        ulaw = bytes([0xFF]) * 8000 + bytes(mu_law(self.voice)) + bytes([0xFF]) * 8000
        c.append(ulaw, chunk=160)
        start, end = c.until("input_audio_buffer.speech_started"), c.until("input_audio_buffer.speech_stopped")
        self.assertGreaterEqual(start["audio_start_ms"], 1400)
        self.assertLess(end["audio_end_ms"], len(ulaw) / 8)
        c.until("response.done")

    def test_064_sessions_leave_nothing_behind(self):
        for i in range(10):
            c = self.connect()
            if i % 2:
                c.say(QUESTION)
                c.send("response.create")
                c.until("response.created")
                c.sock.setsockopt(__import__("socket").SOL_SOCKET, __import__("socket").SO_LINGER, struct.pack("ii", 1, 0))
                c.events.clear()
            c.sock.close()
        deadline = time.monotonic() + 30
        while self.server.metric('s2s_slots_free') < 6 and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(self.server.metric("s2s_slots_free"), 6)
        self.assertEqual(self.server.metric('s2s_sessions_active{dialect="ga"}'), 0)

    def test_065_ping_is_answered(self):
        c = self.connect()
        c.frame(9, b"hello")
        c.session()
        self.assertEqual(c.pongs, 1)

    # ---- level 3

    def test_066_067_068_069_071_not_events(self):
        c = self.connect()
        for raw, code, param in (("not json", "invalid_json", None), ("[]", "invalid_event", None), ('"x"', "invalid_event", None),
                                 ("null", "invalid_event", None), ("1", "invalid_event", None), ("{}", "invalid_event", None),
                                 ('{"type":5}', "invalid_type", "type")):
            c.frame(1, raw.encode())
            e = c.until("error")["error"]
            self.assertEqual((e["code"], e["param"], e["event_id"]), (code, param, None), raw)
        c.frame(2, b'{"type":"input_audio_buffer.clear"}')
        self.assertEqual(c.until("error")["error"]["code"], "invalid_event")
        c.session()

    def test_072_to_079_bad_session_updates(self):
        c = self.connect()
        before = c.session()
        self.fails(c, {"type": "session.update"}, "missing_required_parameter", "session")
        self.fails(c, {"type": "session.update", "session": {}}, "missing_required_parameter", "session.type")
        turns = lambda **t: {"audio": {"input": {"turn_detection": dict({"type": "server_vad"}, **t)}}}
        fmt = lambda rate: {"audio": {"input": {"format": {"type": "audio/pcm", "rate": rate}}}}
        deep = "session.audio.input.turn_detection."
        for change, code, param in (
                ({"temperature": 0.8}, "unknown_parameter", "session.temperature"),
                ({"voice": "x"}, "unknown_parameter", "session.voice"),
                ({"instructions": "never", "nope": 1}, "unknown_parameter", "session.nope"),
                ({"output_modalities": ["text", "audio"]}, "invalid_value", "session.output_modalities"),
                ({"output_modalities": ["video"]}, "invalid_value", "session.output_modalities"),
                ({"output_modalities": []}, "invalid_value", "session.output_modalities"),
                (fmt(8000), "integer_below_min_value", "session.audio.input.format.rate"),
                (fmt(48000), "integer_above_max_value", "session.audio.input.format.rate"),
                ({"max_output_tokens": 0}, "integer_below_min_value", "session.max_output_tokens"),
                ({"max_output_tokens": 5000}, "integer_above_max_value", "session.max_output_tokens"),
                ({"max_output_tokens": "x"}, "invalid_type", "session.max_output_tokens"),
                ({"max_output_tokens": 1.5}, "invalid_type", "session.max_output_tokens"),
                (turns(threshold=1.5), "decimal_above_max_value", deep + "threshold"),
                (turns(silence_duration_ms=-1), "integer_below_min_value", deep + "silence_duration_ms"),
                (turns(type="x"), "invalid_value", deep + "type"),
                ({"audio": {"output": {"speed": 1.6}}}, "decimal_above_max_value", "session.audio.output.speed"),
                ({"type": "transcription"}, "invalid_value", "session.type")):
            self.fails(c, {"type": "session.update", "session": dict({"type": "realtime"}, **change)}, code, param)
        self.assertEqual(c.session(), before)
        self.assertEqual(c.session(max_output_tokens=4096, model=before["model"])["max_output_tokens"], 4096)

    def test_080_voice_is_fixed_by_the_first_sound(self):
        c = self.connect()
        c.session(audio={"output": {"voice": "verse"}})
        c.say(QUESTION)
        c.respond()
        self.fails(c, {"type": "session.update", "session": {"type": "realtime", "audio": {"output": {"voice": "ash"}}}},
                   "cannot_update_voice", "session.audio.output.voice")
        c.session(audio={"output": {"voice": "verse"}})

    def test_082_bad_appends(self):
        c = self.connect()
        name = "input_audio_buffer.append"
        self.fails(c, {"type": name}, "missing_required_parameter", "audio")
        self.fails(c, {"type": name, "audio": 5}, "invalid_type", "audio")
        self.fails(c, {"type": name, "audio": "%%%"}, "invalid_value", "audio")
        c.send(name, audio="")
        c.silence(0.2)

    def test_083_too_little_to_commit(self):
        c = self.connect()
        self.fails(c, {"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty")
        c.append(bytes(2400))
        self.fails(c, {"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", None, "50.00ms")
        c.append(bytes(2400))
        c.send("input_audio_buffer.commit")
        c.until("input_audio_buffer.committed")

    def test_085_086_087_bad_items(self):
        c = self.connect()
        create = lambda item, **more: dict({"type": "conversation.item.create"}, **({"item": item} if item is not None else {}), **more)
        message = lambda role, *parts: {"type": "message", "role": role, "content": list(parts)}
        for event, code, param in (
                (create(None), "missing_required_parameter", "item"),
                (create({}), "missing_required_parameter", "item.type"),
                (create({"type": "x"}), "invalid_value", "item.type"),
                (create(message("user", {"type": "output_text", "text": "x"})), "invalid_value", "item.content[0].type"),
                (create(message("user", {"type": "input_text"})), "missing_required_parameter", "item.content[0].text"),
                (create(message("user", {"type": "input_text", "text": "x"}), previous_item_id="no"), "item_not_found", "previous_item_id")):
            self.fails(c, event, code, param)
        c.say("x", id="a")
        c.until("conversation.item.done")
        self.fails(c, create(dict(message("user", {"type": "input_text", "text": "y"}), id="a")), "invalid_value", "item.id")

    def test_088_bad_truncates(self):
        c = self.connect()
        c.say("x", id="u")
        item = c.respond()["output"][0]["id"]
        cut = lambda i, ms, index=0: {"type": "conversation.item.truncate", "item_id": i, "content_index": index, "audio_end_ms": ms}
        self.fails(c, cut("no", 0), "item_truncate_invalid_item_id", "item_id")
        self.fails(c, cut("u", 0), "unsupported_content_type", "item_id", "Only model output audio")
        self.fails(c, cut(item, 10.5), "invalid_type", "audio_end_ms")
        self.fails(c, cut(item, -1), "integer_below_min_value", "audio_end_ms")
        self.fails(c, cut(item, 10 ** 6), "invalid_value", "audio_end_ms", "1000000ms")
        self.fails(c, cut(item, 0, 7), "invalid_value", "content_index")

    def test_091_bad_response_creates(self):
        c = self.connect()
        create = lambda r: {"type": "response.create", "response": r}
        self.fails(c, create(5), "invalid_type", "response", "response.create")
        self.fails(c, create({"nope": 1}), "unknown_parameter", "response.nope", "response.create")
        self.fails(c, create({"conversation": "x"}), "invalid_value", "response.conversation", "response.create")
        self.fails(c, create({"metadata": {str(i): "" for i in range(17)}}), "object_above_max_properties", "response.metadata", "response.create")

    def test_092_output_audio_buffer_clear_is_refused(self):
        self.fails(self.connect(), {"type": "output_audio_buffer.clear"}, "invalid_value", "type")

    def test_093_095_out_of_band(self):
        c = self.connect()
        c.say(QUESTION, id="q")
        n = len(c.events)
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": QUESTION}]}
        r = c.respond(conversation="none", metadata={"a": "b"}, input=[item])
        self.assertEqual((r["status"], r["conversation_id"], r["metadata"]), ("completed", None, {"a": "b"}))
        self.assertFalse([t for t in c.types(n + 2) if t.startswith("conversation.item")])
        self.fails(c, {"type": "conversation.item.retrieve", "item_id": r["output"][0]["id"]}, "item_retrieve_invalid_item_id", "item_id")
        self.assertEqual(c.respond(conversation="none", input=[{"type": "item_reference", "id": "q"}])["status"], "completed")
        self.fails(c, {"type": "response.create", "response": {"conversation": "none", "input": [{"type": "item_reference", "id": "no"}]}},
                   "item_not_found", "response.input[0]")

    def test_102_transcription_session(self):
        c = self.connect(manual=False, path="/v1/realtime?intent=transcription")
        self.assertEqual(c.created["type"], "transcription")
        c.append(self.voice)
        c.until("conversation.item.input_audio_transcription.failed")
        self.fails(c, {"type": "response.create"}, "invalid_value", "type", "response.create")

    # ---- beta

    def test_108_109_110_beta_turns(self):
        c = self.connect(beta=True)
        s = c.created
        self.assertEqual((s["modalities"], s["temperature"], s["input_audio_format"]), (["audio", "text"], 0.8, "pcm16"))
        c.say(QUESTION)
        c.respond(modalities=["text"])
        self.assertIn("response.text.done", c.types())
        c.append(self.voice)
        c.send("input_audio_buffer.commit")
        r = c.respond()
        self.assertEqual(r["output"][0]["content"][0]["type"], "audio")
        self.assertEqual((r["modalities"], r["output_audio_format"]), (["audio", "text"], "pcm16"))
        self.assertTrue(c.audio())

    def test_111_beta_ranges(self):
        c = self.connect(beta=True)
        for change, code in (({"temperature": 0.5}, "decimal_below_min_value"), ({"temperature": 1.3}, "decimal_above_max_value"),
                             ({"modalities": ["audio"]}, "invalid_value"), ({"audio": {}}, "unknown_parameter")):
            self.fails(c, {"type": "session.update", "session": change}, code, "session." + list(change)[0])

    def test_119_transcription_update_on_a_normal_session(self):
        self.fails(self.connect(beta=True), {"type": "transcription_session.update", "session": {}}, "invalid_value", "type")

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
        self.connect().session()

    def test_156_157_hostile_json(self):
        c = self.connect()
        for raw in ("[" * 10000, '{"type":' + '{"a":' * 10000, '{"type":"\\ud800"}', '{"type":"a\\u0000b"}'):
            c.frame(1, raw.encode())
            self.assertEqual(c.until("error")["error"]["code"], "invalid_json", raw[:20])
        c.send({"type": "conversation.item.create", "item": {"type": "message", "id": "x" * (1 << 20), "role": "user", "content": []}})
        self.assertEqual(c.until("error")["error"]["param"], "item.id")
        for event_id in ("x" * 600, 5, {"a": 1}):
            c.send({"type": "nope", "event_id": event_id})
            self.assertIsNone(c.until("error")["error"]["event_id"])
        c.frame(1, b'{"type":"nope","type":"input_audio_buffer.clear"}')
        c.until("input_audio_buffer.cleared")

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

    def test_121_model_names(self):
        with Server("--strict-model", "--alias", "mine") as server:
            bad = "invalid_request_error.invalid_model"
            self.assertEqual(self.closed(Socket(server, path="/v1/realtime?model=x")), ("invalid_model", 4000, bad))
            missing = "invalid_request_error.missing_model"
            self.assertEqual(self.closed(Socket(server, path="/v1/realtime")), ("missing_model", 4000, missing))
            with Socket(server, path="/v1/realtime?model=mine") as c:
                self.assertEqual(c.next()["session"]["model"], "mine")

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

    def test_usage_errors(self):
        for options, word in ((["--host", "0.0.0.0"], "--insecure"), (["--ssl-key-file", "x"], "belong together"),
                              (["--api-key", "x", "--api-key-file", "y"], "contradict")):
            r = program.run("serve", *options, threads=False)
            self.assertEqual(r.returncode, 2)
            self.assertIn(word, r.stderr.decode())
            self.assertEqual(r.stderr.decode().count("\n"), 1)


if __name__ == "__main__":
    if not os.path.isdir(os.environ["OMNI_TEST_MODEL"]):
        raise SystemExit("models/tiny is missing")
    unittest.main()
