// The server's voices, models and languages, and the current state of the models.

import { at, fill, make } from "./dom.js";
import { spoken, voicesOf } from "./voices.js";

const QUICK_MS = 1_000; // while a model is loading or requested
const SLOW_MS = 10_000;

export class Server extends EventTarget {
  voices = [];
  languages = [];
  #api;
  #models;
  #isBusy;
  #timer = null;

  /** `isBusy()`: whether the page waits for a model. */
  constructor(api, models, isBusy) {
    super();
    [this.#api, this.#models, this.#isBusy] = [api, models, isBusy];
    document.addEventListener("visibilitychange", () => this.look());
    at("models").addEventListener("toggle", () => this.look());
  }

  /** Fetch all lists; the voices are those of `model`. Throws Problem. */
  async load(model = "") {
    const query = model ? `?${new URLSearchParams({ model })}` : "";
    const paths = [`v1/audio/voices${query}`, "v1/models", "v1/audio/languages"];
    const [voices, models, languages] = await Promise.all(paths.map((path) => this.#api.json(path)));
    this.voices = voicesOf(voices.voices);
    this.languages = languages.languages;
    fill(at("model"), [["", "Chosen by the voice"], ...distinct(models.data, this.#models)]);
    const counts = [
      [this.voices.length, "voice"],
      [spoken(this.voices, this.languages).length, "language"],
    ];
    const said = counts.map(([count, what]) => `${count} ${what}${count === 1 ? "" : "s"}`).join(" · ");
    at("server").textContent = `${said} · API at ${new URL("v1", location)}`;
    this.dispatchEvent(new Event("change"));
  }

  /** Poll the state of the models while the page is visible. */
  async look() {
    clearTimeout(this.#timer);
    this.#timer = null;
    if (document.hidden) return;
    let health;
    try {
      health = await this.#api.health();
    } catch {
      health = { status: "unavailable", message: "The server does not answer." };
    }
    this.#models.update(health);
    this.#show();
    const quick = this.#isBusy() || this.#models.loading.length || at("models").matches(":popover-open");
    this.#timer ??= setTimeout(() => this.look(), quick ? QUICK_MS : SLOW_MS);
  }

  #show() {
    const models = this.#models;
    const states = models.names.map((name) => ({ name, ...models.state(name) }));
    const items = states.map(({ name, tone, text }) =>
      make(
        "li",
        {},
        make("span", { class: "dot", "data-tone": tone }),
        make("strong", {}, models.title(name)),
        make("span", {}, text),
      ),
    );
    at("models-list").replaceChildren(...(models.message ? [make("li", {}, models.message)] : items));
    const tones = states.map(({ tone }) => tone);
    at("models-dot").dataset.tone = models.message
      ? "wrong"
      : (["busy", "ready"].find((tone) => tones.includes(tone)) ?? "rest");
    this.dispatchEvent(new Event("health"));
  }
}

/** The models behind the names, without duplicates; unavailable ones are disabled. */
function distinct(names, models) {
  const entries = new Map();
  for (const { id, triton_model = id, available = true } of names) {
    const text = `${models.title(triton_model)}${available ? "" : " (not available)"}`;
    entries.set(triton_model, [triton_model, text, !available]);
  }
  return [...entries.values()];
}
