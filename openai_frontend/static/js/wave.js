// The waveform of a track: bars, coloured up to the position. Drawing time depends on the width, not on the length of
// the speech.

import { RATE_HZ } from "./pcm.js";

const BAR_PX = 4;
const GAP_PX = 1.5;
const LEAST_S = 8; // minimum width, so that a short track does not rescale while it grows

export class Wave {
  #canvas;
  #drawn = "";
  #bars = new Float32Array();
  #barsOf = "";
  #track = null;

  /** `ondirty` is called when the waveform must be redrawn. */
  constructor(canvas, ondirty = () => {}) {
    this.#canvas = canvas;
    this.ondirty = ondirty;
    this.resize();
    new ResizeObserver(() => this.resize()).observe(canvas);
    for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
      matchMedia(query).addEventListener("change", () => requestAnimationFrame(() => this.#forget()));
    }
  }

  resize() {
    const { clientWidth, clientHeight } = this.#canvas;
    this.scale = devicePixelRatio || 1;
    this.#canvas.width = Math.max(1, Math.round(clientWidth * this.scale));
    this.#canvas.height = Math.max(1, Math.round(clientHeight * this.scale));
    this.#forget();
  }

  #forget() {
    this.#drawn = "";
    // Real CSS properties: their computed values are colours in every theme.
    const style = getComputedStyle(this.#canvas);
    [this.played, this.waiting] = [style.color, style.borderTopColor];
    this.ondirty();
  }

  /** The width of the waveform in seconds. */
  static width_s(track) {
    if (!track) return LEAST_S;
    return track.complete ? Math.max(track.seconds, 0.01) : Math.max(track.seconds, LEAST_S);
  }

  /** Draw `track` (or none), played up to a time; does nothing if the picture is unchanged. */
  draw(track, heard_s) {
    if (track !== this.#track) this.#drawn = "";
    this.#track = track;
    const { width, height } = this.#canvas;
    const count = Math.max(1, Math.floor(width / (BAR_PX * this.scale)));
    const width_s = Wave.width_s(track);
    const heard = track ? Math.round((heard_s / width_s) * count) : 0;
    const picture = `${count} ${width_s} ${track?.peaks.version}`;
    const frame = `${picture} ${heard} ${width} ${height}`;
    if (frame === this.#drawn) return;
    if (picture !== this.#barsOf || !this.#drawn) {
      this.#bars = track ? track.peaks.bars(count, width_s * RATE_HZ) : new Float32Array(count);
    }
    [this.#drawn, this.#barsOf] = [frame, picture];
    const pen = this.#canvas.getContext("2d");
    pen.clearRect(0, 0, width, height);
    this.#paint(pen, this.played, 0, heard);
    this.#paint(pen, this.waiting, heard, count);
  }

  #paint(pen, colour, from, to) {
    const { height } = this.#canvas;
    const [step, wide] = [BAR_PX * this.scale, (BAR_PX - GAP_PX) * this.scale];
    pen.fillStyle = colour;
    pen.beginPath();
    for (let bar = from; bar < to; bar++) {
      const tall = Math.max(wide, Math.sqrt(this.#bars[bar]) * height); // the square root, since speech is mostly quiet
      pen.roundRect(bar * step, (height - tall) / 2, wide, tall, wide / 2);
    }
    pen.fill();
  }
}
