// A user's recording: from the microphone, or from a file.

import { at, icon } from "./dom.js";
import { MAX_S, Microphone } from "./microphone.js";
import { clock } from "./time.js";

const LEAST_S = 1;

export class Take {
  #prefix;
  #microphone = null;
  #dialog;
  file = null; // a Blob, or null
  ofMicrophone = false;

  /** `prefix`: of its controls' ids; `onchange` is called for each new recording. */
  constructor(prefix, dialog, onchange) {
    this.#prefix = prefix;
    this.#dialog = dialog;
    this.onchange = onchange;
    this.label = this.#at("record").textContent.trim();
    this.#at("record").addEventListener("click", () => dialog.attempt(() => this.#toggle()));
    this.#at("file").addEventListener("change", ({ target }) => {
      if (target.files[0]) this.take(target.files[0], target.files[0].name);
      target.value = "";
    });
    dialog.element.addEventListener("close", () => this.#finish(false));
  }

  #at(name) {
    return at(`${this.#prefix}-${name}`);
  }

  /** Use a file as the recording. */
  take(file, what, ofMicrophone = false) {
    this.file = file;
    this.ofMicrophone = ofMicrophone;
    this.#at("what").textContent = what;
    this.onchange?.();
  }

  forget(what) {
    this.file = null;
    this.ofMicrophone = false;
    this.#at("what").textContent = what;
    this.onchange?.();
  }

  async #toggle() {
    if (this.#microphone) return this.#finish(true);
    this.#microphone = await Microphone.open();
    this.#face("stop", "Stop recording");
    this.#at("meter").hidden = false;
    this.#watch();
  }

  #watch() {
    if (!this.#microphone) return;
    const { seconds, level } = this.#microphone;
    this.#at("level").value = level;
    this.#at("time").textContent = clock(seconds);
    if (seconds >= MAX_S) this.#finish(true);
    else requestAnimationFrame(() => this.#watch());
  }

  async #finish(keep) {
    const microphone = this.#microphone;
    if (!microphone) return;
    this.#microphone = null;
    const { seconds } = microphone;
    this.#face("microphone", keep ? "Record again" : this.label);
    this.#at("meter").hidden = true;
    const recording = await microphone.stop();
    if (!keep) return;
    if (seconds < LEAST_S) this.forget("The recording is too short. Record at least one second, preferably ten.");
    else this.take(recording, `Your recording, ${clock(seconds)}`, true);
  }

  #face(name, text) {
    const span = document.createElement("span");
    span.textContent = text;
    this.#at("record").replaceChildren(icon(name), span);
  }
}
