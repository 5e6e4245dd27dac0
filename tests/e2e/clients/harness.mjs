// What the scripts of this folder share. They are run by tests/e2e/test_serve_clients.py.
//   PLAIN, SECURE: host:port of two servers; KEY: their key; VOICE: a file of pcm16 at 24 kHz with a spoken question
//   ANSWERS: a folder for the spoken answers to it, NAME.pcm (24 kHz) and NAME.txt, which the caller listens to
// One line per case on standard output: "ok NAME" or "not ok NAME: why". Exit code 1 when one fails.
import { readFileSync, writeFileSync } from "node:fs";
import WebSocket from "ws";

globalThis.WebSocket = WebSocket;
export const { PLAIN, SECURE, KEY, ANSWERS } = process.env;
export const voice = readFileSync(process.env.VOICE);
export const model = "gpt-realtime";
export const options = { apiKey: KEY, baseURL: `https://${SECURE}/v1`, dangerouslyAllowBrowser: true };
export const words = "what is the capital of france";
export const question = { type: "message", role: "user", content: [{ type: "input_text", text: words }] };
let uncaught = null;
process.on("uncaughtException", (error) => { uncaught ??= error; });
process.on("unhandledRejection", (error) => { uncaught ??= error; });

export const within = (promise, what, ms = 60000) => {
  let timer;
  const late = new Promise((_, no) => { timer = setTimeout(() => no(new Error(`no ${what} within ${ms} ms`)), ms); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

// All events of a connection, and a promise for the next of a type.
export function recorded(rt) {
  const events = [], waiting = [];
  const tell = (event) => {
    events.push(event);
    for (const w of [...waiting]) if (w.type === event.type) { waiting.splice(waiting.indexOf(w), 1); w.yes(event); }
  };
  rt.on("event", tell);
  rt.on("error", (e) => { for (const w of waiting.splice(0)) w.no(e); });
  return { rt, events, next: (type) => within(new Promise((yes, no) => waiting.push({ type, yes, no })), type) };
}

export const text = (events, type) => events.filter((e) => e.type === type).map((e) => e.delta).join("");
export const sound = (events, type) => Buffer.concat(events.filter((e) => e.type === type).map((e) => Buffer.from(e.delta, "base64")));

// The answer to VOICE that a client got.
export function keep(name, said, pcm) {
  writeFileSync(`${ANSWERS}/${name}.txt`, said);
  writeFileSync(`${ANSWERS}/${name}.pcm`, pcm);
}

export function* chunks(bytes = voice, size = 4800) {
  for (let i = 0; i < bytes.length; i += size) yield bytes.subarray(i, i + size);
}

// One number of /metrics; 0 when it is not there.
export async function metric(name) {
  const page = await (await fetch(`http://${PLAIN}/metrics`)).text();
  const line = page.split("\n").find((l) => l.startsWith(name + " "));
  return line ? Number(line.split(" ").at(-1)) : 0;
}

export async function run(cases) {
  let failed = 0;
  for (const [name, one] of Object.entries(cases)) {
    uncaught = null;
    try {
      await within(one(), "end", 120000);
      if (uncaught) throw uncaught;
      console.log(`ok ${name}`);
    } catch (error) {
      failed++;
      console.log(`not ok ${name}: ${String(error?.stack ?? error).split("\n").slice(0, 4).join(" | ")}`);
    }
  }
  process.exit(failed ? 1 : 0);
}
