import assert from "node:assert/strict";
import { test } from "node:test";

import { fileName, FORMATS } from "../../openai_frontend/static/js/files.js";
import { clock, spoken } from "../../openai_frontend/static/js/time.js";

test("there are seven formats", () => {
  assert.deepEqual(FORMATS.map(({ name }) => name).sort(), ["aac", "flac", "mp3", "ogg", "opus", "pcm", "wav"]);
});

test("a file is named by the voice and how the text begins", () => {
  assert.equal(fileName("Anna", "Hello, it's me: [pause:0.5s] again!", "mp3"), "anna-hello-it-s-me-again.mp3");
  assert.equal(fileName("Uncle Fu", "你好，世界", "wav"), "uncle-fu-你好-世界.wav");
  assert.equal(fileName("", "…", "pcm"), "speech.pcm");
  assert.equal(fileName("A", "../../etc/passwd", "wav"), "a-etc-passwd.wav");
});

test("a long name ends with a whole word", () => {
  const name = fileName("Anna", "wonderful ".repeat(20), "ogg");
  assert.equal(name, "anna-wonderful-wonderful-wonderful-wonderful.ogg");
});

test("durations read well, and sound well", () => {
  assert.equal(clock(75.9), "1:15");
  assert.equal(clock(3600), "1:00:00");
  assert.equal(spoken(0), "0 seconds");
  assert.equal(spoken(61), "1 minute 1 second");
  assert.equal(spoken(7200), "2 hours");
});
