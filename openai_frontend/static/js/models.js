// The state of the server's models, in words.

import { clock } from "./time.js";

const TITLES = {
  hibari: "Embedded English voice",
  qwen3_tts_custom_voice: "Qwen3-TTS, built-in voices",
  qwen3_tts_base: "Qwen3-TTS, cloning",
  qwen3_tts_voice_design: "Qwen3-TTS, voice design",
};

export class Models {
  #models = {};
  #since_ms = new Map(); // when each was first seen loading
  #seen_ms = 0;
  message = null; // the reason for an unknown state

  /** Update from a reply of /health. */
  update({ status, message, models }, now_ms = performance.now()) {
    this.message = status === "ok" ? null : (message ?? "The server does not answer.");
    this.#models = models ?? {};
    this.#seen_ms = now_ms;
    for (const [name, { state }] of Object.entries(this.#models)) {
      if (state !== "loading") this.#since_ms.delete(name);
      else if (!this.#since_ms.has(name)) this.#since_ms.set(name, now_ms);
    }
  }

  get names() {
    return Object.keys(this.#models);
  }

  get loading() {
    return [...this.#since_ms.keys()];
  }

  title(name) {
    return TITLES[name] ?? name;
  }

  /** Seconds since a model was first seen loading. */
  loading_s(name, now_ms = performance.now()) {
    return this.#since_ms.has(name) ? (now_ms - this.#since_ms.get(name)) / 1000 : 0;
  }

  /** { tone, text } of a model: `ready`, `busy`, `rest` or `wrong`, and its state in words. */
  state(name, now_ms = performance.now()) {
    const model = this.#models[name];
    if (!model) return { tone: "rest", text: "Unknown" };
    if (model.available === false || model.state === "failed") {
      return { tone: "wrong", text: `Not available${model.reason ? `: ${model.reason}` : ""}` };
    }
    if (model.state === "loading")
      return { tone: "busy", text: `Loading, ${Math.floor(this.loading_s(name, now_ms))} s` };
    if (model.state === "unloaded") return { tone: "rest", text: "Not loaded; loads when you speak" };
    if (model.state !== "ready")
      return { tone: "busy", text: model.state === "draining" ? "Finishing, then unloads" : "Unloading" };
    if (model.unload_in_s === null || model.unload_in_s === undefined) return { tone: "ready", text: "Ready" };
    const left_s = Math.max(0, model.unload_in_s - (now_ms - this.#seen_ms) / 1000);
    return { tone: "ready", text: `Ready; unloads in ${clock(left_s)} if idle` };
  }

  /** Why a model is unavailable, or null. */
  reason(name) {
    const model = this.#models[name];
    if (!model) return this.names.length ? "this server does not have the model for it." : null;
    if (model.available !== false) return null;
    return model.reason ?? "the model cannot be loaded here.";
  }
}
