import {
  Onset, RATE, floatToPcm16, fresh, growing, heard, interrupt, pcm16ToFloat, reduce, sessionUpdate, status, toBase64, wav, withSilence,
} from './logic.js';

const $ = (id) => document.getElementById(id);
const state = fresh();
const settings = { threshold: 0.5, silence: 500, volume: 1, ...stored() };
const measured = { underruns: 0, log: null };     // tests put an array there: [ms, 'mic' or 'voice', peak]
let socket, context, speaker, gain, microphone, starting = null, busy = false, played = 0, held = 0;
let feeding = null, replaying = null;             // the file that is asked, the answer that is heard again
const onset = new Onset();
Object.assign(window, { omni: { state, measured } });

function stored() {
  try {
    return JSON.parse(localStorage.getItem('omni'));
  } catch {
    return {};
  }
}

function send(event) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(event));
}

/* ---- what one sees ---- */

function piece(tag, text, set = {}) {
  return Object.assign(document.createElement(tag), { textContent: text, ...set });
}

function actions(row) {
  const line = piece('small', '', { ariaLive: 'off' });
  if (row.firstMs !== null) line.append(piece('span', `first sound ${row.firstMs} ms`));
  if (row.pieces.length === 0) return line;
  const name = row.text.length > 40 ? `${row.text.slice(0, 40)} …` : row.text;
  line.append(piece('button', 'Replay', { onclick: () => replay(row), ariaLabel: `Replay: ${name}` }));
  line.append(piece('button', 'Save', { onclick: () => download(row), ariaLabel: `Save as a WAV file: ${name}` }));
  return line;
}

const speakers = { user: 'You: ', assistant: 'Omni: ', trouble: 'Problem: ', divider: '' };

function makeNode(row) {
  row.node = piece('li', '', { className: row.role });
  row.line = piece('p', '');
  row.node.append(piece('span', speakers[row.role], { className: 'away' }), row.line);
  return row.node;
}

/* One list item per row; only the text that changed is touched, so that it is read aloud once. */
function draw() {
  const ears = Boolean(microphone || feeding), says = status(state.phase, ears);
  document.body.dataset.phase = state.phase;
  document.body.dataset.ears = ears;
  if ($('phase').textContent !== says) $('phase').textContent = says;
  $('talk-label').textContent = state.phase === 'closed' ? 'Start talking' : microphone ? 'Turn the microphone off' : 'Turn the microphone on';
  /* Not `disabled`, which would take the focus away from who pressed it. */
  $('stop').ariaDisabled = !(state.item || state.response || feeding || replaying);
  const list = $('history');
  const low = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  for (const row of state.rows) {
    if (!row.node) list.append(makeNode(row));
    if (growing(state, row)) row.node.setAttribute('aria-busy', 'true');     // before its text changes
    if (row.line.textContent !== row.text) row.line.textContent = row.text;
    row.node.classList.toggle('cut', Boolean(row.cut));
    if (!growing(state, row)) row.node.removeAttribute('aria-busy');
    const about = row.role === 'assistant' ? `${row.firstMs} ${row.pieces.length > 0 && row.id !== state.item}` : '';
    if (row.about === about || row.role !== 'assistant') continue;
    row.about = about;
    row.node.querySelector('small')?.remove();
    if (row.id !== state.item) row.node.append(actions(row));
  }
  if (low) list.scrollTop = list.scrollHeight;
  const last = state.rows.findLast((row) => row.firstMs != null);
  $('latency').textContent = last ? `first sound ${last.firstMs} ms` : '';
  $('counts').textContent = `${measured.underruns} underruns`;
}

function trouble(text) {
  state.rows.push({ role: 'trouble', at: performance.now(), text });
  draw();
}

/* ---- sound ---- */

/* Browsers give sound on the audio thread, like the microphone, to https pages and to localhost only. */
const audible = 'AudioWorklet' in window;

/* Once; those who come while it begins wait for the same, those who come after it failed try again. */
function startSound() {
  if (!audible && starting === null) trouble('Without https a browser gives this page neither microphone nor sound: answers come as text.');
  if (!audible) return starting = Promise.resolve();
  starting ??= startSoundOnce().catch((error) => { starting = null; throw error; });
  return starting.then(() => { context.resume(); });
}

async function openContext(options) {
  const made = new AudioContext({ latencyHint: 'interactive', ...options });
  try {
    await made.audioWorklet.addModule('worklets.js');
  } catch (error) {
    made.close();
    throw error;
  }
  return made;
}

async function startSoundOnce() {
  context = await openContext({ sampleRate: RATE });
  speaker = new AudioWorkletNode(context, 'playback', { numberOfInputs: 0, outputChannelCount: [1] });
  gain = new GainNode(context, { gain: settings.volume });
  speaker.connect(gain).connect(context.destination);
  speaker.port.onmessage = ({ data }) => {
    played = data.played;
    measured.underruns = data.underruns;
    $('voice').value = Math.sqrt(data.peak);
    if (state.phase === 'speaking') document.body.style.setProperty('--size', 1 + 0.6 * data.peak);
    measured.log?.push([performance.now(), 'voice', data.peak]);
    if (data.news) {
      heard(state, data.news, performance.now());
      draw();
    }
  };
}

async function startMicrophone() {
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
  });
  const stop = () => stream.getTracks().forEach((t) => t.stop());
  let own;
  try {
    /* At the microphone's own rate: Firefox does not connect streams to a context of another. */
    own = await openContext();
    if (socket?.readyState !== WebSocket.OPEN) return stop(), own.close();      // closed meanwhile, which has been said
    const node = new AudioWorkletNode(own, 'capture', { numberOfOutputs: 0 });
    own.createMediaStreamSource(stream).connect(node);
    node.port.onmessage = ({ data }) => { if (microphone && !feeding) hear(data.samples, data.peak); };
    for (const track of stream.getTracks()) track.onended = () => { microphone?.stop(); trouble('The microphone is gone.'); };
    own.resume();
  } catch (error) {
    stop();
    own?.close();
    throw error;
  }
  microphone = { stop() { stop(); own.close(); microphone = null; trail(); } };
}

/* Whoever switches off in mid-sentence has asked: silence behind it tells the server so. */
function trail() {
  if (!feeding) send({ type: 'input_audio_buffer.append', audio: toBase64(floatToPcm16(withSilence([[]], silence()))) });
}

const silence = () => settings.silence / 1000 + 0.5;

/* 20 ms of microphone or file. A loud beginning over the answer holds the answer at once; the server decides. */
function hear(samples, peak) {
  measured.log?.push([performance.now(), 'mic', peak]);
  $('level').value = Math.sqrt(peak);
  if (state.phase !== 'speaking') document.body.style.setProperty('--size', 1 + 0.4 * peak);
  if (onset.hear(peak) && state.phase === 'speaking' && !held) {
    speaker.port.postMessage({ do: 'hold' });
    held = setTimeout(() => { held = 0; speaker.port.postMessage({ do: 'resume' }); }, 500);
  }
  send({ type: 'input_audio_buffer.append', audio: toBase64(floatToPcm16(samples)) });
}

/* A recording at the pace of speech, then silence that ends the question. */
async function askFile(file) {
  await connect();
  const sound = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await file.arrayBuffer());
  const samples = withSilence(Array.from({ length: sound.numberOfChannels }, (_, c) => sound.getChannelData(c)), silence());
  if (state.phase === 'closed') return;         // meanwhile, which has been said
  const start = performance.now(), before = state.starts;
  let at = 0;
  clearInterval(feeding);
  feeding = setInterval(() => {
    while (at < samples.length && at / RATE < (performance.now() - start) / 1000) {
      const part = samples.subarray(at, at + 480);
      hear(part, part.reduce((most, x) => Math.max(most, Math.abs(x)), 0));
      at += 480;
    }
    if (at < samples.length) return;
    endFile();
    setTimeout(() => {
      if (state.starts === before && state.phase !== 'closed') trouble(`${file.name}: the server heard no speech in it.`);
    }, 1500);
  }, 20);
  draw();
}

function endFile() {
  clearInterval(feeding);
  feeding = null;
  draw();
}

/* What of it was heard is no question. */
function dropFile() {
  if (!feeding) return;
  endFile();
  send({ type: 'input_audio_buffer.clear' });
  if (state.phase === 'hearing') state.phase = 'listening';
}

function replay(row) {
  stopReplay();
  const samples = row.pieces.map(pcm16ToFloat);
  const sound = new AudioBuffer({ length: samples.reduce((n, s) => n + s.length, 0), sampleRate: RATE });
  samples.reduce((at, s) => (sound.copyToChannel(s, 0, at), at + s.length), 0);
  const node = replaying = new AudioBufferSourceNode(context, { buffer: sound });
  node.connect(gain);
  node.onended = () => { if (node === replaying) stopReplay(); };
  node.start();
  draw();
}

function stopReplay() {
  const node = replaying;
  replaying = null;
  node?.stop();
  draw();
}

function download(row) {
  const link = piece('a', '', { href: URL.createObjectURL(new Blob([wav(row.pieces)], { type: 'audio/wav' })), download: 'answer.wav' });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/* ---- the conversation ---- */

function carryOut(effects) {
  for (const e of effects) {
    if (e.do === 'send') send(e.event);
    else if (e.do === 'ready') send(sessionUpdate(settings, audible));
    else {
      if (e.do === 'begin' || e.do === 'silence') {
        clearTimeout(held);
        held = 0;
      }
      if (e.do === 'begin') {
        played = 0;
        stopReplay();
      }
      speaker?.port.postMessage(e, e.samples ? [e.samples.buffer] : []);
    }
  }
  draw();
}

/* Done when there is sound, and a session that the server has greeted. */
function connect() {
  const sound = startSound();
  if (!socket || socket.readyState > WebSocket.OPEN) socket = openSocket();
  return Promise.all([sound, socket.greeted]);
}

function openSocket() {
  const key = sessionStorage.getItem('omni-key');
  const url = new URL('/v1/realtime', location.href);
  url.protocol = url.protocol.replace('http', 'ws');
  const mine = new WebSocket(url, key ? ['realtime', `openai-insecure-api-key.${key}`] : ['realtime']);
  let greet, refuse;
  mine.greeted = new Promise((done, failed) => { greet = done; refuse = failed; });
  mine.onmessage = ({ data }) => {
    if (mine !== socket) return;
    const event = JSON.parse(data);
    if (state.phase === 'closed' && event.type === 'error')
      return refuse(new Error(event.error.message + (event.error.code === 'invalid_api_key' ? ' Enter it under Settings.' : '')));
    carryOut(reduce(state, event, performance.now(), (played / RATE) * 1000));
    if (event.type === 'session.created') greet();
  };
  mine.onclose = async ({ reason }) => {
    const before = state.phase;
    if (mine === socket) closeDown();
    if (before === 'closed' || mine !== socket) return refuse(new Error(reason || await whyNot()));
    const said = state.rows.at(-1);         // the server may have told why, a moment ago
    if (said?.role !== 'trouble' || performance.now() - said.at > 2000) trouble(`The conversation was closed${reason ? `: ${reason}` : ''}. Start again.`);
  };
  return mine;
}

function closeDown() {
  state.phase = 'closed';
  state.item = state.response = null;
  microphone?.stop();
  endFile();
  stopReplay();
  speaker?.port.postMessage({ do: 'silence' });
  draw();
}

/* A browser does not tell a page why it got no socket. */
async function whyNot() {
  try {
    const answer = await fetch('/health');
    return answer.ok ? 'The server takes no conversation now: all may be taken. Try again in a moment.' : (await answer.json()).error.message;
  } catch {
    return 'The server can not be reached.';
  }
}

function stopAnswer() {
  dropFile();
  stopReplay();
  carryOut(interrupt(state, (played / RATE) * 1000));
  if (state.phase === 'thinking' || state.phase === 'speaking') state.phase = 'listening';
  draw();
}

$('talk').onclick = async () => {
  if (busy) return;       // the browser still asks for the microphone
  busy = true;
  try {
    if (microphone) return microphone.stop(), draw();
    await connect();
    if (audible) await startMicrophone();
  } catch (error) {
    trouble(error.name === 'NotAllowedError' ? 'The microphone was not allowed; type, or ask with a file.'
      : error.name === 'NotFoundError' ? 'There is no microphone; type, or ask with a file.' : error.message);
  } finally {
    busy = false;
  }
  draw();
};
$('stop').onclick = stopAnswer;
$('typed').onsubmit = async (submitted) => {
  submitted.preventDefault();
  const text = $('question').value.trim();
  if (!text) return;
  $('question').value = '';         // at once: a second Enter asks nothing
  try {
    await connect();
  } catch (error) {
    $('question').value ||= text;
    return trouble(error.message);
  }
  stopAnswer();
  state.rows.push({ role: 'user', text });
  state.askedAt = performance.now();
  state.phase = 'thinking';
  send({ type: 'conversation.item.create', item: { type: 'message', role: 'user', content: [{ type: 'input_text', text }] } });
  send({ type: 'response.create' });
  draw();
};
$('file').onchange = () => {
  const [file] = $('file').files;
  if (file) askFile(file).catch((error) => trouble(`${file.name}: ${error.message}`));
  $('file').value = '';
};
addEventListener('keydown', (e) => { if (e.key === 'Escape' && !$('settings').open) stopAnswer(); });

$('open-settings').onclick = () => $('settings').showModal();
const units = { threshold: '', silence: ' ms', volume: '' };
for (const name of Object.keys(units)) {
  const show = () => { $('settings').querySelector(`output[for=${name}]`).value = settings[name] + units[name]; };
  $(name).value = settings[name];
  show();
  $(name).oninput = () => {
    settings[name] = Number($(name).value);
    localStorage.setItem('omni', JSON.stringify(settings));
    if (gain) gain.gain.value = settings.volume;
    show();
  };
  $(name).onchange = () => { if (name !== 'volume') send(sessionUpdate(settings, audible)); };
}
$('key').value = sessionStorage.getItem('omni-key') ?? '';
$('key').onchange = () => sessionStorage.setItem('omni-key', $('key').value);
draw();
