// Recent results, to play again or to restore their settings.

import { at, icon, make } from "./dom.js";
import { History } from "./history.js";
import { clock } from "./time.js";

const EXCERPT_CHARS = 120;

export class Recent extends EventTarget {
  #history = new History();
  #list = at("recent");
  #current = null;

  async open() {
    await this.#history.open();
    await this.render();
  }

  async add(track, settings) {
    await this.#history.add(track, settings);
    await this.render();
  }

  async clear() {
    await this.#history.clear();
    await this.render();
  }

  /** Mark the result in the player; null for none. */
  current(id) {
    this.#current = id;
    for (const item of this.#list.children) item.setAttribute("aria-current", String(item.dataset.result === id));
  }

  async render() {
    const results = await this.#history.list();
    this.#list.replaceChildren(...results.map((result) => this.#item(result)));
    this.current(this.#current);
    at("recent-none").hidden = results.length > 0;
    at("clear").hidden = results.length === 0;
  }

  #item(result) {
    const { id, text, title, seconds, stopped, made_ms, settings } = result;
    const start = text.slice(0, EXCERPT_CHARS).replace(/\s+/g, " ").trim();
    const when = new Date(made_ms).toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit", hour12: false });
    const name = `${start.slice(0, 40)}, ${title}, ${when}`;
    const fire = (type, detail) => () => this.dispatchEvent(new CustomEvent(type, { detail }));
    const button = (label, shown, listener, style) =>
      make("button", { type: "button", class: style, "aria-label": `${label}: ${name}`, onclick: listener }, shown);
    const facts = `${title} · ${clock(seconds)}${stopped ? " (stopped)" : ""} · ${when}`;
    return make(
      "li",
      { class: "result", "data-result": id },
      button("Play", icon("play"), () => fire("play", History.track(result))(), "round"),
      make("div", {}, make("p", {}, start), make("p", {}, facts)),
      button("Use again", "Use again", fire("use", settings), "small"),
      button("Remove", icon("bin"), () => this.#remove(id), "round quiet"),
    );
  }

  async #remove(id) {
    await this.#history.remove(id);
    await this.render();
    (this.#list.querySelector("button") ?? at("text")).focus();
  }
}
