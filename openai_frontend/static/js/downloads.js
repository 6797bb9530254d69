// The download menu: WAV and PCM come from the browser; the server synthesizes other formats again, with the same seed.

import { at, make } from "./dom.js";
import { FORMATS, fileName, save } from "./files.js";
import { Problem } from "./problem.js";

export class Downloads {
  #menu = at("formats");
  #api;
  #track = null;

  /** `attempt(work)` runs `work` and shows errors; `say` shows progress. */
  constructor(api, player, { attempt, say }) {
    this.#api = api;
    const choose = (format) => {
      this.#menu.hidePopover();
      attempt(() => this.#save(format, say));
    };
    const buttons = FORMATS.map(({ name, title, about }) =>
      make(
        "button",
        { type: "button", "data-format": name, onclick: () => choose(name) },
        title,
        make("span", {}, about),
      ),
    );
    const note = make("p", {}, "For other formats than WAV and PCM, the server synthesizes again with the same seed.");
    this.#menu.replaceChildren(...buttons, note);
    this.#menu.addEventListener("toggle", () => {
      this.#track = player.track;
      for (const button of buttons) button.disabled = !(this.#local(button.dataset.format) || this.#track?.body);
    });
  }

  #local(format) {
    return format === "wav" || format === "pcm";
  }

  async #save(format, say) {
    const track = this.#track;
    const name = fileName(track.title, track.text, format);
    if (format === "wav") return save(track.pcm.wav(), name);
    if (format === "pcm") return save(track.pcm.raw(), name);
    say(`Creating ${name} …`);
    const reply = await this.#api.ask("v1/audio/speech", { json: { ...track.request(), response_format: format } });
    const blob = await reply.blob().catch(() => {
      throw new Problem("The connection broke before the file was complete. Retry.");
    });
    save(blob, name);
    say(`Saved ${name}.`);
  }
}
