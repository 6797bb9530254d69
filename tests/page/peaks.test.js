import assert from "node:assert/strict";
import { test } from "node:test";

import { Peaks } from "../../openai_frontend/static/js/peaks.js";

/** `seconds` of a constant level, 0 to 1. */
function level(seconds, value) {
  return new Uint8Array(
    Int16Array.from({ length: seconds * 24_000 }, (_, i) => (i % 2 ? 1 : -1) * value * 32768).buffer,
  );
}

test("bars are as loud as the speech in them", () => {
  const peaks = new Peaks();
  assert.equal(peaks.push(level(1, 0.5)), 0.5);
  assert.equal(peaks.push(level(1, 0.25)), 0.25);
  assert.deepEqual([...peaks.bars(4, 48_000)], [0.5, 0.5, 0.25, 0.25]);
  assert.deepEqual([...peaks.bars(8, 96_000)], [0.5, 0.5, 0.25, 0.25, 0, 0, 0, 0]);
});

test("more bars than bins have no gaps", () => {
  const peaks = new Peaks();
  peaks.push(level(0.05, 0.5));
  assert.ok(peaks.bars(300, 1200).every((bar) => bar === 0.5));
});

test("an hour takes no more memory than a minute, and its bars are still right", () => {
  const peaks = new Peaks();
  const [loud, soft] = [level(1, 0.5), level(1, 0.125)];
  for (let second = 0; second < 3600; second++) peaks.push(second < 1800 ? loud : soft);
  assert.equal(peaks.samples, 3600 * 24_000);
  assert.equal(peaks.bins.length, 2048);
  const bars = peaks.bars(10, peaks.samples);
  assert.deepEqual([...bars.slice(0, 5)], Array(5).fill(0.5));
  assert.deepEqual([...bars.slice(6)], Array(4).fill(0.125));
});

test("a sample that comes in two pieces counts once", () => {
  const peaks = new Peaks();
  for (const byte of level(0.01, 0.5)) peaks.push(Uint8Array.of(byte));
  assert.equal(peaks.samples, 240);
  assert.equal(peaks.bars(1, 240)[0], 0.5);
});

test("peaks survive being stored", () => {
  const peaks = new Peaks();
  peaks.push(level(1, 0.5));
  const kept = Peaks.of(JSON.parse(JSON.stringify(peaks)));
  assert.deepEqual(kept.bars(7, 24_000), peaks.bars(7, 24_000));
});
