// Received PCM: s16le, mono, 24 kHz. Complete blocks are stored in Blobs, which browsers move to disk, so that an hour
// of audio (173 MB) does not fill the page's memory.

export const RATE_HZ = 24_000;
const BLOCK_BYTES = 2 ** 20;

export class Pcm {
  #blocks = []; // { begin, blob }
  #tail = new Uint8Array(BLOCK_BYTES);
  #tailBegin = 0;
  #bytes = 0;

  /** Speech from a Blob of whole samples. */
  static of(blob) {
    const pcm = new Pcm();
    pcm.#blocks = [{ begin: 0, blob }];
    pcm.#tailBegin = pcm.#bytes = blob.size;
    return pcm;
  }

  get samples() {
    return this.#bytes >> 1;
  }

  get seconds() {
    return this.samples / RATE_HZ;
  }

  /** Append bytes of any length. */
  push(bytes) {
    for (let taken = 0; taken < bytes.length;) {
      const used = this.#bytes - this.#tailBegin;
      const piece = bytes.subarray(taken, taken + BLOCK_BYTES - used);
      this.#tail.set(piece, used);
      this.#bytes += piece.length;
      taken += piece.length;
      if (used + piece.length === BLOCK_BYTES) this.#seal();
    }
  }

  #seal() {
    this.#blocks.push({ begin: this.#tailBegin, blob: new Blob([this.#tail]) });
    this.#tailBegin = this.#bytes;
    this.#tail = new Uint8Array(BLOCK_BYTES);
  }

  /** At most `count` samples from `from` on, -1 to 1. */
  async read(from, count) {
    const begin = 2 * from;
    const end = Math.min(2 * (from + count), 2 * this.samples);
    const bytes = new Uint8Array(Math.max(0, end - begin));
    for (const block of this.#blocks) {
      if (block.begin + block.blob.size <= begin || block.begin >= end) continue;
      const part = block.blob.slice(Math.max(0, begin - block.begin), end - block.begin);
      bytes.set(new Uint8Array(await part.arrayBuffer()), Math.max(0, block.begin - begin));
    }
    if (end > this.#tailBegin) {
      const first = Math.max(0, begin - this.#tailBegin);
      bytes.set(this.#tail.subarray(first, end - this.#tailBegin), this.#tailBegin + first - begin);
    }
    return floats(bytes);
  }

  /** All samples, without a header. */
  raw() {
    const tail = this.#tail.slice(0, 2 * this.samples - this.#tailBegin);
    return new Blob([...this.#blocks.map(({ blob }) => blob), tail], { type: "audio/pcm" });
  }

  /** All samples as a WAV file. */
  wav() {
    const raw = this.raw();
    return new Blob([wavHeader(raw.size), raw], { type: "audio/wav" });
  }
}

function floats(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const samples = new Float32Array(bytes.length >> 1);
  for (let i = 0; i < samples.length; i++) samples[i] = view.getInt16(2 * i, true) / 32768;
  return samples;
}

function wavHeader(size) {
  const header = new DataView(new ArrayBuffer(44));
  const text = (place, letters) =>
    [...letters].forEach((letter, i) => header.setUint8(place + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  header.setUint32(4, 36 + size, true);
  text(8, "WAVEfmt ");
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true); // PCM
  header.setUint16(22, 1, true); // mono
  header.setUint32(24, RATE_HZ, true);
  header.setUint32(28, 2 * RATE_HZ, true);
  header.setUint16(32, 2, true);
  header.setUint16(34, 16, true);
  text(36, "data");
  header.setUint32(40, size, true);
  return header;
}
