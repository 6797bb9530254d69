import assert from "node:assert/strict";
import { test } from "node:test";

import { bytesOf, EventReader } from "../../openai_frontend/static/js/events.js";

const encode = (text) => new TextEncoder().encode(text);

test("events come out whole, whatever pieces their bytes come in", () => {
  const bytes = encode('data: {"type":"a","text":"é€😀"}\n\nevent: error\ndata: {"error":{"message":"m"}}\n\n');
  for (let size = 1; size <= bytes.length; size++) {
    const reader = new EventReader();
    const events = [];
    for (let begin = 0; begin < bytes.length; begin += size)
      events.push(...reader.push(bytes.subarray(begin, begin + size)));
    assert.deepEqual(events, [{ type: "a", text: "é€😀" }, { error: { message: "m" } }]);
  }
});

test("comments and keep-alives are no events", () => {
  assert.deepEqual(new EventReader().push(encode(': ping\r\n\r\ndata: {"a":1}\r\n\r\n')), [{ a: 1 }]);
});

test("base64 becomes bytes", () => {
  assert.deepEqual([...bytesOf(Buffer.from([0, 255, 16]).toString("base64"))], [0, 255, 16]);
});
