// Clients of OpenAI's API, unmodified, against omni serve. Run by tests/e2e/test_serve_clients.py.
//   PLAIN, SECURE: host:port of two servers; KEY: their key; VOICE: a file of pcm16 at 24 kHz
// One line per case on standard output: "ok NAME" or "not ok NAME: why". Exit code 1 when one fails.
import assert from "node:assert";
import { readFileSync } from "node:fs";
import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { OpenAIRealtimeWebSocket } from "openai/realtime/websocket";
import OpenAI6 from "openai6";
import { OpenAIRealtimeWS as OpenAIRealtimeWS6 } from "openai6/realtime/ws";
import OpenAI4 from "openai4";
import { OpenAIRealtimeWS as BetaWS } from "openai4/beta/realtime/ws";
import { OpenAIRealtimeWebSocket as BetaWebSocket } from "openai4/beta/realtime/websocket";
import { RealtimeAgent, RealtimeSession } from "@openai/agents-realtime";
import WebSocket from "ws";

globalThis.WebSocket = WebSocket;
const { PLAIN, SECURE, KEY } = process.env;
const voice = readFileSync(process.env.VOICE);
const model = "gpt-realtime";
const options = { apiKey: KEY, baseURL: `https://${SECURE}/v1`, dangerouslyAllowBrowser: true };
const question = { type: "message", role: "user", content: [{ type: "input_text", text: "What is the capital of France?" }] };
let uncaught = null;
process.on("uncaughtException", (error) => { uncaught ??= error; });
process.on("unhandledRejection", (error) => { uncaught ??= error; });

const within = (promise, what, ms = 60000) => {
  let timer;
  const late = new Promise((_, no) => { timer = setTimeout(() => no(new Error(`no ${what} within ${ms} ms`)), ms); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

// All events of a connection, and a promise for the next of a type.
function recorded(rt) {
  const events = [], waiting = [];
  const tell = (event) => {
    events.push(event);
    for (const w of [...waiting]) if (w.type === event.type) { waiting.splice(waiting.indexOf(w), 1); w.yes(event); }
  };
  rt.on("event", tell);
  rt.on("error", (e) => { for (const w of waiting.splice(0)) w.no(e); });
  return { rt, events, next: (type) => within(new Promise((yes, no) => waiting.push({ type, yes, no })), type) };
}

const text = (events, type) => events.filter((e) => e.type === type).map((e) => e.delta).join("");

async function textTurn(rt) {
  const c = recorded(rt);
  const created = await c.next("session.created");
  rt.send({ type: "session.update", session: { type: "realtime", audio: { input: { turn_detection: null } } } });
  await c.next("session.updated");
  rt.send({ type: "conversation.item.create", item: question });
  rt.send({ type: "response.create" });
  const { response } = await c.next("response.done");
  assert.equal(response.status, "completed");
  assert.ok(text(c.events, "response.output_audio_transcript.delta"));
  assert.ok(text(c.events, "response.output_audio.delta").length > 6400);
  rt.close();
  return created.session;
}

async function betaTurn(rt) {
  const c = recorded(rt);
  await c.next("session.created");
  rt.send({ type: "session.update", session: { turn_detection: null, modalities: ["text", "audio"] } });
  await c.next("session.updated");
  rt.send({ type: "conversation.item.create", item: question });
  rt.send({ type: "response.create" });
  const { response } = await c.next("response.done");
  assert.equal(response.status, "completed");
  assert.ok(text(c.events, "response.audio_transcript.delta"));
  assert.ok(text(c.events, "response.audio.delta").length > 6400);
  rt.close();
}

async function agent() {
  const session = new RealtimeSession(new RealtimeAgent({ name: "a", instructions: "x" }), { transport: "websocket", model });
  const errors = [];
  session.on("error", (e) => errors.push(e));
  await within(session.connect({ apiKey: KEY, url: `ws://${PLAIN}/v1/realtime?model=${model}` }), "connection");
  return { session, errors, turn: () => within(new Promise((yes) => session.once("agent_end", (_c, _a, said) => yes(said))), "agent_end") };
}

const cases = {
  "002 openai 7 over TLS": async () => {
    const s = await textTurn(new OpenAIRealtimeWS({ model }, new OpenAI(options)));
    assert.ok(s.id && s.object === "realtime.session" && s.type === "realtime" && s.model && s.expires_at);
  },
  "003 openai 6 offers compression": async () => { await textTurn(new OpenAIRealtimeWS6({ model }, new OpenAI6(options))); },
  "005 openai 7 in a browser's manner, long key": async () => {
    await textTurn(new OpenAIRealtimeWebSocket({ model, dangerouslyAllowBrowser: true }, new OpenAI(options)));
  },
  "009 010 openai 7 server VAD": async () => {
    const rt = new OpenAIRealtimeWS({ model }, new OpenAI(options)), c = recorded(rt);
    await c.next("session.created");
    const done = c.next("response.done");
    for (let i = 0; i < voice.length; i += 4800) rt.send({ type: "input_audio_buffer.append", audio: voice.subarray(i, i + 4800).toString("base64") });
    assert.equal((await done).response.status, "completed");
    rt.close();
  },
  "014 agents text": async () => {
    const { session, errors, turn } = await agent();
    let sound = 0;
    session.on("audio", (e) => { sound += e.data.byteLength; });
    const end = turn();
    session.sendMessage("What is the capital of France?");
    assert.ok(await end);
    await new Promise((yes) => setImmediate(yes));
    assert.deepEqual(errors, []);
    assert.ok(sound > 4800);
    assert.deepEqual(session.history.map((i) => i.role), ["user", "assistant"]);
    assert.ok(session.history[1].content[0].transcript);
    session.close();
  },
  "015 agents speech": async () => {
    const { session, errors, turn } = await agent();
    const end = turn();
    for (let i = 0; i < voice.length; i += 4800) session.sendAudio(new Uint8Array(voice.subarray(i, i + 4800)).buffer);
    assert.ok(await end);
    assert.deepEqual(errors, []);
    assert.deepEqual(session.history.map((i) => i.role), ["user", "assistant"]);
    session.close();
  },
  "047 agents two messages at once": async () => {
    const { session, errors, turn } = await agent();
    const first = turn();
    session.sendMessage("What is the capital of France?");
    session.sendMessage("What is the capital of Spain?");
    await first;
    await turn();
    assert.deepEqual(errors, []);
    session.close();
  },
  "108 openai 4 beta": async () => { await betaTurn(new BetaWS({ model }, new OpenAI4(options))); },
  "118 openai 4 beta in a browser's manner": async () => {
    await betaTurn(new BetaWebSocket({ model, dangerouslyAllowBrowser: true }, new OpenAI4(options)));
  },
  "127 stream helpers": async () => {
    for (const Client of [OpenAI4, OpenAI6, OpenAI]) {
      const client = new Client(options), api = client.chat.completions.stream ? client.chat.completions : client.beta.chat.completions;
      const stream = api.stream({ model, messages: [{ role: "user", content: "What is the capital of France?" }],
        modalities: ["text", "audio"], audio: { voice: "alloy", format: "pcm16" } });
      const end = await within(stream.finalChatCompletion(), "completion");
      assert.equal(end.choices[0].finish_reason, "stop");
      if (Client !== OpenAI4) assert.ok(Buffer.from(end.choices[0].message.audio.data, "base64").length > 4800);
    }
  },
  "138 139 149 errors as exceptions": async () => {
    const bad = new OpenAI({ ...options, apiKey: "no" });
    const ask = (client) => client.chat.completions.create({ model, messages: [{ role: "user", content: "x" }] });
    await assert.rejects(ask(bad), (e) => e instanceof OpenAI.AuthenticationError && e.code === "invalid_api_key");
    await assert.rejects(new OpenAI(options).models.retrieve("nope"), (e) => e instanceof OpenAI.NotFoundError);
    const r = await ask(new OpenAI(options));
    assert.ok(r._request_id && r.choices[0].message.content);
  },
};

let failed = 0;
for (const [name, run] of Object.entries(cases)) {
  uncaught = null;
  try {
    await within(run(), "end", 120000);
    if (uncaught) throw uncaught;
    console.log(`ok ${name}`);
  } catch (error) {
    failed++;
    console.log(`not ok ${name}: ${String(error?.stack ?? error).split("\n").slice(0, 4).join(" | ")}`);
  }
}
process.exit(failed ? 1 : 0);
