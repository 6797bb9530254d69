// Samples of the voices: synthesized on demand, then cached.

import { Track } from "./track.js";
import { sampleOf } from "./voices.js";

const MAX_KEPT = 20;

export class Samples {
  #api;
  #stage;
  #cards;
  #kept = new Map();
  #current = null; // the id of the voice that is playing

  constructor(api, stage, cards) {
    [this.#api, this.#stage, this.#cards] = [api, stage, cards];
    stage.addEventListener("change", () => {
      if (document.body.dataset.state === "idle") this.#show(null);
    });
  }

  /** Play or stop a voice's sample. Throws Problem. */
  async toggle(voice) {
    if (this.#current === voice.id) {
      this.#stage.stop();
      return this.#show(null);
    }
    const kept = this.#kept.get(voice.id);
    if (kept) {
      this.#stage.play(kept);
      return this.#show(voice.id);
    }
    const { text, language } = sampleOf(voice);
    const body = { model: "tts-1", voice: voice.id, input: text, language, seed: 1 };
    const track = new Track({ text, body, title: voice.title });
    const performance = this.#stage.perform(track, (signal) => this.#api.events(body, signal));
    this.#show(voice.id); // the previous sample has ended
    try {
      await performance;
    } catch (problem) {
      this.#show(null);
      throw problem;
    }
    if (!track.stopped) this.#keep(voice.id, track);
  }

  #keep(id, track) {
    this.#kept.set(id, track);
    if (this.#kept.size > MAX_KEPT) this.#kept.delete(this.#kept.keys().next().value);
  }

  #show(id) {
    this.#current = id;
    this.#cards.playing(id);
  }
}
