// A visitor: speaks a question, speaks another one into the answer, types, stops, plays a file, replays, saves.
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

const { URL: url, KEYED, FULL, FILES, SHOTS, BROWSER, QUESTION } = process.env;
const browser = await chromium.launch({
  executablePath: BROWSER,
  args: ['--no-sandbox', '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream', '--autoplay-policy=no-user-gesture-required',
    `--use-file-for-fake-audio-capture=${FILES}/microphone.wav%noloop`, '--host-resolver-rules=MAP another.machine 127.0.0.1'],
});
const trouble = [];

async function visit(options = {}, where = url, before = () => {}) {
  const page = await browser.newPage({ viewport: { width: 1000, height: 760 }, ...options });
  await page.addInitScript(before);
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
/* The browser's own words in its console. */
function expected(words) {
  assert.ok(trouble.length > 0 && trouble.every((t) => words.test(t)), String(trouble));
  trouble.length = 0;
}
const phase = (page, name) => page.waitForFunction((n) => document.body.dataset.phase === n, name, { timeout: 30000, polling: 20 });
const says = (page) => page.textContent('#phase');
const lastOf = (page, role) => page.evaluate((r) => omni.state.rows.findLast((row) => row.role === r)?.text, role);
const told = (page, text) => page.waitForFunction((t) => omni.state.rows.some((r) => r.role === 'trouble' && r.text.includes(t)), text, { timeout: 10000 });
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
// Replay: one voice at a time, silenced by Stop.
await page.evaluate(() => {
  const start = AudioBufferSourceNode.prototype.start;
  window.sounding = new Set();
  AudioBufferSourceNode.prototype.start = function () { sounding.add(this); this.addEventListener('ended', () => sounding.delete(this)); start.call(this); };
});
for (let i = 0; i < 3; i++) await page.locator('button:text("Replay")').last().click();
await page.waitForFunction(() => sounding.size === 1);
await page.click('#stop');
await page.waitForFunction(() => sounding.size === 0);
assert.equal(await says(page), 'Ready. The microphone is off.');
assert.equal(await page.evaluate(() => document.activeElement.id), 'stop', 'the focus stays where it was');
await page.close();

// The microphone is switched off in mid-sentence, and that is asked; it is pulled out, and that is said.
page = await visit();
await page.evaluate(() => {
  const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (what) => (window.given = await get(what));
});
await page.click('#talk');
await phase(page, 'hearing');
await page.waitForTimeout(600);
await page.click('#talk');
for (const name of ['thinking', 'speaking', 'listening']) await phase(page, name);
assert.equal((await answers(page)).length, 1);
await page.click('#talk');
await page.waitForFunction(() => document.getElementById('talk-label').textContent === 'Turn the microphone off');
await page.evaluate(() => given.getTracks()[0].dispatchEvent(new Event('ended')));
await told(page, 'The microphone is gone.');
assert.equal(await page.textContent('#talk-label'), 'Turn the microphone on');

// The connection goes, and comes back: the server knows nothing of what stands above.
await page.evaluate(() => sockets.at(-1).close());
await phase(page, 'closed');
await page.fill('#question', QUESTION);
await page.keyboard.press('Enter');
await page.keyboard.press('Enter');      // nothing, as the first has taken the text
await phase(page, 'speaking');
await phase(page, 'listening');
assert.deepEqual(await page.evaluate(() => omni.state.rows.slice(-4).map((r) => r.role)), ['trouble', 'divider', 'user', 'assistant']);
await page.close();

// http from another machine: neither microphone nor sound, so text.
page = await visit({}, KEYED.replace('127.0.0.1', 'another.machine'), () => sessionStorage.setItem('omni-key', 'sesame'));
assert.equal(await page.evaluate(() => isSecureContext), false);
await page.fill('#question', QUESTION);
await page.keyboard.press('Enter');
await page.waitForFunction(() => omni.state.rows.some((r) => r.role === 'assistant') && omni.state.response === null, null, { timeout: 30000 });
assert.ok(await lastOf(page, 'assistant'));
assert.match(await lastOf(page, 'trouble'), /answers come as text/);
await page.setInputFiles('#file', `${FILES}/question.wav`);
await page.waitForFunction(() => omni.state.rows.filter((r) => r.role === 'assistant').length === 2 && omni.state.response === null, null, { timeout: 30000 });
await page.screenshot({ path: `${SHOTS}/text-only.png` });
expected(/Cross-Origin-Opener-Policy/);
await page.close();

// A server with no seat left says so; settings that can not be read do no harm.
page = await visit({}, FULL);
await page.fill('#question', QUESTION);
await page.keyboard.press('Enter');
await phase(page, 'speaking');
const late = await visit({}, FULL, () => localStorage.setItem('omni', '{bad'));
await late.fill('#question', QUESTION);
await late.keyboard.press('Enter');
await told(late, 'The server takes no conversation now');
assert.equal(await late.inputValue('#question'), QUESTION, 'what was typed is not lost');
expected(/503/);
await late.close();
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
await page.setInputFiles('#file', `${FILES}/long.wav`);
await phase(page, 'hearing');
await page.click('#stop');
await phase(page, 'listening');
await page.setInputFiles('#file', `${FILES}/silence.wav`);
await told(page, 'heard no speech');
assert.equal((await answers(page)).length, 0, 'a file that was stopped is not asked');
await page.setInputFiles('#file', `${FILES}/right.wav`);         // speech on the right channel only
await phase(page, 'speaking');
await page.screenshot({ path: `${SHOTS}/narrow.png` });
assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, 'no sideways scrolling');
await phase(page, 'listening');
for (const [width, height] of [[740, 360], [360, 380], [320, 256]]) {
  await page.setViewportSize({ width, height });
  assert.ok(await page.evaluate(() => document.getElementById('history').clientHeight) >= 100, `${width} x ${height}`);
}
await page.screenshot({ path: `${SHOTS}/low.png`, fullPage: true });
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
