// The dialog that describes a voice, plays it, and saves it: the seed makes the stored voice the same.

import { Dialog, demand } from "./dialog.js";
import { at, make } from "./dom.js";
import { DESCRIPTIONS, PHRASES } from "./phrases.js";
import { Track } from "./track.js";

export class Describing {
  #page;
  #dialog = new Dialog("describe-dialog", () => this.#keep());
  #seed = newSeed();

  constructor(page) {
    this.#page = page;
    const examples = DESCRIPTIONS.map(([name, text]) =>
      make("button", { type: "button", onclick: () => this.#describe(text) }, name),
    );
    at("describe-examples").replaceChildren(...examples);
    at("describe-language").addEventListener("change", () => this.#sample());
    at("describe-listen").addEventListener("click", () => this.#dialog.attempt(() => this.#listen()));
    at("describe-again").addEventListener("click", () => {
      this.#seed = newSeed();
      this.#dialog.attempt(() => this.#listen());
    });
  }

  show() {
    if (!at("describe-sample").value) this.#sample();
    this.#dialog.show();
  }

  #describe(text) {
    at("describe-text").value = text;
    at("describe-text").focus();
  }

  #sample() {
    at("describe-sample").value = PHRASES[at("describe-language").value] ?? PHRASES.english;
  }

  get #language() {
    const language = at("describe-language").value;
    return language === "auto" ? {} : { language };
  }

  async #listen() {
    const instructions = demand(at("describe-text"), "Describe the voice first.");
    const input = demand(at("describe-sample"), "Enter a sample text.");
    const body = { model: "qwen3_tts_voice_design", input, instructions, seed: this.#seed, ...this.#language };
    const track = new Track({ text: input, body, title: at("describe-name").value.trim() || "The described voice" });
    await this.#page.listen(this.#dialog, track, (signal) => this.#page.api.events(body, signal));
    at("describe-again").disabled = false;
  }

  async #keep() {
    const prompt = demand(at("describe-text"), "Describe the voice first.");
    const name = demand(at("describe-name"), "Give the voice a name.");
    const script_hint = demand(at("describe-sample"), "Enter a sample text.");
    this.#dialog.say("Creating the voice …");
    const json = { type: "prompt", name, prompt, script_hint, seed: this.#seed, ...this.#language };
    const voice = await this.#page.api.json("v1/audio/voices", { json });
    this.#seed = newSeed();
    for (const id of ["describe-name", "describe-text"]) at(id).value = "";
    at("describe-again").disabled = true;
    return this.#page.keep(voice);
  }
}

/** A random seed below 2^31, which every client can represent. */
export function newSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;
}
