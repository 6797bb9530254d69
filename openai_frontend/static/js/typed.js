// Which part of a text that is being typed can be spoken: complete words that were not sent before.

const WORDS = /^[\s\S]*[\s.,;:!?…、。，；：！？]/u;

export class Typed {
  #sent = "";

  /** The complete words of `text` that were not sent; with `all`, also the last, perhaps incomplete one. Sent text does
   *  not change: after an edit in it, only what is typed at the end later is spoken. */
  take(text, { all = false } = {}) {
    if (!text.startsWith(this.#sent)) {
      this.#sent = this.#sent.startsWith(text) ? text : wordsOf(text);
      return "";
    }
    const rest = text.slice(this.#sent.length);
    const piece = all ? rest : wordsOf(rest);
    this.#sent += piece;
    return piece;
  }
}

function wordsOf(text) {
  return WORDS.exec(text)?.[0] ?? "";
}
