import assert from "node:assert/strict";
import { test } from "node:test";

import { blend, find, sampleOf, search, spoken, takesStyle, voicesOf } from "../../openai_frontend/static/js/voices.js";

const LIST = [
  {
    id: "vivian",
    name: "vivian",
    gender: "female",
    language: "chinese",
    description: "bright voice",
    model: "qwen3_tts_custom_voice",
    languages: ["chinese", "english"],
    available: true,
  },
  { id: "uncle_fu", name: "uncle_fu", gender: "male", language: "chinese", description: "mellow voice" },
  { id: "nova", name: "nova", same_as: "vivian", available: true },
  { id: "broken", name: "broken", available: false, reason: "no weights" },
  { id: "voice_1", name: "Anna", type: "audio_sample", language: "german" },
  { id: "voice_2", name: "Bob", type: "prompt", prompt: "An old captain" },
];
const voices = voicesOf(LIST);

test("each voice is there once, with its other names, and what cannot be loaded is not", () => {
  assert.deepEqual(
    voices.map(({ id }) => id),
    ["vivian", "uncle_fu", "voice_1", "voice_2"],
  );
  assert.deepEqual(voices[0].aliases, ["nova"]);
  assert.deepEqual(
    voices.map(({ kind }) => kind),
    ["Built in", "Built in", "Cloned", "Designed"],
  );
  assert.equal(voices[1].title, "Uncle Fu");
  assert.equal(voices[3].description, "An old captain");
});

test("a search finds name, other name, description, language and kind, all words of it", () => {
  const names = (query, filter) => search(voices, query, filter).map(({ name }) => name);
  assert.deepEqual(names("nova"), ["vivian"]);
  assert.deepEqual(names("chinese MELLOW"), ["uncle_fu"]);
  assert.deepEqual(names("male"), ["uncle_fu"]);
  assert.deepEqual(names("cloned"), ["Anna"]);
  assert.deepEqual(names("", "own"), ["Anna", "Bob"]);
  assert.deepEqual(names("a", "built-in"), ["vivian", "uncle_fu"]);
  assert.deepEqual(names("nobody"), []);
});

test("a voice is found by id, by name and by another name", () => {
  assert.equal(find(voices, "nova").id, "vivian");
  assert.equal(find(voices, "anna").id, "voice_1");
  assert.equal(find(voices, "gone"), undefined);
});

test("a blend is written as requests name it, and read back", () => {
  const id = blend(voices[2], voices[3], 0.7);
  assert.equal(id, "Anna(0.7)+Bob(0.3)");
  const voice = find(voices, id);
  assert.deepEqual([voice.kind, voice.title], ["Blend", "Anna 70 % + Bob 30 %"]);
});

test("a sample is in a language that the voice's model speaks", () => {
  assert.equal(sampleOf(voices[0]).language, "chinese");
  assert.equal(sampleOf({ language: "chinese", languages: ["english"] }).language, "english");
  assert.equal(sampleOf({ language: "beijing_dialect", languages: ["chinese"] }).language, "chinese");
  assert.equal(sampleOf(voices[1]).language, "english", "a server that does not say may speak English only");
});

test("a style is offered where it has an effect, or may have one", () => {
  assert.equal(takesStyle(voices[0]), true);
  assert.equal(takesStyle({ model: "hibari", own: false }), false);
  assert.equal(takesStyle({ model: null, own: false }), true);
  assert.equal(takesStyle({ model: null, own: true }), false);
});

test("only languages that a voice speaks are counted, and all where the server does not say", () => {
  const languages = ["auto", "english", "german"];
  assert.deepEqual(spoken([{ languages: ["english"] }], languages), ["english"]);
  assert.deepEqual(spoken([{ languages: ["english"] }, { languages: null }], languages), ["english", "german"]);
  assert.deepEqual(spoken([], languages), []);
});
