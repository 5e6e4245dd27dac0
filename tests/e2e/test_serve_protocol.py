"""omni serve, the Realtime protocol: cases 66 to 122, what clients may get wrong, out-of-band answers, the beta dialect."""

import unittest

from realtime_case import QUESTION, Case


class Protocol(Case):
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

    def test_070_unknown_type_lists_the_known(self):
        c = self.connect()
        types = ("session.update", "input_audio_buffer.append", "input_audio_buffer.commit", "input_audio_buffer.clear",
                 "conversation.item.create", "conversation.item.retrieve", "conversation.item.truncate",
                 "conversation.item.delete", "response.create", "response.cancel")
        for name in types:
            self.fails(c, {"type": "foo.bar"}, "invalid_value", "type", "'%s'" % name)

    def test_quotes_of_a_client_end_between_characters(self):
        c = self.connect()
        for name in ("x" + 40 * "\u00e4", "xx" + 40 * "\u20ac", "x" + 40 * "\U0001f600"):
            self.fails(c, {"type": name}, "invalid_value", "type", name[:10])
            event = {"type": "session.update", "session": {"type": "realtime", name: 1}}
            c.send(event)
            self.assertEqual(c.until("error")["error"]["code"], "unknown_parameter")
            self.fails(c, {"type": "response.create", "response": {name * 9: 1}}, "unknown_parameter", c.events[-1]["error"]["param"]
                       .replace("session.", "response."), "response.create")

    def test_081_an_update_while_an_answer_runs_is_for_the_next(self):
        c = self.connect()
        c.say(QUESTION)
        c.send("response.create")
        c.until("response.created")
        c.send("session.update", session={"type": "realtime", "output_modalities": ["text"]})
        seen = {}
        while len(seen) < 2:
            event = c.next()
            if event["type"] in ("session.updated", "response.done"):
                seen[event["type"]] = event
        self.assertEqual(seen["session.updated"]["session"]["output_modalities"], ["text"])
        self.assertEqual(seen["response.done"]["response"]["output_modalities"], ["audio"])
        self.assertTrue(c.audio())
        n = len(c.events)
        self.assertEqual(c.respond()["output_modalities"], ["text"])
        self.assertFalse(c.audio(n))

    def test_072_to_079_103_bad_session_updates(self):
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

    def test_094_beside_the_conversation_while_it_answers(self):
        c = self.connect()
        c.say(QUESTION)
        c.send("response.create")
        c.until("response.created")
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": QUESTION}]}
        c.send("response.create", response={"conversation": "none", "input": [item], "metadata": {"which": "beside"}})
        while c.types().count("response.done") < 2:
            self.assertNotEqual(c.next()["type"], "error")
        done = [e["response"] for e in c.events if e["type"] == "response.done"]
        self.assertEqual([r["status"] for r in done], ["completed"] * 2)
        self.assertEqual(sorted(r["conversation_id"] is None for r in done), [False, True])
        texts = {r["output"][0]["content"][0]["transcript"] for r in done}
        self.assertEqual(len(texts), 1)

    def test_104_173_transcription_fails_and_the_answer_does_not_mind(self):
        c = self.connect()
        c.session(include=["item.input_audio_transcription.logprobs"], audio={"input": {"transcription": {"model": "any"}}})
        c.append(self.voice)
        c.send("input_audio_buffer.commit")
        r = c.respond()
        self.assertEqual(r["status"], "completed")
        told = [e for e in c.events if "transcription" in e["type"]]
        self.assertEqual([e["type"] for e in told], ["conversation.item.input_audio_transcription.failed"])
        self.assertNotIn("logprobs", told[0])
        self.assertTrue(all(isinstance(v, str) for v in told[0]["error"].values()))

    def test_106_idle_timeout(self):
        c = self.connect(manual=False)
        c.session(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000}}})
        c.append(bytes(48000 * 6))          # before the first answer nothing is waited for
        c.append(self.voice)
        c.until("response.done")
        n, heard = len(c.events), 6000 + len(self.voice) // 48
        spoken = len(c.audio()) // 48
        c.append(bytes(48 * (spoken + 4000)))
        c.silence(0.5)
        c.append(bytes(48000 * 3))
        e = c.until("input_audio_buffer.timeout_triggered")
        self.assertAlmostEqual(e["audio_end_ms"] - e["audio_start_ms"], 5000, delta=1000)
        self.assertAlmostEqual(e["audio_start_ms"], heard + spoken, delta=1500)
        self.assertEqual(c.until("input_audio_buffer.committed")["item_id"], e["item_id"])
        c.until("response.done")
        self.assertEqual(c.types(n)[1:4], ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"])
        self.assertNotIn("input_audio_buffer.speech_started", c.types(n))
        for bad, code in ((100, "integer_below_min_value"), (30001, "integer_above_max_value")):
            self.fails(c, {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": {
                "type": "server_vad", "idle_timeout_ms": bad}}}}}, code, "session.audio.input.turn_detection.idle_timeout_ms")

    def test_098_099_tools_are_kept_and_not_called(self):
        c = self.connect()
        tool = {"type": "function", "name": "f", "description": "x", "parameters": {"type": "object", "properties": {}}}
        for choice in ("none", "required", {"type": "function", "name": "f"}):
            s = c.session(tools=[tool], tool_choice=choice)
            self.assertEqual((s["tools"], s["tool_choice"]), ([tool], choice))
            c.say(QUESTION)
            self.assertEqual([item["type"] for item in c.respond()["output"]], ["message"])
        c.send("conversation.item.create", item={"type": "function_call_output", "call_id": "never", "output": "{}"})
        self.assertEqual(c.until("conversation.item.done")["item"]["call_id"], "never")
        self.fails(c, {"type": "conversation.item.create", "item": {"type": "function_call_output", "output": "{}"}},
                   "missing_required_parameter", "item.call_id")

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


if __name__ == "__main__":
    unittest.main()
