// A piece of speech: its audio, waveform, timed text, and request.

import { Pcm } from "./pcm.js";
import { Peaks } from "./peaks.js";
import { Script } from "./script.js";

const AUDIBLE = 0.01; // -40 dBFS: silence does not count as audio

export class Track extends EventTarget {
  complete = false;
  stopped = false; // before its end
  audible = false;
  id = null; // in the history

  /** `body`: the speech request, or null if it is not repeatable; `title`: the name of the voice. */
  constructor({ text, body = null, title, pcm = new Pcm(), peaks = new Peaks(), script = new Script(text) }) {
    super();
    Object.assign(this, { text, body, title, pcm, peaks, script });
  }

  get seconds() {
    return this.pcm.seconds;
  }

  push(bytes) {
    this.pcm.push(bytes);
    if (this.peaks.push(bytes) > AUDIBLE) this.audible = true;
    this.dispatchEvent(new Event("grow"));
  }

  /** Mark the end of the audio. */
  end({ stopped = false } = {}) {
    if (this.complete) return;
    this.complete = true;
    this.stopped = stopped;
    this.dispatchEvent(new Event("grow"));
  }

  /** A request that repeats this speech: the same seed, the same audio. After a stop, it ends there, or in a long text
   *  with the segment of the stop. */
  request() {
    const { text, script, seconds } = this;
    if (!this.stopped) return this.body;
    if (script.count > 1 && script.end !== null) return { ...this.body, input: text.slice(0, script.end) };
    if (script.count > 1) return this.body;
    return { ...this.body, max_new_tokens: Math.max(1, Math.round((seconds * (this.body.speed ?? 1)) / 0.08)) };
  }
}
