// The text field, with a mirror behind it that highlights the text being played.

import { at } from "./dom.js";

const PAUSE = "[pause:0.5s]";

export class Composer {
  #text = at("text");
  #mirror = at("mirror");
  #marked = "";

  constructor() {
    this.#text.addEventListener("input", () => this.#changed());
    this.#text.addEventListener("scroll", () => this.#follow());
    at("pause-mark").addEventListener("click", () => this.#insert(PAUSE));
  }

  get text() {
    return this.#text.value;
  }

  set text(text) {
    this.#text.value = text;
    this.#changed();
  }

  focus() {
    this.#text.focus();
  }

  /** Highlight a range of `text`, and a word in it, if the field still has that text. */
  mark(text, range, word) {
    const shown = range && text === this.text ? range : null;
    const key = shown ? `${range.begin} ${range.end} ${word?.begin}` : "";
    if (key === this.#marked) return;
    this.#marked = key;
    if (!shown) return this.#mirror.replaceChildren();
    const mark = document.createElement("mark");
    if (word) {
      const bold = document.createElement("b");
      bold.textContent = text.slice(word.begin, word.end);
      mark.append(text.slice(range.begin, word.begin), bold, text.slice(word.end, range.end));
    } else {
      mark.append(text.slice(range.begin, range.end));
    }
    // The trailing line break gives a last empty line its height.
    this.#mirror.replaceChildren(text.slice(0, range.begin), mark, `${text.slice(range.end)}\n`);
    this.#follow();
    if (document.activeElement !== this.#text) this.#show(mark);
  }

  #show(mark) {
    const { offsetTop, offsetHeight } = mark;
    const { scrollTop, clientHeight } = this.#text;
    if (offsetTop >= scrollTop && offsetTop + offsetHeight <= scrollTop + clientHeight) return;
    this.#text.scrollTop = offsetTop - clientHeight / 3;
    this.#follow();
  }

  #follow() {
    this.#mirror.scrollTop = this.#text.scrollTop;
  }

  #insert(mark) {
    const { selectionStart, selectionEnd } = this.#text;
    this.#text.setRangeText(mark, selectionStart, selectionEnd, "end");
    this.#text.dispatchEvent(new Event("input", { bubbles: true }));
    this.#text.focus();
  }

  #changed() {
    at("count").textContent = this.text.length.toLocaleString("en");
    this.#mirror.replaceChildren();
    this.#marked = "";
  }
}
