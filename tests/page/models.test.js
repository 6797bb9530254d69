import assert from "node:assert/strict";
import { test } from "node:test";

import { Models } from "../../openai_frontend/static/js/models.js";

const known = (model, now_ms = 0) => {
  const models = new Models();
  models.update({ status: "ok", models: { m: model } }, now_ms);
  return models;
};

test("each state is said in words", () => {
  const text = (model) => known(model).state("m", 0).text;
  assert.equal(text({ state: "unloaded" }), "Not loaded; loads when you speak");
  assert.equal(text({ state: "ready", unload_in_s: null }), "Ready");
  assert.equal(text({ state: "ready", unload_in_s: 100 }), "Ready; unloads in 1:40 if idle");
  assert.equal(text({ state: "draining" }), "Finishing, then unloads");
  assert.equal(text({ state: "failed", reason: "no memory" }), "Not available: no memory");
  assert.equal(text({ state: "unloaded", available: false, reason: "no weights" }), "Not available: no weights");
});

test("seconds go on between two answers", () => {
  const models = known({ state: "ready", unload_in_s: 100 });
  assert.equal(models.state("m", 30_000).text, "Ready; unloads in 1:10 if idle");
});

test("a load counts from when it was first seen", () => {
  const models = known({ state: "loading" }, 1000);
  models.update({ status: "ok", models: { m: { state: "loading" } } }, 3000);
  assert.equal(models.state("m", 4000).text, "Loading, 3 s");
  assert.deepEqual(models.loading, ["m"]);
  models.update({ status: "ok", models: { m: { state: "ready" } } }, 5000);
  assert.deepEqual(models.loading, []);
});

test("a server that does not answer is said to", () => {
  const models = known({ state: "ready" });
  models.update({ status: "unavailable", message: "Triton does not answer." });
  assert.equal(models.message, "Triton does not answer.");
  assert.deepEqual(models.names, []);
});

test("a reason is given for what this server cannot do, and none for what may work", () => {
  assert.equal(known({ state: "unloaded" }).reason("m"), null);
  assert.equal(known({ state: "unloaded", available: false, reason: "no weights" }).reason("m"), "no weights");
  assert.match(known({ state: "ready" }).reason("other"), /does not have the model/);
  assert.equal(new Models().reason("m"), null, "nothing is known yet");
});
