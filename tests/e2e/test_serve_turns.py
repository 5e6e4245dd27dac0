"""omni serve, the Realtime protocol: commands that come while the person speaks, and answers cancelled before they began."""

import json
import unittest

import program
from realtime_case import QUESTION, Case, b64
from realtime_client import Server, speech

TURNS = "input_audio_buffer."


def turns(**more):
    return {"audio": {"input": {"turn_detection": dict({"type": "server_vad"}, **more)}}}


def answer_to(c, metadata, n):
    """The response.done since event n whose response had these metadata, and the bytes of sound that came with it."""
    done = [e["response"] for e in c.events[n:] if e["type"] == "response.done" and e["response"]["metadata"] == metadata]
    assert len(done) == 1, (metadata, done)
    sound = [e for e in c.events[n:] if e["type"] == "response.output_audio.delta" and e["response_id"] == done[0]["id"]]
    return done[0], len(sound)


class Speaking(Case):
    def speak(self, c):
        """Begins to speak: the item's id."""
        c.append(self.voice[:len(self.voice) // 4 * 2])
        return c.until(TURNS + "speech_started")["item_id"]

    def commit(self, c):
        c.send(TURNS + "commit")
        item = c.until(TURNS + "committed")["item_id"]
        c.until("conversation.item.done")
        return item

    def test_turn_detection_goes_off_in_the_middle_of_speech(self):
        c = self.connect(manual=False)
        self.speak(c)
        c.manual()
        ids = []
        for _ in range(2):
            c.append(self.voice)
            ids.append(self.commit(c))
        self.assertNotEqual(ids[0], ids[1])
        c.session(**turns())
        c.append(self.voice)
        kinds = ("speech_started", "speech_stopped", "committed")
        ids += {c.until(TURNS + kind)["item_id"] for kind in kinds}
        self.assertEqual(len(set(ids)), 3)
        c.until("response.done")

    def test_a_typed_question_that_crosses_a_spoken_one(self):
        """The engine hears the end of the speech before it learns of the typed question, or after: each response answers its own
        question with its own settings, and what is said next has the session's again."""
        crossed = 0
        for quiet in (2, 4, 8, 12, 22, 4, 12):
            c = self.connect(manual=False)
            c.session(max_output_tokens=4)
            sound = self.voice + bytes(48000 * quiet)
            events = [{"type": "input_audio_buffer.append", "audio": b64(sound)},
                      {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "id": "typed",
                       "content": [{"type": "input_text", "text": QUESTION}]}},
                      {"type": "response.create", "response": {"output_modalities": ["text"], "metadata": {"which": "typed"},
                                                               "max_output_tokens": 2}}]
            n = len(c.events)
            c.frames([json.dumps(e).encode() for e in events])
            while c.types(n).count("response.done") < 2:
                if c.next()["type"] == "error":     # the engine was first, and was seen: as ever
                    self.assertEqual(c.events[-1]["error"]["code"], "conversation_already_has_active_response")
                    break
            else:
                typed, sounds = answer_to(c, {"which": "typed"}, n)
                self.assertEqual((typed["output_modalities"], sounds), (["text"], 0))
                self.assertEqual(typed["usage"]["input_token_details"]["audio_tokens"], 0)
                if typed["status"] != "cancelled":      # by the speech, which it came before
                    self.assertEqual(typed["usage"]["output_tokens"], 2)
                heard, sounds = answer_to(c, None, n)
                self.assertEqual(heard["output_modalities"], ["audio"])
                self.assertGreater(heard["usage"]["input_token_details"]["audio_tokens"], 0)
                self.assertEqual(heard["usage"]["output_token_details"]["text_tokens"], 4)
                self.assertGreater(sounds, 0)
                begun = [e["response"]["metadata"] for e in c.events[n:] if e["type"] == "response.created"]
                ended = [e["response"]["metadata"] for e in c.events[n:] if e["type"] == "response.done"]
                crossed += begun != ended
            c.append(self.voice)
            self.assertEqual(c.until("response.done")["response"]["output_modalities"], ["audio"])
            c.__exit__(None, None, None)
        print(crossed, "of 7 crossed")

    def test_a_committed_item_is_asked_while_the_person_speaks_again(self):
        c = self.connect(manual=False)
        c.session(**turns(create_response=False))
        c.append(self.voice)
        c.until("conversation.item.done")
        self.speak(c)
        self.assertEqual(c.respond()["status"], "completed")
        c.session(**turns(create_response=False, idle_timeout_ms=5000))
        c.append(bytes(48 * (len(c.audio()) // 48 + 6000)))     # nobody is heard: what began is over
        c.until(TURNS + "timeout_triggered")
        c.until("response.done")

    def test_speech_that_was_committed_by_hand_is_not_told_again(self):
        for create in (True, False):
            c = self.connect(manual=False)
            c.session(**turns(create_response=create))
            for _ in range(3):
                n = len(c.events)
                c.append(self.voice[:len(self.voice) // 4 * 2], chunk=len(self.voice))
                c.send(TURNS + "commit")        # before the engine has heard it
                c.until(TURNS + "committed")
                c.until("response.done" if create else "conversation.item.done")
                c.session()                     # all that was on its way is here
                self.assertLessEqual(c.types(n).count(TURNS + "speech_started"), 1)
                self.assertEqual(c.types(n).count(TURNS + "committed"), 1)
                if TURNS + "speech_started" in c.types(n):
                    self.assertLess(c.types(n).index(TURNS + "speech_started"), c.types(n).index(TURNS + "committed"))
            c.append(self.voice)
            heard = c.until(TURNS + "speech_started")["item_id"]
            self.assertEqual(c.until(TURNS + "committed")["item_id"], heard)


class Unfinished(Case):
    """A random model answers until its limit."""

    @classmethod
    def setUpClass(cls):
        cls.folder = program.scratch("turns")
        program.synth(cls.folder)
        cls.server = Server(*cls.options, model=cls.folder)
        cls.voice = speech()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        program.remove(cls.folder)

    def test_speech_during_an_answer_that_was_asked_for_by_commit(self):
        c = self.connect(manual=False)
        c.session(**turns(interrupt_response=False))
        c.append(self.voice[:len(self.voice) // 4 * 2])
        c.until(TURNS + "speech_started")
        c.send(TURNS + "commit")
        c.until("response.output_audio.delta")
        n = len(c.events)
        c.append(self.voice)
        started = c.until(TURNS + "speech_started")["item_id"]
        self.assertEqual(c.until(TURNS + "speech_stopped")["item_id"], started)
        self.assertEqual(c.until(TURNS + "committed")["item_id"], started)
        c.until("response.done")
        c.until("response.done")

    def test_a_commit_that_crosses_the_end_of_the_speech_is_answered_once(self):
        c = self.connect(manual=False)
        c.session(output_modalities=["text"], max_output_tokens=3)
        for quiet in (1, 8, 8, 20):     # more than the engine takes at once: it hears the end before it learns of the commit
            n = len(c.events)
            c.append(bytes(48000 * quiet) + self.voice + bytes(48000 * 6), chunk=1 << 22)
            c.send(TURNS + "commit")
            c.until("response.done")
            c.silence(1)
            self.assertEqual(c.types(n).count("response.created"), 1, c.types(n))
            self.assertIn(c.types(n).count(TURNS + "committed"), (1, 2))
        c.say(QUESTION)
        self.assertEqual(c.respond(metadata={"which": "typed"})["metadata"], {"which": "typed"})

    def test_what_was_not_heard_yet_is_kept(self):
        c = self.connect(manual=False)
        c.session(**turns(create_response=False))
        c.append(self.voice + bytes(48000 * 150), chunk=1 << 23)
        item = c.until("conversation.item.done")["item"]["id"]
        c.send("conversation.item.retrieve", item_id=item)
        self.assertTrue(c.until("conversation.item.retrieved")["item"]["content"][0]["audio"])
        self.assertNotEqual(c.respond()["status"], "failed")

    def test_settings_changed_during_an_answer_are_for_the_next(self):
        c = self.connect()
        c.say(QUESTION)
        c.send("response.create")
        c.until("response.created")
        c.session(output_modalities=["text"])
        self.assertEqual(c.until("response.done")["response"]["output_modalities"], ["audio"])
        c.say(QUESTION)
        self.assertEqual(c.respond()["output_modalities"], ["text"])

    def test_cancelled_before_it_began_has_both_ends_too(self):
        c = self.connect()
        c.say(QUESTION)
        for n in (2, 5):
            first = len(c.events)
            for _ in range(n):
                c.send("response.create")
                c.send("response.cancel")
            while c.types(first).count("response.done") < n:
                self.assertNotEqual(c.next()["type"], "error", c.events[-1])
            done = [e["response"] for e in c.events[first:] if e["type"] == "response.done"]
            self.assertEqual([r["status"] for r in done], ["cancelled"] * n)
            self.assertEqual(len({r["id"] for r in done}), n)
        self.fails(c, {"type": "response.cancel"}, "response_cancel_not_active")


if __name__ == "__main__":
    unittest.main()
