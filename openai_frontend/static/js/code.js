// The dialog that shows the current request as code, to copy.

import { Dialog } from "./dialog.js";
import { at } from "./dom.js";
import { SNIPPETS } from "./snippet.js";

export class Code {
  #body = {};
  #dialog = new Dialog("code-dialog", () => this.#copy());

  constructor() {
    for (const choice of document.querySelectorAll("input[name=code]"))
      choice.addEventListener("change", () => this.#show());
  }

  show(body) {
    this.#body = body;
    this.#show();
    this.#dialog.show();
  }

  #show() {
    const language = document.querySelector("input[name=code]:checked").value;
    const base = new URL(".", location).href.replace(/\/$/, "");
    at("code").textContent = SNIPPETS[language](this.#body, base);
    this.#dialog.say("");
  }

  async #copy() {
    await copy(at("code").textContent, at("code-dialog"));
    this.#dialog.say("Copied.");
    return false; // it stays open, to copy the other languages, too
  }
}

/** Copy text to the clipboard; on plain http only a selection works. */
export async function copy(text, place = document.body) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = Object.assign(document.createElement("textarea"), { value: text });
  place.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}
