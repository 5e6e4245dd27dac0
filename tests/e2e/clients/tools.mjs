// The published clients, unmodified, against omni serve with a model that calls functions (tests/oracle/tools_oracle.py).
// See harness.mjs; run by tests/e2e/test_serve_tools.py.
import assert from "node:assert";
import { RealtimeAgent, RealtimeSession, tool } from "@openai/agents-realtime";
import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import OpenAI6 from "openai6";
import OpenAI4 from "openai4";
import { RealtimeClient } from "openai-realtime-api";
import { z } from "zod";
import { KEY, PLAIN, chunks, model, options, question, recorded, run, within } from "./harness.mjs";

const parameters = { type: "object", properties: { city: { type: "string" } } };
const flat = { type: "function", name: "get_weather", description: "w", parameters };
const nested = { type: "function", function: { name: "get_weather", description: "w", parameters } };
const paris = '{"city":"Paris"}', rome = '{"city":"Rome"}', report = "it is mild";
const later = (ms) => new Promise((yes) => setTimeout(yes, ms));
const words = (said) => ({ type: "message", role: "user", content: [{ type: "input_text", text: said }] });

async function talk(tool_choice = "auto") {
  const rt = new OpenAIRealtimeWS({ model }, new OpenAI(options)), c = recorded(rt);
  await c.next("session.created");
  rt.send({ type: "session.update", session: { type: "realtime", tools: [flat], tool_choice, audio: { input: { turn_detection: null } } } });
  await c.next("session.updated");
  const ask = async (item) => {
    rt.send({ type: "conversation.item.create", item });
    rt.send({ type: "response.create" });
    return (await c.next("response.done")).response;
  };
  return { rt, ask, c };
}

// An agent with one tool; execute gets its arguments, and what it returns is the output.
async function agent(execute) {
  const get_weather = tool({ name: "get_weather", description: "w", parameters: z.object({ city: z.string() }), execute });
  const session = new RealtimeSession(new RealtimeAgent({ name: "a", instructions: "", tools: [get_weather] }), { transport: "websocket", model });
  const errors = [], events = [];
  session.on("error", (e) => errors.push(e));
  session.transport.on("*", (e) => events.push(e));
  await within(session.connect({ apiKey: KEY, url: `ws://${PLAIN}/v1/realtime?model=${model}` }), "connection");
  const event = (type) => within(new Promise((yes) => {
    const look = (e) => { if (e.type === type) { session.transport.off("*", look); yes(e); } };
    session.transport.on("*", look);
  }), type);
  // What it says next; a turn that only calls says nothing.
  const said = () => within(new Promise((yes) => session.on("agent_end", (...args) => { if (args[2]) yes(args[2]); })), "answer");
  return { session, errors, events, event, said, count: (type) => events.filter((e) => e.type === type).length };
}

async function chat(client) {
  const ask = { model, tools: [nested], messages: [{ role: "user", content: "both" }] };
  const whole = await client.chat.completions.create(ask), choice = whole.choices[0];
  assert.equal(choice.finish_reason, "tool_calls");
  assert.equal(choice.message.content, null);
  assert.deepEqual(choice.message.tool_calls.map((c) => c.function.arguments), [paris, rome]);
  const calls = [];
  let finish = null;
  for await (const part of await client.chat.completions.create({ ...ask, stream: true })) {
    const { delta, finish_reason } = part.choices[0];
    for (const c of delta.tool_calls ?? []) {
      calls[c.index] ??= { id: c.id, name: c.function.name, text: "" };
      calls[c.index].text += c.function.arguments;
    }
    finish = finish_reason ?? finish;
  }
  assert.equal(finish, "tool_calls");
  assert.deepEqual(calls.map((c) => [c.name, c.text]), [["get_weather", paris], ["get_weather", rome]]);
  const api = client.chat.completions.stream ? client.chat.completions : client.beta.chat.completions;
  const end = await within(api.stream(ask).finalChatCompletion(), "completion");
  assert.deepEqual(end.choices[0].message.tool_calls.map((c) => c.function.arguments), [paris, rome]);
  const outputs = choice.message.tool_calls.map((c) => ({ role: "tool", tool_call_id: c.id, content: "mild" }));
  const last = await client.chat.completions.create({ ...ask, messages: [...ask.messages, choice.message, ...outputs] });
  assert.equal(last.choices[0].message.content, report);
  assert.equal(last.choices[0].finish_reason, "stop");
}

await run({
  "096 openai 7: a function that is forced": async () => {
    const { rt, ask } = await talk({ type: "function", name: "get_weather" });
    const { output: [item] } = await ask(question);
    assert.deepEqual([item.type, item.name, item.status, item.arguments], ["function_call", "get_weather", "completed", paris]);
    rt.close();
  },
  "098 099 100 openai 7: choices, two calls, their outputs, an output of nothing": async () => {
    const { rt, ask } = await talk("none");
    assert.equal((await ask(question)).output[0].type, "message");
    rt.close();
    const two = await talk("auto"), { output } = await two.ask(words("both"));
    assert.deepEqual(output.map((i) => i.arguments), [paris, rome]);
    assert.notEqual(output[0].call_id, output[1].call_id);
    two.rt.send({ type: "conversation.item.create", item: { type: "function_call_output", call_id: output[0].call_id, output: "mild" } });
    const r = await two.ask({ type: "function_call_output", call_id: output[1].call_id, output: "mild" });
    assert.equal(r.output[0].content[0].transcript, report);
    const again = await two.ask({ type: "function_call_output", call_id: "never", output: "mild" });
    assert.equal(again.output[0].content[0].transcript, report);
    two.rt.close();
  },
  "097 agents: tool() with zod's parameters": async () => {
    const given = [];
    const a = await agent((args) => { given.push(args); return "mild"; }), end = a.said();
    a.session.sendMessage("w");
    assert.equal(await end, report);
    await later(300);
    assert.deepEqual(given, [{ city: "Paris" }]);
    assert.deepEqual(a.errors, []);
    assert.equal(a.count("response.done"), 2);
    assert.deepEqual(a.session.history.map((i) => i.type), ["message", "function_call", "message"]);
    assert.equal(a.session.history[1].output, "mild");
    a.session.close();
  },
  "101 agents: a call that was cancelled or cut off is not carried out": async () => {
    const given = [];
    let a, response, tries = 0;
    do {        // this model may be faster than the cancel
      a?.session.close();
      given.length = 0;
      a = await agent((args) => { given.push(args); return "mild"; });
      const done = a.event("response.done");
      a.session.sendMessage("w");
      a.session.transport.sendEvent({ type: "response.cancel" });
      ({ response } = await done);
      await later(300);
    } while (response.status !== "cancelled" && ++tries < 20);
    assert.equal(response.status, "cancelled");
    for (const item of response.output) assert.equal(item.status, "incomplete");
    const cut = a.event("response.done");
    a.session.transport.sendEvent({ type: "conversation.item.create", item: words("w") });
    a.session.transport.sendEvent({ type: "response.create", response: { max_output_tokens: 1 } });
    ({ response } = await cut);
    await later(300);
    assert.deepEqual([response.status, response.output[0].type, response.output[0].status], ["incomplete", "function_call", "incomplete"]);
    assert.deepEqual(given, []);
    assert.equal(a.count("response.done"), 2);
    assert.deepEqual(a.errors, []);
    a.session.close();
  },
  "116 openai-realtime-api: addTool": async () => {
    const given = [], errors = [], c = new RealtimeClient({ url: `ws://${PLAIN}/v1/realtime`, apiKey: KEY });
    let created = 0;
    c.realtime.on("server.error", (e) => errors.push(e));
    c.realtime.on("server.response.created", () => created++);
    c.addTool({ name: "get_weather", description: "w", parameters }, (args) => { given.push(args); return "mild"; });
    await within(c.connect(), "connection");
    await within(c.waitForSessionCreated(), "session.created");
    const answered = new Promise((yes) => c.on("conversation.item.completed", ({ item }) => { if (item.role === "assistant") yes(item); }));
    const said = within(answered, "answer");
    c.sendUserMessageContent([{ type: "input_text", text: "w" }]);
    assert.equal((await said).formatted.transcript, report);
    await later(300);
    assert.deepEqual(given, [{ city: "Paris" }]);
    assert.equal(created, 2);
    assert.deepEqual(errors, []);
    c.disconnect();
  },
  "144 chat completions of openai 7, 6, 4": async () => { for (const Client of [OpenAI, OpenAI6, OpenAI4]) await chat(new Client(options)); },
  "168 agents: speech while a tool runs, and at the very end of an answer": async () => {
    const speak = () => { for (const part of chunks()) a.session.sendAudio(new Uint8Array(part).buffer); };
    let first = true;
    const a = await agent(async () => {
      if (first) speak();
      first = false;
      await later(200);
      return "mild";
    });
    a.session.sendMessage("w");
    // the call, its report, and the answer to what was spoken into it
    while (a.count("response.done") < 3) await later(50);
    const done = a.event("response.done");
    a.session.sendMessage("w");
    await done;
    speak();
    const spoken = a.count("response.done");
    while (a.count("response.done") <= spoken) await later(50);
    const end = a.said();
    a.session.sendMessage("w");
    assert.equal(await end, report);
    // A report that crosses the answer to what was spoken is told that one is active, as by OpenAI's service; and it has to be.
    for (const { error } of a.errors) {
      assert.equal(error.error.code, "conversation_already_has_active_response");
      const id = error.error.message.match(/resp_\w+/)[0], at = a.events.findIndex((e) => e.event_id === error.event_id);
      const before = a.events.slice(0, at).filter((e) => e.response?.id === id).map((e) => e.type);
      assert.deepEqual(before, ["response.created"]);
    }
    a.session.close();
  },
});
