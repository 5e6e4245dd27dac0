"""omni serve: what the model has in its context is what the conversation's items say (cases 12, 51, 53, 55, 93, 95, 134).

The bundled model answers each question by itself, so the context is seen in the count of positions that a turn began with:
put into a conversation, an exchange takes as many as one that was lived.
"""

import base64
import json
import unittest

from realtime_case import QUESTION, Case

NEXT = "how many legs has a cat"


def message(role, text, **more):
    kind = "output_text" if role == "assistant" else "input_text"
    return dict(more, type="message", role=role, content=[{"type": kind, "text": text}])


class History(Case):
    def put(self, c, item, **more):
        c.send("conversation.item.create", item=item, **more)
        done = c.until("conversation.item.done")
        return done["item"]["id"]

    def tokens(self, c, text=NEXT, **response):
        """Positions of the context with a typed question."""
        c.say(text)
        return c.respond(output_modalities=["text"], **response)["usage"]["input_tokens"]

    def lived(self):
        """A session with one exchange behind it: (connection, answer, ids of the two items)."""
        c = self.connect()
        c.say(QUESTION, id="q")
        out = c.respond(output_modalities=["text"])["output"][0]
        return c, out["content"][0]["text"], ["q", out["id"]]

    def test_012_051_told_and_lived_are_the_same(self):
        fresh = self.tokens(self.connect())
        c, answer, _ = self.lived()
        lived = self.tokens(c)
        self.assertGreater(lived, fresh)
        told = self.connect()
        self.put(told, message("system", "be brief"))
        self.put(told, message("user", QUESTION))
        self.put(told, message("assistant", answer))
        self.assertEqual(self.tokens(told), lived)
        greeted = self.connect()
        self.put(greeted, message("assistant", answer))
        self.assertTrue(fresh < self.tokens(greeted) < lived)

    def test_051_a_spoken_question_comes_after_what_was_told(self):
        said = []
        for past in (False, True):
            c = self.connect(manual=False)
            if past:
                self.put(c, message("user", QUESTION))
                self.put(c, message("assistant", "paris"))
            c.append(self.voice)
            said.append(c.until("response.done")["response"]["usage"]["input_tokens"])
        self.assertGreater(said[1], said[0])

    def test_051_told_while_an_answer_runs(self):
        c = self.connect()
        c.say(QUESTION)
        c.send("response.create")
        c.until("response.created")
        c.send("conversation.item.create", item=message("assistant", "one more thing"))
        c.until("response.done")
        with_it = self.tokens(c)
        other = self.lived()[0]
        self.assertGreater(with_it, self.tokens(other))

    def test_a_response_with_its_own_input_asks_nothing_of_the_conversation(self):
        c = self.connect()
        self.put(c, message("user", "what is the capital", id="a"))
        self.put(c, message("user", "of france", id="b"))
        own = [message("user", NEXT)]
        c.respond(output_modalities=["text"], input=own)
        said = c.respond(output_modalities=["text"])["output"][0]["content"][0]["text"]
        self.assertEqual(said, self.lived()[1], "both items are one question yet")
        # Deleting an item that nobody asked takes nothing out of what the model remembers.
        before = []
        for delete in (False, True):
            c = self.connect()
            self.put(c, message("user", QUESTION, id="a"))
            c.respond(output_modalities=["text"], input=own)
            if delete:
                c.send("conversation.item.delete", item_id="a")
                c.until("conversation.item.deleted")
            before.append(c.respond(output_modalities=["text"], input=own)["usage"]["input_tokens"])
        self.assertEqual(*before)

    def test_nothing_to_answer_is_the_clients_affair(self):
        error = self.connect().respond()["status_details"]["error"]
        self.assertEqual((error["type"], error["code"]), ("invalid_request_error", "empty_input"))

    def test_speech_that_has_no_room_is_told(self):
        c = self.connect(manual=False)
        for i in range(2000):
            c.send("conversation.item.create", item=message("system", "x"))
        while c.types().count("conversation.item.done") < 2000:
            c.next()
        c.append(self.voice)
        error = c.until("error")["error"]
        self.assertEqual(error["type"], "server_error")
        self.assertIn("no room", error["message"])
        c.until("response.done")

    def test_053_the_order_of_the_list_is_the_order_of_the_question(self):
        c = self.connect()
        self.put(c, message("user", "of france", id="b"))
        self.put(c, message("user", "what is the capital", id="a"), previous_item_id="root")
        in_order = c.respond(output_modalities=["text"])["output"][0]["content"][0]["text"]
        self.assertEqual(in_order, self.lived()[1])

    def test_055_what_is_deleted_is_forgotten(self):
        fresh = self.tokens(self.connect())
        for which in (0, 1):        # the question, or its answer
            c, _, ids = self.lived()
            c.send("conversation.item.delete", item_id=ids[which])
            c.until("conversation.item.deleted")
            self.assertEqual(self.tokens(c), fresh)
        c = self.connect()          # and what was told
        self.put(c, message("user", QUESTION))
        told = self.put(c, message("assistant", "paris"))
        c.send("conversation.item.delete", item_id=told)
        c.until("conversation.item.deleted")
        self.assertEqual(self.tokens(c), fresh)

    def test_055_a_turn_in_the_middle_spoken(self):
        c = self.connect()
        first = self.tokens(c)
        second = self.tokens(c) - first
        c.append(self.voice)
        c.send("input_audio_buffer.commit")
        item = c.until("input_audio_buffer.committed")["item_id"]
        c.respond(output_modalities=["text"])
        self.tokens(c)
        c.send("conversation.item.delete", item_id=item)
        c.until("conversation.item.deleted")
        self.assertEqual(self.tokens(c), first + 3 * second)

    def test_090_deleted_while_it_is_answered(self):
        fresh = self.tokens(self.connect())
        c = self.connect()
        c.say(QUESTION, id="q")
        c.send("response.create")
        c.until("response.created")
        c.send("conversation.item.delete", item_id="q")
        c.until("response.done")
        self.assertEqual(self.tokens(c), fresh)

    def test_093_095_the_context_of_an_answer_beside_the_conversation(self):
        c, answer, ids = self.lived()
        lived = self.tokens(self.lived()[0])
        alone = self.tokens(self.connect())
        ask = lambda items: c.respond(conversation="none", output_modalities=["text"], input=items)["usage"]["input_tokens"]
        self.assertEqual(ask([message("user", NEXT)]), alone)
        self.assertEqual(ask([message("user", QUESTION), message("assistant", answer), message("user", NEXT)]), lived)
        self.assertEqual(ask([{"type": "item_reference", "id": i} for i in ids] + [message("user", NEXT)]), lived)
        c.say(NEXT)                 # without a list it is the conversation
        for more in ({}, {"input": None}):
            beside = c.respond(conversation="none", output_modalities=["text"], **more)
            self.assertEqual(beside["usage"]["input_tokens"], lived)
        self.assertEqual(c.respond(output_modalities=["text"])["usage"]["input_tokens"], lived)

    # ---- chat completions

    def chat(self, *messages, status=200, **more):
        body = dict({"model": "m", "messages": list(messages)}, **more)
        got, _, data = self.server.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        self.assertEqual(got, status, data[:300])
        return json.loads(data)

    def test_134_earlier_messages(self):
        c, answer, _ = self.lived()
        lived = self.tokens(c)
        user = lambda text: {"role": "user", "content": text}
        r = self.chat({"role": "system", "content": "x"}, user(QUESTION), {"role": "assistant", "content": answer}, user(NEXT))
        self.assertEqual(r["usage"]["prompt_tokens"], lived)
        speech = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "pcm16"}}
        audio = self.chat(user(QUESTION), **speech)["choices"][0]["message"]["audio"]
        self.assertEqual(audio["transcript"], answer)
        r = self.chat(user(QUESTION), {"role": "assistant", "audio": {"id": audio["id"]}}, user(NEXT))
        self.assertEqual(r["usage"]["prompt_tokens"], lived)
        e = self.chat(user(QUESTION), {"role": "assistant", "audio": {"id": "audio_nope"}}, user(NEXT), status=400)["error"]
        self.assertEqual((e["code"], e["param"]), ("invalid_value", "messages[1].audio.id"))

    def test_134_a_refusal_is_an_answer(self):
        user = lambda text: {"role": "user", "content": text}
        tokens = lambda **answer: self.chat(user(QUESTION), dict({"role": "assistant"}, **answer), user(NEXT))["usage"]["prompt_tokens"]
        said = tokens(content="i will not say that")
        self.assertEqual(tokens(content=[{"type": "refusal", "refusal": "i will not say that"}]), said)
        self.assertEqual(tokens(content=[{"type": "text", "text": "i will"}, {"type": "refusal", "refusal": "not say that"}]), said)
        self.assertEqual(tokens(content=None, refusal="i will not say that"), said)
        part = [{"type": "refusal", "refusal": "no"}]
        for messages, param in ((({"role": "user", "content": part},), "messages[0].content[0].type"),
                                ((user(QUESTION), {"role": "assistant", "content": [{"type": "refusal"}]}, user(NEXT)), "messages[1].content[0].refusal")):
            self.assertEqual(self.chat(*messages, status=400)["error"]["param"], param)

    def test_134_an_earlier_spoken_question_leaves_its_answer(self):
        part = {"type": "input_audio", "input_audio": {"data": base64.b64encode(self.voice).decode(), "format": "pcm16"}}
        spoken = {"role": "user", "content": [part]}
        alone = self.chat({"role": "user", "content": NEXT})["usage"]["prompt_tokens"]
        r = self.chat(spoken, {"role": "assistant", "content": "paris"}, {"role": "user", "content": NEXT})
        self.assertGreater(r["usage"]["prompt_tokens"], alone)
        self.assertEqual(r["usage"]["prompt_tokens_details"]["audio_tokens"], 0)

    def test_134_a_history_longer_than_the_context_loses_its_oldest(self):
        past = []
        for _ in range(200):
            past += [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "the capital of france is paris"}]
        r = self.chat(*past, {"role": "user", "content": NEXT})
        self.assertEqual(r["choices"][0]["finish_reason"], "stop")


if __name__ == "__main__":
    unittest.main()
