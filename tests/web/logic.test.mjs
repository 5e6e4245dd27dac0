// node --test: the page's logic without a browser.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Onset, Player, Resampler, Ring, floatToPcm16, fresh, fromBase64, growing, heard, interrupt, pcm16ToFloat, reduce, sessionUpdate, status, toBase64, wav, withSilence } from '../../apps/web/logic.js';

const count = (from, n) => Float32Array.from({ length: n }, (_, i) => from + i);

test('ring keeps order while it grows and wraps', () => {
  const ring = new Ring(4);
  let next = 0, got = 0;
  for (let round = 1; round < 60; round++) {
    ring.write(count(next, round % 7));
    next += round % 7;
    const out = new Float32Array(round % 5);
    const n = ring.read(out);
    for (let i = 0; i < n; i++) assert.equal(out[i], got++);
  }
  assert.equal(ring.filled, next - got);
  assert.ok(ring.samples.length > 4);
  ring.clear();
  assert.equal(ring.read(new Float32Array(3)), 0);
});

test('resampler: a tone of the microphone stays that tone, what the lower rate has no room for goes', () => {
  const sine = (pitch, rate, n) => Float32Array.from({ length: n }, (_, i) => Math.sin(2 * Math.PI * pitch * i / rate));
  for (const rate of [48000, 44100, 16000, 96000, 24000]) {
    const lower = Math.min(rate, 24000);
    for (const pitch of [100, 1000, 0.4 * lower, 0.51 * lower, 0.7 * lower].filter((p) => p < rate / 2)) {
      const input = sine(pitch, rate, rate), resampler = new Resampler(rate), out = [];
      for (let at = 0; at < input.length; at += 128) out.push(...resampler.run(input.subarray(at, at + 128)));
      assert.ok(24000 - out.length >= 0 && 24000 - out.length <= 24000 / lower * 33, `${rate}: ${out.length}`);
      const wanted = pitch < lower / 2 ? sine(pitch, 24000, out.length) : new Float32Array(out.length);
      const error = Math.max(...out.slice(100).map((x, i) => Math.abs(x - wanted[i + 100])));
      assert.ok(error < 2e-4, `${rate} Hz, a tone of ${pitch} Hz: ${error}`);
      const whole = new Resampler(rate).run(input);
      assert.deepEqual(Float32Array.from(out), whole);
    }
  }
});

test('pcm16, base64 and wav', () => {
  const bytes = floatToPcm16(Float32Array.of(0, 1, -1, 2, 0.5));
  assert.deepEqual([...new Int16Array(bytes.buffer)], [0, 32767, -32767, 32767, 16384]);
  assert.ok(Math.abs(pcm16ToFloat(bytes)[4] - 0.5) < 1e-4);
  assert.equal(pcm16ToFloat(bytes.subarray(2, 5)).length, 1);      // an odd byte is left out
  const long = Uint8Array.from({ length: 50001 }, (_, i) => i * 7);
  assert.deepEqual(fromBase64(toBase64(long)), long);
  assert.equal(toBase64(long), Buffer.from(long).toString('base64'));
  const file = wav([bytes, bytes]);
  assert.equal(file.length, 44 + 20);
  assert.equal(new DataView(file.buffer).getUint32(40, true), 20);
  assert.equal(new DataView(file.buffer).getUint32(24, true), 24000);
});

test('player waits for its lead, counts gaps, and ends', () => {
  const p = new Player(200);
  const out = new Float32Array(128);
  p.ring.write(count(1, 199));
  assert.equal(p.render(out), undefined);
  assert.equal(out[0], 0);
  p.ring.write(count(200, 57));
  assert.equal(p.render(out), 'started');
  assert.equal(out[0], 1);
  assert.equal(p.render(out), undefined);
  p.render(out);                                                    // nothing there: a gap
  assert.deepEqual([p.underruns, p.played], [1, 256]);
  p.ring.write(count(1, 100));
  p.ended = true;
  assert.equal(p.render(out), 'finished');
  assert.deepEqual([out[0], out[100], p.played, p.underruns], [1, 0, 356, 1]);
  p.begin();
  p.ring.write(count(1, 400));
  p.render(out);
  p.held = true;
  p.render(out);
  assert.deepEqual([out[0], p.played], [0, 128]);
  p.held = false;
  p.render(out);
  assert.equal(out[0], 129);                                        // nothing was lost
});

const audio = (item) => ({ type: 'response.output_audio.delta', item_id: item, delta: toBase64(floatToPcm16(new Float32Array(480))) });
const spoken = [
  { type: 'session.created' },
  { type: 'input_audio_buffer.speech_started', item_id: 'u' },
  { type: 'input_audio_buffer.speech_stopped', item_id: 'u' },
  { type: 'input_audio_buffer.committed', item_id: 'u' },
  { type: 'response.created', response: { id: 'r' } },
  { type: 'response.output_item.added', item: { id: 'a', role: 'assistant' } },
  { type: 'response.output_audio_transcript.delta', item_id: 'a', delta: 'two ' },
  audio('a'),
];

test('a spoken turn', () => {
  const s = fresh();
  const done = spoken.flatMap((e, i) => reduce(s, e, 100 * i).map((x) => x.do));
  assert.deepEqual(done, ['ready', 'begin', 'play']);
  assert.equal(s.phase, 'thinking');
  heard(s, 'started', 350);
  assert.deepEqual([s.phase, s.rows[1].firstMs, s.rows[1].text], ['speaking', 150, 'two ']);
  assert.deepEqual(reduce(s, { type: 'response.output_audio.done', item_id: 'a' }, 400).map((x) => x.do), ['end']);
  reduce(s, { type: 'response.done', response: { status: 'completed' } }, 401);
  assert.deepEqual([s.phase, s.item], ['speaking', 'a']);           // still sounding
  heard(s, 'finished', 900);
  assert.deepEqual([s.phase, s.item, s.rows.length], ['listening', null, 2]);
});

test('speaking into the answer silences, truncates, and drops what comes late', () => {
  const s = fresh();
  spoken.forEach((e) => reduce(s, e, 0));
  heard(s, 'started', 10);
  const effects = reduce(s, { type: 'input_audio_buffer.speech_started' }, 20, 123.9);
  assert.deepEqual(effects.map((e) => e.event?.type ?? e.do), ['silence', 'conversation.item.truncate']);
  assert.equal(effects[1].event.audio_end_ms, 123);
  assert.equal(s.phase, 'hearing');
  assert.deepEqual(reduce(s, audio('a'), 30), []);
  reduce(s, { type: 'response.output_audio_transcript.delta', item_id: 'a', delta: 'late' }, 30);
  assert.deepEqual([s.rows[1].text, s.rows[1].cut], ['two ', true]);
});

test('an answer is read aloud when its text is whole', () => {
  const s = fresh();
  spoken.forEach((e) => reduce(s, e, 0));
  assert.deepEqual(s.rows.map((row) => growing(s, row)), [false, true]);
  const cut = structuredClone(s);
  interrupt(cut, 5);
  assert.equal(growing(cut, cut.rows[1]), false);
  reduce(s, { type: 'response.done', response: { status: 'completed' } }, 401);
  assert.equal(growing(s, s.rows[1]), false);
});

test('the button cancels a running response, and nothing when nothing runs', () => {
  const s = fresh();
  spoken.forEach((e) => reduce(s, e, 0));
  assert.deepEqual(interrupt(s, 5).map((e) => e.event?.type ?? e.do), ['silence', 'response.cancel', 'conversation.item.truncate']);
  assert.deepEqual(interrupt(fresh(), 5), []);
});

test('trouble is shown, a cancel that came late is not', () => {
  const s = fresh();
  reduce(s, { type: 'error', error: { code: 'x', message: 'bad' } }, 0);
  reduce(s, { type: 'error', error: { code: 'response_cancel_not_active', message: 'late' } }, 0);
  reduce(s, { type: 'something.new' }, 0);
  assert.deepEqual(s.rows.map((r) => r.text), ['bad']);
});

test('onset: loud for 40 ms over a quiet room', () => {
  const o = new Onset();
  assert.equal([...Array(50)].some(() => o.hear(0.004)), false);
  assert.deepEqual([o.hear(0.3), o.hear(0.3), o.hear(0.3)], [false, true, false]);
  assert.equal(sessionUpdate({ threshold: 0.4, silence: 300 }).session.audio.input.turn_detection.silence_duration_ms, 300);
});

test('a recording: all channels as one, silence behind', () => {
  const samples = withSilence([Float32Array.of(1, 0, -1), Float32Array.of(0, 0, -1)], 0.5);
  assert.deepEqual([...samples.subarray(0, 4)], [0.5, 0, -1, 0]);
  assert.equal(samples.length, 3 + 12000);
  assert.equal(withSilence([[]], 0.25).length, 6000);
});

test('the page says who listens', () => {
  assert.equal(status('listening', true), 'Listening');
  assert.equal(status('listening', false), 'Ready. The microphone is off.');
  assert.equal(status('speaking', true), 'Speaking: talk to interrupt');
  assert.equal(status('speaking', false), 'Speaking');
  for (const phase of ['closed', 'hearing', 'thinking']) assert.equal(status(phase, true), status(phase, false));
});

test('an answer in text is stopped without a word of what was heard', () => {
  for (const type of ['text', 'audio']) {
    const s = fresh();
    reduce(s, { type: 'session.created' }, 0);
    reduce(s, { type: 'response.created', response: { id: 'r' } }, 0);
    reduce(s, { type: 'response.output_item.added', item: { id: 'a', role: 'assistant' } }, 0);
    reduce(s, { type: 'response.content_part.added', item_id: 'a', part: { type } }, 0);
    const sent = interrupt(s, 100).filter((e) => e.do === 'send').map((e) => e.event.type);
    assert.deepEqual(sent, type === 'text' ? ['response.cancel'] : ['response.cancel', 'conversation.item.truncate']);
  }
});

test('a page without sound asks for text; a new session stands below a line', () => {
  assert.deepEqual(sessionUpdate({}).session.output_modalities, ['audio']);
  assert.deepEqual(sessionUpdate({}, false).session.output_modalities, ['text']);
  const s = fresh();
  s.rows.push({ role: 'trouble', text: 'before' });
  reduce(s, { type: 'session.created' }, 0);
  assert.equal(s.rows.length, 1);                  // nothing was said before
  s.rows.push({ role: 'user', text: 'one' });
  reduce(s, { type: 'session.created' }, 0);
  assert.deepEqual(s.rows.map((r) => r.role), ['trouble', 'user', 'divider']);
  reduce(s, { type: 'input_audio_buffer.speech_started' }, 0);
  assert.equal(s.starts, 1);
});
