// The voices as cards: one is selected, each has a sample, and stored ones can be renamed and deleted.

import { at, icon, make } from "./dom.js";
import { search, title } from "./voices.js";

const MAX_CARDS = 100;
const MAX_ALIASES = 3; // shown on a card; a search finds all

export class Cards extends EventTarget {
  #list = at("voices");
  #voices = [];
  #blend = null; // a voice that is not in the list
  #playing = null;
  chosen = null;

  constructor() {
    super();
    at("search").addEventListener("input", () => this.#render());
    for (const choice of document.querySelectorAll("input[name=filter]"))
      choice.addEventListener("change", () => this.#render());
    this.#list.addEventListener("change", ({ target }) => this.choose(this.#find(target.value)));
  }

  /** Show `voices`, with `chosen` selected. */
  show(voices, chosen) {
    this.#voices = voices;
    this.choose(chosen);
  }

  /** Select a voice; a blend is shown above the others. */
  choose(voice) {
    this.#blend = voice?.kind === "Blend" ? voice : this.#blend;
    this.chosen = voice ?? null;
    this.#render();
    this.dispatchEvent(new Event("change"));
  }

  /** Focus the selected voice. */
  focus() {
    (this.#list.querySelector("input:checked") ?? at("search")).focus();
  }

  /** Mark the voice whose sample is playing; null for none. */
  playing(id) {
    this.#playing = id;
    for (const button of this.#list.querySelectorAll(".sample")) {
      button.replaceChildren(icon(button.dataset.voice === id ? "stop" : "play"));
    }
  }

  #find(id) {
    return [this.#blend, ...this.#voices].find((voice) => voice?.id === id);
  }

  #render() {
    const filter = document.querySelector("input[name=filter]:checked").value;
    const found = search(this.#voices, at("search").value, filter);
    const shown = [...(this.#blend ? [this.#blend] : []), ...found.slice(0, MAX_CARDS)];
    const focused =
      this.#list.contains(document.activeElement) && document.activeElement.closest(".voice")?.dataset.voice;
    this.#list.replaceChildren(...shown.map((voice) => this.#card(voice)));
    if (focused) this.#list.querySelector(`[data-voice="${CSS.escape(focused)}"] input`)?.focus();
    at("voices-note").textContent = note(found.length, filter, this.#voices.length);
  }

  #card(voice) {
    const isChosen = voice.id === this.chosen?.id;
    const radio = make("input", { type: "radio", name: "voice", value: voice.id, checked: isChosen });
    const face = make("span", { class: "face", "aria-hidden": "true" }, [...voice.title][0].toUpperCase());
    face.style.setProperty("--hue", hue(voice.name));
    const about = make(
      "span",
      { class: "about" },
      make("strong", {}, voice.title),
      ...facts(voice).map((line) => make("span", {}, line)),
    );
    const card = make("div", { class: "voice", "data-voice": voice.id }, make("label", {}, radio, face, about));
    const button = (action, name, label) => {
      const fire = () => this.dispatchEvent(new CustomEvent(action, { detail: voice }));
      // Keyboard: arrows select a voice, Tab moves to the buttons of the selected one.
      const properties = { type: "button", class: `round ${action}`, "aria-label": label, title: label, onclick: fire };
      const shown = action === "sample" && voice.id === this.#playing ? "stop" : name;
      const place = { "data-voice": voice.id, tabindex: isChosen ? "0" : "-1" };
      card.append(make("button", { ...properties, ...place }, icon(shown)));
    };
    button("sample", "play", `Play a sample of ${voice.title}`);
    if (voice.own) button("rename", "pen", `Rename ${voice.title}`);
    if (voice.own) button("delete", "bin", `Delete ${voice.title}`);
    return card;
  }
}

/** The lines below a voice's name. */
function facts({ gender, language, kind, description, aliases }) {
  const first = [kind, gender, language && title(language)].filter(Boolean).join(" · ");
  const more = aliases.length > MAX_ALIASES ? ` and ${aliases.length - MAX_ALIASES} more names` : "";
  const also = aliases.length ? `also ${aliases.slice(0, MAX_ALIASES).join(", ")}${more}` : "";
  return [first, [description, also].filter(Boolean).join("; ")].filter(Boolean);
}

function note(found, filter, all) {
  if (!all) return "";
  if (!found && filter === "own") return "You have no voices yet. Clone or describe one.";
  if (!found) return "No voice matches. Try other words.";
  return found > MAX_CARDS ? `${found - MAX_CARDS} more: search to find them.` : "";
}

/** A colour derived from a name. */
function hue(name) {
  return [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
}
