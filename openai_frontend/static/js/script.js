// The part of a text that is played at a time: the server's segments, and words if it sends them.

export class Script {
  #ranges = []; // { begin, end } in the text, or null if the server changed the words
  #searched = 0;

  constructor(text, segments = [], words = []) {
    this.text = text;
    this.segments = [];
    this.words = [];
    this.count = 0;
    this.add(segments, words);
  }

  /** Append `segments` ({ id, count, start, text }) and `words` ({ word, start, end }) as they arrive; in seconds. */
  add(segments = [], words = []) {
    for (const segment of segments) {
      this.segments.push(segment);
      this.count = segment.count ?? this.count;
      this.#ranges.push(this.#find(segment.text));
    }
    for (const word of words) this.words.push(word);
  }

  /** The text played at `time_s`: { number, count, range, word }, `word` a range; null before the first segment. */
  at(time_s) {
    const index = lastBefore(this.segments, time_s);
    if (index < 0) return null;
    const range = this.#ranges[index];
    return { number: this.segments[index].id + 1, count: this.count, range, word: range && this.#word(time_s, index) };
  }

  /** The end of the last started segment in the text; null if unknown. */
  get end() {
    return this.#ranges.at(-1)?.end ?? null;
  }

  #find(text) {
    const pattern = text.trim().split(/\s+/).map(escape).join("\\s+");
    const search = new RegExp(pattern, "g");
    search.lastIndex = this.#searched;
    const found = pattern && search.exec(this.text);
    if (!found) return null;
    this.#searched = search.lastIndex;
    return { begin: found.index, end: search.lastIndex };
  }

  /** The range of the word at a time: the words of a segment are searched for in order. */
  #word(time_s, index) {
    const now = lastBefore(this.words, time_s);
    if (now < 0 || time_s > this.words[now].end) return null;
    const begin_s = this.segments[index].start;
    let { begin: from, end } = this.#ranges[index];
    for (let i = lastBefore(this.words, begin_s - 1e-6) + 1; i <= now; i++) {
      const begin = this.text.indexOf(this.words[i].word.trim(), from);
      if (begin < 0 || begin >= end) continue;
      from = begin + this.words[i].word.trim().length;
      if (i === now) return { begin, end: from };
    }
    return null;
  }
}

function escape(text) {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** The index of the last started entry of `list`, which is ordered by `start`; -1 for none. */
function lastBefore(list, time_s) {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle].start <= time_s) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
