// The two ends of the sound, on the audio thread.
import { Player, Resampler } from './logic.js';

/** Microphone: 20 ms pieces at the server's rate, with their peaks. */
class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate);
    this.piece = new Float32Array(480);
    this.n = 0;
  }
  process([input]) {
    const samples = input[0] && this.resampler.run(input[0]);
    for (let i = 0; samples && i < samples.length; i++) {
      this.piece[this.n++] = samples[i];
      if (this.n < this.piece.length) continue;
      let peak = 0;
      for (const x of this.piece) peak = Math.max(peak, Math.abs(x));
      this.port.postMessage({ samples: this.piece, peak }, [this.piece.buffer]);
      this.piece = new Float32Array(480);
      this.n = 0;
    }
    return true;
  }
}

/** Loudspeaker: plays what it is sent, tells what has sounded. */
class Playback extends AudioWorkletProcessor {
  constructor() {
    super();
    this.player = new Player();
    this.blocks = 0;
    this.peak = 0;
    this.port.onmessage = ({ data }) => {
      if (data.do === 'begin') this.player.begin();
      if (data.do === 'play') this.player.ring.write(data.samples);
      if (data.do === 'end') this.player.ended = true;
      if (data.do === 'hold') this.player.held = true;
      if (data.do === 'resume') this.player.held = false;
      if (data.do === 'silence') this.player.begin();
    };
  }
  process(inputs, [output]) {
    const news = this.player.render(output[0]);
    for (let c = 1; c < output.length; c++) output[c].set(output[0]);
    for (const x of output[0]) this.peak = Math.max(this.peak, Math.abs(x));
    if (news || ++this.blocks % 4 === 0) {
      this.port.postMessage({ news, played: this.player.played, underruns: this.player.underruns, peak: this.peak });
      this.peak = 0;
    }
    return true;
  }
}

registerProcessor('capture', Capture);
registerProcessor('playback', Playback);
