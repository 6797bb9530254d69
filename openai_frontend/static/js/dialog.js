// A dialog: closed by its buttons and by Escape, with its own status and error message.

import { at } from "./dom.js";
import { Notice } from "./notice.js";
import { Problem } from "./problem.js";

export class Dialog {
  element;
  notice = null;

  /** The dialog closes when `submit` has succeeded, unless it returns false. A function that `submit` returns is called
   *  after that, since the browser restores the focus on closing. */
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

  /** Run `work`; an error is shown in the dialog, with a retry button. */
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

/** The value of a field; if it is empty, throws Problem and focuses the field. */
export function demand(field, message) {
  if (field.type === "checkbox" ? field.checked : field.value.trim()) return field.value.trim();
  field.focus();
  throw new Problem(message, { retry: false });
}
