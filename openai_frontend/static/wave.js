// The loudness of the speech as bars, the part already heard in colour.

const BAR_SAMPLES = 1200; // 50 ms
const MIN_BARS = 100;

export class Wave {
  constructor(canvas) {
    this.canvas = canvas;
    this.clear();
  }

  clear() {
    this.peaks = [];
    this.filled = 0;
    this.draw(0);
  }

  add(piece) {
    for (const sample of piece) {
      if (this.filled % BAR_SAMPLES === 0) this.peaks.push(0);
      const last = this.peaks.length - 1;
      this.peaks[last] = Math.max(this.peaks[last], Math.abs(sample) / 32768);
      this.filled++;
    }
  }

  draw(heard_s) {
    const { width, height } = this.canvas;
    const style = getComputedStyle(this.canvas);
    const pen = this.canvas.getContext("2d");
    pen.clearRect(0, 0, width, height);
    const step = width / Math.max(MIN_BARS, this.peaks.length);
    const heard_bars = (heard_s * 24000) / BAR_SAMPLES;
    for (let bar = 0; bar < Math.max(MIN_BARS, this.peaks.length); bar++) {
      const tall = Math.max(3, Math.sqrt(this.peaks[bar] ?? 0) * height); // the root: speech is mostly quiet
      pen.fillStyle = style.getPropertyValue(bar < heard_bars ? "--played" : "--waiting");
      pen.fillRect(bar * step, (height - tall) / 2, Math.max(1, step * 0.65), tall);
    }
  }
}
