"""omni serve, the Realtime protocol over bare WebSocket, GA dialect: cases 1 to 65, a talk as it should go.

The numbers in the names are those of the project's list of conformance cases (docs/serve.md says which are covered where).
Every stream is checked for the invariants in realtime_client.py when its socket closes.
"""

import base64
import struct
import time
import unittest

import program
from realtime_case import KEY, QUESTION, Case, b64
from realtime_client import Server, Socket


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


class Realtime(Case):
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

    def test_035_truncate_what_is_being_said(self):
        c = self.connect()
        c.say(QUESTION)
        c.send("response.create")
        item = c.until("response.output_audio.delta")["item_id"]
        c.send("response.cancel")
        c.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=20)
        n = len(c.events)
        while not {"conversation.item.truncated", "response.done"} <= set(c.types(n)):
            event = c.next()
            self.assertTrue(event["type"] != "error" or event["error"]["code"] == "response_cancel_not_active", event)
        c.send("conversation.item.retrieve", item_id=item)
        part = c.until("conversation.item.retrieved")["item"]["content"][0]
        self.assertFalse(part["transcript"])
        self.assertEqual(len(base64.b64decode(part["audio"])), 20 * 48)

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

    def test_050_cancel_races_with_the_end(self):
        c = self.connect()
        for _ in range(5):
            n = len(c.events)
            c.say(QUESTION)
            c.send("response.create")
            c.until("response.output_audio.done")
            c.send("response.cancel")
            c.send("session.update", session={"type": "realtime"})
            while "session.updated" not in c.types(n) or "response.done" not in c.types(n):
                c.next()
            self.assertEqual(c.types(n).count("response.done"), 1)
            self.assertLessEqual(c.types(n).count("error"), 1)

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

    def test_063_speed_is_kept_and_changes_nothing(self):
        lengths = []
        for speed in (1, 1.5, 0.25):
            c = self.connect()
            self.assertEqual(c.session(audio={"output": {"speed": speed}})["audio"]["output"]["speed"], speed)
            c.say(QUESTION)
            c.respond()
            lengths.append(len(c.audio()))
        self.assertEqual(len(set(lengths)), 1)

    def test_084_commit_while_the_person_speaks(self):
        for create in (True, False):
            c = self.connect(manual=False)
            c.session(audio={"input": {"turn_detection": {"type": "server_vad", "create_response": create}}})
            at = len(self.voice) // 2 // 2 * 2
            c.append(self.voice[:at])
            item = c.until("input_audio_buffer.speech_started")["item_id"]
            c.send("input_audio_buffer.commit")
            self.assertEqual(c.until("input_audio_buffer.committed")["item_id"], item)
            c.until("conversation.item.done")
            if create:
                self.assertIn(c.until("response.done")["response"]["status"], ("completed", "incomplete"))
            else:
                c.silence(0.5)

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

    def test_065_pings_of_both_sides(self):
        c = self.connect()
        c.frame(9, b"hello")
        c.session()
        self.assertEqual(c.pongs, 1)
        until = time.monotonic() + 60       # the server's comes every 20 s
        while not c.pings and time.monotonic() < until:
            c.silence(1)
        self.assertGreaterEqual(c.pings, 1)


class Unfinished(Case):
    """A random model answers until its limit, far more than waits for a client that takes nothing."""

    @classmethod
    def setUpClass(cls):
        cls.folder = program.scratch("unfinished")
        program.synth(cls.folder)
        cls.server = Server(*cls.options, model=cls.folder)

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        program.remove(cls.folder)

    def test_truncate_an_answer_that_is_not_complete(self):
        c = self.connect()
        c.say(QUESTION)
        c.send("response.create")
        item = c.until("response.output_audio.delta")["item_id"]
        c.send("conversation.item.truncate", item_id=item, content_index=1, audio_end_ms=0)
        self.assertEqual(c.until("error")["error"]["param"], "content_index")
        c.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=20)
        c.until("conversation.item.truncated")
        self.assertNotIn("response.done", c.types())
        c.send("response.cancel")
        self.assertEqual(c.until("response.done")["response"]["status"], "cancelled")
        c.send("conversation.item.retrieve", item_id=item)
        part = c.until("conversation.item.retrieved")["item"]["content"][0]
        self.assertEqual((part["transcript"], len(base64.b64decode(part["audio"]))), ("", 20 * 48))


if __name__ == "__main__":
    unittest.main()
