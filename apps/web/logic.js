// What needs no browser: samples and their encodings, and what each event of the server means.

export const RATE = 24000;

/** Samples waiting to be played; grows, because a server may be far ahead of the loudspeaker. */
export class Ring {
  constructor(size = 1 << 15) {
    this.samples = new Float32Array(size);
    this.start = 0;
    this.filled = 0;
  }
  write(more) {
    const needed = this.filled + more.length;
    if (needed > this.samples.length) {
      let size = this.samples.length;
      while (size < needed) size *= 2;
      const bigger = new Float32Array(size);
      const kept = this.filled;
      this.read(bigger.subarray(0, kept));
      this.samples = bigger;
      this.start = 0;
      this.filled = kept;
    }
    const at = (this.start + this.filled) % this.samples.length;
    const first = Math.min(more.length, this.samples.length - at);
    this.samples.set(more.subarray(0, first), at);
    this.samples.set(more.subarray(first), 0);
    this.filled += more.length;
  }
  /** Fills out as far as there are samples; returns how many. */
  read(out) {
    const n = Math.min(out.length, this.filled);
    const first = Math.min(n, this.samples.length - this.start);
    out.set(this.samples.subarray(this.start, this.start + first), 0);
    out.set(this.samples.subarray(0, n - first), first);
    this.start = (this.start + n) % this.samples.length;
    this.filled -= n;
    return n;
  }
  clear() {
    this.start = this.filled = 0;
  }
}

/** The loudspeaker's side of an answer: begins after a little was collected, counts what sounded and the gaps. */
export class Player {
  constructor(lead = RATE * 0.06) {
    this.ring = new Ring();
    this.lead = lead;
    this.begin();
    this.underruns = 0;
    this.held = false;
  }
  begin() {
    this.ring.clear();
    this.played = 0;
    this.running = this.ended = this.done = this.held = false;
  }
  /** Fills out; returns 'started', 'finished', or nothing. */
  render(out) {
    out.fill(0);
    if (this.held || this.done) return;
    let news;
    if (!this.running) {
      if (this.ring.filled === 0 && !this.ended) return;
      if (this.ring.filled < this.lead && !this.ended) return;
      this.running = true;
      if (this.played === 0 && this.ring.filled > 0) news = 'started';
    }
    const n = this.ring.read(out);
    this.played += n;
    if (n < out.length && this.ended) {
      this.done = true;
      this.running = false;
      return 'finished';
    }
    if (n < out.length) {
      this.running = false;
      this.underruns++;
    }
    return news;
  }
}

/**
 * From one rate to another, chunk by chunk: polyphase filter of linear phase (sinc in a Kaiser window, 90 dB), flat to
 * 0.82 of the lower band's edge and closed at the edge; 32 samples of the lower rate late.
 */
export class Resampler {
  constructor(from, to = RATE) {
    const common = (a, b) => (b ? common(b, a % b) : a);
    this.up = to / common(from, to);
    this.down = from / common(from, to);
    this.half = Math.ceil(32 * Math.max(1, from / to));
    this.phases = new Map();
    this.cut = 0.91 * Math.min(1, to / from);
    this.waiting = new Float32Array(this.half - 1);       // what the next output needs, and whatever came after
    this.phase = 0;
  }
  /** The filter for an output that lies phase / up after an input. */
  taps(phase) {
    const made = this.phases.get(phase);
    if (made) return made;
    const bessel = (x) => { let sum = 1; for (let k = 1, t = 1; k < 40; k++) sum += (t *= (x / 2 / k) ** 2); return sum; };
    const taps = Float32Array.from({ length: 2 * this.half }, (_, k) => {
      const at = k - this.half + 1 - phase / this.up, turn = Math.PI * this.cut * at;
      const window = bessel(9 * Math.sqrt(Math.max(0, 1 - (at / this.half) ** 2))) / bessel(9);
      return this.cut * window * (turn ? Math.sin(turn) / turn : 1);
    });
    this.phases.set(phase, taps);
    return taps;
  }
  run(samples) {
    if (this.up === this.down) return samples;
    const input = new Float32Array(this.waiting.length + samples.length);
    input.set(this.waiting);
    input.set(samples, this.waiting.length);
    const out = [];
    let at = 0;
    while (at + 2 * this.half <= input.length) {
      const taps = this.taps(this.phase);
      let sum = 0;
      for (let k = 0; k < taps.length; k++) sum += taps[k] * input[at + k];
      out.push(sum);
      this.phase += this.down;
      at += Math.floor(this.phase / this.up);
      this.phase %= this.up;
    }
    this.waiting = input.slice(at);
    return Float32Array.from(out);
  }
}

export function floatToPcm16(samples) {
  const bytes = new Uint8Array(samples.length * 2);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < samples.length; i++) {
    const x = Math.max(-1, Math.min(1, samples[i]));
    view.setInt16(2 * i, Math.round(x * 32767), true);
  }
  return bytes;
}

export function pcm16ToFloat(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const samples = new Float32Array(bytes.byteLength >> 1);
  for (let i = 0; i < samples.length; i++) samples[i] = view.getInt16(2 * i, true) / 32768;
  return samples;
}

export function toBase64(bytes) {
  let text = '';
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}

export function fromBase64(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

/** A WAV file of PCM16 pieces. */
export function wav(pieces, rate = RATE) {
  const n = pieces.reduce((sum, p) => sum + p.length, 0);
  const bytes = new Uint8Array(44 + n);
  const view = new DataView(bytes.buffer);
  const word = (at, text) => [...text].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  word(0, 'RIFF');
  view.setUint32(4, 36 + n, true);
  word(8, 'WAVEfmt ');
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * 2, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  word(36, 'data');
  view.setUint32(40, n, true);
  let at = 44;
  for (const p of pieces) {
    bytes.set(p, at);
    at += p.length;
  }
  return bytes;
}

/** sound: can the page play any? */
export function sessionUpdate(settings, sound = true) {
  return {
    type: 'session.update',
    session: {
      type: 'realtime',
      output_modalities: [sound ? 'audio' : 'text'],
      audio: {
        input: {
          turn_detection: {
            type: 'server_vad', threshold: settings.threshold, silence_duration_ms: settings.silence,
            prefix_padding_ms: 300, create_response: true, interrupt_response: true,
          },
        },
      },
    },
  };
}

/** All channels of a recording as one, and silence behind them that ends a question. */
export function withSilence(channels, silence) {
  const samples = new Float32Array(channels[0].length + Math.round(silence * RATE));
  for (const channel of channels) channel.forEach((x, i) => { samples[i] += x / channels.length; });
  return samples;
}

/** starts: how often the server heard speech begin. */
export const fresh = () => ({ phase: 'closed', rows: [], item: null, response: null, askedAt: null, dropped: new Set(), starts: 0 });

/** What the page says of itself. ears: is there a microphone, or a file that speaks? */
export function status(phase, ears) {
  if (phase === 'listening' && !ears) return 'Ready. The microphone is off.';
  if (phase === 'speaking' && ears) return 'Speaking: talk to interrupt';
  return {
    closed: 'Your microphone goes to this server only.', listening: 'Listening', hearing: 'Hearing you',
    thinking: 'Thinking', speaking: 'Speaking',
  }[phase];
}

/** A session began, or begins anew and knows nothing of what stands above. */
function begin(state) {
  if (state.rows.some((row) => row.role !== 'trouble')) state.rows.push({ role: 'divider', text: 'New conversation' });
  state.phase = 'listening';
}

function answer(state, item) {
  return state.rows.find((row) => row.id === item);
}

/** Does the row's text still grow? It is read aloud once, when it is whole. */
export function growing(state, row) {
  return row.role === 'assistant' && row.id === state.item && state.response !== null;
}

/** The person wants silence: effects that bring it about. heardMs: of the answer that sounds. */
export function interrupt(state, heardMs, effects = []) {
  const row = answer(state, state.item);
  if (!row) {
    if (state.response) effects.push({ do: 'send', event: { type: 'response.cancel' } });
    return effects;
  }
  row.cut = true;
  state.dropped.add(row.id);
  effects.push({ do: 'silence' });
  if (state.response) effects.push({ do: 'send', event: { type: 'response.cancel' } });
  /* Text was read, not heard: nothing to cut. */
  if (!row.silent) effects.push({
    do: 'send',
    event: { type: 'conversation.item.truncate', item_id: row.id, content_index: 0, audio_end_ms: Math.floor(heardMs) },
  });
  state.item = null;
  return effects;
}

/** One event of the server at time now (ms); heardMs as above. Changes state and returns effects to carry out. */
export function reduce(state, event, now, heardMs = 0) {
  const effects = [];
  switch (event.type) {
    case 'session.created':
      begin(state);
      effects.push({ do: 'ready' });
      break;
    case 'input_audio_buffer.speech_started': {
      /* With interrupt_response the server has stopped by itself. */
      const before = state.response;
      state.starts++;
      state.response = null;
      interrupt(state, heardMs, effects);
      state.response = before;
      state.phase = 'hearing';
      break;
    }
    case 'input_audio_buffer.speech_stopped':
      state.askedAt = now;
      state.phase = 'thinking';
      break;
    case 'input_audio_buffer.committed':
      state.rows.push({ id: event.item_id, role: 'user', text: 'spoken question', spoken: true });
      break;
    case 'response.created':
      state.response = event.response.id;
      if (state.phase !== 'hearing') state.phase = 'thinking';
      break;
    case 'response.output_item.added':
      if (event.item.role !== 'assistant') break;
      state.item = event.item.id;
      state.rows.push({ id: event.item.id, role: 'assistant', text: '', pieces: [], firstMs: null, cut: false });
      effects.push({ do: 'begin' });
      break;
    case 'response.content_part.added': {
      const row = answer(state, event.item_id);
      if (row) row.silent = event.part.type === 'text';
      break;
    }
    case 'response.output_audio_transcript.delta':
    case 'response.output_text.delta': {
      const row = answer(state, event.item_id);
      if (row && !row.cut) row.text += event.delta;
      break;
    }
    case 'response.output_audio.delta': {
      const row = answer(state, event.item_id);
      if (!row || state.dropped.has(event.item_id)) break;
      const bytes = fromBase64(event.delta);
      row.pieces.push(bytes);
      effects.push({ do: 'play', samples: pcm16ToFloat(bytes) });
      break;
    }
    case 'response.output_audio.done':
      if (!state.dropped.has(event.item_id)) effects.push({ do: 'end' });
      break;
    case 'response.done':
      state.response = null;
      if (event.response.status === 'failed')
        state.rows.push({ role: 'trouble', at: now, text: event.response.status_details?.error?.message ?? 'The answer failed.' });
      if (state.phase === 'thinking' && (!state.item || answer(state, state.item)?.pieces.length === 0)) {
        state.phase = 'listening';
        state.item = null;
      }
      break;
    case 'error':
      if (event.error.code !== 'response_cancel_not_active') state.rows.push({ role: 'trouble', at: now, text: event.error.message });
      break;
  }
  return effects;
}

/** The loudspeaker's news. */
export function heard(state, news, now) {
  const row = answer(state, state.item);
  if (!row) return;
  if (news === 'started') {
    if (state.phase !== 'hearing') state.phase = 'speaking';
    if (state.askedAt !== null) row.firstMs = Math.round(now - state.askedAt);
    state.askedAt = null;
  } else if (news === 'finished') {
    if (state.phase === 'speaking' || state.phase === 'thinking') state.phase = 'listening';
    state.item = null;
  }
}

/** Does the microphone say that someone began to speak over the answer? Fed with peaks of 20 ms each. */
export class Onset {
  constructor(frames = 2, factor = 6, least = 0.02) {
    Object.assign(this, { frames, factor, least, floor: 0.003, above: 0 });
  }
  hear(peak) {
    const loud = peak > Math.max(this.least, this.factor * this.floor);
    this.above = loud ? this.above + 1 : 0;
    this.floor = peak < this.floor ? 0.8 * this.floor + 0.2 * peak : this.floor + 0.02 * (Math.min(peak, this.least) - this.floor);
    return this.above === this.frames;
  }
}
