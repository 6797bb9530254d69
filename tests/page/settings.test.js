import assert from "node:assert/strict";
import { test } from "node:test";

import {
  clean,
  forget,
  fromFragment,
  load,
  MAX_LINK_CHARS,
  store,
  toBody,
  toFragment,
} from "../../openai_frontend/static/js/settings.js";

const SETTINGS = {
  ...clean({}),
  text: "Hé & co + 1",
  voice: "anna(0.7)+bob(0.3)",
  speed: 1.25,
  language: "french",
  seed: "7",
};

function storage() {
  const values = new Map();
  return {
    getItem: (key) => values.get(key) ?? null,
    setItem: (key, value) => values.set(key, value),
    removeItem: (key) => values.delete(key),
  };
}

test("a link restores the settings, and says only what is not the default", () => {
  const fragment = toFragment(SETTINGS);
  assert.ok(!fragment.includes("model"));
  assert.deepEqual(fromFragment(fragment, clean({})), SETTINGS);
});

test("a long text is left out of the link, and the one on the page stays", () => {
  const fragment = toFragment({ ...SETTINGS, text: "x".repeat(MAX_LINK_CHARS + 1) });
  assert.equal(fromFragment(fragment, clean({ text: "mine" })).text, "mine");
});

test("a fragment of something else restores nothing", () => {
  assert.equal(fromFragment("", clean({})), null);
  assert.equal(fromFragment("#voices-title", clean({})), null);
});

test("settings survive in the storage until they are forgotten", () => {
  const place = storage();
  store(SETTINGS, place);
  assert.deepEqual(load(place), SETTINGS);
  forget(place);
  assert.deepEqual(load(place), clean({}));
});

test("what is not settings becomes the defaults", () => {
  assert.deepEqual(clean({ speed: "fast", seed: "-1", voice: { a: 1 }, other: 5 }), clean({}));
  assert.equal(clean({ speed: 99 }).speed, 4);
  const broken = { getItem: () => "{" };
  assert.deepEqual(load(broken), clean({}));
});

test("a full storage does no harm", () => {
  const full = {
    setItem: () => {
      throw new Error("full");
    },
  };
  assert.doesNotThrow(() => store(SETTINGS, full));
});

test("the request holds what was changed, and nothing else", () => {
  assert.deepEqual(toBody(clean({ text: "Hi", voice: "alloy" })), { model: "tts-1", voice: "alloy", input: "Hi" });
  assert.deepEqual(toBody({ ...SETTINGS, instructions: " calm " }), {
    model: "tts-1",
    voice: "anna(0.7)+bob(0.3)",
    input: "Hé & co + 1",
    instructions: "calm",
    language: "french",
    speed: 1.25,
    seed: 7,
  });
});
