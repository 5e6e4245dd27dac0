"""Functions that clients offer, over the Realtime protocol and over HTTP, with a model that calls them (tests/oracle/tools_oracle.py).

The numbers in the names are those of the project's list of conformance cases; clients/tools.mjs has those of the published clients.
"""

from tools import MODEL, CHOICE, GREETING, NESTED, PARIS, REPORT, ROME, TOOL

import json
import unittest

import published_clients
from realtime_case import Case, b64
from realtime_client import Server, speech

CALL = ["response.created", "response.output_item.added", "conversation.item.added", "response.function_call_arguments.delta",
        "response.function_call_arguments.done", "conversation.item.done", "response.output_item.done", "response.done"]


class Realtime(Case):
    model = MODEL

    def offered(self, manual=True, beta=False, **settings):
        c = self.connect(manual=False, beta=beta)
        (c.manual if manual else c.session)(tools=[TOOL], **settings)
        return c

    def answer(self, c, words="w", **response):
        c.say(words)
        return c.respond(**response)

    def text(self, r):
        item, = r["output"]
        part, = item["content"]
        return part.get("text", part.get("transcript"))

    def calls(self, r):
        for item in r["output"]:
            self.assertEqual((item["type"], item["object"], item["status"]), ("function_call", "realtime.item", "completed"))
        return [(item["name"], item["arguments"]) for item in r["output"]]

    def give(self, c, item, output="mild"):
        c.send("conversation.item.create", item={"type": "function_call_output", "call_id": item["call_id"], "output": output})

    def test_096_a_forced_function(self):
        for modality in ("audio", "text"):
            c = self.offered(tool_choice=CHOICE, output_modalities=[modality])
            c.say("w")
            c.until("conversation.item.done")
            n = len(c.events)
            r = c.respond()
            self.assertEqual((r["status"], self.calls(r)), ("completed", [("get_weather", PARIS)]))
            self.assertEqual(c.types(n), CALL)          # no sound, no part, nothing else
            _, added, listed, delta, done, kept, closed, _ = c.events[n:]
            item = added["item"]
            self.assertEqual((item["status"], item["arguments"], item["name"]), ("in_progress", "", "get_weather"))
            self.assertEqual(listed["item"], item)
            self.assertTrue(item["call_id"].startswith("call_"))
            for e in (delta, done):
                self.assertEqual((e["item_id"], e["call_id"], e["output_index"]), (item["id"], item["call_id"], 0))
            self.assertEqual((delta["delta"], done["arguments"], done["name"]), (PARIS, PARIS, "get_weather"))
            self.assertEqual(json.loads(done["arguments"]), {"city": "Paris"})
            self.assertEqual(kept["item"], r["output"][0])
            self.assertEqual(closed["item"], r["output"][0])
            self.assertEqual(r["usage"]["output_token_details"]["audio_tokens"], 0)

    def test_the_answer_to_what_a_function_gave(self):
        c = self.offered()
        r = self.answer(c)
        self.assertEqual(self.calls(r), [("get_weather", PARIS)])
        self.give(c, r["output"][0])
        n = len(c.events)
        self.assertEqual(self.text(c.respond()), REPORT)
        self.assertTrue(c.audio(n))

    def test_a_call_that_was_heard(self):
        c = self.offered()
        c.append(self.voice)
        c.send("input_audio_buffer.commit")
        self.assertEqual(self.calls(c.respond()), [("get_weather", PARIS)])
        c = self.offered(manual=False)
        c.append(self.voice)
        self.assertEqual(self.calls(c.until("response.done")["response"]), [("get_weather", PARIS)])

    def test_without_functions_all_is_as_ever(self):
        c = self.connect()
        self.assertEqual(self.text(self.answer(c)), GREETING)
        self.assertTrue(c.audio())

    def test_098_an_output_that_nobody_called_for(self):
        c = self.offered()
        self.give(c, {"call_id": "never"})
        self.assertEqual(c.until("conversation.item.done")["item"]["call_id"], "never")
        self.assertEqual(self.text(c.respond()), REPORT)
        self.fails(c, {"type": "conversation.item.create", "item": {"type": "function_call_output", "output": ""}},
                   "missing_required_parameter", "item.call_id")

    def test_099_choices(self):
        c = self.offered(tool_choice="none")
        self.assertEqual(self.text(self.answer(c)), GREETING)
        for choice in ("auto", "required", CHOICE):
            c = self.offered(tool_choice="none")
            self.assertEqual(self.calls(self.answer(c, tool_choice=choice)), [("get_weather", PARIS)], choice)

    def test_099_none_after_all(self):
        c = self.offered()      # it remembers what it was told, and may not call
        self.assertEqual(self.calls(self.answer(c)), [("get_weather", PARIS)])
        self.assertFalse(self.text(self.answer(c, tool_choice="none", max_output_tokens=2)).startswith("{"))
        c = self.connect()      # offered for one response alone
        self.assertEqual(self.calls(self.answer(c, tools=[TOOL], tool_choice="required")), [("get_weather", PARIS)])

    def test_099_required_is_kept_to(self):
        """By itself this model would name another function; and it knows no end to the arguments of this one."""
        c = self.offered()
        item, = self.answer(c, tools=[dict(TOOL, name="f")], tool_choice="required", max_output_tokens=60)["output"]
        self.assertEqual((item["type"], item["name"], item["arguments"][0]), ("function_call", "f", "{"))

    def test_100_two_calls(self):
        c = self.offered()
        c.say("both")
        n = len(c.events)
        r = c.respond()
        self.assertEqual(self.calls(r), [("get_weather", PARIS), ("get_weather", ROME)])
        self.assertNotEqual(r["output"][0]["call_id"], r["output"][1]["call_id"])
        indices = [(e["type"].split(".")[-1], e["output_index"]) for e in c.events[n:] if "output_index" in e]
        self.assertEqual(indices, [(kind, i) for i in (0, 1) for kind in ("added", "delta", "done", "done")])
        for item in r["output"]:
            self.give(c, item)
        self.assertEqual(self.text(c.respond()), REPORT)

    def test_one_call_where_no_more_are_wanted(self):
        c = self.offered(parallel_tool_calls=False)
        self.assertEqual(self.calls(self.answer(c, "both")), [("get_weather", PARIS)])

    def test_101_a_cancelled_call(self):
        c = self.offered()
        for _ in range(3):
            c.say("w")
            c.send("response.create")
            c.send("response.cancel")
            r = c.until("response.done")["response"]
            if r["status"] == "completed":      # the whole call was faster
                self.assertEqual(c.until("error")["error"]["code"], "response_cancel_not_active")
                continue
            self.assertEqual(r["status"], "cancelled")
            for item in r["output"]:
                self.assertEqual((item["type"], item["status"]), ("function_call", "incomplete"))

    def test_a_call_that_was_cut_off(self):
        c = self.offered()
        r = self.answer(c, max_output_tokens=1)
        self.assertEqual((r["status"], r["status_details"]["reason"]), ("incomplete", "max_output_tokens"))
        item, = r["output"]
        self.assertEqual((item["type"], item["status"], item["name"]), ("function_call", "incomplete", "get_weather"))
        self.assertTrue('{"city": "Paris"}'.startswith(item["arguments"]), item)

    def test_a_call_of_nothing_known_is_text(self):
        c = self.connect()
        c.session(tools=[dict(TOOL, name="f")])
        c.say("w")
        n = len(c.events)
        r = c.respond()
        self.assertEqual(self.text(r), '{"name": "get_weather", "parameters": {"city": "Paris"}}')
        self.assertEqual((r["output"][0]["content"][0]["type"], c.audio(n)), ("output_audio", b""))

    def test_beside_the_conversation(self):
        c = self.offered()
        c.say("w")
        c.until("conversation.item.done")
        n = len(c.events)
        item, = c.respond(conversation="none")["output"]
        self.assertEqual(c.types(n), [kind for kind in CALL if not kind.startswith("conversation.")])
        call = {"type": "function_call", "call_id": item["call_id"], "name": item["name"], "arguments": item["arguments"]}
        output = {"type": "function_call_output", "call_id": item["call_id"], "output": "mild"}
        self.assertEqual(self.text(c.respond(conversation="none", input=[call, output])), REPORT)

    def test_what_a_client_tells_of_calls(self):
        c = self.offered()
        c.say("w")
        c.send("conversation.item.create", item={"type": "function_call", "call_id": "c", "name": "get_weather", "arguments": PARIS})
        self.give(c, {"call_id": "c"})
        self.assertEqual(self.text(c.respond()), REPORT)

    def test_a_deleted_call_is_forgotten(self):
        c = self.offered()
        one = self.answer(c)
        self.give(c, one["output"][0])
        two = c.respond()
        self.assertEqual(self.text(two), REPORT)
        for r in (two, one):
            c.send("conversation.item.delete", item_id=r["output"][0]["id"])
            c.until("conversation.item.deleted")
        again = self.answer(c)
        self.assertEqual(self.calls(again), [("get_weather", PARIS)])
        self.assertLessEqual(again["usage"]["input_tokens"], one["usage"]["input_tokens"])

    def test_beta(self):
        c = self.offered(beta=True)
        c.say("w")
        c.until("conversation.item.created")
        n = len(c.events)
        self.assertEqual(self.calls(c.respond()), [("get_weather", PARIS)])
        self.assertEqual(c.types(n), [kind.replace("item.added", "item.created") if kind.startswith("conv") else kind
                                      for kind in CALL if kind != "conversation.item.done"])

    def test_tools_that_are_none(self):
        c = self.connect()
        for tools, code, param in (
                ("x", "invalid_type", ""), (["x"], "invalid_type", "[0]"), ([{}], "missing_required_parameter", "[0].type"),
                ([{"type": "function"}], "missing_required_parameter", "[0].name"),
                ([dict(TOOL, name="")], "invalid_value", "[0].name"), ([dict(TOOL, name="a b")], "invalid_value", "[0].name"),
                ([dict(TOOL, name="n" * 65)], "invalid_value", "[0].name"), ([dict(TOOL, name='a"')], "invalid_value", "[0].name"),
                ([TOOL, dict(TOOL, parameters=[])], "invalid_type", "[1].parameters"),
                ([dict(TOOL, description=1)], "invalid_type", "[0].description"), ([TOOL] * 129, "array_above_max_length", "")):
            self.fails(c, {"type": "session.update", "session": {"type": "realtime", "tools": tools}}, code, "session.tools" + param)
            self.fails(c, {"type": "response.create", "response": {"tools": tools}}, code, "response.tools" + param)
        for choice, code, param in ((1, "invalid_type", ""), ("x", "invalid_value", ""), ({"type": "function"}, "missing_required_parameter", ".name")):
            self.fails(c, {"type": "session.update", "session": {"type": "realtime", "tool_choice": choice}}, code, "session.tool_choice" + param)
        kept = [{"type": "mcp", "server_label": "x"}]
        self.assertEqual(c.session(tools=kept)["tools"], kept)
        self.assertEqual(self.text(self.answer(c)), GREETING)


class Chat(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("-np", "2", model=MODEL)

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__(None, None, None)

    def post(self, status=200, messages=({"role": "user", "content": "w"},), **more):
        got, _, data = self.server.request("POST", "/v1/chat/completions", dict(more, model="m", messages=list(messages)),
                                           {"Content-Type": "application/json"})
        self.assertEqual(got, status, data)
        return data

    def ask(self, **more):
        choice, = json.loads(self.post(**more))["choices"]
        return choice["finish_reason"], choice["message"]

    SPEECH = {"modalities": ["text", "audio"], "audio": {"voice": "v", "format": "pcm16"}}

    def test_144_calls(self):
        for more in ({}, self.SPEECH, {"tool_choice": "required"}, {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}}):
            reason, message = self.ask(tools=[NESTED], **more)
            call, = message["tool_calls"]
            self.assertEqual((reason, message["content"], "audio" in message), ("tool_calls", None, False))
            self.assertEqual((call["type"], call["function"]), ("function", {"name": "get_weather", "arguments": PARIS}))
            self.assertTrue(call["id"].startswith("call_"))
        for more in ({}, {"tools": [NESTED], "tool_choice": "none"}):
            reason, message = self.ask(**more)
            self.assertEqual((reason, message["content"], "tool_calls" in message), ("stop", GREETING, False))

    def test_144_calls_streamed(self):
        for more in ({}, self.SPEECH):
            text = self.post(tools=[NESTED], stream=True, messages=[{"role": "user", "content": "both"}], **more).decode()
            lines = text.split("\n\n")
            self.assertEqual(lines[-2:], ["data: [DONE]", ""])
            choices = [json.loads(line[6:])["choices"][0] for line in lines[:-2]]
            self.assertEqual([c["finish_reason"] for c in choices], [None] * (len(choices) - 1) + ["tool_calls"])
            calls = [c["delta"]["tool_calls"][0] for c in choices if "tool_calls" in c["delta"]]
            self.assertEqual([c["index"] for c in calls], [0, 0, 1, 1])
            self.assertEqual([c["function"] for c in calls], [{"name": "get_weather", "arguments": ""}, {"arguments": PARIS},
                                                              {"name": "get_weather", "arguments": ""}, {"arguments": ROME}])
            self.assertNotEqual(calls[0]["id"], calls[2]["id"])
            self.assertFalse(any("audio" in c["delta"] or c["delta"].get("content") for c in choices))

    def test_what_a_function_gave(self):
        _, message = self.ask(tools=[NESTED], messages=[{"role": "user", "content": "both"}])
        ids = [call["id"] for call in message["tool_calls"]]
        told = [{"role": "user", "content": "both"}, message, *({"role": "tool", "tool_call_id": i, "content": "mild"} for i in ids)]
        for more in ({"tools": [NESTED]}, {}):
            self.assertEqual(self.ask(messages=told, **more)[1]["content"], REPORT)
        reason, message = self.ask(messages=told, tools=[NESTED], **self.SPEECH)
        self.assertEqual((reason, message["audio"]["transcript"], bool(message["audio"]["data"])), ("stop", REPORT, True))

    def test_spoken(self):
        content = [{"type": "input_audio", "input_audio": {"data": b64(speech()), "format": "pcm16"}}]
        self.assertEqual(self.ask(messages=[{"role": "user", "content": content}], tools=[NESTED])[0], "tool_calls")

    def test_one_call_where_no_more_are_wanted(self):
        _, message = self.ask(tools=[NESTED], messages=[{"role": "user", "content": "both"}], parallel_tool_calls=False)
        self.assertEqual(len(message["tool_calls"]), 1)

    def test_cut_off(self):
        reason, message = self.ask(tools=[NESTED], max_completion_tokens=1)
        self.assertEqual((reason, message["tool_calls"][0]["function"]["name"]), ("length", "get_weather"))

    def test_a_call_of_nothing_known_is_text(self):
        other = {"type": "function", "function": {"name": "f"}}
        reason, message = self.ask(tools=[other])
        self.assertEqual((reason, message["content"]), ("stop", '{"name": "get_weather", "parameters": {"city": "Paris"}}'))

    def test_refused(self):
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        told = [{"role": "user", "content": "w"}, {"role": "assistant", "tool_calls": [dict(call, function={})]}, {"role": "user", "content": "w"}]
        for body, code, param in (
                ({"tools": [TOOL]}, "missing_required_parameter", "tools[0].function"),
                ({"tools": [{"type": "function", "function": {}}]}, "missing_required_parameter", "tools[0].function.name"),
                ({"tools": [NESTED], "tool_choice": "x"}, "invalid_value", "tool_choice"),
                ({"tools": [NESTED], "tool_choice": {"type": "function", "function": {"name": "f"}}}, "invalid_value", "tool_choice"),
                ({"tools": [NESTED], "tool_choice": {"type": "function"}}, "missing_required_parameter", "tool_choice.name"),
                ({"tools": [dict(NESTED, x="x" * (1 << 19))]}, "string_above_max_length", "tools"),
                ({"messages": told}, "missing_required_parameter", "messages[1].tool_calls[0].function.name")):
            e = json.loads(self.post(400, **body))["error"]
            self.assertEqual((e["code"], e["param"]), (code, param), e)


class Clients(published_clients.Case):
    model = MODEL

    def test_published_clients(self):
        self.node("tools.mjs")


if __name__ == "__main__":
    unittest.main()
