// openai-realtime-api, a published port of OpenAI's own client of the beta time (which never was on npm), unmodified, against
// omni serve. See harness.mjs.
import assert from "node:assert";
import { RealtimeClient } from "openai-realtime-api";
import { KEY, PLAIN, chunks, keep, run, voice, within, words } from "./harness.mjs";

const text = [{ type: "input_text", text: words }];
const pcm = (part) => new Int16Array(new Uint8Array(part).buffer);
const bytes = (samples) => Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength);

async function client(sessionConfig = {}) {
  const c = new RealtimeClient({ url: `ws://${PLAIN}/v1/realtime`, apiKey: KEY, sessionConfig }), errors = [];
  c.realtime.on("server.error", (e) => errors.push(e));
  await within(c.connect(), "connection");
  await within(c.waitForSessionCreated(), "session.created");
  return { c, errors, next: (name) => within(c.waitForNext(name), name) };
}

// The next complete item of the assistant.
const answer = (c) => within(new Promise((yes) => {
  const look = ({ item }) => { if (item.role === "assistant") { c.off("conversation.item.completed", look); yes(item); } };
  c.on("conversation.item.completed", look);
}), "answer");

await run({
  "112 typed": async () => {
    const { c, errors } = await client(), said = answer(c);
    c.sendUserMessageContent(text);
    const item = await said;
    assert.ok(item.formatted.audio.length > 2400);
    assert.ok(item.formatted.transcript && !item.formatted.transcript.includes("undefined"));
    assert.deepEqual(errors, []);
    c.disconnect();
  },
  "113 spoken, by hand": async () => {
    const { c, errors } = await client(), said = answer(c);
    for (const part of chunks()) c.appendInputAudio(pcm(part));
    c.createResponse();
    const item = await said;
    keep("openai-realtime-api", item.formatted.transcript, bytes(item.formatted.audio));
    const user = c.conversation.getItems().find((i) => i.role === "user");
    assert.equal(user.formatted.audio.length, voice.length / 2);
    assert.deepEqual(errors, []);
    c.disconnect();
  },
  "114 spoken, the server listens": async () => {
    const { c, errors, next } = await client({ turn_detection: { type: "server_vad" }, input_audio_transcription: { model: "whisper-1" } });
    const said = answer(c), interrupted = next("conversation.interrupted");
    for (const part of chunks()) c.appendInputAudio(pcm(part));
    await interrupted;
    assert.ok((await said).formatted.audio.length > 2400);
    const user = c.conversation.getItems().find((i) => i.role === "user");
    assert.ok(user.formatted.audio.length > 12000 && user.formatted.audio.length < voice.length / 2);
    assert.deepEqual(errors, []);
    c.disconnect();
  },
  "115 cut short": async () => {
    const { c, errors, next } = await client(), said = answer(c);
    c.sendUserMessageContent(text);
    const item = await said, n = item.formatted.audio.length, cut = next("realtime.event");
    c.cancelResponse(item.id, 4800);
    await cut;
    while (c.conversation.getItem(item.id).formatted.audio.length >= n) await new Promise((yes) => setTimeout(yes, 20));
    assert.equal(c.conversation.getItem(item.id).formatted.audio.length, 4800);
    // the answer had ended: its cancelling is told to be late, nothing else
    assert.ok(errors.every((e) => e.error.code === "response_cancel_not_active"));
    c.disconnect();
  },
  "117 an item deleted": async () => {
    const { c, errors } = await client(), said = answer(c);
    c.sendUserMessageContent(text);
    const { id } = await said;
    c.deleteItem(id);
    while (c.conversation.getItem(id)) await new Promise((yes) => setTimeout(yes, 20));
    const again = answer(c);
    c.sendUserMessageContent(text);
    assert.ok((await again).formatted.transcript);
    assert.deepEqual(errors, []);
    c.disconnect();
  },
});
