import assert from "node:assert/strict";
import { test } from "node:test";

import { Problem } from "../../openai_frontend/static/js/problem.js";

const envelope = (message, param = null) => ({ error: { message, type: "t", param, code: "c" } });

test("the server's own words are kept, with what they are about", () => {
  const problem = Problem.of(400, envelope("Too long.", "input"), new Headers({ "x-request-id": "req_1" }));
  assert.deepEqual([problem.message, problem.field, problem.id, problem.retry], ["Too long.", "input", "req_1", false]);
});

test("a retry is offered where it may help, after the time that the server says", () => {
  const busy = Problem.of(503, envelope("Busy."), new Headers({ "retry-after": "7" }));
  assert.deepEqual([busy.retry, busy.wait_s], [true, 7]);
  assert.equal(Problem.of(503, envelope("No weights."), new Headers({ "x-should-retry": "false" })).retry, false);
});

test("a reply without an envelope still says what to do", () => {
  assert.match(Problem.of(502, null).message, /Retry/);
  assert.match(Problem.of(413, null).message, /Send less/);
});

test("a network that fails is no riddle", () => {
  assert.match(Problem.from(new TypeError("Failed to fetch")).message, /does not answer/);
  assert.equal(Problem.from(Problem.of(401, envelope("No key."))).isKey, true);
});
