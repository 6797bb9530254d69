// The page: what the form says becomes a request, and what comes back is heard at once.

import { Player, RATE_HZ } from "./player.js";
import { Wave } from "./wave.js";

const AUDIBLE = 0.01 * 32768; // -40 dBFS: silence does not count as heard
const KEY = "speech-api-key";
const at = (id) => document.getElementById(id);
const wave = new Wave(at("wave"));
let running = null; // { abort, player } of the speech being made or played

function say(state, text) {
  document.body.dataset.state = state;
  at("status").textContent = text;
  const busy = state === "waiting" || state === "playing";
  at("stop").disabled = !busy;
  at("speak").textContent = busy ? "Speak anew" : "Speak";
}

function fail(text) {
  at("error").textContent = text;
  at("error").hidden = false;
  say("error", "It did not work.");
}

function headers() {
  const key = at("key").value.trim();
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** The reply, or an Error that says what the server says of it. */
async function ask(path, options = {}) {
  const reply = await fetch(path, { ...options, headers: { ...options.headers, ...headers() } });
  if (reply.ok) return reply;
  if (reply.status === 401) at("key").closest("details").open = true;
  const { error } = await reply.json().catch(() => ({}));
  const id = reply.headers.get("x-request-id");
  throw new Error(`${error?.message ?? `The server answered ${reply.status}.`}${id ? ` (request ${id})` : ""}`);
}

function mode() {
  return document.querySelector("input[name=mode]:checked").value;
}

/** Path and options of the request that the form describes. */
function request() {
  const common = { input: at("text").value, speed: Number(at("speed").value), response_format: "pcm" };
  if (at("language").value !== "auto") common.language = at("language").value;
  if (mode() === "clone") {
    const [recording] = at("recording").files;
    if (!recording) throw new Error("Choose a recording of the voice first.");
    const form = new FormData();
    for (const [name, value] of Object.entries(common)) form.append(name, value);
    form.append("ref_audio", recording);
    if (at("transcript").value.trim()) form.append("ref_text", at("transcript").value.trim());
    return ["v1/audio/speech/clone", { method: "POST", body: form }];
  }
  if (mode() === "design" && !at("description").value.trim()) throw new Error("Describe the voice first.");
  const voice =
    mode() === "design"
      ? { model: "qwen3_tts_voice_design", instructions: at("description").value }
      : { model: at("model").value, voice: at("voice").value, instructions: at("instructions").value };
  const body = JSON.stringify({ ...common, ...voice });
  return ["v1/audio/speech", { method: "POST", body, headers: { "Content-Type": "application/json" } }];
}

function reset() {
  stop();
  at("error").hidden = at("replay").hidden = true;
  at("download").removeAttribute("href");
  at("download").setAttribute("aria-disabled", "true");
  URL.revokeObjectURL(at("replay").src);
  for (const id of ["first", "length", "pace"]) at(id).textContent = "–";
  wave.clear();
}

function stop() {
  running?.abort.abort();
  running?.player.close();
  running = null;
}

async function speak() {
  reset();
  const [path, options] = request();
  const mine = (running = { abort: new AbortController(), player: new Player() });
  say("waiting", "Waiting for the first sound …");
  const begin_ms = performance.now();
  const reply = await ask(path, { ...options, signal: mine.abort.signal });
  const warning = reply.headers.get("x-speech-warning");
  animate(mine);
  await receive(mine, reply.body.getReader(), begin_ms);
  offer(mine.player);
  await mine.player.ended();
  if (running !== mine) return;
  say("done", `Done${warning ? `; ${warning}` : ""}.`);
  stop();
}

async function receive({ player }, reader, begin_ms) {
  let heard = false;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const piece = player.push(part.value);
    wave.add(piece);
    const now_ms = performance.now() - begin_ms;
    if (!heard && piece.some((sample) => Math.abs(sample) > AUDIBLE)) {
      heard = true;
      at("first").textContent = `${Math.round(now_ms)} ms`;
      say("playing", "Speaking …");
    }
    const length_s = player.samples / RATE_HZ;
    at("length").textContent = `${length_s.toFixed(1)} s`;
    at("pace").textContent = `${((1000 * length_s) / now_ms).toFixed(1)} × real time`;
  }
}

function offer(player) {
  const url = URL.createObjectURL(player.wav());
  at("download").href = at("replay").src = url;
  at("download").removeAttribute("aria-disabled");
  at("replay").hidden = false;
}

function animate(mine) {
  wave.draw(mine.player.heard_s);
  if (running === mine) requestAnimationFrame(() => animate(mine));
}

function fill(select, entries) {
  const chosen = select.value;
  select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
  if (entries.some(([value]) => value === chosen)) select.value = chosen;
}

function describe({ name, description, same_as }) {
  if (same_as) return `${name} (the same voice as ${same_as})`;
  return description ? `${name}: ${description}` : name;
}

async function load() {
  const lists = ["v1/models", "v1/audio/voices", "v1/audio/languages"].map((path) => ask(path).then((it) => it.json()));
  const [models, voices, languages] = await Promise.all(lists);
  const usable = voices.voices.filter(({ available }) => available);
  const distinct = usable.filter(({ same_as }) => !same_as);
  fill(at("model"), models.data.map(({ id, reason }) => [id, reason ? `${id} (not available: ${reason})` : id]));
  fill(at("voice"), usable.map((voice) => [voice.id, describe(voice)]));
  fill(at("language"), languages.languages.map((name) => [name, name === "auto" ? "by the text" : name]));
  at("server").textContent = `${usable.length} names of voices (${distinct.length} distinct), languages: ${languages.languages.length - 1}, OpenAI's API at ${new URL("v1", location)}`;
}

function explain(error) {
  if (error.name === "AbortError") return;
  stop();
  fail(error instanceof TypeError ? "The server does not answer." : error.message);
}

function listen() {
  at("form").addEventListener("submit", (event) => {
    event.preventDefault();
    speak().catch(explain);
  });
  at("stop").addEventListener("click", () => {
    stop();
    say("idle", "Stopped.");
  });
  at("text").addEventListener("input", () => (at("count").textContent = at("text").value.length));
  at("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("form").requestSubmit();
  });
  at("speed").addEventListener("input", () => {
    at("speed-shown").textContent = `${Number(at("speed").value).toFixed(2)} ×`;
  });
  at("key").addEventListener("change", () => {
    sessionStorage.setItem(KEY, at("key").value.trim());
    at("error").hidden = true;
    load().catch(explain);
  });
  for (const choice of document.querySelectorAll("input[name=mode]")) {
    choice.addEventListener("change", () => {
      for (const part of document.querySelectorAll("[data-mode]")) part.hidden = part.dataset.mode !== mode();
    });
  }
}

at("key").value = sessionStorage.getItem(KEY) ?? "";
at("count").textContent = at("text").value.length;
listen();
load().catch(explain);
