// The composition root of the page.

import { Api } from "./api.js";
import { Ask } from "./ask.js";
import { Blending } from "./blending.js";
import { Cards } from "./cards.js";
import { Cloning } from "./cloning.js";
import { Code, copy } from "./code.js";
import { Composer } from "./composer.js";
import { Describing, newSeed } from "./describing.js";
import { Dialog } from "./dialog.js";
import { at } from "./dom.js";
import { Downloads } from "./downloads.js";
import { Form } from "./form.js";
import { Models } from "./models.js";
import { Notice } from "./notice.js";
import { Player } from "./player.js";
import { Problem } from "./problem.js";
import { Recent } from "./recent.js";
import { recordingOf } from "./recording.js";
import { Samples } from "./samples.js";
import { Server } from "./server.js";
import { connect, Live } from "./live.js";
import { forget, fromFragment, load, MAX_LINK_CHARS, store, toBody, toFragment } from "./settings.js";
import { Stage } from "./stage.js";
import { Track } from "./track.js";
import { find } from "./voices.js";

const api = new Api();
const player = new Player();
const models = new Models();
const composer = new Composer();
const stage = new Stage(player, models, composer);
const server = new Server(api, models, () => stage.isWaiting);
const cards = new Cards();
const form = new Form(composer, cards, server);
const recent = new Recent();
const notice = new Notice(at("problem"));
const samples = new Samples(api, stage, cards);
const ask = new Ask();
const code = new Code();
const key = new Dialog("key-dialog", useKey);
let afterKey = null;

const say = (text) => stage.note(text);

/** Run `work`; an error is shown in the player, with a retry button. */
async function attempt(work) {
  notice.clear();
  try {
    await work();
  } catch (error) {
    const problem = Problem.from(error);
    if (problem.isKey) askForKey(problem, () => attempt(work));
    else notice.show(problem, () => attempt(work));
  }
}

function askForKey(problem, retry) {
  afterKey = retry;
  const reason = api.key ? "The server rejected this key." : "This server needs an API key.";
  at("key-why").textContent = `${problem ? `${reason} ` : ""}It is kept in this tab only, until that is closed.`;
  at("key").value = api.key;
  if (!key.isOpen) key.show();
  at("key").focus();
}

async function useKey() {
  api.key = at("key").value.trim();
  const retry = afterKey ?? refresh;
  afterKey = null;
  queueMicrotask(() =>
    attempt(async () => {
      if (retry !== refresh) await refresh();
      await retry();
    }),
  );
}

async function refresh() {
  await server.load(form.model);
  document.body.dataset.lists = "yes";
}

async function speak() {
  if (at("live").checked) return speakWhileTyping();
  const settings = form.settings;
  const body = { ...toBody(settings), seed: settings.seed ? Number(settings.seed) : newSeed() };
  const track = new Track({ text: settings.text, body, title: cards.chosen?.title ?? settings.voice });
  track.id = String(body.seed) + Date.now();
  recent.current(null);
  try {
    const performance = stage.perform(track, (signal) => api.events(body, signal));
    server.look();
    await performance;
  } finally {
    if (track.pcm.samples) await recent.add(track, settings);
    recent.current(player.track?.id ?? null);
  }
}

/** Speak the text and what is typed after it, until Stop, or until the box is unchecked. */
async function speakWhileTyping() {
  const { input: _, ...session } = toBody(form.settings);
  const track = new Track({ text: composer.text, title: cards.chosen?.title ?? session.voice });
  track.id = `live${Date.now()}`;
  await api.json("v1/audio/voice_consents"); // needs a key; a WebSocket does not say that it is wrong
  const live = new Live(() => connect(api.key), session, track);
  const typed = () => live.type(composer.text);
  const changed = () => at("live").checked || live.finish();
  at("text").addEventListener("input", typed);
  at("live").addEventListener("change", changed);
  try {
    const performance = stage.perform(track, (signal) => live.events(signal));
    typed();
    server.look();
    await performance;
  } finally {
    at("text").removeEventListener("input", typed);
    at("live").removeEventListener("change", changed);
    if (track.pcm.samples) await recent.add(track, form.settings);
  }
}

/** The page's functions for dialogs. */
const page = {
  api,
  listen: (dialog, track, open) => stage.perform(track, open, (text) => dialog.say(text)),
  hear: async (blob, title) => stage.play(await recordingOf(blob, title)),
  choose: (voice) => cards.choose(voice),
  keep: async (voice) => {
    await refresh();
    cards.choose(find(server.voices, voice.id));
    stage.stop();
    say(`${voice.name} is yours. Write a text and press Speak.`);
    return () => composer.focus();
  },
};
const cloning = new Cloning(page);
const describing = new Describing(page);
const blending = new Blending(page);
new Downloads(api, player, { attempt, say });

function listen() {
  at("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (stage.isBusy) stage.stop();
    else attempt(speak);
  });
  at("text").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    stage.stop();
    at("form").requestSubmit();
  });
  at("model").addEventListener("change", () => attempt(refresh));
  at("live").addEventListener("change", ({ target }) => {
    at("text").required = !target.checked; // the text may come later
    if (target.checked) composer.focus();
  });
  at("key-open").addEventListener("click", () => askForKey(null, null));
  addEventListener("keyneeded", ({ detail }) => askForKey(detail.problem, detail.retry));
  at("clone-open").addEventListener("click", () => cloning.show());
  at("describe-open").addEventListener("click", () => describing.show());
  at("blend-open").addEventListener("click", () => {
    if (server.voices.filter(({ own }) => own).length > 1) blending.show(server.voices);
    else say("Blending needs two voices of yours: clone or describe them first.");
  });
  at("code-open").addEventListener("click", () => code.show(toBody(form.settings)));
  at("link").addEventListener("click", () => attempt(copyLink));
  cards.addEventListener("sample", ({ detail }) => attempt(() => samples.toggle(detail)));
  cards.addEventListener("rename", ({ detail }) => renameVoice(detail));
  cards.addEventListener("delete", ({ detail }) => deleteVoice(detail));
  recent.addEventListener("play", ({ detail }) => {
    stage.play(detail);
    recent.current(detail.id);
  });
  recent.addEventListener("use", ({ detail }) => use(detail));
  at("clear").addEventListener("click", clearHistory);
  for (const type of ["health", "change"]) server.addEventListener(type, () => form.gate(models));
  form.addEventListener("change", () => store(form.settings));
}

async function copyLink() {
  const { settings } = form;
  await copy(`${location.href.replace(/#.*/, "")}${toFragment(settings)}`);
  say(
    settings.text.length > MAX_LINK_CHARS
      ? "Link copied without the text, which is too long."
      : "Link copied.",
  );
}

function use(settings) {
  form.settings = settings;
  composer.focus();
}

function renameVoice(voice) {
  const work = async (name) => {
    await api.json(`v1/audio/voices/${encodeURIComponent(voice.id)}`, { json: { name } });
    await refresh();
    return () => cards.focus(); // the button no longer exists
  };
  ask.show({ title: `Rename ${voice.name}`, yes: "Rename", name: voice.name, work });
}

function deleteVoice(voice) {
  const work = async () => {
    await api.ask(`v1/audio/voices/${encodeURIComponent(voice.id)}`, { method: "DELETE" });
    await refresh();
    return () => cards.focus(); // the button no longer exists
  };
  ask.show({
    title: `Delete ${voice.name}?`,
    text: "The voice is deleted from the server. This cannot be undone.",
    yes: "Delete",
    work,
  });
}

function clearHistory() {
  const work = async () => {
    stage.stop();
    player.load(null);
    await recent.clear();
    forget();
    composer.text = "";
    return () => composer.focus();
  };
  const text =
    "All results, and the text and settings of this page, are removed from this browser.";
  ask.show({ title: "Clear the history?", text, yes: "Clear", work });
}

async function begin() {
  const kept = load();
  const linked = fromFragment(location.hash, kept);
  if (linked) history.replaceState(null, "", location.pathname + location.search);
  form.settings = linked ?? kept;
  listen();
  stage.render();
  server.look();
  await Promise.all([attempt(refresh), recent.open()]);
}

begin();
