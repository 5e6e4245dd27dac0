// openai for Node, 7, 6 and 4, unmodified, against omni serve: the Realtime protocol and chat completions. See harness.mjs.
import assert from "node:assert";
import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { OpenAIRealtimeWebSocket } from "openai/realtime/websocket";
import OpenAI6 from "openai6";
import { OpenAIRealtimeWS as OpenAIRealtimeWS6 } from "openai6/realtime/ws";
import OpenAI4 from "openai4";
import { OpenAIRealtimeWS as BetaWS } from "openai4/beta/realtime/ws";
import { OpenAIRealtimeWebSocket as BetaWebSocket } from "openai4/beta/realtime/websocket";
import WebSocket from "ws";
import { KEY, PLAIN, chunks, keep, metric, model, options, question, recorded, run, sound, text, voice, within, words } from "./harness.mjs";

const browser = { model, dangerouslyAllowBrowser: true };

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
  assert.ok(sound(c.events, "response.output_audio.delta").length > 4800);
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
  assert.ok(sound(c.events, "response.audio.delta").length > 4800);
  rt.close();
}

// A spoken question by server VAD; the answer is kept to be listened to.
async function speechTurn(name, rt, beta = false) {
  const c = recorded(rt), audio = beta ? "response.audio" : "response.output_audio";
  await c.next("session.created");
  const done = c.next("response.done");
  for (const part of chunks()) rt.send({ type: "input_audio_buffer.append", audio: part.toString("base64") });
  assert.equal((await done).response.status, "completed");
  keep(name, text(c.events, `${audio}_transcript.delta`), sound(c.events, `${audio}.delta`));
  rt.close();
}

async function spokenChat(name, client) {
  const content = [{ type: "input_audio", input_audio: { data: voice.toString("base64"), format: "pcm16" } }];
  const r = await client.chat.completions.create({ model, modalities: ["text", "audio"], audio: { voice: "alloy", format: "pcm16" },
    messages: [{ role: "user", content }] });
  const { audio } = r.choices[0].message;
  keep(name, audio.transcript, Buffer.from(audio.data, "base64"));
}

await run({
  "002 openai 7 over TLS": async () => {
    const s = await textTurn(new OpenAIRealtimeWS({ model }, new OpenAI(options)));
    assert.ok(s.id && s.object === "realtime.session" && s.type === "realtime" && s.model && s.expires_at);
  },
  "003 openai 6 offers compression": async () => { await textTurn(new OpenAIRealtimeWS6({ model }, new OpenAI6(options))); },
  "005 openai 7 in a browser's manner, long key": async () => {
    await textTurn(new OpenAIRealtimeWebSocket(browser, new OpenAI(options)));
  },
  "009 010 speech: openai 7, 6, 7 in a browser's manner, 4 beta, 4 beta in a browser's manner": async () => {
    await speechTurn("openai-7", new OpenAIRealtimeWS({ model }, new OpenAI(options)));
    await speechTurn("openai-6", new OpenAIRealtimeWS6({ model }, new OpenAI6(options)));
    await speechTurn("openai-7-browser", new OpenAIRealtimeWebSocket(browser, new OpenAI(options)));
    await speechTurn("openai-4-beta", new BetaWS({ model }, new OpenAI4(options)), true);
    await speechTurn("openai-4-beta-browser", new BetaWebSocket(browser, new OpenAI4(options)), true);
  },
  "017 018 speech: chat completions of openai 7, 6, 4": async () => {
    await spokenChat("chat-7", new OpenAI(options));
    await spokenChat("chat-6", new OpenAI6(options));
    await spokenChat("chat-4", new OpenAI4(options));
  },
  "108 openai 4 beta": async () => { await betaTurn(new BetaWS({ model }, new OpenAI4(options))); },
  "118 openai 4 beta in a browser's manner": async () => { await betaTurn(new BetaWebSocket(browser, new OpenAI4(options))); },
  "120 both dialects at once": async () => {
    const ga = new OpenAIRealtimeWS({ model }, new OpenAI(options)), beta = new BetaWS({ model }, new OpenAI4(options));
    const names = { ga: new Set(), beta: new Set() };
    ga.on("event", (e) => names.ga.add(e.type));
    beta.on("event", (e) => names.beta.add(e.type));
    await Promise.all([textTurn(ga), betaTurn(beta)]);
    assert.ok(!names.ga.has("response.audio.delta") && !names.beta.has("response.output_audio.delta"));
  },
  "123 an ephemeral key opens a session": async () => {
    const secret = await new OpenAI(options).realtime.clientSecrets.create({ session: { type: "realtime", instructions: "x" } });
    assert.match(secret.value, /^ek_/);
    for (const Way of [OpenAIRealtimeWS, OpenAIRealtimeWebSocket])
      assert.equal((await textTurn(new Way(browser, new OpenAI({ ...options, apiKey: secret.value })))).instructions, "x");
    await assert.rejects(new OpenAI({ ...options, apiKey: secret.value }).models.list(), OpenAI.AuthenticationError);
  },
  "124 openai 4 beta makes a session": async () => {
    const s = await new OpenAI4(options).beta.realtime.sessions.create({ model, modalities: ["text"] });
    assert.match(s.client_secret.value, /^ek_/);
    assert.deepEqual(s.modalities, ["text"]);
  },
  "125 lifetimes of ephemeral keys": async () => {
    for (const seconds of [5, 7201])
      await assert.rejects(new OpenAI(options).realtime.clientSecrets.create({ expires_after: { anchor: "created_at", seconds } }),
        (e) => e instanceof OpenAI.BadRequestError && e.param === "expires_after.seconds");
  },
  "127 stream helpers": async () => {
    for (const Client of [OpenAI4, OpenAI6, OpenAI]) {
      const client = new Client(options), api = client.chat.completions.stream ? client.chat.completions : client.beta.chat.completions;
      const stream = api.stream({ model, messages: [{ role: "user", content: words }],
        modalities: ["text", "audio"], audio: { voice: "alloy", format: "pcm16" } });
      const end = await within(stream.finalChatCompletion(), "completion");
      assert.equal(end.choices[0].finish_reason, "stop");
      if (Client !== OpenAI4) assert.ok(Buffer.from(end.choices[0].message.audio.data, "base64").length > 4800);
    }
  },
  "134 an answer named by its audio": async () => {
    const client = new OpenAI(options), speech = { modalities: ["text", "audio"], audio: { voice: "alloy", format: "pcm16" } };
    const ask = (messages, more = {}) => client.chat.completions.create({ model, messages, ...more });
    const first = await ask([{ role: "user", content: words }], speech);
    const { id } = first.choices[0].message.audio, next = [{ role: "user", content: words }];
    const alone = await ask(next), later = await ask([...next, { role: "assistant", audio: { id } }, ...next]);
    assert.ok(later.usage.prompt_tokens > alone.usage.prompt_tokens);
    await assert.rejects(ask([...next, { role: "assistant", audio: { id: "audio_x" } }, ...next]), OpenAI.BadRequestError);
  },
  "138 139 149 errors as exceptions": async () => {
    const bad = new OpenAI({ ...options, apiKey: "no" });
    const ask = (client) => client.chat.completions.create({ model, messages: [{ role: "user", content: "x" }] });
    await assert.rejects(ask(bad), (e) => e instanceof OpenAI.AuthenticationError && e.code === "invalid_api_key");
    await assert.rejects(new OpenAI(options).models.retrieve("nope"), (e) => e instanceof OpenAI.NotFoundError);
    const r = await ask(new OpenAI(options));
    assert.ok(r._request_id && r.choices[0].message.content);
  },
  "140 openai 7 tries a full server three times": async () => {
    const sockets = [], given_up = new AbortController(), headers = { Authorization: `Bearer ${KEY}` };
    const slots = await metric("s2s_slots");
    for (let i = 0; i < slots; i++) {
      const ws = new WebSocket(`ws://${PLAIN}/v1/realtime?model=m`, { headers });
      await within(new Promise((yes, no) => { ws.once("message", yes); ws.once("error", no); }), "session");
      sockets.push(ws);
    }
    const body = JSON.stringify({ model, messages: [{ role: "user", content: words }] });
    for (let i = 0; i < 64; i++)
      fetch(`http://${PLAIN}/v1/chat/completions`, { method: "POST", headers, body, signal: given_up.signal }).catch(() => {});
    while (await metric("s2s_queue_depth") < 64) await new Promise((yes) => setTimeout(yes, 20));
    const client = new OpenAI({ ...options, baseURL: `http://${PLAIN}/v1` }), before = await metric('s2s_http_requests_total{status="429"}');
    await assert.rejects(client.chat.completions.create({ model, messages: [{ role: "user", content: "x" }] }), OpenAI.RateLimitError);
    assert.equal(await metric('s2s_http_requests_total{status="429"}') - before, 3);
    given_up.abort();
    for (const ws of sockets) ws.close();
  },
  "163 openai 7 after a cut": async () => {
    const rt = new OpenAIRealtimeWS({ model }, new OpenAI(options)), c = recorded(rt);
    await c.next("session.created");
    rt.send({ type: "conversation.item.create", item: question });
    rt.send({ type: "response.create" });
    await c.next("response.output_audio.delta");
    rt.socket.terminate();
    await textTurn(new OpenAIRealtimeWS({ model }, new OpenAI(options)));
  },
});
