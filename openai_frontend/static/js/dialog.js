// A dialog of the page: closes by its buttons and by Escape, says what goes on and what went wrong inside itself.

import { at } from "./dom.js";
import { Notice } from "./notice.js";
import { Problem } from "./problem.js";

export class Dialog {
  element;
  notice = null;

  /** `submit` is what the dialog is for; it closes when that has worked, unless it says false. What `submit` returns is
   *  called then: on closing, the browser puts the focus back to where it was. */
  constructor(id, submit) {
    this.element = at(id);
    const place = this.element.querySelector(".problem");
    if (place) this.notice = new Notice(place);
    for (const button of this.element.querySelectorAll("[data-close]"))
      button.addEventListener("click", () => this.close());
    this.element.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.attempt(async () => {
        const after = await submit();
        if (after !== false) this.close();
        if (typeof after === "function") after();
      });
    });
  }

  show() {
    this.notice?.clear();
    this.say("");
    this.element.showModal();
  }

  close() {
    this.element.close();
  }

  get isOpen() {
    return this.element.open;
  }

  say(text) {
    const status = this.element.querySelector(".status");
    if (status) status.textContent = text;
  }

  /** Do something; what goes wrong shows in the dialog, with a button to do it again. */
  async attempt(work) {
    this.notice?.clear();
    try {
      await work();
    } catch (error) {
      const problem = Problem.from(error);
      this.say("");
      if (problem.isKey)
        dispatchEvent(new CustomEvent("keyneeded", { detail: { problem, retry: () => this.attempt(work) } }));
      else this.notice?.show(problem, () => this.attempt(work));
    }
  }
}

/** Raise Problem, and put the focus there, where a field is empty. */
export function demand(field, message) {
  if (field.type === "checkbox" ? field.checked : field.value.trim()) return field.value.trim();
  field.focus();
  throw new Problem(message, { retry: false });
}
