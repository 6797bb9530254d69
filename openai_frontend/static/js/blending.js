// The dialog that blends two stored voices with a slider.

import { Dialog } from "./dialog.js";
import { at, fill } from "./dom.js";
import { Track } from "./track.js";
import { blend, find, sampleOf } from "./voices.js";

export class Blending {
  #page;
  #own = [];
  #dialog = new Dialog("blend-dialog", () => this.#page.choose(this.#voice));

  constructor(page) {
    this.#page = page;
    at("blend-share").addEventListener("input", () => this.#show());
    at("blend-listen").addEventListener("click", () => this.#dialog.attempt(() => this.#listen()));
  }

  show(voices) {
    this.#own = voices.filter(({ own }) => own);
    const entries = this.#own.map(({ id, name }) => [id, name]);
    fill(at("blend-first"), entries);
    fill(at("blend-second"), entries);
    if (at("blend-first").value === at("blend-second").value) at("blend-second").selectedIndex = entries.length - 1;
    this.#show();
    this.#dialog.show();
  }

  #show() {
    at("blend-shown").textContent = `${at("blend-share").value} %`;
  }

  get #voice() {
    const [first, second] = ["blend-first", "blend-second"].map((id) =>
      this.#own.find((voice) => voice.id === at(id).value),
    );
    return first === second ? first : find([], blend(first, second, at("blend-share").value / 100));
  }

  async #listen() {
    const voice = this.#voice;
    const { text, language } = sampleOf(this.#own[0]);
    const body = { model: "tts-1", voice: voice.id, input: text, language };
    const track = new Track({ text, body, title: voice.title });
    await this.#page.listen(this.#dialog, track, (signal) => this.#page.api.events(body, signal));
  }
}
