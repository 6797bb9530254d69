// PCM (s16le, mono, 24 kHz) to the loudspeaker while it arrives, and to a WAV file when it has.
// Scheduled buffers, not an AudioWorklet: that one exists on https and localhost only, and this page is also opened by
// the plain http address of a machine at home.

export const RATE_HZ = 24000;
const LEAD_S = 0.05; // how far ahead of the loudspeaker a piece is scheduled when nothing plays

export class Player {
  constructor() {
    this.context = new AudioContext({ sampleRate: RATE_HZ });
    this.context.resume();
    this.pieces = []; // Int16Array
    this.samples = 0;
    this.odd = null; // half a sample, when the network cut one in two
    this.begin_s = null;
    this.next_s = 0;
    this.sources = new Set();
  }

  /** Take bytes of any length; returns the whole samples in them. */
  push(bytes) {
    if (this.odd !== null) {
      const joined = new Uint8Array(bytes.length + 1);
      joined[0] = this.odd;
      joined.set(bytes, 1);
      bytes = joined;
    }
    this.odd = bytes.length % 2 ? bytes[bytes.length - 1] : null;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length - (bytes.length % 2));
    const piece = new Int16Array(view.byteLength / 2);
    for (let i = 0; i < piece.length; i++) piece[i] = view.getInt16(2 * i, true);
    if (piece.length) this.#schedule(piece);
    return piece;
  }

  /** Seconds of the speech that were heard so far. */
  get heard_s() {
    if (this.begin_s === null) return 0;
    return Math.max(0, Math.min(this.context.currentTime - this.begin_s, this.samples / RATE_HZ));
  }

  /** Resolves when the last piece has been played. */
  async ended() {
    while (this.sources.size) await new Promise((done) => [...this.sources].at(-1).addEventListener("ended", done));
  }

  close() {
    for (const source of this.sources) source.stop();
    this.sources.clear();
    return this.context.close();
  }

  wav() {
    const header = new DataView(new ArrayBuffer(44));
    const text = (at, letters) => [...letters].forEach((letter, i) => header.setUint8(at + i, letter.charCodeAt(0)));
    const size = 2 * this.samples;
    text(0, "RIFF"), header.setUint32(4, 36 + size, true), text(8, "WAVEfmt ");
    header.setUint32(16, 16, true), header.setUint16(20, 1, true), header.setUint16(22, 1, true);
    header.setUint32(24, RATE_HZ, true), header.setUint32(28, 2 * RATE_HZ, true);
    header.setUint16(32, 2, true), header.setUint16(34, 16, true);
    text(36, "data"), header.setUint32(40, size, true);
    return new Blob([header, ...this.pieces], { type: "audio/wav" });
  }

  #schedule(piece) {
    this.pieces.push(piece);
    this.samples += piece.length;
    const buffer = this.context.createBuffer(1, piece.length, RATE_HZ);
    buffer.copyToChannel(Float32Array.from(piece, (sample) => sample / 32768), 0);
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.context.destination);
    const late_s = this.context.currentTime + LEAD_S - this.next_s;
    if (this.begin_s === null) this.begin_s = this.context.currentTime + LEAD_S;
    else if (late_s > LEAD_S) this.begin_s += late_s; // the network or the model was slower than the listener
    this.next_s = Math.max(this.next_s, this.begin_s + (this.samples - piece.length) / RATE_HZ);
    source.addEventListener("ended", () => this.sources.delete(source));
    this.sources.add(source);
    source.start(this.next_s);
    this.next_s += buffer.duration;
  }
}
