// A speech request in flight: its events fill a track.

import { Problem } from "./problem.js";

const WARNINGS = { length: "The speech reached the server's length limit and was cut there." };

export class Speech {
  #abort = new AbortController();
  #begin_ms = performance.now();
  first_ms = null; // until the first audible sample
  total_ms = null;
  warnings = [];

  /** `open(signal)`: the events of the reply. */
  constructor(track, open) {
    this.track = track;
    this.open = open;
  }

  get seconds() {
    return (performance.now() - this.#begin_ms) / 1000;
  }

  /** Run until the end or a stop. Throws Problem; the audio received so far stays in the track. */
  async run() {
    let done = false;
    try {
      for await (const event of this.open(this.#abort.signal)) done = this.#take(event) || done;
      if (!done) throw new Problem("The connection broke before the end of the speech. Retry.");
      this.track.end();
    } catch (error) {
      this.track.end({ stopped: true });
      if (!this.#abort.signal.aborted) throw Problem.from(error);
    } finally {
      this.total_ms = performance.now() - this.#begin_ms;
    }
  }

  stop() {
    this.#abort.abort();
  }

  #take(event) {
    if (event.type === "audio") this.#hear(event.bytes);
    if (event.type === "speech.audio.timestamps") this.track.script.add(event.segments, event.words);
    if (event.type === "warning") this.warnings.push(event.text);
    if (event.type !== "speech.audio.done") return false;
    this.warnings.push(...(event.warnings ?? []));
    if (event.finish_reason && event.finish_reason !== "stop") {
      this.warnings.push(WARNINGS[event.finish_reason] ?? "The model ran away and was stopped. Try again.");
    }
    return true;
  }

  #hear(bytes) {
    this.track.push(bytes);
    if (this.track.audible) this.first_ms ??= performance.now() - this.#begin_ms;
  }
}
