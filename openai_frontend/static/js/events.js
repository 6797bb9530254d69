// Parses server-sent events from a byte stream, however it is split.

const MAX_CHARS = 64 * 2 ** 20; // of one event

export class EventReader {
  #decoder = new TextDecoder();
  #text = "";

  /** The data of the events that `bytes` complete, each parsed as JSON. */
  push(bytes) {
    this.#text += this.#decoder.decode(bytes, { stream: true });
    const blocks = this.#text.split(/\r?\n\r?\n/);
    this.#text = blocks.pop();
    if (this.#text.length > MAX_CHARS) throw new Error("The server sent an event without an end.");
    return blocks
      .map(data)
      .filter(Boolean)
      .map((text) => JSON.parse(text));
  }
}

function data(block) {
  const lines = block.split(/\r?\n/).filter((line) => line.startsWith("data:"));
  return lines.map((line) => line.slice(5).trimStart()).join("\n");
}

/** Base64 as bytes. */
export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}
