import { Onset, RATE, floatToPcm16, fresh, growing, heard, interrupt, pcm16ToFloat, reduce, sessionUpdate, toBase64, wav } from './logic.js';

const $ = (id) => document.getElementById(id);
const state = fresh();
const settings = { threshold: 0.5, silence: 500, volume: 1, ...JSON.parse(localStorage.getItem('omni') ?? '{}') };
const measured = { underruns: 0, log: null };     // tests put an array there: [ms, 'mic' or 'voice', peak]
let socket, context, speaker, gain, microphone, starting = null, busy = false, played = 0, held = 0, feeding = null;
const onset = new Onset();
Object.assign(window, { omni: { state, measured } });

const words = {
  closed: 'Your microphone goes to this server only.', listening: 'Listening', hearing: 'Hearing you',
  thinking: 'Thinking', speaking: 'Speaking: talk to interrupt',
};

function send(event) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(event));
}

/* ---- what one sees ---- */

function piece(tag, text, set = {}) {
  return Object.assign(document.createElement(tag), { textContent: text, ...set });
}

function actions(row) {
  const line = piece('small', '');
  if (row.firstMs !== null) line.append(piece('span', `first sound ${row.firstMs} ms`));
  if (row.pieces.length === 0) return line;
  line.append(piece('button', 'Replay', { onclick: () => replay(row) }));
  const save = piece('button', 'Save', { onclick: () => download(row) });
  save.setAttribute('aria-label', 'Save this answer as a WAV file');
  line.append(save);
  return line;
}

/* One list item per row; only the text that changed is touched, so that it is read aloud once. */
function draw() {
  document.body.dataset.phase = state.phase;
  if ($('phase').textContent !== words[state.phase]) $('phase').textContent = words[state.phase];
  $('talk-label').textContent = state.phase === 'closed' ? 'Start talking' : microphone ? 'Turn the microphone off' : 'Turn the microphone on';
  $('stop').disabled = !state.item && !state.response;
  const list = $('history');
  const low = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  for (const row of state.rows) {
    if (!row.node) {
      row.node = piece('li', '', { className: row.role });
      row.node.append(piece('p', ''));
      list.append(row.node);
    }
    if (growing(state, row)) row.node.setAttribute('aria-busy', 'true');     // before its text changes
    if (row.node.firstChild.textContent !== row.text) row.node.firstChild.textContent = row.text;
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
  state.rows.push({ role: 'trouble', text });
  draw();
}

/* ---- sound ---- */

/* Once; those who come while it begins wait for the same, those who come after it failed try again. */
function startSound() {
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
  if (!navigator.mediaDevices) throw new Error('A browser gives the microphone to https pages and to localhost only; type, or play a file.');
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
    node.port.onmessage = ({ data }) => { if (microphone) hear(data.samples, data.peak); };
    own.resume();
  } catch (error) {
    stop();
    own?.close();
    throw error;
  }
  microphone = { stop() { stop(); own.close(); microphone = null; } };
}

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
async function playFile(file) {
  await connect();
  const sound = await context.decodeAudioData(await file.arrayBuffer());
  const samples = new Float32Array(sound.length + RATE * (settings.silence / 1000 + 0.5));
  samples.set(sound.getChannelData(0));
  clearInterval(feeding);
  const start = performance.now();
  let at = 0;
  feeding = setInterval(() => {
    while (at < samples.length && at / RATE < (performance.now() - start) / 1000) {
      const part = samples.subarray(at, at + 480);
      hear(part, part.reduce((most, x) => Math.max(most, Math.abs(x)), 0));
      at += 480;
    }
    if (at >= samples.length) clearInterval(feeding);
  }, 20);
}

function replay(row) {
  const samples = row.pieces.map(pcm16ToFloat);
  const sound = new AudioBuffer({ length: samples.reduce((n, s) => n + s.length, 0), sampleRate: RATE });
  samples.reduce((at, s) => (sound.copyToChannel(s, 0, at), at + s.length), 0);
  const node = new AudioBufferSourceNode(context, { buffer: sound });
  node.connect(gain);
  node.start();
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
    else if (e.do === 'ready') send(sessionUpdate(settings));
    else {
      if (e.do === 'begin' || e.do === 'silence') {
        clearTimeout(held);
        held = 0;
      }
      if (e.do === 'begin') played = 0;
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
    if (state.phase === 'closed' && event.type === 'error') return refuse(new Error(event.error.message));     // a wrong key
    carryOut(reduce(state, event, performance.now(), (played / RATE) * 1000));
    if (event.type === 'session.created') greet();
  };
  mine.onclose = ({ reason }) => {
    refuse(new Error(reason || 'The server can not be reached.'));
    if (mine !== socket) return;
    if (state.phase !== 'closed') trouble(`The conversation was closed${reason ? `: ${reason}` : ''}. Start again.`);
    state.phase = 'closed';
    state.item = state.response = null;
    microphone?.stop();
    speaker?.port.postMessage({ do: 'silence' });
    draw();
  };
  return mine;
}

function stopAnswer() {
  carryOut(interrupt(state, (played / RATE) * 1000));
  if (state.phase !== 'closed') state.phase = 'listening';
  draw();
}

$('talk').onclick = async () => {
  if (busy) return;       // the browser still asks for the microphone
  busy = true;
  try {
    if (microphone) return microphone.stop(), draw();
    await connect();
    await startMicrophone();
  } catch (error) {
    trouble(error.name === 'NotAllowedError' ? 'The microphone was not allowed; type, or play a file.'
      : error.name === 'NotFoundError' ? 'There is no microphone; type, or play a file.' : error.message);
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
  try {
    await connect();
  } catch (error) {
    return trouble(error.message);
  }
  if (state.item || state.response) stopAnswer();
  $('question').value = '';
  state.rows.push({ role: 'user', text });
  state.askedAt = performance.now();
  state.phase = 'thinking';
  send({ type: 'conversation.item.create', item: { type: 'message', role: 'user', content: [{ type: 'input_text', text }] } });
  send({ type: 'response.create' });
  draw();
};
$('file').onchange = () => {
  const [file] = $('file').files;
  if (file) playFile(file).catch((error) => trouble(`${file.name}: ${error.message}`));
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
  $(name).onchange = () => { if (name !== 'volume') send(sessionUpdate(settings)); };
}
$('key').value = sessionStorage.getItem('omni-key') ?? '';
$('key').onchange = () => sessionStorage.setItem('omni-key', $('key').value);
draw();
