// A dialog that confirms an irreversible action, or asks for a name.

import { Dialog } from "./dialog.js";
import { at } from "./dom.js";

export class Ask {
  #work = null;
  #dialog = new Dialog("ask-dialog", () => this.#work(at("ask-name").value.trim()));

  /** `work(name)` runs on confirmation; `name` is the initial value of the field, null for no field. */
  show({ title, text = "", yes, name = null, work }) {
    this.#work = work;
    at("ask-title").textContent = title;
    at("ask-text").textContent = text;
    at("ask-text").hidden = !text;
    at("ask-go").textContent = yes;
    at("ask-field").hidden = name === null;
    at("ask-name").value = name ?? "";
    this.#dialog.show();
    if (name !== null) at("ask-name").select();
  }
}
