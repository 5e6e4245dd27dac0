// A visitor: speaks a question, speaks another one into the answer, types, stops, plays a file, replays, saves.
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

const { URL: url, KEYED, MICROPHONE, SHOTS, BROWSER, QUESTION } = process.env;
const browser = await chromium.launch({
  executablePath: BROWSER,
  args: ['--no-sandbox', '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream', '--autoplay-policy=no-user-gesture-required',
    `--use-file-for-fake-audio-capture=${MICROPHONE}%noloop`],
});
const trouble = [];

async function visit(options = {}, where = url) {
  const page = await browser.newPage({ viewport: { width: 1000, height: 760 }, ...options });
  await page.addInitScript(() => {
    // As in Firefox: a context takes only streams of its own rate, which no microphone has at 24 kHz.
    const connect = AudioContext.prototype.createMediaStreamSource;
    AudioContext.prototype.createMediaStreamSource = function (stream) {
      if (this.sampleRate === 24000) throw new DOMException('another sample rate', 'NotSupportedError');
      return connect.call(this, stream);
    };
    window.sockets = [];
    window.WebSocket = class extends WebSocket { constructor(...all) { super(...all); sockets.push(this); } };
  });
  page.on('pageerror', (e) => trouble.push(String(e)));
  page.on('console', (m) => m.type() === 'error' && trouble.push(m.text()));
  await page.goto(where);
  return page;
}
const phase = (page, name) => page.waitForFunction((n) => document.body.dataset.phase === n, name, { timeout: 30000, polling: 20 });
const answers = (page) => page.evaluate(() => omni.state.rows.filter((r) => r.role === 'assistant').map(({ text, cut, firstMs }) => ({ text, cut, firstMs })));

// Two spoken turns, the second one into the first one's answer.
let page = await visit();
await page.evaluate(() => { omni.measured.log = []; });
await page.click('#talk');
for (const name of ['listening', 'hearing', 'thinking', 'speaking']) {
  await phase(page, name);
  await page.screenshot({ path: `${SHOTS}/${name}.png` });
}
await phase(page, 'hearing');
for (const name of ['speaking', 'listening']) await phase(page, name);
await page.screenshot({ path: `${SHOTS}/two-turns.png` });
const said = await answers(page);
console.log(JSON.stringify(said));
assert.equal(said.length, 2);
assert.equal(await page.locator('[aria-busy]').count(), 0, 'whole answers are read aloud');
assert.deepEqual(said.map((a) => Boolean(a.cut)), [true, false]);
assert.ok(said.every((a) => a.firstMs >= 0 && a.text.length > 0));
assert.equal(await page.evaluate(() => omni.measured.underruns), 0, 'underruns');

// How long the answer went on after the second question rose above -40 dB: times of reports, late by up to 20 ms.
const log = await page.evaluate(() => omni.measured.log);
const mic = log.filter((l) => l[1] === 'mic'), voice = log.filter((l) => l[1] === 'voice' && l[2] > 1e-4).map((l) => l[0]);
const rises = mic.filter((l, i) => i > 30 && l[2] > 0.01 && mic.slice(i - 20, i).every((m) => m[2] <= 0.01)).map((l) => l[0] - 20);
const begin = rises.find((t) => voice.some((v) => v < t && v > t - 300));
assert.ok(begin, 'the second question came into the answer');
const last = voice.filter((v, i) => v < begin + 1000 && (i + 1 === voice.length || voice[i + 1] - v > 200)).filter((v) => v > begin - 300)[0];
console.log(`sounded until ${Math.round(last - begin)} ms after speech began`);
assert.ok(last - begin <= 150);

// Off, typed, stopped by the button; replay and save.
await page.click('#talk');
await page.fill('#question', QUESTION);
await page.keyboard.press('Enter');
await phase(page, 'speaking');
await page.click('#stop');
await phase(page, 'listening');
assert.equal((await answers(page)).at(-1).cut, true);
const [saved] = await Promise.all([page.waitForEvent('download'), page.locator('button:text("Save")').first().click()]);
assert.equal(saved.suggestedFilename(), 'answer.wav');
await page.locator('button:text("Replay")').first().click();
await page.close();

// While the browser asks: a second click asks nothing, and a connection that goes takes the microphone with it.
page = await visit();
await page.evaluate(() => {
  const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  window.asked = 0;
  navigator.mediaDevices.getUserMedia = async (what) => {
    asked++;
    await new Promise((done) => { window.allow = done; });
    window.given = await get(what);
    return given;
  };
});
await page.click('#talk');
await page.waitForFunction(() => window.asked === 1);
await page.click('#talk');
await page.evaluate(() => sockets.at(-1).close());
await phase(page, 'closed');
await page.evaluate(() => allow());
await page.waitForFunction(() => window.given?.getTracks().every((t) => t.readyState === 'ended'), null, { timeout: 10000 });
assert.deepEqual(await page.evaluate(() => [asked, sockets.length, document.getElementById('talk-label').textContent]), [1, 1, 'Start talking']);
await page.close();

// A microphone that can not be connected is not left on.
page = await visit();
await page.evaluate(() => {
  const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (what) => (window.given = await get(what));
  AudioContext.prototype.createMediaStreamSource = () => { throw new Error('no such stream'); };
});
await page.click('#talk');
await page.waitForFunction(() => window.given?.getTracks().every((t) => t.readyState === 'ended'), null, { timeout: 10000 });
assert.equal(await page.evaluate(() => omni.state.rows.at(-1).text), 'no such stream');
await page.close();

// A wrong key is said once and asks for no microphone; the right one goes on.
page = await visit({}, KEYED);
await page.evaluate(() => {
  const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  window.asked = 0;
  navigator.mediaDevices.getUserMedia = (what) => { asked++; return get(what); };
  document.getElementById('key').value = 'wrong';
  document.getElementById('key').onchange();
});
await page.click('#talk');
await page.waitForFunction(() => omni.state.rows.length > 0, null, { timeout: 10000 });
await page.waitForFunction(() => sockets.at(-1).readyState === WebSocket.CLOSED);
assert.deepEqual(await page.evaluate(() => [asked, omni.state.rows.length, omni.state.phase]), [0, 1, 'closed']);
await page.evaluate(() => {
  document.getElementById('key').value = 'sesame';
  document.getElementById('key').onchange();
});
await page.click('#talk');
await phase(page, 'listening');
await page.waitForFunction(() => asked === 1);
await page.close();

// No microphone: a file. A narrow screen in the dark, and a tablet.
page = await visit({ viewport: { width: 380, height: 720 }, colorScheme: 'dark' });
await page.setInputFiles('#file', MICROPHONE.replace('microphone', 'question'));
await phase(page, 'speaking');
await page.screenshot({ path: `${SHOTS}/narrow.png` });
assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, 'no sideways scrolling');
await phase(page, 'listening');
await page.setViewportSize({ width: 768, height: 900 });
await page.click('#open-settings');
await page.screenshot({ path: `${SHOTS}/settings.png` });
await page.keyboard.press('Escape');
// By keyboard: everything is reached in order, and everything has a name.
const order = [];
await page.reload();
for (let i = 0; i < 8; i++) {
  await page.keyboard.press('Tab');
  order.push(await page.evaluate(() => document.activeElement.id));
}
for (const id of ['open-settings', 'talk', 'question', 'file']) assert.ok(order.includes(id), `${id} by Tab: ${order}`);
const nameless = await page.evaluate(() => [...document.querySelectorAll('button, input')]
  .filter((e) => !(e.textContent.trim() || e.labels?.length || e.ariaLabel)).map((e) => e.id));
assert.deepEqual(nameless, []);
assert.deepEqual(trouble, []);
await browser.close();
