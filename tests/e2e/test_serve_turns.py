"""omni serve, the Realtime protocol: commands that come while the person speaks, and answers cancelled before they began."""

import unittest

import program
from realtime_case import QUESTION, Case
from realtime_client import Server, speech

TURNS = "input_audio_buffer."


def turns(**more):
    return {"audio": {"input": {"turn_detection": dict({"type": "server_vad"}, **more)}}}


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
