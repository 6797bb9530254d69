// Recent results, in the browser's IndexedDB: they survive a reload and never leave the machine.

import { Pcm } from "./pcm.js";
import { Peaks } from "./peaks.js";
import { Script } from "./script.js";
import { Track } from "./track.js";

const [DATABASE, STORE] = ["speech", "results"];
export const MAX_RESULTS = 20;
export const MAX_BYTES = 400 * 2 ** 20; // two hours of speech

/** Ids of results to remove, so that the newest ones stay within MAX_RESULTS and MAX_BYTES. */
export function surplus(results) {
  let bytes = 0;
  return results
    .filter(({ audio }, index) => (bytes += audio.size) > MAX_BYTES || index >= MAX_RESULTS)
    .map(({ id }) => id);
}

export class History {
  #database = null; // null if the browser has none (private windows of some): then in memory only
  #memory = new Map();

  async open() {
    try {
      const request = indexedDB.open(DATABASE, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
      this.#database = await done(request);
    } catch {
      this.#database = null;
    }
  }

  /** Every result, newest first. */
  async list() {
    const results = this.#database ? await done(this.#store("readonly").getAll()) : [...this.#memory.values()];
    return results.sort((one, other) => other.made_ms - one.made_ms);
  }

  /** Store a track, and remove old ones. */
  async add(track, settings) {
    const { text, body, title, stopped, seconds } = track;
    const { segments, words } = track.script;
    track.id ??= crypto.getRandomValues(new Uint32Array(2)).join("-");
    await this.#put({
      id: track.id,
      made_ms: Date.now(),
      text,
      body,
      title,
      stopped,
      seconds,
      settings,
      segments,
      words,
      peaks: track.peaks.toJSON(),
      audio: track.pcm.raw(),
    });
    for (const id of surplus(await this.list())) await this.remove(id);
  }

  /** A result as a track. */
  static track({ id, text, body, title, stopped, segments, words, peaks, audio }) {
    const parts = { pcm: Pcm.of(audio), peaks: Peaks.of(peaks), script: new Script(text, segments, words) };
    const track = new Track({ text, body, title, ...parts });
    return Object.assign(track, { id, complete: true, stopped, audible: true });
  }

  async remove(id) {
    this.#memory.delete(id);
    if (this.#database) await done(this.#store("readwrite").delete(id));
  }

  async clear() {
    this.#memory.clear();
    if (this.#database) await done(this.#store("readwrite").clear());
  }

  async #put(result) {
    try {
      if (this.#database) return await done(this.#store("readwrite").put(result));
    } catch {
      // A full disk or quota: keep results in memory only.
      this.#database = null;
    }
    this.#memory.set(result.id, result);
  }

  #store(mode) {
    return this.#database.transaction(STORE, mode).objectStore(STORE);
  }
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("blocked"));
  });
}
