// The form's fields as settings, and their dependencies.

import { at, fill, make } from "./dom.js";
import { STYLES } from "./phrases.js";
import { clean } from "./settings.js";
import { find, takesStyle, title } from "./voices.js";

const FIRST_TEXT =
  "Hello! You hear this sentence while it is still being synthesized. Pick a voice, change the text, and press Speak.";
const CLONES = "qwen3_tts_base";
const DESIGNS = "qwen3_tts_voice_design";

export class Form extends EventTarget {
  #composer;
  #cards;
  #server;
  #wanted = clean({}); // including values that the lists do not have yet

  constructor(composer, cards, server) {
    super();
    [this.#composer, this.#cards, this.#server] = [composer, cards, server];
    const styles = STYLES.map(([name, text]) =>
      make(
        "button",
        { type: "button", "aria-pressed": "false", "data-style": text, onclick: () => this.#style(text) },
        name,
      ),
    );
    at("styles").replaceChildren(...styles);
    at("form").addEventListener("input", ({ target }) => target.id !== "search" && this.#changed());
    at("form").addEventListener("change", ({ target }) => target.id !== "search" && this.#changed());
    cards.addEventListener("change", () => this.#fit());
    server.addEventListener("change", () => this.#lists());
  }

  /** The selected model, or the one to select when the lists have loaded. */
  get model() {
    return at("model").options.length ? at("model").value : this.#wanted.model;
  }

  get settings() {
    const [instructions, language, speed, model, seed] = ["instructions", "language", "speed", "model", "seed"].map(
      (id) => at(id).value,
    );
    const voice = this.#cards.chosen?.id ?? this.#wanted.voice;
    const style = at("style").disabled ? "" : instructions;
    return clean({ text: this.#composer.text, voice, instructions: style, language, speed, model, seed });
  }

  set settings(values) {
    this.#wanted = clean(values);
    const { text, instructions, speed, seed } = this.#wanted;
    this.#composer.text = text || FIRST_TEXT;
    for (const [id, value] of Object.entries({ instructions, speed, seed })) at(id).value = value;
    this.#lists();
  }

  /** Disable what the server's models do not support. */
  gate(models) {
    const reasons = { "clone-open": models.reason(CLONES), "describe-open": models.reason(DESIGNS) };
    for (const [id, reason] of Object.entries(reasons)) at(id).disabled = reason !== null;
    at("blend-open").disabled = reasons["clone-open"] !== null;
    const [clone, describe] = Object.values(reasons);
    const closed = [clone && `Cloning: ${clone}`, describe && describe !== clone && `Describing: ${describe}`].filter(
      Boolean,
    );
    at("make-note").textContent = closed.join(" ");
  }

  #lists() {
    const { voices, languages } = this.#server;
    if (!voices.length) return;
    const { voice, model, language } = this.#wanted;
    for (const [id, value] of [
      ["model", model],
      ["language", language],
    ]) {
      if ([...at(id).options].some((option) => option.value === value)) at(id).value = value;
    }
    const entries = languages.map((name) => [name, name === "auto" ? "Auto-detect" : title(name)]);
    for (const id of ["clone-language", "describe-language"]) {
      fill(
        at(id),
        entries.filter(([name]) => name !== "auto"),
      );
      if (!at(id).dataset.set && languages.includes("english")) at(id).value = "english";
      at(id).dataset.set = "yes";
    }
    this.#cards.show(voices, find(voices, voice) ?? voices[0]);
    if (language && [...at("language").options].some((option) => option.value === language))
      at("language").value = language;
    this.#changed();
  }

  /** Adapt the fields to the selected voice. */
  #fit() {
    const voice = this.#cards.chosen;
    if (!voice) return;
    const speaks = ({ languages }, name) => !languages || name === "auto" || languages.includes(name);
    const names = this.#server.languages.filter((name) => speaks(voice, name));
    fill(
      at("language"),
      names.map((name) => [name, name === "auto" ? "Auto-detect" : title(name)]),
    );
    const styled = takesStyle(voice);
    at("style").disabled = at("styles").hidden = at("instructions").hidden = !styled;
    at("style-note").textContent = styled ? "optional" : "this voice speaks in one style";
    this.#changed();
  }

  #style(text) {
    at("instructions").value = at("instructions").value === text ? "" : text;
    this.#changed();
  }

  #changed() {
    at("speed-shown").textContent = `${Number(at("speed").value).toFixed(2)} ×`;
    for (const button of at("styles").children)
      button.setAttribute("aria-pressed", String(button.dataset.style === at("instructions").value));
    this.#wanted = { ...this.settings };
    this.dispatchEvent(new Event("change"));
  }
}
