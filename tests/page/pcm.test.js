import assert from "node:assert/strict";
import { test } from "node:test";

import { Pcm } from "../../openai_frontend/static/js/pcm.js";

const MIB = 2 ** 20;

/** Samples 0, 1, 2, … as s16le. */
function ramp(count) {
  return new Uint8Array(Int16Array.from({ length: count }, (_, i) => i % 30_000).buffer);
}

function filled(bytes, step) {
  const pcm = new Pcm();
  for (let begin = 0; begin < bytes.length; begin += step) pcm.push(bytes.subarray(begin, begin + step));
  return pcm;
}

test("samples are read as they were pushed, across pieces of odd length and blocks", async () => {
  const pcm = filled(ramp(1.5 * MIB), 99_999);
  assert.equal(pcm.samples, 1.5 * MIB);
  for (const from of [0, MIB / 2 - 3, MIB - 3, 1.5 * MIB - 5]) {
    const samples = await pcm.read(from, 6);
    const expected = Array.from({ length: Math.min(6, 1.5 * MIB - from) }, (_, i) => ((from + i) % 30_000) / 32768);
    assert.deepEqual([...samples], expected);
  }
  assert.equal((await pcm.read(1.5 * MIB, 10)).length, 0);
});

test("a WAV file has a header of 44 bytes that says its sizes", async () => {
  const bytes = ramp(1000);
  const file = new DataView(await filled(bytes, 7).wav().arrayBuffer());
  assert.equal(file.byteLength, 44 + 2000);
  assert.equal(file.getUint32(4, true), 36 + 2000);
  assert.equal(file.getUint32(24, true), 24_000);
  assert.equal(file.getUint32(40, true), 2000);
  assert.deepEqual(new Uint8Array(file.buffer, 44), bytes);
});

test("half a sample at the end is in no file", async () => {
  const pcm = filled(ramp(10).subarray(0, 19), 4);
  assert.equal(pcm.samples, 9);
  assert.equal(pcm.raw().size, 18);
});

test("speech from a Blob is read as well", async () => {
  const pcm = Pcm.of(new Blob([ramp(100)]));
  assert.equal(pcm.seconds, 100 / 24_000);
  assert.deepEqual([...(await pcm.read(98, 10))], [98 / 32768, 99 / 32768]);
});

test("an hour of speech leaves less than three blocks in the page's own memory", () => {
  const pcm = new Pcm();
  const piece = new Uint8Array(96_000);
  const before = process.memoryUsage();
  for (let second = 0; second < 3600; second += 2) pcm.push(piece);
  const after = process.memoryUsage();
  assert.equal(pcm.seconds, 3600);
  assert.ok(after.heapUsed - before.heapUsed < 20 * MIB, `${after.heapUsed - before.heapUsed} bytes`);
});
