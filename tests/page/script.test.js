import assert from "node:assert/strict";
import { test } from "node:test";

import { Script } from "../../openai_frontend/static/js/script.js";

const segment = (id, start, text, count = 3) => ({ id, count, start, text });

test("the segment that is heard is found in the text, whatever the white space between its words", () => {
  const script = new Script("One two.\n\nThree  four. One two.");
  script.add([segment(0, 0, "One two."), segment(1, 2, "Three four.")]);
  script.add([segment(2, 4, "One two.")]);
  const { text } = script;
  const heard = (time_s) => {
    const { number, range } = script.at(time_s);
    return [number, text.slice(range.begin, range.end)];
  };
  assert.deepEqual(heard(1), [1, "One two."]);
  assert.deepEqual(heard(2), [2, "Three  four."]);
  assert.equal(script.at(9).range.begin, text.lastIndexOf("One"));
  assert.equal(script.end, text.length);
});

test("before the first segment nothing is heard", () => {
  const script = new Script("a");
  assert.equal(script.at(0), null);
  script.add([segment(0, 0.5, "a")]);
  assert.equal(script.at(0.4), null);
});

test("a segment whose words the server changed is counted, and not marked", () => {
  const script = new Script("5 km. The end.");
  script.add([segment(0, 0, "five kilometres"), segment(1, 1, "The end.")]);
  assert.deepEqual(script.at(0), { number: 1, count: 3, range: null, word: null });
  assert.deepEqual(script.at(1).range, { begin: 6, end: 14 });
});

test("characters with a meaning in expressions are just characters", () => {
  const script = new Script("What (really)? $5.00 [yes] * 2 + 2 \\ ^");
  script.add([segment(0, 0, "What (really)? $5.00 [yes] * 2 + 2 \\ ^")]);
  assert.equal(script.at(0).range.end, script.text.length);
});

test("words are marked in their segment where the server sends their times", () => {
  const script = new Script("The cat and the cat. The dog.");
  script.add([segment(0, 0, "The cat and the cat."), segment(1, 2, "The dog.")]);
  const words = ["The", "cat", "and", "the", "cat"].map((word, i) => ({ word, start: i * 0.4, end: i * 0.4 + 0.3 }));
  script.add([], [...words, { word: "The", start: 2, end: 2.2 }, { word: "dog", start: 2.3, end: 2.6 }]);
  assert.deepEqual(script.at(0.5).word, { begin: 4, end: 7 });
  assert.deepEqual(script.at(1.7).word, { begin: 16, end: 19 });
  assert.deepEqual(script.at(2.4).word, { begin: 25, end: 28 });
  assert.equal(script.at(0.35).word, null);
});
