import assert from "node:assert/strict";
import { test } from "node:test";

import { Typed } from "../../openai_frontend/static/js/typed.js";

test("complete words are taken once, the last word when it is complete", () => {
  const typed = new Typed();
  assert.equal(typed.take("Hel"), "");
  assert.equal(typed.take("Hello wor"), "Hello ");
  assert.equal(typed.take("Hello world, and"), "world, ");
  assert.equal(typed.take("Hello world, and", { all: true }), "and");
  assert.equal(typed.take("Hello world, and", { all: true }), "");
});

test("a word that is corrected before it was sent is sent as corrected", () => {
  const typed = new Typed();
  typed.take("One tow");
  assert.equal(typed.take("One two "), "two ");
});

test("an edit in sent text is not spoken, and what follows at the end is", () => {
  const typed = new Typed();
  typed.take("One two. ");
  assert.equal(typed.take("One and two. "), "");
  assert.equal(typed.take("One and two. Three. "), "Three. ");
});

test("after sent text was deleted, what is typed instead is spoken", () => {
  const typed = new Typed();
  typed.take("One two. ");
  assert.equal(typed.take("One "), "");
  assert.equal(typed.take("One more. "), "more. ");
});

test("text without spaces is complete at its marks", () => {
  assert.equal(new Typed().take("今天天气真好，我们"), "今天天气真好，");
});
