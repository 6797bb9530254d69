// A client of the server's API, with this tab's key.

import { EventReader, bytesOf } from "./events.js";
import { Problem } from "./problem.js";

const KEY = "speech-api-key"; // in sessionStorage, until the tab is closed

export class Api {
  get key() {
    return sessionStorage.getItem(KEY) ?? "";
  }

  set key(key) {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  }

  /** Send a request and return the reply. Throws Problem. */
  async ask(path, { json, form, ...options } = {}) {
    const headers = this.key ? { Authorization: `Bearer ${this.key}` } : {};
    if (json) headers["Content-Type"] = "application/json";
    const body = json ? JSON.stringify(json) : form;
    const method = options.method ?? (body ? "POST" : "GET");
    const reply = await fetch(path, { ...options, method, body, headers });
    if (reply.ok) return reply;
    throw Problem.of(reply.status, await reply.json().catch(() => null), reply.headers);
  }

  /** The JSON of a reply. */
  async json(path, options) {
    return (await this.ask(path, options)).json();
  }

  /** The state of the models; also if Triton is unreachable. */
  async health() {
    const reply = await fetch("health");
    return reply.json();
  }

  /** The events of a speech request `body`, as they arrive. */
  async *events(body, signal) {
    const json = { ...body, response_format: "pcm", stream_format: "sse", timestamp_granularities: ["segment"] };
    const reply = await this.ask("v1/audio/speech", { json, signal });
    const reader = new EventReader();
    const warning = reply.headers.get("x-speech-warning");
    if (warning) yield { type: "warning", text: warning };
    for await (const bytes of chunks(reply)) {
      for (const event of reader.push(bytes)) {
        if (event.error) throw Problem.of(500, event);
        yield event.type === "speech.audio.delta" ? { type: "audio", bytes: bytesOf(event.audio) } : event;
      }
    }
  }

  /** The same with the voice of a recording; `form` has no format yet. */
  async *clone(form, signal) {
    form.set("response_format", "pcm");
    const reply = await this.ask("v1/audio/speech/clone", { form, signal });
    for await (const bytes of chunks(reply)) yield { type: "audio", bytes };
    yield { type: "speech.audio.done" };
  }
}

async function* chunks(reply) {
  const reader = reply.body.getReader(); // some browsers cannot iterate over a body
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
  } finally {
    reader.cancel().catch(() => {});
  }
}
