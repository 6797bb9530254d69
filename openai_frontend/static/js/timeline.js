// The waveform as a slider: a click, a drag or the arrow keys seek.

import { at } from "./dom.js";
import { clock, spoken } from "./time.js";
import { Wave } from "./wave.js";

const STEPS_S = { ArrowRight: 5, ArrowUp: 5, ArrowLeft: -5, ArrowDown: -5, PageUp: 30, PageDown: -30 };

export class Timeline {
  #slider = at("timeline");
  #wave;
  #player;
  #said = "";

  constructor(player) {
    this.#player = player;
    this.#wave = new Wave(at("wave"), () => this.#wave?.draw(player.track, player.seconds));
    this.#slider.addEventListener("keydown", (event) => this.#key(event));
    this.#slider.addEventListener("pointerdown", (event) => {
      this.#slider.setPointerCapture(event.pointerId);
      this.#point(event);
    });
    this.#slider.addEventListener("pointermove", (event) => {
      if (this.#slider.hasPointerCapture(event.pointerId)) this.#point(event);
    });
  }

  /** Draw the position. Call it for each frame. */
  draw() {
    const { track, seconds } = this.#player;
    this.#wave.draw(track, seconds);
    const length_s = track?.seconds ?? 0;
    const said = `${Math.floor(seconds)} ${Math.floor(length_s)} ${!track}`;
    if (said === this.#said) return;
    this.#said = said;
    at("time").textContent = `${clock(seconds)} / ${clock(length_s)}`;
    const text = track ? `${spoken(seconds)} of ${spoken(length_s)}` : "Nothing to play yet";
    const state = { max: Math.floor(length_s), now: Math.floor(seconds), text };
    for (const [name, value] of Object.entries(state)) this.#slider.setAttribute(`aria-value${name}`, value);
    this.#slider.setAttribute("aria-disabled", String(!track));
  }

  #key(event) {
    const { track, seconds } = this.#player;
    if (!track) return;
    const places = { Home: 0, End: track.seconds };
    const place = places[event.key] ?? (event.key in STEPS_S ? seconds + STEPS_S[event.key] : null);
    if (place === null) return;
    event.preventDefault();
    this.#player.seek(place);
  }

  #point({ clientX }) {
    const { track } = this.#player;
    if (!track) return;
    const { left, width } = this.#slider.getBoundingClientRect();
    this.#player.seek(((clientX - left) / width) * Wave.width_s(track));
  }
}
