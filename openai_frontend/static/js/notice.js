// An error message in place, with advice and a retry button.

import { icon, make } from "./dom.js";

export class Notice {
  #place;
  #timer = null;

  /** `place`: the element that contains it. */
  constructor(place) {
    this.#place = place;
    place.setAttribute("role", "alert");
  }

  /** Show a Problem; `retry` is the action of its button. */
  show(problem, retry = null) {
    this.clear();
    const text = make("p", {}, problem.message);
    if (problem.id) text.append(" ", make("small", {}, `(request ${problem.id})`));
    const notice = make("div", { class: "notice" }, text);
    if (retry && problem.retry) notice.append(this.#retry(retry, problem.wait_s ?? 0));
    notice.append(
      make(
        "button",
        { type: "button", class: "round", "aria-label": "Dismiss", onclick: () => this.clear() },
        icon("close"),
      ),
    );
    this.#place.append(notice);
  }

  #retry(retry, wait_s) {
    const button = make("button", { type: "button", class: "retry" });
    const again = () => {
      this.clear();
      retry();
    };
    const count = (left_s) => {
      button.textContent = left_s > 0 ? `Retry in ${left_s} s` : "Retry";
      if (left_s > 0) this.#timer = setTimeout(() => count(left_s - 1), 1000);
    };
    button.addEventListener("click", again);
    count(Math.min(wait_s, 60));
    return button;
  }

  clear() {
    clearTimeout(this.#timer);
    this.#place.replaceChildren();
  }

  get shown() {
    return this.#place.childElementCount > 0;
  }
}
