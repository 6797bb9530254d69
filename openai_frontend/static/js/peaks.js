// The loudness of a track in a limited number of bins: when all are used, pairs of bins are merged.

const MAX_BINS = 2048;
const FIRST_SPAN = 240; // samples of a bin: 10 ms

export class Peaks {
  bins = new Float32Array(MAX_BINS);
  span = FIRST_SPAN;
  samples = 0;
  version = 0; // changes with the picture
  #odd = null; // the first byte of an incomplete sample

  static of({ bins, span, samples }) {
    return Object.assign(new Peaks(), { bins: Float32Array.from(bins), span, samples });
  }

  toJSON() {
    return { bins: Array.from(this.bins), span: this.span, samples: this.samples };
  }

  /** Append PCM (s16le) of any length. Returns its loudest sample, 0 to 1. */
  push(bytes) {
    let loudest = 0;
    for (const byte of bytes) {
      if (this.#odd === null) {
        this.#odd = byte;
        continue;
      }
      const level = Math.abs(((byte << 24) >> 16) | this.#odd) / 32768;
      this.#odd = null;
      if (level > loudest) loudest = level;
      this.#add(level);
    }
    this.version++;
    return loudest;
  }

  #add(level) {
    let bin = Math.floor(this.samples / this.span);
    if (bin === MAX_BINS) {
      this.#merge();
      bin = Math.floor(this.samples / this.span);
    }
    if (level > this.bins[bin]) this.bins[bin] = level;
    this.samples++;
  }

  #merge() {
    for (let i = 0; i < MAX_BINS / 2; i++) this.bins[i] = Math.max(this.bins[2 * i], this.bins[2 * i + 1]);
    this.bins.fill(0, MAX_BINS / 2);
    this.span *= 2;
  }

  /** The loudness of `count` bars over `samples` samples, which may exceed the track's length. */
  bars(count, samples) {
    const bars = new Float32Array(count);
    const used = Math.ceil(this.samples / this.span);
    for (let bin = 0; bin < used; bin++) {
      // A bin wider than a bar is drawn in all of its bars.
      const first = Math.floor((bin * this.span * count) / samples);
      const last = Math.max(first + 1, Math.floor((Math.min((bin + 1) * this.span, this.samples) * count) / samples));
      for (let bar = first; bar < Math.min(last, count); bar++) bars[bar] = Math.max(bars[bar], this.bins[bin]);
    }
    return bars;
  }
}
