import assert from "node:assert/strict";
import { test } from "node:test";

import { MAX_RESULTS, surplus } from "../../openai_frontend/static/js/history.js";
import { toPcm } from "../../openai_frontend/static/js/recording.js";
import { Speech } from "../../openai_frontend/static/js/speech.js";
import { Track } from "../../openai_frontend/static/js/track.js";

const BODY = { model: "tts-1", voice: "a", input: "One. Two.", seed: 5 };
const AUDIO = { type: "audio", bytes: toPcm(new Float32Array(4800).fill(0.5)) };
const DONE = { type: "speech.audio.done" };

async function* replay(events) {
  yield* events;
}

function speak(events, text = BODY.input) {
  const track = new Track({ text, body: BODY, title: "a" });
  return [track, new Speech(track, () => replay(events))];
}

test("a request becomes a track with its figures and warnings", async () => {
  const [track, speech] = speak([
    { type: "warning", text: "w1" },
    AUDIO,
    AUDIO,
    { ...DONE, warnings: ["w2"], finish_reason: "length" },
  ]);
  await speech.run();
  assert.equal(track.seconds, 0.4);
  assert.deepEqual([track.complete, track.stopped, track.audible], [true, false, true]);
  assert.ok(speech.first_ms >= 0);
  assert.deepEqual(speech.warnings.slice(0, 2), ["w1", "w2"]);
  assert.match(speech.warnings[2], /length limit/);
});

test("a stream that ends without its last event is an error, and what came before stays", async () => {
  const [track, speech] = speak([AUDIO]);
  await assert.rejects(speech.run(), /connection broke/);
  assert.deepEqual([track.seconds, track.complete, track.stopped], [0.2, true, true]);
});

test("events that the page does not know are passed over", async () => {
  const [track, speech] = speak([{ type: "speech.audio.later", x: 1 }, AUDIO, DONE]);
  await speech.run();
  assert.equal(track.seconds, 0.2);
});

test("what is made again is the same request, its seed included", async () => {
  const [track, speech] = speak([AUDIO, DONE]);
  await speech.run();
  assert.deepEqual(track.request(), BODY);
});

test("a stopped short text is made again up to where it was stopped", () => {
  const [track] = speak([]);
  track.push(AUDIO.bytes);
  track.push(AUDIO.bytes);
  track.end({ stopped: true });
  assert.deepEqual(track.request(), { ...BODY, max_new_tokens: 5 });
});

test("a stopped long text is made again up to the end of the segment", () => {
  const [track] = speak([]);
  track.push(AUDIO.bytes);
  track.script.add([{ id: 0, count: 2, start: 0, text: "One." }]);
  track.end({ stopped: true });
  assert.deepEqual(track.request(), { ...BODY, input: "One." });
});

test("the history keeps a bounded number of results and of bytes, the newest ones", () => {
  const results = Array.from({ length: MAX_RESULTS + 2 }, (_, i) => ({ id: i, audio: { size: 1 } }));
  assert.deepEqual(surplus(results), [MAX_RESULTS, MAX_RESULTS + 1]);
  assert.deepEqual(
    surplus([
      { id: "a", audio: { size: 1 } },
      { id: "b", audio: { size: 2 ** 30 } },
    ]),
    ["b"],
  );
});
