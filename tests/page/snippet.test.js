import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { test } from "node:test";

import { SNIPPETS } from "../../openai_frontend/static/js/snippet.js";

const BODY = {
  model: "tts-1",
  voice: "anna",
  input: 'It\'s "1 $HOME"\n`ls` \\ 😀',
  speed: 1.5,
  language: "english",
  seed: 7,
};
const BASE = "http://host:8101";

test("curl sends the request through a shell as it is", () => {
  const code = `curl() { printf '%s\\0' "$@"; }\n${SNIPPETS.curl(BODY, BASE)}`;
  const [url, , , , , flag, json] = execFileSync("sh", ["-c", code], { env: {} }).toString().split("\0");
  assert.equal(url, `${BASE}/v1/audio/speech`);
  assert.equal(flag, "-d");
  assert.deepEqual(JSON.parse(json), { ...BODY, response_format: "mp3" });
});

test("Python and JavaScript take fields that OpenAI's clients do not know", () => {
  assert.match(SNIPPETS.python(BODY, BASE), /extra_body=\{"language":"english","seed":7\}/);
  assert.ok(!SNIPPETS.python({ model: "tts-1", voice: "a", input: "b" }, BASE).includes("extra_body"));
  const code = SNIPPETS.javascript(BODY, BASE);
  assert.match(code, /seed: 7/);
  const checked = spawnSync(process.execPath, ["--check", "--input-type=module", "-"], { input: code });
  assert.equal(checked.status, 0, checked.stderr.toString());
});
