// A recording from the microphone, in the browser's format (WebM or MP4), and its current level.

import { Problem } from "./problem.js";

export const MAX_S = 60;
const REFUSED = {
  NotAllowedError: "The browser was not allowed to use the microphone. Allow it in the address bar, or upload a file.",
  NotFoundError: "There is no microphone. Connect one, or upload a file.",
  NotReadableError: "Another program is using the microphone. Close it, or upload a file.",
};

export class Microphone {
  #stream;
  #recorder;
  #context;
  #analyser;
  #samples;
  #begin_ms = performance.now();
  #stopped;

  /** Request the microphone and start recording. Throws Problem. */
  static async open() {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Problem("Browsers allow the microphone on https or localhost only. Upload a file instead.");
    }
    // No voice processing: a clone needs the natural voice.
    const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };
    try {
      return new Microphone(await navigator.mediaDevices.getUserMedia({ audio }));
    } catch (error) {
      throw new Problem(
        REFUSED[error.name] ?? `The microphone does not work: ${error.message}. Upload a file instead.`,
      );
    }
  }

  constructor(stream) {
    this.#stream = stream;
    this.#context = new AudioContext();
    this.#analyser = this.#context.createAnalyser();
    this.#samples = new Float32Array(this.#analyser.fftSize);
    this.#context.createMediaStreamSource(stream).connect(this.#analyser);
    this.#recorder = new MediaRecorder(stream, { audioBitsPerSecond: 192_000 });
    const parts = [];
    this.#recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
    this.#stopped = new Promise((resolve) => {
      this.#recorder.addEventListener("stop", () => resolve(new Blob(parts, { type: this.#recorder.mimeType })));
    });
    this.#recorder.start();
  }

  get seconds() {
    return (performance.now() - this.#begin_ms) / 1000;
  }

  /** The current level, 0 to 1, with -60 dBFS as 0. */
  get level() {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    const square = this.#samples.reduce((sum, sample) => sum + sample * sample, 0) / this.#samples.length;
    return Math.min(1, Math.max(0, 1 + (10 * Math.log10(square + 1e-9)) / 60));
  }

  /** Stop, and return the recording. */
  async stop() {
    if (this.#recorder.state !== "inactive") this.#recorder.stop();
    const blob = await this.#stopped;
    for (const track of this.#stream.getTracks()) track.stop();
    this.#context.close();
    return blob;
  }
}
