// @openai/agents-realtime, unmodified, against omni serve. See harness.mjs.
import assert from "node:assert";
import { RealtimeAgent, RealtimeSession } from "@openai/agents-realtime";
import { KEY, PLAIN, chunks, keep, metric, model, run, within, words } from "./harness.mjs";

async function agent() {
  const session = new RealtimeSession(new RealtimeAgent({ name: "a", instructions: "x" }), { transport: "websocket", model });
  const errors = [], events = [], audio = [];
  session.on("error", (e) => errors.push(e));
  session.on("audio", (e) => audio.push(Buffer.from(e.data)));
  session.transport.on("*", (e) => events.push(e));
  await within(session.connect({ apiKey: KEY, url: `ws://${PLAIN}/v1/realtime?model=${model}` }), "connection");
  const next = (name) => within(new Promise((yes) => session.once(name, (...args) => yes(args))), name);
  const event = (type) => within(new Promise((yes) => {
    const look = (e) => { if (e.type === type) { session.transport.off("*", look); yes(e); } };
    session.transport.on("*", look);
  }), type);
  return { session, errors, events, audio, next, event, turn: async () => (await next("agent_end"))[2],
    speak: () => { for (const part of chunks()) session.sendAudio(new Uint8Array(part).buffer); } };
}

const received = (type) => metric(`s2s_events_received_total{type="${type}"}`);
const settled = () => new Promise((yes) => setTimeout(yes, 300));

// Speaks into an answer, when `when` has come; the client cuts it, and the next question is answered.
async function bargeIn(when) {
  const a = await agent(), cancels = await received("response.cancel"), cuts = await received("conversation.item.truncate");
  const first = a.turn(), moment = a.event(when), interrupted = a.next("audio_interrupted");
  a.speak();
  await moment;
  const cut = a.event("conversation.item.truncated"), retrieved = a.event("conversation.item.retrieved");
  a.speak();
  await interrupted;
  const { item_id: id } = await cut;
  // The server has the answer as it was heard; in its own history the client keeps the words it knew, for its user to read.
  const { item } = await retrieved;
  assert.equal(item.id, id);
  assert.ok(!item.content[0].transcript);
  assert.ok(Buffer.from(item.content[0].audio, "base64").length < Buffer.concat(a.audio).length);
  await first.catch(() => {});
  while (a.events.filter((e) => e.type === "response.done").length < 2) await settled();
  await settled();
  assert.deepEqual(a.errors, []);
  assert.equal(await received("response.cancel") - cancels, 0);
  assert.equal(await received("conversation.item.truncate") - cuts, 1);
  assert.equal(a.session.history.find((i) => i.itemId === id).role, "assistant");
  assert.equal(a.events.filter((e) => e.type === "response.done").at(-1).response.status, "completed");
  a.session.close();
}

await run({
  "014 text": async () => {
    const { session, errors, audio, turn } = await agent();
    const end = turn();
    session.sendMessage(words);
    assert.ok(await end);
    await settled();
    assert.deepEqual(errors, []);
    assert.ok(Buffer.concat(audio).length > 4800);
    assert.deepEqual(session.history.map((i) => i.role), ["user", "assistant"]);
    assert.ok(session.history[1].content[0].transcript);
    session.close();
  },
  "015 058 speech; what was asked is not transcribed": async () => {
    const a = await agent(), end = a.turn();
    a.speak();
    assert.ok(await end);
    await settled();
    assert.deepEqual(a.errors, []);
    assert.deepEqual(a.session.history.map((i) => i.role), ["user", "assistant"]);
    assert.equal(a.session.history[0].content[0].transcript, null);
    assert.equal(a.events.filter((e) => e.type === "conversation.item.input_audio_transcription.failed").length, 1);
    keep("agents", a.session.history[1].content[0].transcript, Buffer.concat(a.audio));
    a.session.close();
  },
  "036 spoken into while the answer is made": async () => { await bargeIn("response.output_audio.delta"); },
  "036 spoken into after the answer is made, before it has sounded": async () => { await bargeIn("response.output_audio.done"); },
  "047 two messages at once": async () => {
    const { session, errors, turn } = await agent();
    const first = turn();
    session.sendMessage(words);
    session.sendMessage("what is the capital of spain");
    await first;
    await turn();
    assert.deepEqual(errors, []);
    session.close();
  },
  "168 speech at the very end of an answer": async () => {
    const a = await agent(), done = a.event("response.done");
    a.session.sendMessage(words);
    await done;
    a.speak();
    while (a.events.filter((e) => e.type === "response.done").length < 2) await settled();
    const end = a.turn();
    a.session.sendMessage(words);
    assert.ok(await end);
    assert.deepEqual(a.errors, []);
    a.session.close();
  },
});
